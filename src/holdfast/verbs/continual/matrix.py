"""The accuracy matrix of a stream: a row for each model, a column for each task."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.files import write_text
from holdfast.metrics import stream_metrics

# {after which task: {on which task: scores}}, the model before any task first.
Rows = dict[str, Mapping[str, Mapping[str, Any]]]
KINDS = {"within": "top1", "union": "union_top1"}
MEANING = {
    "within": "share of images whose most similar class of their own task is right",
    "union": "share of images whose most similar class of all tasks is right",
    "transfer": "mean over tasks of the accuracy before they were learnt, column by column; the "
    "model before any task does not count (ZSCL, GIFT)",
    "transfer_by_stage": "the same entries averaged row by row first, as other libraries do; not "
    "to be compared with transfer",
    "average": "mean of the whole matrix without the first row",
    "last": "mean of the last row",
    "forget": "mean change of a task from right after it was learnt to the end, over T - 1; "
    "negative where tasks were forgotten",
}


def matrices(rows: Rows, tasks: Sequence[str], split: str) -> dict[str, Any]:
    """The record's matrix, its numbers, and the course of each task."""
    values = {
        kind: [[row[task][score] for task in tasks] for row in rows.values()]
        for kind, score in KINDS.items()
    }
    [first, *_] = rows.values()
    return {
        "matrix": {
            "split": split,
            "rows": list(rows),
            "columns": list(tasks),
            "images": [first[task]["images"] for task in tasks],
            **values,
        },
        "metrics": {kind: numbers(values[kind][1:]) for kind in KINDS},
        "meaning": MEANING,
        "curves": {
            task: [
                {"after": after, **{kind: row[task][score] for kind, score in KINDS.items()}}
                for after, row in rows.items()
            ]
            for task in tasks
        },
    }


def numbers(matrix: Sequence[Sequence[float | None]]) -> dict[str, float | None]:
    """The numbers of a stream; of a single row for several tasks only the last.

    All are None where a task has no such score, as captions among the classes of all tasks.
    """
    known = [[value for value in row if value is not None] for row in matrix]
    whole = all(len(row) == len(values) for row, values in zip(matrix, known, strict=True))
    if whole and len(matrix) == len(matrix[0]):
        return stream_metrics(known)
    last = sum(known[-1]) / len(known[-1]) if whole else None
    names = ("transfer", "transfer_by_stage", "average", "last", "forget")
    return {name: last if name == "last" else None for name in names}


def write_csv(path: Path, rows: Rows, tasks: Sequence[str], score: str) -> None:
    """The matrix as a table: a line for each model, empty where there is no score."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["after", *tasks])
    for after, row in rows.items():
        values = (row[task][score] for task in tasks)
        table.writerow([after, *("" if value is None else f"{value:.6f}" for value in values)])
    write_text(path, text.getvalue())
