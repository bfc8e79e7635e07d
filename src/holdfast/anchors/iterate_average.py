"""An average of the weights along the training, as ZSCL takes it (arXiv 2303.06628, Eq. 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from holdfast.anchors.base import Learner, WeightAverage
from holdfast.lazy import averaging
from holdfast.settings.base import setting

if TYPE_CHECKING:
    from torch import nn

    from holdfast.train import Callback

SNAPSHOTS = 10  # ZSCL's public code averages the weights of every 100th of 1,000 steps


@dataclass(frozen=True)
class IterateAverage(WeightAverage):
    """The mean of the weights before the training, after every so many steps, and the last.

    In a distillation it takes the place of `average`.
    """

    name = "iterate-average"
    paper = "arXiv 2303.06628"

    every: int = setting(
        0, "Steps between the weights that are averaged; 0 is a tenth of all.", low=0
    )

    def tracker(self, learner: Learner, steps: int) -> Callback:
        every = self.every or -(-steps // SNAPSHOTS)
        return averaging.PeriodicAverage(cast("nn.Module", learner), every, steps)
