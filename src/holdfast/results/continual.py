"""What continual learning finds: tasks, the gate, the accuracy matrix."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from holdfast.results.base import (
    Conclusion,
    Costs,
    MethodResult,
    TrainingStep,
)


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
    """The replayed images of a task; missing: how many could not be drawn."""

    images: int
    prompts: int
    redrawn: int
    sha256: str
    coverage: list[SourceCoverage]
    missing: int = 0


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
