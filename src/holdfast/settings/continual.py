"""Settings of continual learning: one task's training, with replay of what the model knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from holdfast.settings.base import INFINITY, SEED, Optimisation, Settings
from holdfast.settings.transfer import DEFAULT_GENERATOR, DrawSettings

Method = Literal["gift", "zero-shot", "finetune", "l2", "ewc", "lwf", "wise-ft", "zscl", "joint"]


@dataclass(frozen=True)
class ContinualTrainSettings(Optimisation):
    """One task of continual learning (GIFT; values of the paper).

    Args:
        learning_rate: peak of the schedule; the paper takes 5e-5 for Aircraft and MNIST.
        weight_decay: decoupled weight decay; the pull toward the previous weights replaces it.
        warmup_steps: steps of linear warmup; at most a fifth of the steps.
        clip_norm: largest gradient norm; 0 leaves gradients as they are, as in the paper.
        steps: optimiser steps a task takes.
        batch_size: images of the task a step.
        replay_batch_size: replay images a step.
        label_smoothing: of the task's cross-entropy and of the alignment.
        negatives: the classes an image is told apart from: all of the task, or those of its batch
            (for captions, of which there may be thousands).
        distillation: weight of the distillation from the previous model, on the replay batch.
        distill: `contrastive` compares the similarities of images and prompts by cross-entropy;
            `kl` by the divergence from the previous model to the new one; `reverse_kl` the other
            way round, as the paper's public code does; `features` takes the squared distance of
            the embeddings.
        distill_over: similarities to the prompts of the replay batch, or to all replay prompts.
        distill_sides: `both` compares how each image picks among the prompts and each prompt among
            the images; `image` only the first.
        temperature: of the distillation.
        learns: what the replay losses teach: both towers; or one of them, against the previous
            model's embeddings of the other side.
        alignment: weight of the alignment of replay images with their own prompts, each direction.
        consolidation: strength of the pull toward the previous weights.
        importance: what the pull of a weight is scaled with: `adaptive`, the squared gradient of
            this step's replay losses; `static`, the Fisher information before the task; `uniform`,
            nothing (plain L2).
        average_every: steps between the weights whose mean is the result, as ZSCL does with 100;
            0 takes the last weights.
        workers: processes that decode images; 0 decodes in the training process.
        checkpoint_minutes: time between checkpoints, so the most that a kill can cost.
    """

    limits = {
        **Optimisation.limits,
        "steps": (1, INFINITY),
        "batch_size": (1, INFINITY),
        "replay_batch_size": (1, INFINITY),
        "label_smoothing": (0, 0.99),
        "distillation": (0, INFINITY),
        "temperature": (0.01, INFINITY),
        "alignment": (0, INFINITY),
        "consolidation": (0, INFINITY),
        "average_every": (0, INFINITY),
        "workers": (0, INFINITY),
        "checkpoint_minutes": (0, INFINITY),
    }

    learning_rate: float = 1e-5
    weight_decay: float = 0.0
    warmup_steps: int = 100
    clip_norm: float = 0.0
    steps: int = 1000
    batch_size: int = 64
    replay_batch_size: int = 64
    label_smoothing: float = 0.2
    negatives: Literal["task", "batch"] = "task"
    distillation: float = 1.0
    distill: Literal["contrastive", "kl", "reverse_kl", "features"] = "contrastive"
    distill_over: Literal["batch", "all"] = "batch"
    distill_sides: Literal["both", "image"] = "both"
    temperature: float = 2.0
    learns: Literal["both", "image", "text"] = "both"
    alignment: float = 0.25
    consolidation: float = 1.0
    importance: Literal["adaptive", "static", "uniform"] = "adaptive"
    average_every: int = 0
    workers: int = 4
    checkpoint_minutes: float = 5.0


@dataclass(frozen=True)
class ReplaySettings(DrawSettings):
    """Images that stand for what the model knows (GIFT: 1,000 a task).

    Args:
        images: how many for each task; 0 replays nothing.
        draw: `uniform` draws their names from pre-training and all earlier tasks alike, as the
            paper does; `balanced` gives each earlier task the same number, and pre-training half.
        base: names that stand for pre-training: `imagenet` (1,000 classes), `pocket`, or a file.
        template: the prompt of those names.
        folder: images with captions to use instead of generating any: a metadata.jsonl or .csv
            there (file_name, text), a .txt beside each image, or what `holdfast generate` wrote.
        cache: folder for the generated images; several runs can share one. None keeps them with
            the task.
        guidance: classifier-free guidance scale; 7.5 is the pipelines' own default.
    """

    limits = {**DrawSettings.limits, "images": (0, INFINITY)}

    images: int = 1000
    draw: Literal["uniform", "balanced"] = "uniform"
    base: str = "imagenet"
    template: str = "a photo of a {}."
    folder: Path | None = None
    cache: Path | None = None
    guidance: float = 7.5


@dataclass(frozen=True)
class ContinualAddSettings(Settings):
    """One more task for a model: its folder -> a new folder of the model that knows it too.

    Args:
        model: folder of a model with its tasks so far, as this verb writes it; or for the first
            task an open_clip architecture, `local-dir:PATH`, `hf-hub:ID`, or `pocket`.
        task: folder of the task, with train and, if there are, val and test, each of class folders
            or of images with captions; or a data set (`pocket:digits`).
        out: folder to write; the model comes into its folder `model`.
        name: what the task is called; none is its folder's name.
        templates: sentences with one `{}`, or a list's name: the first trains, all evaluate.
        pretrained: open_clip's tag for its weights; empty for a model that carries its own.
        method: how to learn without forgetting: GIFT, or what it is compared with.
        ensemble: weight of the new model in the average that `wise-ft` makes after the task (0.8
            where ZSCL compares with it).
        generator: a text-to-image pipeline: hub id (`id@revision` pins it), folder, or `pocket`.
        per_class: images per class and split of a data set that is drawn.
        max_drop: largest drop of accuracy that is accepted on what the model knew (0.02 is two
            points); none accepts any. If the task costs more, the new weights are averaged with
            the previous ones, as far as needed; if no average passes, nothing is written.
        held_out: folders or data sets of tasks that must not suffer (`pocket:things`), several in
            a list. Earlier tasks and pre-training count by their replay images.
        seed: of every random choice.
        device: `auto`, `cpu`, `cuda`, `mps`.
    """

    limits = {"seed": SEED, "ensemble": (0, 1), "per_class": (1, INFINITY), "max_drop": (0, 1)}

    model: str
    task: str
    out: Path = Path("runs/task")
    name: str | None = None
    templates: list[str] | str = "a photo of a {}."
    pretrained: str = "openai"
    method: Literal["gift", "finetune", "l2", "ewc", "lwf", "wise-ft", "zscl"] = "gift"
    ensemble: float = 0.8
    generator: str = DEFAULT_GENERATOR
    per_class: int | None = None
    max_drop: float | None = None
    held_out: list[str] | str = field(default_factory=list)
    replay: ReplaySettings = field(default_factory=ReplaySettings)
    train: ContinualTrainSettings = field(default_factory=ContinualTrainSettings)
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class ContinualRunSettings(Settings):
    """A stream of tasks, one after the other: the accuracy on each task after each.

    Args:
        stream: file that lists the tasks (YAML or JSON): folders or data sets (`pocket:digits`),
            each with a name, templates and training settings of its own if needed; or `pocket` or
            `pocket-2`, two orders of the embedded world's tasks.
        out: the run's folder.
        model: open_clip architecture, `local-dir:PATH`, `hf-hub:ID`, or `pocket`.
        pretrained: open_clip's tag for its weights; empty for a model that carries its own.
        method: how to learn without forgetting: GIFT, or what it is compared with.
        ensemble: weight of the new model in the average that `wise-ft` makes after each task (0.8
            where ZSCL compares with it).
        generator: a text-to-image pipeline: hub id (`id@revision` pins it), folder, or `pocket`.
        max_drop: largest drop of accuracy that is accepted on what the model knew (0.02 is two
            points); none accepts any. If a task costs more, the new weights are averaged with the
            previous ones, as far as needed; if no average passes, the stream stops.
        held_out: folders or data sets of tasks that must not suffer (`pocket:things`), several in
            a list. Earlier tasks and pre-training count by their replay images.
        split: the split of every task to measure on: `val` for choices, `test` for the end.
        seed: of every random choice.
        device: `auto`, `cpu`, `cuda`, `mps`.
    """

    limits = {"seed": SEED, "ensemble": (0, 1), "max_drop": (0, 1)}

    stream: Path
    out: Path = Path("runs/stream")
    model: str = "ViT-B-16"
    pretrained: str = "openai"
    method: Method = "gift"
    ensemble: float = 0.8
    generator: str = DEFAULT_GENERATOR
    max_drop: float | None = None
    held_out: list[str] | str = field(default_factory=list)
    split: Literal["val", "test"] = "test"
    replay: ReplaySettings = field(default_factory=ReplaySettings)
    train: ContinualTrainSettings = field(default_factory=ContinualTrainSettings)
    seed: int = 0
    device: str = "auto"
