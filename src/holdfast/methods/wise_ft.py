"""WiSE-FT: fine-tuning, then a weight-space ensemble with the original (arXiv 2109.01903)."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.anchors.base import Anchor
from holdfast.anchors.weight_ensemble import WeightEnsemble
from holdfast.methods.base import Family, Method
from holdfast.settings.base import setting


@dataclass(frozen=True)
class WiSEFT(Method):
    """Plain fine-tuning, averaged afterwards with the weights before it."""

    name = "wise-ft"
    title = "WiSE-FT"
    paper = "arXiv 2109.01903"

    alpha: float | None = setting(
        None,
        "Weight of the fine-tuned model; 0 is the original. None is 0.5, the paper's advice, and "
        "0.8 in continual learning, where ZSCL compares with it.",
        low=0,
        high=1,
    )

    def anchors(self, family: Family) -> list[Anchor]:
        """The ensemble."""
        default = 0.8 if family == Family.CONTINUAL else 0.5
        return [WeightEnsemble(default if self.alpha is None else self.alpha)]
