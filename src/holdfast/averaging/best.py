"""The weights of the step that validates best."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from holdfast.averaging.base import Validate, Validation, WeightTracker
from holdfast.swad import SWAD, Segment
from holdfast.weights import copied


class BestTracker(WeightTracker):
    """The weights with the best validation accuracy; of equals, the smallest loss, then the first.

    validate, every, steps: as in WeightTracker.
    valley: ends the training where it ends, though nothing is averaged; None is to the last step.
    """

    def __init__(
        self, validate: Validate, every: int, steps: int, valley: SWAD | None = None
    ) -> None:
        super().__init__(validate, every, steps)
        self.valley = valley
        self.weights: dict[str, Tensor] = {}
        self.best: dict[str, Any] = {}

    def judge(self, step: int, weights: dict[str, Tensor], found: Validation) -> None:
        better = (found.accuracy, -found.loss)
        if not self.best or better > (self.best["accuracy"], -self.best["loss"]):
            self.best = self.validations[-1]
            self.weights = copied(weights)
        if self.valley:
            self.valley.validate(Segment({}, step, step, loss=found.loss))
            self.finished = self.valley.left_valley

    def result(self) -> dict[str, Tensor]:
        return self.weights

    def kept(self) -> dict[str, Any]:
        return {"average": "none", "step": self.best["step"]}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        about = {"best": self.best, "validations": self.validations}
        return self.weights, about | ({"valley": self.valley.state()[1]} if self.valley else {})

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self.weights = tensors
        self.best, self.validations = values["best"], values["validations"]
        if self.valley:
            self.valley.restore({}, values["valley"])
            self.finished = self.valley.left_valley
