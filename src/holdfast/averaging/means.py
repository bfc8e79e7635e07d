"""Means of the weights: of all steps, or of every so many."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from holdfast.averaging.base import Validate, WeightTracker
from holdfast.swad import Segment, extend, started
from holdfast.weights import copied, learning, on_cpu


class RunningAverage(WeightTracker):
    """The mean of the weights of all steps from `start` on (Arpit et al., arXiv 2110.10832).

    A training that ends before has the weights of its last step.

    validate, every, steps: as in WeightTracker.
    start: step of the first weights in the mean; the paper has 100.
    """

    def __init__(self, validate: Validate, every: int, steps: int, start: int = 100) -> None:
        super().__init__(validate, every, steps)
        self.start = start
        self.mean: Segment | None = None

    def take(self, step: int, weights: dict[str, Tensor]) -> None:
        if self.mean is None or step <= self.start:
            self.mean = started(weights, step)
        else:
            extend(self.mean, weights, step)

    def result(self) -> dict[str, Tensor]:
        assert self.mean is not None
        return on_cpu(self.mean.weights)

    def kept(self) -> dict[str, Any]:
        assert self.mean is not None
        return {"average": "running", "first_step": self.mean.first, "last_step": self.mean.last}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        assert self.mean is not None
        place = [self.mean.first, self.mean.last, self.mean.count]
        return self.mean.weights, {"mean": place, "validations": self.validations}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self.mean = Segment(tensors, *values["mean"])
        self.validations = values["validations"]


class PeriodicAverage:
    """Mean of the weights before the task, after each `every`-th step from the first, and the last.

    The weight ensemble of ZSCL (arXiv 2303.06628, Eq. 7), over the weights that its public code
    takes. It validates nothing; `ValidatedAverage` does.

    model: with the weights before the task; those that learn are followed.
    every: steps between two weights in the mean.
    steps: of the whole training, for the last one.
    """

    def __init__(self, model: nn.Module, every: int, steps: int) -> None:
        self.every, self.steps, self.finished = every, steps, False
        self.mean = Segment(copied(learning(model)), -1, -1)

    def after_step(self, step: int, module: nn.Module) -> None:
        """Take in every so many weights, and the last.

        step: the 0-based step that has just been made.
        module: with the weights after it.
        """
        if step % self.every == 0 or step == self.steps - 1:
            self.mean.add(copied(learning(module)), step)

    def result(self) -> dict[str, Tensor]:
        """The mean so far, on the CPU."""
        return self.mean.weights

    def about(self) -> dict[str, Any]:
        """Up to which step the weights are in the mean; there are no validations."""
        kept = {"average": "iterates", "first_step": 0, "last_step": self.mean.last}
        return {"kept": kept, "validations": []}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """For the checkpoint."""
        return self.mean.weights, {"last": self.mean.last, "count": self.mean.count}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Take over what `state` gave.

        tensors: {name: tensor}, on the CPU.
        values: the rest; it may have gone through JSON.
        """
        self.mean = Segment(tensors, -1, values["last"], values["count"])


class ValidatedAverage(WeightTracker):
    """Another average of the weights, validated along the training as the others are.

    average: a callback of `train.fit` whose result is kept.
    validate, every, steps: as in WeightTracker.
    """

    def __init__(self, average: Any, validate: Validate, every: int, steps: int) -> None:
        super().__init__(validate, every, steps)
        self.average = average

    def after_step(self, step: int, module: nn.Module) -> None:
        super().after_step(step, module)
        self.average.after_step(step, module)
        self.finished = self.average.finished

    def result(self) -> dict[str, Tensor]:
        return self.average.result()

    def kept(self) -> dict[str, Any]:
        return self.average.about()["kept"]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, values = self.average.state()
        return tensors, {"average": values, "validations": self.validations}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self.average.restore(tensors, values["average"])
        self.finished, self.validations = self.average.finished, values["validations"]
