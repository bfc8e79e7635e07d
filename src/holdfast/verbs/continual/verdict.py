"""What came of a stream, or of one more task, in a headline and a few sentences."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]


def conclude(method: str, matrix: Record, metrics: Record) -> dict[str, Any]:
    """A stream's verdict: `decision` (`learnt`, `lost` or `open`), `headline`, `text`.

    matrix, metrics: those of the result; all numbers are within each task's own classes.
    """
    start, *_, end = matrix["within"]
    numbers = metrics["within"]
    tasks = matrix["columns"]
    before, last = statistics.mean(start), statistics.mean(end)
    images = f"{sum(matrix['images']):,} {matrix['split']} images of {several(len(tasks), 'task')}"
    if method == "zero-shot":
        text = f"The model names {percent(before)} of {images} right, mean of the tasks."
        return {"decision": "open", "headline": "Zero-shot, nothing learnt", "text": text}
    gain, forget, transfer = last - before, numbers["forget"], numbers["transfer"]
    text = (
        f"On {images} the model is {percent(last)} right, mean of the tasks; before them, "
        f"zero-shot, it was {percent(before)}."
    )
    if forget is not None:
        text += (
            f" From right after it was learnt to the end, a task's accuracy changed by "
            f"{points(forget)} points on average."
        )
    if transfer is not None:
        to_come = statistics.mean(start[1:])
        text += (
            f" Tasks still to come stood at {percent(transfer)}, against {percent(to_come)} "
            "zero-shot."
        )
    return {
        "decision": "learnt" if gain > 0 else "lost",
        "headline": headline(gain, forget),
        "text": text,
    }


def headline(gain: float, forget: float | None) -> str:
    """Gain over zero-shot, and what was forgotten on the way."""
    if gain <= 0:
        return f"Nothing gained: {points(gain)} points"
    gained = f"{100 * gain:.1f} points gained"
    if forget is None:
        return gained
    return f"{gained}, {100 * -forget:.1f} forgotten" if forget < 0 else f"{gained}, none forgotten"


def conclude_added(
    task: str, before: Record, after: Record, held_out: Sequence[str]
) -> dict[str, Any]:
    """The verdict of one more task, from the scores before and after it."""
    if task not in before:
        text = "The task has no images to be measured on; add a folder test or val to it."
        found = {"decision": "open", "headline": f"{task} added, not measured", "text": text}
    else:
        old, new = before[task]["top1"], after[task]["top1"]
        text = (
            f"On {before[task]['images']:,} images of {task} the model was {percent(old)} right "
            f"and is {percent(new)}: {points(new - old)} points."
        )
        gain = f"{100 * (new - old):.1f} points gained on {task}"
        headline = gain if new > old else f"Nothing gained on {task}"
        found = {"decision": "learnt" if new > old else "lost", "headline": headline, "text": text}
    changes = {name: after[name]["top1"] - before[name]["top1"] for name in held_out}
    if changes:
        worst = min(changes, key=lambda name: changes[name])
        found["text"] += (
            f" Of {several(len(changes), 'held-out task')}, {worst} fared worst: "
            f"{points(changes[worst])} points."
        )
    return found


def several(count: int, what: str) -> str:
    """1 -> "1 task", 3 -> "3 tasks"."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def percent(share: float) -> str:
    """0.783 -> "78.3 %"."""
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """-0.012 -> "-1.2"."""
    return f"{100 * difference:+.1f}"
