"""A stream of tasks, and one more task, in words."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from holdfast.results import AccuracyMatrix, Conclusion, GateResult, StreamNumbers, TaskScores

ROUNDING = 1e-9  # of the difference of two shares


def conclude_stream(method: str, matrix: AccuracyMatrix, numbers: StreamNumbers) -> Conclusion:
    """A stream in words: `learnt`, `lost`, or `open`; all numbers are task-aware."""
    start, *_, end = matrix.task_aware
    before, last = statistics.mean(start), statistics.mean(end)
    count = len(matrix.columns)
    images = f"{sum(matrix.images):,} {matrix.split} images of {several(count, 'task')}"
    if method == "zero-shot":
        text = (
            f"The model names {_percent(before)} of {images} right (task-aware), mean of the tasks."
        )
        return Conclusion(decision="open", headline="Zero-shot, nothing learnt", text=text)
    gain, forget = last - before, numbers.forget
    text = (
        f"On {images} the model is {_percent(last)} right (task-aware), mean of the tasks; before "
        f"them, zero-shot, it was {_percent(before)}."
    )
    if forget is not None:
        text += (
            f" From right after it was learnt to the end, a task's accuracy changed by "
            f"{_points(forget)} points on average."
        )
    if numbers.transfer is not None:
        text += (
            f" Tasks still to come stood at {_percent(numbers.transfer)}, against "
            f"{_percent(statistics.mean(start[1:]))} zero-shot."
        )
    headline = f"Nothing gained: {_points(gain)} points"
    if gain > 0:
        headline = f"{100 * gain:.1f} points gained"
        if forget is not None:
            lost = f"{100 * -forget:.1f}" if forget < 0 else "none"
            headline += f", {lost} forgotten"
    return Conclusion(decision="learnt" if gain > 0 else "lost", headline=headline, text=text)


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
        text = (
            f"On {before[task].images:,} images of {task} the model was {_percent(old)} right "
            f"and is {_percent(new)}, where the task is known: {_points(new - old)} points."
        )
        decision = "learnt" if new > old else "lost"
        headline = f"Nothing gained on {task}"
        if new > old:
            headline = f"{100 * (new - old):.1f} points gained on {task}"
    changes = {
        name: after[name].task_aware_top1 - before[name].task_aware_top1 for name in held_out
    }
    if changes:
        worst = min(changes, key=lambda name: changes[name])
        text += (
            f" Of {several(len(changes), 'held-out task')}, {worst} fared worst: "
            f"{_points(changes[worst])} points on {before[worst].images:,} {before[worst].split} "
            "images."
        )
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


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}"
