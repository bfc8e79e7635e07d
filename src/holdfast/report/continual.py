"""The page of `continual run` and `continual add`: a record -> what each section shows."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.report import charts
from holdfast.report.charts import Mark, Series, line_chart
from holdfast.report.formats import DASH, number, percent, points
from holdfast.report.frame import Record, changes, counted, frame, pictures, set_well, training

KINDS = {"learnt": "use", "lost": "worse"}  # colours of the verdict
TITLES = {
    "within": "Among the classes of each task",
    "union": "Among the classes of all tasks together",
}
NUMBERS = (
    ("transfer", "Transfer"),
    ("transfer_by_stage", "Transfer by stage"),
    ("average", "Avg"),
    ("last", "Last"),
    ("forget", "Forget"),
)
CURVES = 24  # tasks with a chart of their own
SAMPLES_EACH = 6  # replay pictures of one source


def page(record: Record, folder: Path) -> dict[str, Any]:
    """The template's variables; relative image paths are looked up in the run's folder."""
    steps = steps_of(record)
    matrix, method = record.get("matrix") or {}, record.get("method")
    shown: dict[str, Any] = {
        "matrices": matrices(matrix, method),
        "numbers": numbers(record.get("metrics") or {}, matrix),
        "meaning": meaning(record.get("meaning") or {}),
        "curves": curves(matrix, method),
        "scores": scores(record),
        "replay": replay(steps),
        "samples": samples(steps, folder),
        "gate": gate(steps),
        "training": losses(steps),
        "costs": costs(record.get("costs") or {}),
        "tasks": tasks(steps),
    }
    sections = {
        "matrix": ("Accuracy matrix", shown["matrices"]),
        "numbers": ("Transfer, Avg, Last, Forget", shown["numbers"]),
        "curves": ("Task by task", shown["curves"]),
        "scores": ("Before and after", shown["scores"]),
        "gate": ("The gate", shown["gate"]),
        "replay": ("Replay", shown["replay"] or shown["samples"]),
        "training": ("Training", shown["training"]),
        "accounting": ("Costs", shown["costs"] or shown["tasks"]),
    }
    return frame(record, facts(record), verdict(record.get("verdict")), sections) | shown


def steps_of(record: Record) -> list[Record]:
    """The tasks that were learnt in the run, each with its training records."""
    if record.get("step"):
        return [{**record["step"], "training": record.get("training") or []}]
    return list(record.get("steps") or [])


def facts(record: Record) -> list[str | None]:
    """The line under the title."""
    model = (record.get("settings") or {}).get("model")
    tasks = record.get("tasks") or []
    classes = sum(len(task["classes"]) for task in tasks if isinstance(task, Mapping))
    return [
        record.get("method"),
        f"from {model}" if model else None,
        counted(len(tasks), "task"),
        counted(classes, "class", "classes"),
    ]


def verdict(found: Record | None) -> dict[str, Any]:
    """The verdict's colour, headline and sentences."""
    if not found:
        return {"kind": "open", "headline": "Not measured"}
    return {
        "kind": KINDS.get(found["decision"], "open"),
        "headline": set_well(found["headline"]),
        "text": set_well(found["text"]),
    }


def matrices(matrix: Record, method: str | None) -> list[dict[str, Any]]:
    """Heat maps: a row for each model, a column for each task.

    A cell's colour is its distance from the first row, zero-shot; a frame is put around a task's
    score right after it was learnt.
    """
    found = []
    for kind, title in TITLES.items():
        rows = matrix.get(kind) or []
        if not any(value is not None for row in rows for value in row):
            continue
        known = [
            abs(value - start)
            for row in rows
            for value, start in zip(row, rows[0], strict=True)
            if value is not None and start is not None
        ]
        furthest = max(known, default=0) or 1
        found.append(
            {
                "kind": kind,
                "title": title,
                "columns": matrix["columns"],
                "rows": [
                    {
                        "name": name if place == 0 else f"after {name}",
                        "cells": [
                            cell(value, start, furthest)
                            | {"new": method != "zero-shot" and place > 0 and task == name}
                            for value, start, task in zip(
                                row, rows[0], matrix["columns"], strict=True
                            )
                        ],
                    }
                    for place, (name, row) in enumerate(zip(matrix["rows"], rows, strict=True))
                ],
            }
        )
    return found


