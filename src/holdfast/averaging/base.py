"""What follows the weights of a training, and validates them along it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.weights import learning


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
