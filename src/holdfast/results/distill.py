"""What a distillation finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from holdfast.results.base import (
    Comparison,
    Conclusion,
    Costs,
    MethodResult,
)


@dataclass(frozen=True, kw_only=True)
class CompactScores:
    """Scores without the confusion; accuracy of each class by name."""

    n: int
    top1: float
    mean_per_class: float
    ece: float
    nll: float
    per_class: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class DomainScores:
    """A student in one domain.

    validation: the held-out fifth of a domain it was trained on. Of a domain left out: domainbed,
    the four fifths that DomainBed reports, and full, all of it. teacher: on those of the images
    whose answers are stored; gap: how much more accurate the student is on the same ones.
    """

    role: Literal["held-out", "source"]
    validation: CompactScores | None = None
    domainbed: CompactScores | None = None
    full: CompactScores | None = None
    teacher: CompactScores | None = None
    gap: Comparison | None = None


@dataclass(frozen=True, kw_only=True)
class ValidationPoint:
    """A validation along a training: the step, accuracy, and loss in nats."""

    step: int
    accuracy: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class KeptWeights:
    """The weights that a training ended with, and their validation accuracy and loss in nats.

    average: `none` keeps those of `step`; `running`, `valley` and `iterates` the mean of some from
    first_step to last_step. Of a valley also: segments, the means between two validations that were
    averaged; converged, whether the loss ever stopped to fall; ended, whether it rose before the
    training's end.
    """

    average: Literal["none", "running", "valley", "iterates"]
    step: int | None = None
    first_step: int | None = None
    last_step: int | None = None
    segments: int | None = None
    converged: bool | None = None
    ended: bool | None = None
    accuracy: float | None = None
    loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """One training: what was kept of it, and its validations."""

    kept: KeptWeights
    validations: list[ValidationPoint]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TowerInfo:
    """An image tower: its size, float32 bytes, and the milliseconds that one image takes."""

    parameters: int | None = None
    bytes: int | None = None
    milliseconds_per_image: float | None = None
    device: str | None = None
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An image weight that a run selected among, and its accuracy."""

    image_weight: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One student: a seed, and the domain left out.

    classifier: its folder, below the run's. training_seconds: of all its trainings over all starts,
    with those of the candidates.
    """

    seed: int
    held_out: str | None
    sources: list[str]
    scores: dict[str, DomainScores]
    student: TowerInfo
    image_weight: float | None = None
    candidates: list[Candidate] = field(default_factory=list)
    stages: dict[str, StageResult] = field(default_factory=dict)
    classifier: str | None = None
    training_seconds: float = 0.0
    evaluation_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A number over seeds: mean, deviation of samples (None for one seed), values."""

    mean: float
    deviation: float | None
    values: list[float]
    domain: str | None = None


@dataclass(frozen=True, kw_only=True)
class DomainTable:
    """Accuracy by domain, their average, and the worst of each seed."""

    domains: dict[str, Spread]
    average: Spread
    worst: Spread


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All trials together.

    held_out: `domainbed` and `full`, over the domains left out; gap: student minus teacher there.
    """

    seeds: list[int]
    in_domain: DomainTable
    held_out: dict[str, DomainTable] = field(default_factory=dict)
    gap: Spread | None = None


@dataclass(frozen=True, kw_only=True)
class Share:
    """Accuracy on n images."""

    n: int
    top1: float


@dataclass(frozen=True, kw_only=True)
class Advice:
    """The teacher's zero-shot accuracy on some images: per domain, per class, and in words."""

    images: int
    top1: float
    domains: dict[str, Share]
    classes: dict[str, Share]
    weak: dict[str, list[str]]
    text: str


@dataclass(frozen=True, kw_only=True)
class SpotCheck:
    """What a teacher answers now against what it answered before."""

    count: int
    mean_cosine: float
    lowest_cosine: float
    drifted: bool


@dataclass(frozen=True, kw_only=True)
class TeacherInfo:
    """The teacher, and its zero-shot accuracy on all whole images whose answers are stored."""

    name: str
    identity: str
    logit_scale: float
    width: int
    zero_shot: Advice | None
    tower: TowerInfo | None = None


@dataclass(frozen=True, kw_only=True)
class QueryCount:
    """What was asked, and what the run would have asked without a store."""

    asked_by_this_run: int
    needed_images: int
    needed_texts: int
    images_in_all: int
    texts_in_all: int
    limit: int | None


@dataclass(frozen=True, kw_only=True)
class DomainInfo:
    """A domain and the number of its readable images."""

    name: str
    images: int


@dataclass(frozen=True, kw_only=True)
class DistillResult(MethodResult):
    """Distillation. samples: paths of a few pictures of each domain."""

    kind = "distill"
    classes: list[str]
    prompts: list[list[str]]
    domains: list[DomainInfo]
    unreadable: list[str]
    samples: dict[str, list[str]]
    trials: list[TrialResult]
    summary: Summary
    teacher: TeacherInfo
    student: TowerInfo
    queries: QueryCount
    verdict: Conclusion
    costs: Costs
    advice: Advice | None = None
    spot_check: SpotCheck | None = None
