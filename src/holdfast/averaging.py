"""What is kept of a training: the best weights, their average along a valley, or their mean.

Each is a callback of `train.fit`, and its state is kept with the checkpoint. Steps are 0-based.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.swad import SWAD, Segment, extend, started
from holdfast.weights import copied, learning, on_cpu


@dataclass(frozen=True)
class Validation:
    """What a validation found: means over the training domains.

    accuracy: share of the images, in [0, 1].
    loss: cross-entropy, in nats.
    """

    accuracy: float
    loss: float


Validate = Callable[[], Validation]


class WeightTracker(ABC):
    """Validates after steps 0, `every`, 2·`every` ... and the last, and keeps weights.

    Only parameters that learn are followed: what does not, batch statistics included, is the same
    in every step.

    validate: measures the module as it is, on whatever it looks at.
    every: steps between two validations.
    steps: of the whole training, for the last one.

    validations: {"step", "accuracy", "loss"} of each.
    finished: nothing is left to follow; the training ends.
    """

    def __init__(self, validate: Validate, every: int, steps: int) -> None:
        self.validate, self.every, self.steps = validate, every, steps
        self.validations: list[dict[str, Any]] = []
        self.finished = False

    def after_step(self, step: int, module: nn.Module) -> None:
        """Take the weights of a step in, and validate if it is time.

        step: the 0-based step that has just been made.
        module: with the weights after it.
        """
        weights = learning(module)
        self.take(step, weights)
        if step % self.every == 0 or step == self.steps - 1:
            with evaluating(module):
                found = self.validate()
            self.validations.append({"step": step, **asdict(found)})
            self.judge(step, weights, found)

    def take(self, step: int, weights: dict[str, Tensor]) -> None:  # noqa: B027 - one need not
        """Look at the weights of every step.

        step: the 0-based step that has just been made.
        weights: {name: tensor} of what learns; they change in place afterwards.
        """

    def judge(  # noqa: B027 - one need not
        self, step: int, weights: dict[str, Tensor], found: Validation
    ) -> None:
        """Look at a validation.

        step: the 0-based step that has just been made.
        weights: {name: tensor} of what learns; they change in place afterwards.
        found: what the validation of these weights found; it is the last of `validations`.
        """

    @abstractmethod
    def result(self) -> dict[str, Tensor]:
        """The weights to go on with, on the CPU."""

    @abstractmethod
    def kept(self) -> dict[str, Any]:
        """Which weights the result is, as the fields of `results.KeptWeights`."""

    def about(self) -> dict[str, Any]:
        """`kept`, with the accuracy and loss of the result, and the validations.

        The result must be in the module that `validate` measures; it is validated once more.
        """
        with torch.no_grad():
            found = self.validate()
        return {"kept": self.kept() | asdict(found), "validations": self.validations}

    @abstractmethod
    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, and values that JSON can hold."""

    @abstractmethod
    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Take over what `state` gave.

        tensors: {name: tensor}, on the CPU.
        values: the rest; it may have gone through JSON.
        """


class BestTracker(WeightTracker):
    """The weights with the best validation accuracy; of equals, the smallest loss, then the first.

    validate, every, steps: as in WeightTracker.
    """

    def __init__(self, validate: Validate, every: int, steps: int) -> None:
        super().__init__(validate, every, steps)
        self.weights: dict[str, Tensor] = {}
        self.best: dict[str, Any] = {}

    def judge(self, step: int, weights: dict[str, Tensor], found: Validation) -> None:
        better = (found.accuracy, -found.loss)
        if not self.best or better > (self.best["accuracy"], -self.best["loss"]):
            self.best = self.validations[-1]
            self.weights = copied(weights)

    def result(self) -> dict[str, Tensor]:
        return self.weights

    def kept(self) -> dict[str, Any]:
        return {"average": "none", "step": self.best["step"]}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return self.weights, {"best": self.best, "validations": self.validations}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self.weights = tensors
        self.best, self.validations = values["best"], values["validations"]


class SWADTracker(WeightTracker):
    """Loss-valley average (SWAD, arXiv 2102.08604); it ends the training where the valley ends.

    Each validation starts a new segment, as that paper does it: what the valley averages are the
    means of the weights between two validations. Before the valley begins, the result is the
    latest of these.

    validate, every, steps: as in WeightTracker.
    converge, tolerance, ratio: as in `weights.SWAD`, with the paper's values.
    """

    def __init__(
        self,
        validate: Validate,
        every: int,
        steps: int,
        converge: int = 3,
        tolerance: int = 6,
        ratio: float = 0.3,
    ) -> None:
        super().__init__(validate, every, steps)
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
            tensors |= {f"segment/{name}": t for name, t in self.segment.weights.items()}
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


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; each part's own mode comes back after it.

    module: whose modes change in the meantime.
    """
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode
