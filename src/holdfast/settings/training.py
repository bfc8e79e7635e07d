"""Settings of trainings: one optimiser run, and what each family adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.errors import UsageError
from holdfast.settings.base import Precision, Settings, inherited, setting

WORKERS = (
    "Workers that decode images ahead, at most one for each processor; 0 decodes between the steps."
)
MINUTES = (
    "Minutes between checkpoints, so the most that a kill can cost; more where one takes long."
)


@dataclass(frozen=True)
class Optimisation(Settings):
    """One optimiser run."""

    optimizer: Literal["adamw", "adam"] = setting("adamw", "AdamW, or Adam.")
    # Not the 1e-3 of RegFT's public code: WiSE-FT fine-tunes real CLIP checkpoints at 3e-5 with
    # batches of 512, FLYP and GIFT at 1e-5; Adam's square-root rule brings 3e-5 at a batch of 512
    # to 1.5e-5 at our 128.
    learning_rate: float = setting(
        1e-5,
        "Peak of the schedule; the default suits real CLIP checkpoints.",
        low=0,
        high=10,  # Adam moves a weight by about the rate
    )
    weight_decay: float = setting(
        0.1, "Decoupled weight decay, on every parameter as in the papers' code.", low=0
    )
    warmup_steps: int = setting(500, "Steps of linear warmup; at most a fifth of the steps.", low=0)
    schedule: Literal["cosine", "constant"] = setting(
        "cosine", "After the warmup: to zero along a cosine, or constant."
    )
    clip_norm: float = setting(1.0, "Largest gradient norm; 0 leaves gradients as they are.", low=0)
    batch_statistics: Literal["keep", "learn"] = setting(
        "keep",
        "Statistics of batch normalisation: `keep` those of the pre-training, which the batches of "
        "a task would replace whatever the learning rate, or let them `learn`.",
    )
    precision: Precision = setting(
        "auto",
        "`bf16` runs the forward pass under autocast, weights stay in fp32; `auto` does so on a "
        "CUDA GPU.",
    )
    accumulation: int = setting(
        1,
        "Parts in which a step's batch goes through the model, one after the other, for the memory "
        "of one part; all losses are over the whole batch, and each part is computed twice.",
        low=1,
        free=True,
    )
    grad_checkpointing: bool = setting(
        False,
        "Keep what lies between the layers only, and compute the rest again for the gradients: "
        "much less memory, a third to a half more time.",
        free=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        twice = self.accumulation > 1 or self.grad_checkpointing
        if twice and self.batch_statistics == "learn":
            raise UsageError(
                "Batch statistics that learn (batch_statistics) would see each picture twice with "
                "accumulation or grad_checkpointing; leave one of them out."
            )


@dataclass(frozen=True)
class TrainSettings(Optimisation):
    """Fine-tuning on generated images (RegFT; values of its public code)."""

    epochs: int = setting(10, "Passes over the images.", low=1)
    batch_size: int = setting(128, "Images a step.", low=1)
    label_smoothing: float = setting(0.0, "Of the cross-entropy.", low=0, high=0.99)
    trainable: Literal["all", "head"] = setting("all", "Image tower and head, or the head alone.")
    replay_batch_size: int = setting(
        64, "Replayed images a step, where an anchor needs them.", low=1
    )
    workers: int = setting(4, WORKERS, low=0, free=True)
    checkpoint_minutes: float = setting(5.0, MINUTES, low=0, free=True)


@dataclass(frozen=True)
class StageSettings(Optimisation):
    """One stage of a distillation, with the values of VL2V-ADiP's public code."""

    optimizer: Literal["adamw", "adam"] = inherited(Optimisation, "optimizer", "adam")
    learning_rate: float = inherited(Optimisation, "learning_rate", 5e-5, "Peak of the schedule.")
    weight_decay: float = inherited(Optimisation, "weight_decay", 0.0)
    warmup_steps: int = inherited(Optimisation, "warmup_steps", 0)
    schedule: Literal["cosine", "constant"] = inherited(Optimisation, "schedule", "constant")
    clip_norm: float = inherited(Optimisation, "clip_norm", 0.0)
    steps: int = setting(5001, "Optimiser steps (DomainNet: 15001).", low=1)
    per_domain: int = setting(
        32, "Images of each training domain a step, drawn with replacement.", low=1
    )
    validate_every: int = setting(
        200,
        "Steps between two validations (DomainNet: 1000); the last step is one too.",
        low=1,
    )


@dataclass(frozen=True)
class AverageSettings(Settings):
    """Which weights of a stage are kept; validation is on the training domains only."""

    kind: Literal["valley", "running", "none"] = setting(
        "valley",
        "`valley`, the average along the valley of the validation loss (SWAD, as in the paper); "
        "`running`, the mean of all steps; `none`, the step with the best validation accuracy. The "
        "anchor iterate-average takes its place.",
    )
    converge: int = setting(
        3,
        "Validations that must not undercut the first of them for the valley to start.",
        low=1,
        high=1000,
    )
    tolerance: int = setting(
        6,
        "Validations in a row that must lie above its rim for the valley to end.",
        low=1,
        high=1000,
    )
    ratio: float = setting(
        0.3, "Height of the rim, as a share of the losses where the valley starts.", low=0
    )
    segments: Literal["published", "reset", "accumulate"] = setting(
        "published",
        "What a valley averages: `reset`, means between two validations (SWAD); `accumulate`, "
        "means from the first step on; `published`, as in VL2V-ADiP's code: accumulated for "
        "ResNet-50, ViT-S/16 and DeiT-S/16, reset for ViT-B/16 and all others.",
    )
    start: int = setting(
        100, "First step of the running mean (100 in Ensemble of Averages).", low=0
    )


@dataclass(frozen=True)
class ContinualTrainSettings(Optimisation):
    """One task of continual learning (GIFT; values of the paper)."""

    learning_rate: float = inherited(
        Optimisation,
        "learning_rate",
        1e-5,
        "Peak of the schedule; the paper takes 5e-5 for Aircraft and MNIST.",
    )
    weight_decay: float = inherited(
        Optimisation,
        "weight_decay",
        0.0,
        "Decoupled weight decay; the pull toward the previous weights replaces it.",
    )
    warmup_steps: int = inherited(Optimisation, "warmup_steps", 100)
    clip_norm: float = inherited(
        Optimisation,
        "clip_norm",
        0.0,
        "Largest gradient norm; 0 leaves gradients as they are, as in the paper.",
    )
    steps: int = setting(1000, "Optimiser steps a task takes.", low=1)
    batch_size: int = setting(64, "Images of the task a step.", low=1)
    replay_batch_size: int = setting(64, "Replayed images a step.", low=1)
    label_smoothing: float = setting(0.2, "Of the task's cross-entropy.", low=0, high=0.99)
    negatives: Literal["task", "batch"] = setting(
        "task",
        "Classes an image is told apart from: all of the task, or those of its batch (for captions,"
        " of which there may be thousands).",
    )
    workers: int = setting(4, WORKERS, low=0, free=True)
    checkpoint_minutes: float = setting(5.0, MINUTES, low=0, free=True)
