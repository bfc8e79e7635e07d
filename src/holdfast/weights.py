"""Operations on weights: pure functions of {name: tensor}, paired by name.

Names are those of a module's `state_dict`. No function changes what it is given, unless it says so.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

Weights = Mapping[str, Tensor]


def check_same_names(*weights: Weights) -> None:
    """Raise ValueError unless all `weights` have the same names, and each name the same shape."""
    first = weights[0]
    for other in weights[1:]:
        if first.keys() != other.keys():
            raise ValueError(f"weights differ in names: {sorted(first.keys() ^ other.keys())[:5]}")
        for name, tensor in first.items():
            if tensor.shape != other[name].shape:
                raise ValueError(
                    f"{name} has shape {tuple(tensor.shape)} and {tuple(other[name].shape)}"
                )


def digest(weights: Weights) -> str:
    """SHA-256, in hexadecimal, of the names and values of `weights`, whatever their order.

    weights: {name: tensor} of any shape and type, on any device.
    """
    found = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        # As bytes: NumPy has no bfloat16.
        values = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        found.update(name.encode() + values.numpy().tobytes())
    return found.hexdigest()


def interpolate(original: Weights, tuned: Weights, alpha: float) -> dict[str, Tensor]:
    """Weight-space ensemble (1 - alpha)·original + alpha·tuned (WiSE-FT, arXiv 2109.01903, Eq. 1).

    The ends are exact: alpha 0 is `original`, alpha 1 is `tuned`, bit for bit. In between, tensors
    of integers (counters) are taken from `tuned`.

    original: {name: tensor} before training.
    tuned: {name: tensor} after it, of the same names and shapes.
    alpha: share of `tuned`, in [0, 1].

    Raises ValueError where names or shapes differ.
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
    The ends are exact, as those of `interpolate`.

    original: {name: tensor} before training.
    tuned: {name: tensor} after it, of the same names and shapes.
    original_fisher: {name: F0}, not negative, of the tensors to weigh; others are interpolated.
    tuned_fisher: {name: F1}, of the same names and shapes.
    alpha: share of `tuned`, in [0, 1].
    floor: added to the Fisher information, whose mean is one.

    Raises ValueError where the names or shapes of the weights differ.
    """
    merged = interpolate(original, tuned, alpha)
    if alpha in (0, 1):
        return merged
    for name in original_fisher:
        f0 = (1 - alpha) * (mean_normalised(original_fisher[name]) + floor)
        f1 = alpha * (mean_normalised(tuned_fisher[name]) + floor)
        merged[name] = (f0 * original[name] + f1 * tuned[name]) / (f0 + f1)
    return merged


def mean_normalised(importance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`importance` divided by its mean; a tensor without any importance stays zero.

    importance: any shape, no negative entries.
    """
    mean = importance.mean()
    return importance / mean if mean > 0 else torch.zeros_like(importance)


