"""A stream of tasks, and one more task, in words."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from holdfast.results import AccuracyMatrix, Conclusion, GateResult, StreamNumbers, TaskScores
from holdfast.verdicts import mean_change

ROUNDING = 1e-9  # of the difference of two shares


def conclude_stream(method: str, matrix: AccuracyMatrix, numbers: StreamNumbers) -> Conclusion:
    """A stream in words: `learnt`, `forgot`, `lost`, or `open`; all numbers are task-aware.

    `forgot`: it gained, and measurably lost of what it had learnt. Only what can be measured counts
    as gained.
    """
    start, *_, end = matrix.task_aware
    before, last = statistics.mean(start), statistics.mean(end)
    count = len(matrix.columns)
    images = f"{sum(matrix.images):,} {matrix.split} images of {several(count, 'task')}"
    if method == "zero-shot":
        text = (
            f"The model names {_percent(before)} of {images} right (task-aware), mean of the tasks."
        )
        return Conclusion(decision="open", headline="Zero-shot, nothing learnt", text=text)
    gain, forgot = mean_change(start, end, matrix.images), False
    text = (
        f"On {images} the model is {_percent(last)} right (task-aware), mean of the tasks; before "
        f"them, zero-shot, it was {_percent(before)}: {_interval(gain)}."
    )
    headline = f"Nothing measurable gained: {_points(gain[0])} points"
    if gain[1] > 0:
        headline = f"{100 * gain[0]:.1f} points gained"
    if numbers.forget is not None and numbers.forget_interval is not None:
        change = (numbers.forget, *numbers.forget_interval)
        text += (
            f" From right after it was learnt to the end, a task's accuracy changed by "
            f"{_interval(change)} on average."
        )
        forgot = change[2] < 0
        headline += f", {100 * -change[0]:.1f} forgotten" if forgot else ", no forgetting measured"
    if numbers.transfer is not None:
        text += (
            f" Tasks still to come stood at {_percent(numbers.transfer)}, against "
            f"{_percent(statistics.mean(start[1:]))} zero-shot."
        )
    decision = ("forgot" if forgot else "learnt") if gain[1] > 0 else "lost"
    return Conclusion(decision=decision, headline=headline, text=text)


def conclude_add(
    task: str,
    before: Mapping[str, TaskScores],
    after: Mapping[str, TaskScores],
    held_out: Sequence[str],
    gate: GateResult | None = None,
) -> Conclusion:
    """One more task in words, from the scores before and after it; all are task-aware.

    gate: what passed the model. Where a held-out task fell by more than it allows, on the images
    that are told here, the conclusion is not a good one, though the gate's own images passed.
    """
    decision, headline = "open", f"{task} added, not measured"
    text = "The task has no images to be measured on; add a folder test or val to it."
    if task in before:
        old, new = before[task].task_aware_top1, after[task].task_aware_top1
        gain = mean_change([old], [new], [before[task].images])
        text = (
            f"On {before[task].images:,} images of {task} the model was {_percent(old)} right "
            f"and is {_percent(new)}, where the task is known: {_interval(gain)}."
        )
        decision = "learnt" if gain[1] > 0 else "lost"
        headline = f"Nothing measurable gained on {task}"
        if gain[1] > 0:
            headline = f"{100 * (new - old):.1f} points gained on {task}"
    changes = {
        name: after[name].task_aware_top1 - before[name].task_aware_top1 for name in held_out
    }
    if changes:
        worst = min(changes, key=lambda name: changes[name])
        old, new = before[worst].task_aware_top1, after[worst].task_aware_top1
        change = mean_change([old], [new], [before[worst].images])
        text += (
            f" Of {several(len(changes), 'held-out task')}, {worst} fared worst: "
            f"{_interval(change)} on {before[worst].images:,} {before[worst].split} images."
        )
        if decision == "learnt" and change[2] < 0:
            decision = "forgot"
        if gate is not None and -changes[worst] > gate.max_drop + ROUNDING:
            decision = "lost"
            headline += f", {100 * -changes[worst]:.1f} lost on {worst}"
            text += (
                f" That is more than the {100 * gate.max_drop:g} points that may be lost; the gate "
                "let the model pass by other images."
            )
    return Conclusion(decision=decision, headline=headline, text=text)


def several(count: int, what: str) -> str:
    """1 -> "1 task", 3 -> "3 tasks"."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _interval(change: tuple[float, float, float]) -> str:
    mean, low, high = map(_points, change)
    return f"{mean} points (95 % interval {low} to {high})"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}"
