"""What all results have in common: scores, comparisons, costs, the environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What one model did on one labelled set. All shares lie in [0, 1].

    top1: share of images whose largest logit is the label's.
    mean_per_class: mean of `per_class` over the classes that have images.
    per_class: accuracy of each class, in the order of `classes`; None where it has no images.
    count: images of each class.
    ece: expected calibration error, 15 equal bins of confidence (Guo et al. 2017, eq. 3).
    reliability: those bins, lowest confidence first, without empty ones, as (images, mean
        confidence, share that is right).
    nll: mean negative log-likelihood of the label, in nats.
    confusion: the cells that are not zero, as (true class, predicted class, images). A list of
        cells, because a thousand classes would otherwise write a million numbers.
    more_classes: of many classes a file lists the best, worst and most changed; how many more there
        are, which `classes.csv` beside it has.
    """

    n: int
    top1: float
    mean_per_class: float
    ece: float
    nll: float
    classes: tuple[str, ...]
    per_class: tuple[float | None, ...]
    count: tuple[int, ...]
    confusion: tuple[tuple[int, int, int], ...]
    reliability: tuple[tuple[int, float, float], ...] = ()
    more_classes: int = 0


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """An image that a model took for another class, and how sure it was: in [0, 1]."""

    path: str
    true: str
    predicted: str
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Accuracy of b minus accuracy of a on the same images, with its 95 % interval.

    difference, low, high: shares of the images, in [-1, 1].
    n: images.
    gained: images that only b gets right.
    lost: images that only a gets right.
    """

    difference: float
    low: float
    high: float
    n: int
    gained: int
    lost: int


@dataclass(frozen=True, kw_only=True)
class Verdict(Comparison):
    """A comparison of the zero-shot model (a) with the adapted one (b), and what to do about it.

    decision: `use` the adapted model, or `keep` the zero-shot one.
    text: the decision in words, with the difference and its interval in points (hundredths).
    details: sentences on what to know before it is followed.
    """

    decision: Literal["use", "keep"]
    text: str
    details: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What a run ran on."""

    python: str
    platform: str
    processors: int | None
    threads: int
    accelerator: str | None
    packages: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds of each part, over all starts of the run, and the most memory the process held."""

    generation_seconds: float = 0.0
    training_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    gate_seconds: float = 0.0
    peak_memory_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """One recorded step of a training; measures: what was recorded beside the losses."""

    step: int
    losses: dict[str, float]
    learning_rate: float
    gradient_norm: float
    measures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """What a run comes to: a decision for the colour, a headline, and sentences.

    gap: the difference with its interval, where one was measured on single images.
    """

    decision: str
    headline: str
    text: str
    gap: Comparison | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What all results have.

    command: as a shell takes it. settings: as `--config` takes them.
    """

    kind: ClassVar[str]
    title: str
    created: str
    command: str
    settings: dict[str, Any]
    environment: Environment
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class MethodResult(Result):
    """What all results of a method have: its name, its title, and the paper that it is from."""

    method: str
    method_title: str = ""
    paper: str = ""
