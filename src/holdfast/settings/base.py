"""What all settings share, and one optimiser run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Literal

from holdfast.errors import UsageError

Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Settings:
    """What all settings share: text becomes a path where one is wanted, and numbers have limits."""

    limits: ClassVar[dict[str, tuple[float, float]]] = {}

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, str) and str(each.type) in ("Path", "Path | None"):
                object.__setattr__(self, each.name, Path(value))
        for name, (low, high) in self.limits.items():
            value = getattr(self, name)
            if isinstance(value, int | float) and not low <= value <= high:
                bounds = f"at least {low:g}" if high == INFINITY else f"from {low:g} to {high:g}"
                raise UsageError(f"{name} is {value}; it must be {bounds}.")


INFINITY = float("inf")
SEED = (0, 2**63 - 1)


@dataclass(frozen=True)
class Optimisation(Settings):
    """One optimiser run.

    Args:
        optimizer: AdamW, or Adam.
        learning_rate: peak of the schedule; the default suits real CLIP checkpoints.
        weight_decay: decoupled weight decay, on every parameter as in the papers' code.
        warmup_steps: steps of linear warmup.
        schedule: after the warmup, to zero along a cosine, or constant.
        clip_norm: largest gradient norm; 0 leaves gradients as they are.
        precision: `bf16` runs the forward pass under autocast, weights stay in fp32; `auto` does
            so on a CUDA GPU.
    """

    limits = {
        "learning_rate": (0, INFINITY),
        "weight_decay": (0, INFINITY),
        "warmup_steps": (0, INFINITY),
        "clip_norm": (0, INFINITY),
    }

    optimizer: Literal["adamw", "adam"] = "adamw"
    # Not the 1e-3 of RegFT's public code: WiSE-FT fine-tunes real CLIP checkpoints at 3e-5 with
    # batches of 512, FLYP and GIFT at 1e-5; Adam's square-root rule brings 3e-5 at a batch of 512
    # to 1.5e-5 at our 128.
    learning_rate: float = 1e-5
    weight_decay: float = 0.1
    warmup_steps: int = 500
    schedule: Literal["cosine", "constant"] = "cosine"
    clip_norm: float = 1.0
    precision: Precision = "auto"