def cell(value: float | None, start: float | None, furthest: float) -> dict[str, Any]:
    """A cell of a heat map: its text, and its shade as per cent of the furthest from zero-shot."""
    if value is None or start is None:
        return {"text": DASH, "shade": 0, "right": True}
    shade = round(100 * abs(value - start) / furthest)
    return {"text": f"{100 * value:.1f}", "shade": shade, "right": value >= start}


def numbers(metrics: Record, matrix: Record) -> dict[str, Any] | None:
    """Transfer, Avg, Last and Forget of both ways to measure, beside zero-shot."""
    rows = []
    for kind, title in TITLES.items():
        found = metrics.get(kind) or {}
        if all(found.get(key) is None for key, _ in NUMBERS):
            continue
        first = (matrix.get(kind) or [[]])[0]
        known = bool(first) and None not in first
        cells = [percent(statistics.mean(first)) if known else DASH]
        cells += [(points if key == "forget" else percent)(found.get(key)) for key, _ in NUMBERS]
        rows.append({"title": title, "cells": cells})
    headings = ["Zero-shot", *(heading for _, heading in NUMBERS)]
    return {"headings": headings, "rows": rows} if rows else None


def meaning(found: Record) -> list[tuple[str, str]]:
    """What each number is, as the record says it."""
    return [(heading, found[key]) for key, heading in NUMBERS if found.get(key)]


def curves(matrix: Record, method: str | None) -> list[dict[str, Any]]:
    """For each task, its accuracy before the stream and after each task."""
    rows, columns = matrix.get("rows") or [], matrix.get("columns") or []
    values = [v for kind in TITLES for row in matrix.get(kind) or [] for v in row if v is not None]
    if method == "zero-shot" or not values or rows[1:] != columns:
        return []
    limits = (max(0.0, min(values) - 0.05), min(1.0, max(values) + 0.05))
    figures = []
    for place, task in enumerate(columns[:CURVES]):
        lines = []
        for kind, name in (("within", "among its own classes"), ("union", "among all classes")):
            y = [row[place] for row in matrix.get(kind) or []]
            if y and None not in y:
                colour = charts.TUNED if kind == "union" else charts.ENSEMBLE
                lines.append(Series(range(len(y)), y, name, colour, kind == "union"))
        if lines:
            y = list(lines[0].y)
            svg = line_chart(
                lines,
                f"Accuracy on {task}: {percent(y[0])} before any task, {percent(y[place + 1])} "
                f"right after it was learnt, {percent(y[-1])} after the last.",
                "",
                percent=True,
                mark=Mark(place + 1, "learnt"),
                names=["zero-shot", *columns],
                limits=limits,
            )
            figures.append({"title": task, "svg": svg})
    return figures


def scores(record: Record) -> dict[str, Any] | None:
    """Of one more task: accuracy before and after it, on it and on the held-out tasks."""
    before, after = record.get("before") or {}, record.get("after") or {}
    if not before:
        return None
    values = [
        (name, old["top1"], after[name]["top1"], old["images"])
        for name, old in before.items()
        if name in after
    ]
    return changes(values, "before", "after")


