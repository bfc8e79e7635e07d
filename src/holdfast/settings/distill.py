"""Settings of distillation: views, stages, averages, and what the method is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from holdfast.errors import UsageError
from holdfast.settings.base import INFINITY, SEED, Optimisation, Settings
from holdfast.settings.teacher import TeacherSettings
from holdfast.settings.transfer import PromptSettings

Method = Literal[
    "distill", "zero-shot", "erm", "lp-ft", "logits", "text-head", "wise-ft", "regularised"
]


@dataclass(frozen=True)
class ViewSettings(Settings):
    """Random views of a picture, the same for teacher and student (DomainBed's augmentation).

    Args:
        size: side of a view in pixels; a crop smaller than that is not enlarged.
        crop: smallest area of a crop, as a share of the picture's.
        flip: probability of a mirror image.
        jitter: largest change of brightness, contrast and saturation, as a share.
        hue: largest turn of the hue, as a share of the colour circle.
        grayscale: probability of a view without colour.
    """

    limits = {
        "size": (8, INFINITY),
        "crop": (0.01, 1),
        "flip": (0, 1),
        "jitter": (0, 1),
        "hue": (0, 0.5),
        "grayscale": (0, 1),
    }

    size: int = 224
    crop: float = 0.7
    flip: float = 0.5
    jitter: float = 0.3
    hue: float = 0.3
    grayscale: float = 0.1


@dataclass(frozen=True)
class StageSettings(Optimisation):
    """One stage of training, with the values of VL2V-ADiP's public code.

    Args:
        steps: optimiser steps (DomainNet: 15001).
        per_domain: images of each training domain a step, drawn with replacement.
        validate_every: steps between two validations (DomainNet: 1000); the last step is one too.
    """

    limits = {
        **Optimisation.limits,
        "steps": (1, INFINITY),
        "per_domain": (1, INFINITY),
        "validate_every": (1, INFINITY),
    }

    optimizer: Literal["adamw", "adam"] = "adam"
    learning_rate: float = 5e-5
    weight_decay: float = 0.0
    warmup_steps: int = 0
    schedule: Literal["cosine", "constant"] = "constant"
    clip_norm: float = 0.0
    steps: int = 5001
    per_domain: int = 32
    validate_every: int = 200


@dataclass(frozen=True)
class AverageSettings(Settings):
    """Which weights of a stage are kept; validation is on the training domains only.

    Args:
        kind: `valley`, the average along the valley of the validation loss (SWAD, as in the paper);
            `running`, the mean of all steps; `none`, the step with the best validation accuracy.
        converge: validations that must not undercut the first of them for the valley to start.
        tolerance: validations in a row that must lie above its rim for the valley to end.
        ratio: height of the rim, as a share of the losses where the valley starts.
        start: first step of the running mean (100 in Ensemble of Averages).
    """

    limits = {
        "converge": (1, 1000),
        "tolerance": (1, 1000),
        "ratio": (0, INFINITY),
        "start": (0, INFINITY),
    }

    kind: Literal["valley", "running", "none"] = "valley"
    converge: int = 3
    tolerance: int = 6
    ratio: float = 0.3
    start: int = 100


@dataclass(frozen=True)
class BaselineSettings(Settings):
    """What only the methods to compare with need.

    Args:
        temperature: of both sides of the divergence in logit distillation.
        alpha: weight of the fine-tuned model in WiSE-FT's ensemble; 0 is zero-shot.
        variance: weight of the variance regulariser (lambda_v of RegFT).
        covariance: weight of the covariance regulariser (lambda_c of RegFT).
    """

    limits = {
        "temperature": (0.01, 1000),
        "alpha": (0, 1),
        "variance": (0, INFINITY),
        "covariance": (0, INFINITY),
    }

    temperature: float = 2.0
    alpha: float = 0.5
    variance: float = 0.16
    covariance: float = 0.02


@dataclass(frozen=True)
class DistillSettings(TeacherSettings):
    """Labelled images of several domains and a teacher -> a student for domains nobody saw yet.

    VL2V-ADiP (arXiv 2310.08255): align, distill, predict. With the teacher's own tower as the
    student it is VL2V-SD.

    Args:
        data: folder of domains, `data/<domain>/<class>/` with the images.
        out: the run's folder; an interrupted run goes on where it stopped.
        student: a timm model, `local-dir:FOLDER`, `hf-hub:ID`, `pocket` (a small ResNet) or
            `pocket-vit`; or `teacher`, the teacher's own image tower.
        student_weights: pre-trained ones, or `random` for an untrained student.
        method: `distill`; or one of those it is compared with, on the same splits, views and
            steps: `zero-shot` (the teacher), `erm` (cross-entropy), `lp-ft` (first the head, then
            all), `logits` (the teacher's probabilities), `text-head` (a head that starts as the
            text embeddings); with the teacher's tower as the student also `wise-ft` (averaged with
            the original) and `regularised` (RegFT's losses).
        held_out: domain to leave out of training and to test on; `all` leaves out each in turn;
            `none` trains on all domains, for deployment.
        trials: how many seeds, from `seed` on. Each draws its own split of every domain, as
            DomainBed does.
        views: views of each training image that the teacher is asked for, the image itself first;
            0 draws new ones in each step, as the paper does, and asks about every one.
        store: folder of the teacher's answers, for all runs with this teacher.
        max_queries: the most that this teacher may ever be asked, over all runs of the store.
        image_weight: lambda, the weight of the teacher's image embeddings against its text
            embeddings of the labels; of several values one is selected.
        selection: how: by the training domains' validation images, or by leaving out each training
            domain in turn (`source`).
        sample: images whose answers are looked at first, to say whether distilling is worth it.
        advice_only: ask for that sample, say what it tells, and stop.
        spot_check: answers of earlier runs to ask for again before anything else is asked.
        teacher_scores: measure the teacher where its answers are stored, or ask for `all` images
            that the student is tested on.
        workers: threads that decode and crop images; 0 does it between the steps.
        checkpoint_minutes: time between checkpoints, so the most that a kill can cost.
        seed: of the first trial.
        device: `auto`, `cpu`, `cuda`, `mps`.
        dry_run: say how many queries the run needs, and stop.
    """

    limits = {
        **TeacherSettings.limits,
        "trials": (1, 1000),
        "views": (0, 10000),
        "max_queries": (0, INFINITY),
        "image_weight": (0, 1),
        "sample": (0, INFINITY),
        "spot_check": (0, INFINITY),
        "workers": (0, 256),
        "checkpoint_minutes": (0, INFINITY),
        "seed": SEED,
    }

    data: Path = field(kw_only=True)
    out: Path = Path("runs/distill")
    student: str = "vit_base_patch16_224"  # the paper's
    student_weights: Literal["pretrained", "random"] = "pretrained"
    method: Method = "distill"
    held_out: str = "none"
    trials: int = 1
    views: int = 10
    view: ViewSettings = field(default_factory=ViewSettings)
    store: Path = Path("runs/answers")
    max_queries: int | None = None
    prompts: PromptSettings = field(default_factory=PromptSettings)
    image_weight: float | list[float] = 0.5
    selection: Literal["validation", "source"] = "validation"
    align: StageSettings = field(default_factory=StageSettings)
    train: StageSettings = field(default_factory=StageSettings)
    average: AverageSettings = field(default_factory=AverageSettings)
    baseline: BaselineSettings = field(default_factory=BaselineSettings)
    sample: int = 1000
    advice_only: bool = False
    spot_check: int = 0
    teacher_scores: Literal["stored", "all"] = "stored"
    workers: int = 4
    checkpoint_minutes: float = 5.0
    seed: int = 0
    device: str = "auto"
    dry_run: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.image_weights:
            raise UsageError("image_weight is an empty list; it must hold one value or more.")
        for weight in self.image_weights:
            if not 0 <= weight <= 1:
                raise UsageError(f"image_weight is {weight}; it must be from 0 to 1.")
        if self.selection == "source" and len(self.image_weights) == 1:
            raise UsageError(
                "--selection source needs several values of --image_weight to select from, "
                "such as [0.1,0.5,0.9]."
            )

    @property
    def image_weights(self) -> list[float]:
        """The values of lambda to select from."""
        return self.image_weight if isinstance(self.image_weight, list) else [self.image_weight]
