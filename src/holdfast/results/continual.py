"""What continual learning finds: tasks, the gate, the accuracy matrix."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from holdfast.results.base import (
    Comparison,
    Conclusion,
    Costs,
    MethodResult,
    TrainingStep,
)


@dataclass(frozen=True, kw_only=True)
class TaskScores:
    """A model on one evaluation set. Each number's name says whether the task is known.

    task_aware_...: the task is known at test time, answers are among its own classes.
    task_agnostic_top1: the task is not known, answers are among the classes of all tasks of the
        stream, or of all that the model has learnt. None where there is no such score.
    class_incremental_top1: the task is not known, answers are among the classes of the tasks that
        were learnt so far; None for a task still to come.
    """

    split: str
    images: int
    task_aware_top1: float
    task_aware_mean_per_class: float
    task_aware_ece: float
    task_agnostic_top1: float | None = None
    class_incremental_top1: float | None = None


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
    """One weight of the new model that the gate tried.

    task_aware_top1: on the new task's validation images. changes: of the task-aware accuracy from
    the previous weights to these, by evaluation set, each with its interval. passes: whether none
    fell by more than the gate allows.
    """

    alpha: float
    task_aware_top1: float | None
    changes: dict[str, Comparison]
    passes: bool


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """The gate: the weight of the new model that passed (None if none did), and what it stands on.

    before: scores under the previous weights, of the sets that decided. cannot_tell: images of the
    sets that are too small to decide anything, by name.
    """

    alpha: float | None
    max_drop: float
    before: dict[str, TaskScores]
    sweep: list[GateTrial]
    cannot_tell: dict[str, int] = field(default_factory=dict)

    @property
    def taken(self) -> GateTrial | None:
        """What was measured under the weight that passed."""
        return next((trial for trial in self.sweep if trial.alpha == self.alpha), None)


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

    images: of each task; task_aware, task_agnostic, class_incremental: (rows, columns), see
    `TaskScores`.
    """

    split: str
    rows: list[str]
    columns: list[str]
    images: list[int]
    task_aware: list[list[float]]
    task_agnostic: list[list[float | None]]
    class_incremental: list[list[float | None]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class HeldOutScores:
    """Task-aware accuracy of each model (row) on each held-out task (column), and their images."""

    rows: list[str]
    columns: list[str]
    images: list[int]
    task_aware: list[list[float]]


@dataclass(frozen=True, kw_only=True)
class IncrementalNumbers:
    """Class-incremental accuracy: the task is not known, the classes are those learnt so far.

    by_stage: after each task, the share of all images of the tasks learnt so far that are named
    right; average: its mean over the stages; last: that of the last stage.
    """

    by_stage: list[float | None]
    average: float | None
    last: float | None


@dataclass(frozen=True, kw_only=True)
class StreamNumbers:
    """The numbers of a stream (see `holdfast.metrics.stream_metrics`).

    forget_interval: ends of the 95 % interval of forget.
    """

    transfer: float | None
    transfer_by_stage: float | None
    average: float | None
    last: float | None
    forget: float | None
    forget_interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class ContinualResult(MethodResult):
    """A stream of tasks."""

    kind = "continual"
    tasks: list[StreamTask]
    matrix: AccuracyMatrix
    task_aware: StreamNumbers
    task_agnostic: StreamNumbers
    class_incremental: IncrementalNumbers
    steps: list[StepResult]
    verdict: Conclusion
    costs: Costs
    held_out: HeldOutScores | None = None


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
