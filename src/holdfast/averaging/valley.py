"""The average of the weights along the valley of the validation loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from torch import Tensor

from holdfast.averaging.base import Validate, Validation, WeightTracker
from holdfast.swad import SWAD, Segment, extend, started
from holdfast.weights import on_cpu

LATE, ANEW = 2500, 1000  # steps, in VL2V-ADiP's public code whatever the length of a training


# The students of VL2V-ADiP's public code whose segments accumulate; ViT-B/16's do while aligning.
ACCUMULATED = ("resnet50", "vit_small_patch16_224", "deit_small_distilled_patch16_224")
ACCUMULATED_ALIGNING = (*ACCUMULATED, "vit_base_patch16_224")


def accumulates(
    segments: Literal["published", "reset", "accumulate"], student: str, aligning: bool
) -> bool:
    """Whether the segments of a training accumulate.

    segments: as in the settings. student: as users name it, with or without the tag of its weights.
    aligning: whether it is the training of a projection alone.
    """
    if segments != "published":
        return segments == "accumulate"
    known = ACCUMULATED_ALIGNING if aligning else ACCUMULATED
    return student.partition(".")[0] in known


def starts_anew(step: int) -> bool:
    """Whether a segment that accumulates starts anew after the validation of the 0-based `step`."""
    return step > LATE and step % ANEW == 0


class SWADTracker(WeightTracker):
    """Loss-valley average (SWAD, arXiv 2102.08604); it ends the training where the valley ends.

    What the valley averages are segments, means of the weights up to a validation. Each validation
    starts a new one, as that paper does it; or they accumulate, as in VL2V-ADiP's public code, from
    the first step on and, late in the training, from every thousandth (`starts_anew`). Before the
    valley begins, the result is the latest segment.

    validate, every, steps: as in WeightTracker.
    converge, tolerance, ratio: as in `swad.SWAD`, with the paper's values.
    accumulate: whether a segment goes on after a validation.
    """

    def __init__(
        self,
        validate: Validate,
        every: int,
        steps: int,
        converge: int = 3,
        tolerance: int = 6,
        ratio: float = 0.3,
        accumulate: bool = False,
    ) -> None:
        super().__init__(validate, every, steps)
        self.accumulate = accumulate
        self.swad = SWAD(converge, tolerance, ratio)
        self.segment: Segment | None = None

    def take(self, step: int, weights: dict[str, Tensor]) -> None:
        if self.segment is None:
            self.segment = started(weights, step)
        else:
            extend(self.segment, weights, step)

    def judge(self, step: int, weights: dict[str, Tensor], found: Validation) -> None:
        assert self.segment is not None
        # Several wait here, which the memory of an accelerator need not hold.
        ended = replace(self.segment, weights=on_cpu(self.segment.weights), loss=found.loss)
        self.swad.validate(ended)
        if not self.accumulate or starts_anew(step):
            self.segment = None
        self.finished = self.swad.left_valley

    def result(self) -> dict[str, Tensor]:
        return self.swad.result().weights

    def kept(self) -> dict[str, Any]:
        found = self.swad.result()
        return {
            "average": "valley",
            "first_step": found.first,
            "last_step": found.last,
            "segments": max(1, found.count),  # 0: the first still holds the place
            "converged": self.swad.average is not None,
            "ended": self.swad.left_valley,
        }

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, values = self.swad.state()
        tensors = {f"valley/{name}": t for name, t in tensors.items()}
        about: dict[str, Any] = {"valley": values, "validations": self.validations}
        if self.segment is not None:
            # A copy: one that goes on shares its memory with the valley's, which a file cannot.
            tensors |= {f"segment/{name}": t.clone() for name, t in self.segment.weights.items()}
            about["segment"] = [self.segment.first, self.segment.last, self.segment.count]
        return tensors, about

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        parts: dict[str, dict[str, Tensor]] = {"valley": {}, "segment": {}}
        for key, tensor in tensors.items():
            part, _, name = key.partition("/")
            parts[part][name] = tensor
        self.swad.restore(parts["valley"], values["valley"])
        self.segment = (
            Segment(parts["segment"], *values["segment"]) if "segment" in values else None
        )
        self.validations, self.finished = values["validations"], self.swad.left_valley
