"""What the commands find, as dataclasses that commands, reports and evidence share.

`result.json` holds one of them with its `kind` and `version`; `read_result` reads it back and
checks every field. Shares and accuracies lie in [0, 1], times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from holdfast.errors import HoldfastError
from holdfast.files import read_typed, write_json
from holdfast.settings.base import to_jsonable

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What one model did on one labelled set. All shares lie in [0, 1].

    top1: share of images whose largest logit is the label's.
    mean_per_class: mean of `per_class` over the classes that have images.
    per_class: accuracy of each class, in the order of `classes`; None where it has no images.
    count: images of each class.
    ece: expected calibration error, 15 equal bins of confidence (Guo et al. 2017, eq. 3).
    nll: mean negative log-likelihood of the label, in nats.
    confusion: the cells that are not zero, as (true class, predicted class, images). A list of
        cells, because a thousand classes would otherwise write a million numbers.
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
    """

    decision: Literal["use", "keep"]
    text: str


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
    """One recorded step of a training."""

    step: int
    losses: dict[str, float]
    learning_rate: float
    gradient_norm: float


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


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A model's name and size."""

    name: str
    parameters: int


@dataclass(frozen=True, kw_only=True)
class ImageCounts:
    """Training images: asked for (None for the user's own), drawn, dropped, drawn again, broken."""

    requested: int | None
    generated: int
    filtered: int
    redrawn: int
    unreadable: list[str]


@dataclass(frozen=True, kw_only=True)
class AlphaPoint:
    """One weight of the ensemble: its proxy without real images, and its scores on real ones."""

    alpha: float
    proxy: float | None = None
    real_top1: float | None = None
    real_mean_per_class: float | None = None
    ece: float | None = None


@dataclass(frozen=True, kw_only=True)
class AlphaResult:
    """The weight of the new model in the ensemble, how it was chosen, why, and the curve."""

    chosen: float
    how: Literal["fixed", "auto"]
    why: str
    sweep: list[AlphaPoint]


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """Domain gap and feature diversity, by name (see `holdfast.metrics`)."""

    diversity: dict[str, dict[str, float | None]]
    gap: dict[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class TransferResult(MethodResult):
    """Name-only transfer. samples: paths by kind and class; scores: by model, on real images."""

    kind = "transfer"
    classes: list[str]
    model: ModelInfo
    generator: str | None
    images: ImageCounts
    samples: dict[str, dict[str, list[str]]]
    training: list[TrainingStep]
    alpha: AlphaResult
    costs: Costs
    scores: dict[str, Scores] = field(default_factory=dict)
    verdict: Verdict | None = None
    diagnostics: Diagnostics | None = None


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


@dataclass(frozen=True, kw_only=True)
class TaskScores:
    """A model on one evaluation set.

    top1: task-aware accuracy, among the classes of the task; task_agnostic_top1: among those of
    all tasks, None where there is none.
    """

    split: str
    images: int
    top1: float
    mean_per_class: float
    ece: float
    task_agnostic_top1: float | None = None


@dataclass(frozen=True, kw_only=True)
class SourceCoverage:
    """What one source of replayed images got: its names, those drawn, images, share of all."""

    source: str
    names: int
    names_drawn: int
    images: int
    share: float


@dataclass(frozen=True, kw_only=True)
class ReplayInfo:
    """The replayed images of a task."""

    images: int
    prompts: int
    redrawn: int
    sha256: str
    coverage: list[SourceCoverage]


@dataclass(frozen=True, kw_only=True)
class ReplaySample:
    """A replayed image with its prompt and source."""

    path: str
    prompt: str
    source: str


@dataclass(frozen=True, kw_only=True)
class GateTrial:
    """One weight of the new model that the gate tried: drops by evaluation set, task accuracy."""

    alpha: float
    task_top1: float | None
    drops: dict[str, float]
    passes: bool


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """The gate: the weight of the new model that passed (None if none did), and what it stands on.

    before: scores under the previous weights.
    """

    alpha: float | None
    max_drop: float
    before: dict[str, TaskScores]
    sweep: list[GateTrial]


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """One task that was learnt."""

    task: str
    position: int
    classes: int
    captions: bool
    method: str
    seed: int
    train: dict[str, Any]
    images: dict[str, int]
    costs: Costs
    replay: ReplayInfo | None = None
    samples: list[ReplaySample] = field(default_factory=list)
    gate: GateResult | None = None
    notes: list[str] = field(default_factory=list)
    training: list[TrainingStep] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class StreamTask:
    """A task of a stream; images: number of each split."""

    name: str
    classes: list[str]
    templates: list[str]
    captions: bool
    images: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class AccuracyMatrix:
    """Accuracy of each model (row) on each task (column); the first row is before any task.

    images: of each task; task_aware, task_agnostic: (rows, columns), see `TaskScores`.
    """

    split: str
    rows: list[str]
    columns: list[str]
    images: list[int]
    task_aware: list[list[float]]
    task_agnostic: list[list[float | None]]


@dataclass(frozen=True, kw_only=True)
class StreamNumbers:
    """The numbers of a stream (see `holdfast.metrics.stream_metrics`)."""

    transfer: float | None
    transfer_by_stage: float | None
    average: float | None
    last: float | None
    forget: float | None


@dataclass(frozen=True, kw_only=True)
class ContinualResult(MethodResult):
    """A stream of tasks."""

    kind = "continual"
    tasks: list[StreamTask]
    matrix: AccuracyMatrix
    task_aware: StreamNumbers
    task_agnostic: StreamNumbers
    steps: list[StepResult]
    verdict: Conclusion
    costs: Costs


@dataclass(frozen=True, kw_only=True)
class AddResult(MethodResult):
    """One more task for a model. before, after: scores by evaluation set."""

    kind = "continual-add"
    tasks: list[str]
    held_out: list[str]
    before: dict[str, TaskScores]
    after: dict[str, TaskScores]
    step: StepResult
    verdict: Conclusion


@dataclass(frozen=True, kw_only=True)
class Evaluation(Result):
    """A classifier on real images; of a run also its zero-shot model, and the verdict."""

    kind = "evaluation"
    scores: Scores
    zero_shot: Scores | None = None
    verdict: Verdict | None = None


KINDS: dict[str, type[Result]] = {
    kind.kind: kind
    for kind in (TransferResult, DistillResult, ContinualResult, AddResult, Evaluation)
}


def write_result(path: Path, result: Result) -> None:
    """Write a result as JSON, with its kind and version."""
    write_json(path, {"kind": result.kind, "version": VERSION} | to_jsonable(result))


def read_result(path: Path) -> Result:
    """The result that a file holds. Raises HoldfastError for anything else, naming the field."""
    value = read_typed(path, dict[str, Any])
    if value.get("version") != VERSION or value.get("kind") not in KINDS:
        raise HoldfastError(
            f"{path} holds no result of this version (kind {value.get('kind')!r}, version "
            f"{value.get('version')!r}); run the command that made it again."
        )
    return read_typed(path, KINDS[value["kind"]])
