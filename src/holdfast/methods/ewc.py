"""EWC: elastic weight consolidation (arXiv 1612.00796)."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.anchors.consolidation import Consolidation
from holdfast.methods.base import Family, Method
from holdfast.settings.base import setting


@dataclass(frozen=True)
class EWC(Method):
    """Pulls each weight back by its Fisher information for what the model knew.

    Pre-training and earlier tasks have left no data, so it is that of their replayed images.
    """

    name = "ewc"
    title = "EWC"
    paper = "arXiv 1612.00796"
    families = frozenset({Family.CONTINUAL})

    consolidation: Consolidation = setting(
        factory=lambda: Consolidation(importance="static"),
        help="Pull by the Fisher information before the task.",
    )
