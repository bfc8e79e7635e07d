"""LwF: learning without forgetting (arXiv 1606.09282)."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.anchors.replay_distillation import ReplayDistillation
from holdfast.methods.base import Family, Method
from holdfast.settings.base import setting


def on_own_images() -> ReplayDistillation:
    """What the previous model makes of the task's own images, among the names known before."""
    return ReplayDistillation(over="all", directions="image", train_towers="image", images="task")


@dataclass(frozen=True)
class LwF(Method):
    """Distils the previous model on the task's own images, among the names it knew before."""

    name = "lwf"
    title = "LwF"
    paper = "arXiv 1606.09282"
    families = frozenset({Family.CONTINUAL})

    distillation: ReplayDistillation = setting(
        factory=on_own_images, help="Distillation on the task's own images."
    )
