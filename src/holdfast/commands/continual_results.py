"""The accuracy matrix of a stream, and what it and one more task come to in words."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast import task_history
from holdfast.commands.continual_prepare import open_model
from holdfast.commands.continual_words import conclude_stream
from holdfast.commands.settings import ContinualAddSettings, ContinualRunSettings
from holdfast.data.folders import fingerprint
from holdfast.data.streams import Task
from holdfast.errors import UsageError
from holdfast.evaluation import Embedded, EvalSet, embed_sets, eval_set
from holdfast.files import as_type, read_sealed, read_typed, write_sealed, write_text
from holdfast.metrics import stream_metrics
from holdfast.models.clip import CLIP, load_clip
from holdfast.places import LOCAL
from holdfast.results import (
    AccuracyMatrix,
    ContinualResult,
    HeldOutScores,
    IncrementalNumbers,
    StepResult,
    StreamNumbers,
    TaskScores,
)
from holdfast.runs import Run
from holdfast.settings.base import to_jsonable
from holdfast.task_history import TaskRecord
from holdfast.verdicts import change_since_learnt

FIRST_ROW = "zero-shot"  # the row of the model before any task
STEP = "step.json"  # in the folder of a task: what happened when it was learnt

# {after which task: {on which task: scores}}, the model before any task first.
Rows = dict[str, Mapping[str, TaskScores]]


def write_step(folder: Path, step: StepResult) -> None:
    """Write down what happened when the task of `folder` was learnt, for `read_step`."""
    write_sealed(folder / STEP, to_jsonable(step))


def read_step(folder: Path) -> StepResult:
    """What happened when the task of `folder` was learnt. Raises HoldfastError."""
    return read_typed(folder / STEP, StepResult, sealed=True)


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
    """Measures models on all tasks of the stream; a row that was measured before is read.

    held_out: further tasks, which are measured too, each among its own classes.
    """

    def __init__(
        self,
        settings: ContinualRunSettings,
        tasks: Sequence[Task],
        run: Run,
        held_out: Sequence[Task] = (),
    ) -> None:
        self.settings, self.run = settings, run
        self.sets = [measured_split(task, settings) for task in tasks]
        self.held_out: list[EvalSet] = []
        images = []
        for each in held_out:
            found = eval_set(each, settings.split, "test", "val", "train")
            assert found is not None, "its training images are a split at least"
            self.held_out.append(found)
            images.append((each.name, found.split, fingerprint(dict(each.splits())[found.split])))
        # Others may be given when a run goes on.
        self.these = hashlib.sha256(json.dumps(images).encode()).hexdigest()[:12]
        self.held_out_rows: Rows = {}
        self._embedded: tuple[str, Embedded] | None = None
        self.vocabulary = [
            pair
            for each in self.sets
            if not each.captions
            for pair in zip(each.classes, each.prompts, strict=True)
        ]

    def model_row(self, name: str, model: Path, learnt: int) -> dict[str, TaskScores]:
        """Scores of a model's folder, which are also put into its history.

        name: of the row. learnt: how many tasks of the stream the model has learnt.
        """
        weights = task_history.read_history(model).tasks[-1].weights
        device = self.settings.device

        def clip() -> CLIP:
            return load_clip(f"{LOCAL}{model}", device=device)

        found = self.row(name, model.parent, weights, clip, learnt)
        task_history.note_scores(model, {self.settings.split: to_jsonable(found)})
        return found

    def row(
        self, name: str, folder: Path, weights: str, clip: Callable[[], CLIP], learnt: int = 0
    ) -> dict[str, TaskScores]:
        """Scores by task of the row `name`; `clip()` gives the model if it must be looked at."""
        tag = f"{weights[:12]}-{self.settings.split}"
        path = folder / f"scores-{tag}-{learnt}.json"
        if path.exists():
            found = as_type(read_sealed(path), dict[str, TaskScores], path)
        else:
            found = self._measure(weights, clip).scores(learnt)
            write_sealed(path, to_jsonable(found))
        if self.held_out:
            path = folder / f"held-out-{tag}-{self.these}.json"
            if not path.exists():
                with self.run.clock("evaluation"):
                    seen = self._embed(clip(), self.held_out, ())
                write_sealed(path, to_jsonable(seen.scores()))
            self.held_out_rows[name] = as_type(read_sealed(path), dict[str, TaskScores], path)
        return found

    def _measure(self, weights: str, clip: Callable[[], CLIP]) -> Embedded:
        """What a model makes of the stream; rows of one model look at the images once."""
        if self._embedded is None or self._embedded[0] != weights:
            with self.run.clock("evaluation"):
                self._embedded = weights, self._embed(clip(), self.sets, self.vocabulary)
        return self._embedded[1]

    def _embed(
        self, clip: CLIP, sets: Sequence[EvalSet], words: Sequence[tuple[str, Sequence[str]]]
    ) -> Embedded:
        train = self.settings.train
        return embed_sets(clip, sets, words, train.workers, train.precision)

    def held_out_scores(self) -> HeldOutScores | None:
        """Accuracy of each model on each held-out task; None where there are none."""
        if not self.held_out:
            return None
        columns = [each.name for each in self.held_out]
        rows = self.held_out_rows
        return HeldOutScores(
            rows=list(rows),
            columns=columns,
            images=[next(iter(rows.values()))[name].images for name in columns],
            task_aware=[[row[name].task_aware_top1 for name in columns] for row in rows.values()],
        )


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
    words, train = vocabulary(task_history.read_history(model).tasks), settings.train

    def scores_of(clip: CLIP) -> dict[str, TaskScores]:
        return embed_sets(clip, measured, words, train.workers, train.precision).scores()

    before = scores_of(open_model(settings.model, settings.pretrained, settings.device)[0])
    after = scores_of(load_clip(f"{LOCAL}{model}", device=settings.device))
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
        task_aware=[[row[task].task_aware_top1 for task in tasks] for row in rows.values()],
        task_agnostic=[[row[task].task_agnostic_top1 for task in tasks] for row in rows.values()],
        class_incremental=[
            [row[task].class_incremental_top1 for task in tasks] for row in rows.values()
        ],
    )


def incremental_numbers(matrix: AccuracyMatrix) -> IncrementalNumbers:
    """Class-incremental accuracy after each task: over all images of the tasks learnt so far.

    The row of the model before any task is left out. A stage has no number where one of its tasks
    has no such score, as captions have none.
    """
    stages: list[float | None] = []
    for place, row in enumerate(matrix.class_incremental[1:]):
        learnt = len(row) if matrix.rows[1:] != matrix.columns else place + 1
        known = [(s, n) for s, n in zip(row[:learnt], matrix.images, strict=False) if s is not None]
        whole = len(known) == learnt
        images = sum(n for _, n in known)
        stages.append(sum(s * n for s, n in known) / images if whole else None)
    numbers = [stage for stage in stages if stage is not None]
    every = len(numbers) == len(stages)
    return IncrementalNumbers(
        by_stage=stages,
        average=statistics.mean(numbers) if every and len(stages) == len(matrix.columns) else None,
        last=stages[-1],
    )


def stream_numbers(
    matrix: Sequence[Sequence[float | None]], images: Sequence[int]
) -> StreamNumbers:
    """The numbers of a stream; of a single row for several tasks only the last.

    matrix: without the model before any task. All are None where a task has no such score, as
    captions have none among the classes of all tasks. images: of each task.
    """
    known = [[value for value in row if value is not None] for row in matrix]
    whole = all(len(row) == len(values) for row, values in zip(matrix, known, strict=True))
    if whole and len(matrix) == len(matrix[0]):
        change = change_since_learnt(known, images)
        return StreamNumbers(**stream_metrics(known), forget_interval=change and change[1:])
    last = sum(known[-1]) / len(known[-1]) if whole else None
    return StreamNumbers(
        transfer=None, transfer_by_stage=None, average=None, last=last, forget=None
    )


def stream_scores(rows: Rows, tasks: Sequence[str], split: str, method: str) -> dict[str, Any]:
    """What the scores of a stream come to, as the fields of its result."""
    matrix = accuracy_matrix(rows, tasks, split)
    task_aware = stream_numbers(matrix.task_aware[1:], matrix.images)
    return {
        "matrix": matrix,
        "task_aware": task_aware,
        "task_agnostic": stream_numbers(matrix.task_agnostic[1:], matrix.images),
        "class_incremental": incremental_numbers(matrix),
        "verdict": conclude_stream(method, matrix, task_aware),
    }


def write_matrices(out: Path, result: ContinualResult) -> None:
    """The matrices of a stream as CSV tables, whose names say whether the task is known."""
    matrix, held_out = result.matrix, result.held_out
    for kind in ("task_aware", "task_agnostic", "class_incremental"):
        path = out / f"matrix-{kind.replace('_', '-')}.csv"
        write_matrix(path, matrix, getattr(matrix, kind))
    if held_out is not None:
        write_matrix(out / "held-out-task-aware.csv", held_out, held_out.task_aware)


def write_matrix(
    path: Path, matrix: AccuracyMatrix | HeldOutScores, values: Sequence[Sequence[Any]]
) -> None:
    """The matrix as a CSV table: a line for each model, empty where there is no score."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["after", *matrix.columns])
    for after, row in zip(matrix.rows, values, strict=True):
        table.writerow([after, *("" if value is None else f"{value:.6f}" for value in row)])
    write_text(path, text.getvalue())
