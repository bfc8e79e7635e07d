"""Settings of continual learning: one task's training, with replay of what the model knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.settings.base import INFINITY, Optimisation


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
    temperature: float = 2.0
    learns: Literal["both", "image", "text"] = "both"
    alignment: float = 0.25
    consolidation: float = 1.0
    importance: Literal["adaptive", "static", "uniform"] = "adaptive"
    average_every: int = 0
    workers: int = 4
    checkpoint_minutes: float = 5.0
