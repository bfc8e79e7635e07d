"""What name-only transfer and an evaluation find."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from holdfast.results.base import (
    Costs,
    MethodResult,
    Mistake,
    Result,
    Scores,
    TrainingStep,
    Verdict,
)

AlphaSource = Literal["default", "user", "auto", "none"]


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A model's name and size."""

    name: str
    parameters: int


@dataclass(frozen=True, kw_only=True)
class ImageCounts:
    """Training images: asked for (None for the user's own), drawn, dropped, drawn again, broken.

    missing: how many could not be drawn.
    """

    requested: int | None
    generated: int
    filtered: int
    redrawn: int
    unreadable: list[str]
    missing: int = 0


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
    """The weight of the new model in the ensemble, where it comes from, why, and the curve.

    how: the method's `default`, set by the `user`, chosen (`auto`), or `none` without an ensemble.
    """

    chosen: float
    how: AlphaSource
    why: str
    sweep: list[AlphaPoint]


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """Domain gap and feature diversity, by name (see `holdfast.metrics`)."""

    diversity: dict[str, dict[str, float | None]]
    gap: dict[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class TransferResult(MethodResult):
    """Name-only transfer. samples: paths by kind and class; scores: by model, on real images.

    mistakes: some of the chosen model's, those of which it was surest.
    """

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
    mistakes: list[Mistake] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SetScores:
    """A classifier on one folder of images; of a run also its zero-shot model, and the verdict.

    mistakes: some, those of which the classifier was surest.
    """

    scores: Scores
    zero_shot: Scores | None = None
    verdict: Verdict | None = None
    mistakes: list[Mistake] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Evaluation(Result):
    """A classifier on real images, as in `SetScores`; further: on the other folders, by name."""

    kind = "evaluation"
    scores: Scores
    zero_shot: Scores | None = None
    verdict: Verdict | None = None
    mistakes: list[Mistake] = field(default_factory=list)
    further: dict[str, SetScores] = field(default_factory=dict)
