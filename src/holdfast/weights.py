"""Operations on weights: pure functions of dict[str, Tensor], paired by name."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

Weights = Mapping[str, Tensor]


def check_same_names(*weights: Weights) -> None:
    """Raise ValueError unless all have the same names and shapes."""
    first = weights[0]
    for other in weights[1:]:
        if first.keys() != other.keys():
            raise ValueError(f"weights differ in names: {sorted(first.keys() ^ other.keys())[:5]}")
        for name, tensor in first.items():
            if tensor.shape != other[name].shape:
                raise ValueError(
                    f"{name} has shape {tuple(tensor.shape)} and {tuple(other[name].shape)}"
                )


def interpolate(original: Weights, tuned: Weights, alpha: float) -> dict[str, Tensor]:
    """Weight-space ensemble (1 - alpha)·original + alpha·tuned (WiSE-FT, arXiv 2109.01903, Eq. 1).

    The ends are exact: alpha 0 is `original`, alpha 1 is `tuned`, bit for bit. Tensors of integers
    (counters) are taken from `tuned`.
    """
    check_same_names(original, tuned)
    if alpha in (0, 1):
        return {name: tensor.clone() for name, tensor in (tuned if alpha else original).items()}
    return {
        name: torch.lerp(tensor, tuned[name], alpha)
        if tensor.is_floating_point()
        else tuned[name].clone()
        for name, tensor in original.items()
    }


def fisher_merge(
    original: Weights,
    tuned: Weights,
    original_fisher: Weights,
    tuned_fisher: Weights,
    alpha: float,
    floor: float = 1e-3,
) -> dict[str, Tensor]:
    """Fisher-weighted ensemble (Matena and Raffel, arXiv 2111.09832, Eq. 3).

    ((1 - alpha)·F0·original + alpha·F1·tuned) / ((1 - alpha)·F0 + alpha·F1). Each Fisher tensor is
    scaled to mean one, so that a model does not outweigh the other by the size of its gradients,
    and raised by `floor`, so that a weight neither model depends on is interpolated linearly.
    """
    check_same_names(original, tuned)
    merged = interpolate(original, tuned, alpha)
    if alpha in (0, 1):
        return merged
    for name in original_fisher:
        f0 = (1 - alpha) * (relative(original_fisher[name]) + floor)
        f1 = alpha * (relative(tuned_fisher[name]) + floor)
        merged[name] = (f0 * original[name] + f1 * tuned[name]) / (f0 + f1)
    return merged


def relative(importance: Tensor) -> Tensor:
    """`importance` divided by its mean; a tensor without any importance stays zero."""
    mean = importance.mean()
    return importance / mean if mean > 0 else torch.zeros_like(importance)


def fisher_information(
    module: nn.Module,
    log_likelihoods: Callable[[nn.Module, Any], Tensor],
    samples: Iterable[Any],
) -> dict[str, Tensor]:
    """Diagonal Fisher information: the mean over samples of the squared gradient.

    log_likelihoods(module, sample): log p(y | x), a scalar, with y drawn from the model itself.
    Covers the parameters that require gradients.
    """
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    count = 0
    for sample in samples:
        gradients = torch.autograd.grad(
            log_likelihoods(module, sample), list(parameters.values()), allow_unused=True
        )
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                total[name] += gradient.square()
        count += 1
    return {name: tensor / max(1, count) for name, tensor in total.items()}


@dataclass
class Segment:
    """Mean of the weights of consecutive steps `first`..`last`, and the loss at their end."""

    weights: dict[str, Tensor]
    first: int
    last: int
    count: int = 1
    loss: float = math.nan

    def add(self, weights: Weights, last: int) -> None:
        """Take one more set of weights into the mean."""
        check_same_names(self.weights, weights)
        self.count += 1
        for name, tensor in self.weights.items():
            self.weights[name] = tensor + (weights[name] - tensor) / self.count
        self.last = last


class LossValley:
    """Average of the weights along the valley of the validation loss (SWAD, arXiv 2102.08604).

    The average starts at the first validation whose loss the next `converge` - 1 do not undercut,
    and ends when `tolerance` losses in a row exceed the mean of those losses by `ratio`. Segments
    weigh alike, whatever their number of steps. As in SWAD's code, the segment at the start only
    holds the place until the next is taken; that may be the same one again.
    """

    def __init__(self, converge: int = 3, tolerance: int = 6, ratio: float = 0.3) -> None:
        self.converge, self.tolerance, self.ratio = converge, tolerance, ratio
        self.recent: deque[Segment] = deque(maxlen=converge)
        self.window: deque[Segment] = deque(maxlen=tolerance)
        self.threshold = math.inf
        self.average: Segment | None = None
        self.start = -1
        self.dead = False

    def validate(self, segment: Segment) -> None:
        """Take in the segment that ends at a validation, with its loss."""
        if self.dead:
            return
        self.recent.append(segment)
        self.window.append(segment)
        if self.average is None:
            if len(self.recent) == self.converge:
                self._begin()
        elif self.window[0].last >= self.start:
            if min(s.loss for s in self.window) > self.threshold:
                self.dead = True
            else:
                self._take(self.window[0])

    def _begin(self) -> None:
        first = self.recent[0]
        losses = [segment.loss for segment in self.recent]
        if min(losses) < first.loss:
            return
        self.start = first.last
        self.threshold = sum(losses) / len(losses) * (1 + self.ratio)
        # The first segment holds the place until others come; they replace it.
        self.average = Segment(dict(first.weights), first.first, first.last, count=0)
        if self.tolerance < self.converge:
            later = list(self.recent)[1 : 1 + self.converge - self.tolerance]
        else:
            later = list(self.window)[: self.tolerance - self.converge + 1]
            above = [i for i, segment in enumerate(later) if segment.loss > self.threshold]
            later = later[(above[-1] + 2 if above else 1) :]
        for segment in later:
            self._take(segment)

    def _take(self, segment: Segment) -> None:
        assert self.average is not None
        self.average.add(segment.weights, segment.last)
        self.average.first = min(self.average.first, segment.first)

    def result(self) -> Segment:
        """The average so far; before convergence, the latest segment."""
        if self.average is None:
            return self.recent[-1]
        final = LossValley(self.converge, self.tolerance, self.ratio)
        final.average = replace(self.average, weights=dict(self.average.weights))
        pending = [] if self.dead else list(self.window)[1:]
        while pending and min(s.loss for s in pending) <= self.threshold:
            final._take(pending.pop(0))
        return final.average
