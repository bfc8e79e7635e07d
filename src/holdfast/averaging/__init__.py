"""What is kept of a training: the best weights, their average along a valley, or their mean.

Each is a callback of `train.fit`, and its state is kept with the checkpoint. Steps are 0-based.
"""

from holdfast.averaging.base import Validate, Validation, WeightTracker, evaluating
from holdfast.averaging.best import BestTracker
from holdfast.averaging.means import PeriodicAverage, RunningAverage, ValidatedAverage
from holdfast.averaging.valley import SWADTracker, accumulates

__all__ = [
    "BestTracker",
    "PeriodicAverage",
    "RunningAverage",
    "SWADTracker",
    "Validate",
    "ValidatedAverage",
    "Validation",
    "WeightTracker",
    "accumulates",
    "evaluating",
]
