"""Differences over seeds -> an interval, and what it says of a claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, stdev

from scipy.stats import t


@dataclass(frozen=True)
class Interval:
    """Mean and deviation of n differences, and the 95 % interval of the mean."""

    mean: float
    deviation: float
    low: float
    high: float
    n: int

    def judge(self, margin: float = 0.0) -> str:
        """Whether the mean lies above the margin, as far as the interval tells."""
        if self.low > margin:
            return "holds"
        return "does not hold" if self.high < margin else "cannot tell"


def paired(more: Sequence[float], less: Sequence[float]) -> Interval:
    """Of the differences of two lists with a value for each seed: Student's t, n - 1 degrees.

    Raises ValueError for lists of different lengths, and for less than two seeds.
    """
    differences = [round(a - b, 12) for a, b in zip(more, less, strict=True)]
    if (n := len(differences)) < 2:
        raise ValueError("An interval takes two seeds or more.")
    middle, deviation = mean(differences), stdev(differences)
    margin = float(t.ppf(0.975, n - 1)) * deviation / sqrt(n)
    return Interval(middle, deviation, middle - margin, middle + margin, n)
