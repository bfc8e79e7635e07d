"""The average along the valley of the validation loss: SWAD (arXiv 2102.08604)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from holdfast.weights import Weights, check_same_names


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


def started(weights: dict[str, Tensor], step: int) -> Segment:
    """A mean that begins with a copy of the weights of a step, where they are."""
    return Segment({name: t.clone() for name, t in weights.items()}, step, step)


def extend(mean: Segment, weights: dict[str, Tensor], step: int) -> None:
    """Take the weights of a step into a mean, which a checkpoint may have brought to the CPU."""
    mean.weights = {name: t.to(weights[name].device) for name, t in mean.weights.items()}
    mean.add(weights, step)
