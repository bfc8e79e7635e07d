"""ZSCL: continual learning anchored in the initial model (ICCV 2023, arXiv 2303.06628)."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.anchors.consolidation import Consolidation
from holdfast.anchors.iterate_average import IterateAverage
from holdfast.anchors.replay_distillation import ReplayDistillation
from holdfast.methods.base import Family, Method
from holdfast.settings.base import setting


def from_initial() -> ReplayDistillation:
    """The answers of the initial model on reference images; the image tower learns from them."""
    return ReplayDistillation(
        over="all", train_towers="image", images="pretraining", teacher="initial"
    )


@dataclass(frozen=True)
class ZSCL(Method):
    """Distils the initial model on reference images, pulls the weights back, averages them."""

    name = "zscl"
    title = "ZSCL"
    paper = "arXiv 2303.06628"
    families = frozenset({Family.CONTINUAL})

    distillation: ReplayDistillation = setting(
        factory=from_initial, help="Distillation from the initial model on reference images."
    )
    consolidation: Consolidation = setting(
        factory=lambda: Consolidation(importance="uniform"), help="L2 toward the previous weights."
    )
    average: IterateAverage = setting(
        factory=IterateAverage, help="Mean of the weights along the task."
    )