def replay(steps: Sequence[Record]) -> dict[str, Any] | None:
    """How many images each source got in each task."""
    drawn = [step for step in steps if step.get("replay")]
    if not drawn:
        return None
    sources = dict.fromkeys(row["source"] for step in drawn for row in step["replay"]["coverage"])
    rows = []
    for step in drawn:
        coverage = {row["source"]: row for row in step["replay"]["coverage"]}
        rows.append(
            {
                "task": step["task"],
                "images": step["replay"]["images"],
                "prompts": step["replay"].get("prompts"),
                "redrawn": step["replay"].get("redrawn"),
                "cells": [coverage.get(source) for source in sources],
            }
        )
    return {"sources": list(sources), "rows": rows}


def samples(steps: Sequence[Record], folder: Path) -> dict[str, Any] | None:
    """Replay pictures of the last task that had any, with their prompts, by source."""
    having = [step for step in steps if step.get("samples")]
    if not having:
        return None
    by_source: dict[str, list[dict[str, Any]]] = {}
    for sample in having[-1]["samples"]:
        group = by_source.setdefault(sample["source"], [])
        if len(group) < SAMPLES_EACH:
            group += [
                {"image": image, "prompt": sample["prompt"]}
                for image in pictures([sample["path"]], folder)
            ]
    rows = [{"source": name, "shots": shots} for name, shots in by_source.items() if shots]
    return {"task": having[-1]["task"], "rows": rows} if rows else None


def gate(steps: Sequence[Record]) -> list[dict[str, Any]]:
    """What the gate measured and took, a row a task, with the sweep behind it."""
    rows = []
    for step in steps:
        found = step.get("gate")
        if not found:
            continue
        sweep = found["sweep"]
        taken = next((row for row in sweep if row["alpha"] == found["alpha"]), None)
        exams = list(found.get("before") or sweep[0]["drops"])
        rows.append(
            {
                "task": step["task"],
                "alpha": found["alpha"],
                "max_drop": found["max_drop"],
                "trained": worst(sweep[0]),
                "taken": worst(taken) if taken else None,
                "exams": exams,
                "sweep": [
                    {
                        "alpha": row["alpha"],
                        "chosen": row["alpha"] == found["alpha"],
                        "passes": row["passes"],
                        "task_top1": row.get("task_top1"),
                        "changes": [
                            None if row["drops"].get(exam) is None else -row["drops"][exam]
                            for exam in exams
                        ],
                    }
                    for row in sweep
                ],
            }
        )
    return rows


def worst(row: Record) -> dict[str, Any]:
    """What changed for the worst under one weight of the new model."""
    name = max(row["drops"], key=lambda exam: row["drops"][exam])
    return {"name": name, "change": -row["drops"][name]}


def losses(steps: Sequence[Record]) -> dict[str, Any] | None:
    """The training curves of all tasks, one after the other."""
    rows, starts, offset = [], [], 0
    for step in steps:
        records = step.get("training") or []
        rows += [{**record, "step": offset + record["step"]} for record in records]
        last = records[-1]["step"] + 1 if records else 0
        offset += max(last, (step.get("train") or {}).get("steps") or 0)
        starts.append(offset)
    figures = training(rows, starts[:-1])
    return {"figures": figures, "tasks": len(starts)} if figures else None


def costs(found: Record) -> list[dict[str, Any]]:
    """Seconds of each part, of all tasks together."""
    parts = [
        ("drawing replay images", "generation_seconds"),
        ("training", "training_seconds"),
        ("the gate", "gate_seconds"),
        ("evaluation", "evaluation_seconds"),
    ]
    return [{"label": label, "seconds": found[key]} for label, key in parts if found.get(key)]


def tasks(steps: Sequence[Record]) -> list[dict[str, Any]]:
    """What each task was learnt from, with which settings, at which cost."""
    return [
        {
            "name": step["task"],
            "classes": step.get("classes"),
            "images": (step.get("images") or {}).get("train"),
            "steps": (step.get("train") or {}).get("steps"),
            "learning_rate": number((step.get("train") or {}).get("learning_rate")),
            "seconds": (step.get("costs") or {}).get("training_seconds"),
        }
        for step in steps
    ]
