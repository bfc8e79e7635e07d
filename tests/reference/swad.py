"""SWAD (arXiv 2102.08604, Algorithm 1) written out over a whole curve, as its public code has it.

Slow and literal, with numbers of validations in place of queues of weights. Segment k is the mean
of the weights after validation k - 1 up to validation k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class Average:
    """Which segments are averaged, of a curve whose average begins.

    start: the validation where the valley begins.
    taken: the segments, in the order in which they are taken; one can come twice. Where there are
        none, the average is segment `start`.
    late: how many of these were taken after the last validation.
    left_at: the validation where the valley was found to have ended, if it was.
    """

    start: int
    taken: list[int]
    late: int
    left_at: int | None


def average(
    losses: Sequence[float], converge: int = 3, tolerance: int = 6, ratio: float = 0.3
) -> Average | None:
    """The average of a curve of validation losses; None if no valley begins."""
    windows = [losses[k : k + converge] for k in range(len(losses) - converge + 1)]
    starts = [k for k, window in enumerate(windows) if window[0] == min(window)]
    if not starts:
        return None
    start = starts[0]
    noticed = start + converge - 1
    limit = sum(windows[start]) / converge * (1 + ratio)

    def oldest(validation: int) -> int:
        """The oldest segment that is remembered at a validation."""
        return max(0, validation - tolerance + 1)

    taken: list[int] = []
    if tolerance < converge:
        taken += range(start + 1, start + 1 + converge - tolerance)
    elif tolerance > converge:
        candidates = range(oldest(noticed), oldest(noticed) + tolerance - converge + 1)
        candidates = candidates[: noticed + 1 - candidates.start]
        high = [k for k in candidates if losses[k] > limit]
        # The first candidate is passed over, or the first after the last high loss.
        taken += [k for k in candidates if k > (high[-1] + 1 if high else candidates[0])]

    left_at = None
    for validation in range(noticed + 1, len(losses)):
        if oldest(validation) < start:
            continue
        if all(loss > limit for loss in losses[oldest(validation) : validation + 1]):
            left_at = validation
            break
        taken.append(oldest(validation))

    early = len(taken)
    if left_at is None:
        for k in range(oldest(len(losses) - 1) + 1, len(losses)):
            if all(loss > limit for loss in losses[k:]):
                break
            taken.append(k)
    return Average(start, taken, len(taken) - early, left_at)