def fisher_information(
    module: nn.Module,
    log_likelihoods: Callable[[nn.Module, Any], Float[Tensor, ""]],
    samples: Iterable[Any],
) -> dict[str, Tensor]:
    """Diagonal Fisher information: the mean over samples of the squared gradient.

    As in EWC (arXiv 1612.00796) and Matena and Raffel (arXiv 2111.09832).

    module: the model. Its parameters that require gradients are covered; those that the
        likelihood does not depend on get zero.
    log_likelihoods: (module, sample) -> log p(y | x), a scalar in nats, with y drawn from the
        model itself.
    samples: what `log_likelihoods` takes, one at a time; none give zero.

    Returns {name of the parameter: tensor of its shape}.
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


UNSEEN_IMPORTANCE = 1e-6  # importance of a weight that the replay losses say nothing about
Importance = Callable[[str, Tensor | None], Tensor | float]


def adaptive_importance(
    name: str, gradient: Float[Tensor, "*shape"] | None
) -> Float[Tensor, "*shape"] | float:
    """Squared gradient divided by its mean over the tensor (adaptive weight consolidation).

    GIFT (arXiv 2503.04229) takes it as the Fisher information of the replay losses of one step. A
    tensor without gradient, or with none but zeros, gets UNSEEN_IMPORTANCE everywhere.

    name: of the parameter; not used.
    gradient: of the replay losses, in the parameter's shape.
    """
    if gradient is None:
        return UNSEEN_IMPORTANCE
    square = gradient.square()
    mean = square.mean()
    seen = mean > 0
    # No branch on the value: that would wait for the accelerator once per tensor.
    return square.div_(torch.where(seen, mean, 1.0)).add_(torch.where(seen, 0.0, UNSEEN_IMPORTANCE))


def uniform_importance(name: str, gradient: Tensor | None) -> float:
    """One for every weight, which makes the consolidation plain L2.

    name, gradient: as in `adaptive_importance`; not used.
    """
    return 1.0


@torch.no_grad()
def add_consolidation_grad(
    anchor: Weights, parameters: Mapping[str, Tensor], strength: float, importance: Importance
) -> Float[Tensor, ""]:
    """Add the gradient of strength·sum F (theta - theta')^2 to each parameter's `.grad`.

    In closed form, 2·strength·F·(theta - theta'), one tensor at a time and without a graph. It is
    the penalty of EWC (arXiv 1612.00796, Eq. 3; lambda is twice the strength) and of GIFT's
    adaptive weight consolidation (arXiv 2503.04229).

    anchor: theta', {name: tensor}, of all parameters.
    parameters: theta, {name: parameter}; their `.grad` changes in place.
    strength: factor of the penalty, at least 0.
    importance: (name, gradient so far or None) -> F, in the parameter's shape or one number.

    Returns the penalty, a scalar without a graph.
    """
    penalties = []
    for name, parameter in parameters.items():
        pull = parameter - anchor[name]
        away = pull.flatten()
        weighted = importance(name, parameter.grad) * pull
        penalties.append(strength * torch.dot(weighted.flatten(), away))
        if parameter.grad is None:
            parameter.grad = weighted.mul_(2 * strength)
        else:
            parameter.grad.add_(weighted, alpha=2 * strength)
    return torch.stack(penalties).sum()


@dataclass
class Segment:
    """Mean of weights, and the loss of a validation at their end.

    weights: {name: mean}.
    first, last: 0-based steps of the first and the last weights in it.
    count: how many sets of weights are in it.
    loss: in nats; nan where there was no validation.
    """

    weights: dict[str, Tensor]
    first: int
    last: int
    count: int = 1
    loss: float = math.nan

    def add(self, weights: Weights, last: int) -> None:
        """Take the `weights` of a step, or their mean up to the step `last`, into the mean.

        Raises ValueError where names or shapes differ.
        """
        check_same_names(self.weights, weights)
        self.count += 1
        for name, tensor in self.weights.items():
            self.weights[name] = tensor + (weights[name] - tensor) / self.count
        self.last = last


class SWAD:
    """Average of the weights along the valley of the validation loss (SWAD, arXiv 2102.08604).

    The average starts at the first validation whose loss the next `converge` - 1 do not undercut,
    and ends when `tolerance` losses in a row exceed the mean of those losses by `ratio`
    (Algorithm 1 of the paper). As in SWAD's code, what is averaged are segments, the means of the
    weights between two validations; they weigh alike, whatever their number of steps. The segment
    at the start only holds the place until the first is taken, which may be the same one again.

    converge: validations to look at for the start; N_s in the paper.
    tolerance: validations to look at for the end; N_e in the paper.
    ratio: share by which the loss may exceed the mean at the start; r - 1 in the paper.

    left_valley: the end was found; further validations change nothing.
    threshold: the loss, in nats, that ends the average; infinite before the start.
    """

    def __init__(self, converge: int = 3, tolerance: int = 6, ratio: float = 0.3) -> None:
        self.converge, self.tolerance, self.ratio = converge, tolerance, ratio
        self.recent: deque[Segment] = deque(maxlen=converge)
        self.window: deque[Segment] = deque(maxlen=tolerance)
        self.threshold = math.inf
        self.average: Segment | None = None
        self.start = -1
        self.left_valley = False

    def validate(self, segment: Segment) -> None:
        """Take in the segment that ends at a validation, with its loss.

        segment: kept, so it must not change afterwards.
        """
        if self.left_valley:
            return
        self.recent.append(segment)
        self.window.append(segment)
        if self.average is None:
            if len(self.recent) == self.converge:
                self._begin()
        elif self.window[0].last >= self.start:
            if min(s.loss for s in self.window) > self.threshold:
                self.left_valley = True
            else:
                take_segment(self.average, self.window[0])

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, and values that JSON can hold; `restore` takes them."""
        longer = max(self.recent, self.window, key=len)  # both end with the latest segment
        kept = {str(place): segment for place, segment in enumerate(longer)}
        if self.average is not None:
            # A copy: at first it shares its memory with a segment, which a file cannot.
            weights = {name: t.clone() for name, t in self.average.weights.items()}
            kept["average"] = replace(self.average, weights=weights)
        tensors = {
            f"{place}/{name}": t for place, kind in kept.items() for name, t in kind.weights.items()
        }
        segments = {
            place: [s.first, s.last, s.count, None if math.isnan(s.loss) else s.loss]
            for place, s in kept.items()
        }
        threshold = None if math.isinf(self.threshold) else self.threshold
        about = {"threshold": threshold, "start": self.start, "left_valley": self.left_valley}
        return tensors, about | {"segments": segments}

    def restore(self, tensors: Weights, values: Mapping[str, Any]) -> None:
        """Take over what `state` gave.

        tensors: {name: tensor}.
        values: the rest; it may have gone through JSON.
        """
        kept: dict[str, Segment] = {}
        for place, (first, last, count, loss) in values["segments"].items():
            weights = {
                name.partition("/")[2]: t
                for name, t in tensors.items()
                if name.partition("/")[0] == place
            }
            kept[place] = Segment(weights, first, last, count, math.nan if loss is None else loss)
        self.average = kept.pop("average", None)
        self.recent.extend(kept.values())
        self.window.extend(kept.values())
        self.threshold = math.inf if values["threshold"] is None else values["threshold"]
        self.start, self.left_valley = values["start"], values["left_valley"]

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
            take_segment(self.average, segment)

    def result(self) -> Segment:
        """The average so far; before its start was found, the latest segment.

        Its `first` is that of the segment taken first. Its `count` is 0 where the segment at the
        start still holds the place.
        """
        if self.average is None:
            return self.recent[-1]
        average = replace(self.average, weights=dict(self.average.weights))
        pending = list(self.window)[1:]  # once the valley was left, all of these are too high
        while pending and min(s.loss for s in pending) <= self.threshold:
            take_segment(average, pending.pop(0))
        return average


def take_segment(average: Segment, segment: Segment) -> None:
    """Take a segment into the `average` of segments; it changes in place. A first one replaces it.

    average: of segments; one whose count is 0 only holds the place.
    segment: weighs as much as each other, whatever its count.
    """
    if average.count == 0:
        average.first = segment.first
    average.add(segment.weights, segment.last)
