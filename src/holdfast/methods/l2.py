"""L2: the same pull on every weight toward what it was before the task."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.anchors.consolidation import Consolidation
from holdfast.methods.base import Family, Method
from holdfast.settings.base import setting


@dataclass(frozen=True)
class L2(Method):
    """Pulls every weight alike back to what it was before the task."""

    name = "l2"
    title = "L2"
    families = frozenset({Family.CONTINUAL, Family.TRANSFER})

    consolidation: Consolidation = setting(
        factory=lambda: Consolidation(importance="uniform"), help="L2 toward the previous weights."
    )
