"""What a run would take before it begins (`--dry_run`): measured on a few steps and images."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from holdfast.data.batches import sequential_batches
from holdfast.data.decoding import Transform
from holdfast.data.folders import LabelledImages
from holdfast.evaluation import forward
from holdfast.generation import Estimate
from holdfast.names import ClassNames
from holdfast.progress import hidden
from holdfast.train import step_clock

STEPS = 3  # of a training that are measured, the first of which warms up
SOME_IMAGES = 8  # that are sent through a model, twice


@dataclass(frozen=True)
class Work:
    """A part of a run: how many of its units there are, and the seconds that one took.

    what: the part. unit: `steps`, or `images`.
    """

    what: str
    unit: str
    count: int
    seconds_each: float

    @property
    def seconds(self) -> float:
        """Of the whole part."""
        return self.count * self.seconds_each

    def __str__(self) -> str:
        each = f"{self.seconds_each:.2g} s"
        return (
            f"{self.what.capitalize()}: {self.count:,} {self.unit} of {each}, about "
            f"{time_in_words(self.seconds)}."
        )


@dataclass(frozen=True)
class RunCost:
    """What a run would take; nothing of it is kept.

    drawing: of images, None where none are drawn. work: trainings and evaluations.
    """

    drawing: Estimate | None
    work: tuple[Work, ...]

    @property
    def seconds(self) -> float:
        """Of everything."""
        drawing = self.drawing.seconds if self.drawing else 0.0
        return drawing + sum(each.seconds for each in self.work)

    def __str__(self) -> str:
        lines = [f"Drawing: {self.drawing}"] if self.drawing else []
        lines += [str(each) for each in self.work if each.count]
        return "\n".join([*lines, f"All together about {time_in_words(self.seconds)}."])


def time_in_words(seconds: float) -> str:
    """A time in words."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


@contextmanager
def timed_steps() -> Iterator[Callable[[], float]]:
    """Yield a function that gives the seconds of a step of the training inside the block.

    The first step is left out, since it warms up.
    """
    ends: dict[str, list[float]] = defaultdict(list)

    def each() -> float:
        times = next(iter(ends.values()))
        return (times[-1] - times[0]) / (len(times) - 1)

    token = step_clock.set(lambda label: ends[label].append(time.perf_counter()))
    try:
        with hidden():
            yield each
    finally:
        step_clock.reset(token)


def seconds_per_image(
    encode: Callable[[Tensor], Tensor],
    paths: Sequence[Path],
    preprocess: Transform,
    device: torch.device,
) -> float:
    """The seconds that reading an image and sending it through a model take, one after the other.

    encode: (batch, 3, height, width) -> (batch, width). paths: of images, a few of which are
    taken. preprocess: RGB picture -> (3, height, width). device: of the model.
    """
    some = stand_ins(paths, SOME_IMAGES)
    taken = 0.0
    for _ in range(2):  # the first pass warms up
        begun = time.perf_counter()
        forward([lambda: encode], sequential_batches(some, preprocess, SOME_IMAGES), device)
        taken = time.perf_counter() - begun
    return taken / SOME_IMAGES


def stand_ins(
    paths: Sequence[Path], count: int, classes: ClassNames | None = None
) -> LabelledImages:
    """`count` labelled images in the place of those to come: the first of `paths`, repeated.

    classes: they are labelled with each in turn; none is one class.
    """
    known = classes or ClassNames(("a", "b"), ("a", "b"))
    some = [paths[place % min(len(paths), SOME_IMAGES)] for place in range(count)]
    labels = [place % len(known) for place in range(count)]
    return LabelledImages(some, labels, known, some[0].parent)
