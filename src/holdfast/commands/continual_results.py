"""The accuracy matrix of a stream, and what it and one more task come to in words."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast import task_history
from holdfast.commands.continual_prepare import open_model
from holdfast.commands.settings import ContinualAddSettings, ContinualRunSettings
from holdfast.data.streams import Task
from holdfast.errors import UsageError
from holdfast.evaluation import EvalSet, eval_set, evaluate_clip
from holdfast.files import read_typed, write_json, write_text
from holdfast.metrics import stream_metrics
from holdfast.models.clip import CLIP, load_clip
from holdfast.places import LOCAL
from holdfast.results import (
    AccuracyMatrix,
    Conclusion,
    StreamNumbers,
    TaskScores,
)
from holdfast.runs import Run
from holdfast.settings.base import to_jsonable
from holdfast.task_history import TaskRecord

FIRST_ROW = "zero-shot"  # the row of the model before any task

# {after which task: {on which task: scores}}, the model before any task first.
Rows = dict[str, Mapping[str, TaskScores]]


def measured_split(task: Task, settings: ContinualRunSettings) -> EvalSet:
    """The images to measure on. Raises UsageError if the task has none."""
    found = eval_set(task, settings.split)
    if found is None:
        raise UsageError(
            f"The task {task.name!r} has no split {settings.split!r} to be measured on; add a "
            f"folder {settings.split} to it, or take the other of val and test with --split."
        )
    return found


class Evaluator:
    """Measures models on all tasks of the stream; a row that was measured before is read."""

    def __init__(self, settings: ContinualRunSettings, tasks: Sequence[Task], run: Run) -> None:
        self.settings, self.run = settings, run
        self.sets = [measured_split(task, settings) for task in tasks]
        self.vocabulary = [
            pair
            for each in self.sets
            if not each.captions
            for pair in zip(each.classes, each.prompts, strict=True)
        ]

    def model_row(self, model: Path) -> dict[str, TaskScores]:
        """Scores of a model's folder, which are also put into its history."""
        weights = task_history.read_history(model).tasks[-1].weights
        device = self.settings.device
        found = self.row(model.parent, weights, lambda: load_clip(f"{LOCAL}{model}", device=device))
        task_history.note_scores(model, {self.settings.split: to_jsonable(found)})
        return found

    def row(self, folder: Path, weights: str, clip: Callable[[], CLIP]) -> dict[str, TaskScores]:
        """Scores by task; `clip()` gives the model if they are not in `folder` yet."""
        path = folder / f"scores-{weights[:12]}-{self.settings.split}.json"
        if path.exists():
            return read_typed(path, dict[str, TaskScores])
        with self.run.clock("evaluation"):
            found = evaluate_clip(clip(), self.sets, self.vocabulary, self.settings.train.workers)
        write_json(path, to_jsonable(found))
        return found


def before_and_after(
    settings: ContinualAddSettings, task: Task, model: Path, held_out: Sequence[Task]
) -> tuple[dict[str, TaskScores], dict[str, TaskScores]]:
    """Scores on a new task and the held-out ones, by the model before the task and after it.

    model: the folder of the new model; the scores are put into its history.
    """
    sets = [
        eval_set(task, "test", "val"),
        *(eval_set(each, "test", "val", "train") for each in held_out),
    ]
    measured = [each for each in sets if each is not None]
    if not measured:
        return {}, {}
    words, workers = vocabulary(task_history.read_history(model).tasks), settings.train.workers
    clip, _ = open_model(settings.model, settings.pretrained, settings.device)
    before = evaluate_clip(clip, measured, words, workers)
    clip = load_clip(f"{LOCAL}{model}", device=settings.device)
    after = evaluate_clip(clip, measured, words, workers)
    scores = {"before": to_jsonable(before), "after": to_jsonable(after)}
    task_history.note_scores(model, scores)
    return before, after


def vocabulary(tasks: Sequence[TaskRecord]) -> list[tuple[str, list[str]]]:
    """The class names of all tasks learnt, with their prompts."""
    return [
        (name, [template.replace("{}", name) for template in task.templates])
        for task in tasks
        if not task.captions
        for name in task.classes
    ]


def accuracy_matrix(rows: Rows, tasks: Sequence[str], split: str) -> AccuracyMatrix:
    """A row for each model, a column for each task."""
    first = next(iter(rows.values()))
    return AccuracyMatrix(
        split=split,
        rows=list(rows),
        columns=list(tasks),
        images=[first[task].images for task in tasks],
        task_aware=[[row[task].top1 for task in tasks] for row in rows.values()],
        task_agnostic=[[row[task].task_agnostic_top1 for task in tasks] for row in rows.values()],
    )


def stream_numbers(matrix: Sequence[Sequence[float | None]]) -> StreamNumbers:
    """The numbers of a stream; of a single row for several tasks only the last.

    matrix: without the model before any task. All are None where a task has no such score, as
    captions have none among the classes of all tasks.
    """
    known = [[value for value in row if value is not None] for row in matrix]
    whole = all(len(row) == len(values) for row, values in zip(matrix, known, strict=True))
    if whole and len(matrix) == len(matrix[0]):
        return StreamNumbers(**stream_metrics(known))
    last = sum(known[-1]) / len(known[-1]) if whole else None
    return StreamNumbers(
        transfer=None, transfer_by_stage=None, average=None, last=last, forget=None
    )


def write_matrix(path: Path, matrix: AccuracyMatrix, values: Sequence[Sequence[Any]]) -> None:
    """The matrix as a CSV table: a line for each model, empty where there is no score."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["after", *matrix.columns])
    for after, row in zip(matrix.rows, values, strict=True):
        table.writerow([after, *("" if value is None else f"{value:.6f}" for value in row)])
    write_text(path, text.getvalue())


def conclude_stream(method: str, matrix: AccuracyMatrix, numbers: StreamNumbers) -> Conclusion:
    """A stream in words: `learnt`, `lost`, or `open`; all numbers are task-aware."""
    start, *_, end = matrix.task_aware
    before, last = statistics.mean(start), statistics.mean(end)
    count = len(matrix.columns)
    images = f"{sum(matrix.images):,} {matrix.split} images of {several(count, 'task')}"
    if method == "zero-shot":
        text = f"The model names {_percent(before)} of {images} right, mean of the tasks."
        return Conclusion(decision="open", headline="Zero-shot, nothing learnt", text=text)
    gain, forget = last - before, numbers.forget
    text = (
        f"On {images} the model is {_percent(last)} right, mean of the tasks; before them, "
        f"zero-shot, it was {_percent(before)}."
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
) -> Conclusion:
    """One more task in words, from the scores before and after it."""
    decision, headline = "open", f"{task} added, not measured"
    text = "The task has no images to be measured on; add a folder test or val to it."
    if task in before:
        old, new = before[task].top1, after[task].top1
        text = (
            f"On {before[task].images:,} images of {task} the model was {_percent(old)} right "
            f"and is {_percent(new)}: {_points(new - old)} points."
        )
        decision = "learnt" if new > old else "lost"
        headline = f"Nothing gained on {task}"
        if new > old:
            headline = f"{100 * (new - old):.1f} points gained on {task}"
    changes = {name: after[name].top1 - before[name].top1 for name in held_out}
    if changes:
        worst = min(changes, key=lambda name: changes[name])
        text += (
            f" Of {several(len(changes), 'held-out task')}, {worst} fared worst: "
            f"{_points(changes[worst])} points."
        )
    return Conclusion(decision=decision, headline=headline, text=text)


def several(count: int, what: str) -> str:
    """1 -> "1 task", 3 -> "3 tasks"."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}"
