"""`holdfast continual run`: a stream of tasks, one after the other, and the accuracy matrix.

Each task is what `holdfast continual add` does, from the folder that the task before left.

out/tasks/01-name/    a task: see `step`; scores-test.json holds its row of the matrix
out/data/             data sets that are drawn
out/matrix.csv, matrix-union.csv, result.json
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from holdfast import names, task_history
from holdfast.data.folders import fingerprint
from holdfast.data.streams import Task, TaskSource, find_stream, open_source
from holdfast.errors import UsageError
from holdfast.files import read_json, write_json
from holdfast.models.clip import CLIP, load_clip
from holdfast.report import write_report
from holdfast.runs import Records, alone, check_inputs, environment, open_run, peak_memory, plain
from holdfast.settings import ContinualAddSettings, ContinualRunSettings
from holdfast.verbs.continual import step as steps
from holdfast.verbs.continual.joint import JOINT, learn_jointly
from holdfast.verbs.continual.matrix import Rows, matrices, write_csv
from holdfast.verbs.continual.plans import PLANS
from holdfast.verbs.continual.scores import Exam, exam, measure
from holdfast.verbs.continual.start import FREE, GATE, check_generator, known_tasks, open_model
from holdfast.verbs.continual.start import check as check_task
from holdfast.verbs.continual.verdict import conclude, several

ZERO_SHOT = "zero-shot"
FREE_IN_RUN = (*FREE, *GATE, "split")  # each task checks for itself what it depends on
TRAINING_POINTS = 100  # of a task's training curve in the result


@alone
def run(settings: ContinualRunSettings) -> dict[str, Any]:
    """Learn the tasks of a stream in order and measure each model on all of them.

    Everything is kept in `settings.out`; run again with the same settings, it goes on where it
    stopped. Returns what `result.json` holds.
    """
    sources = find_stream(settings.stream)
    check(settings, sources)
    out = settings.out
    clip, known = open_model(settings)
    stream = settings.stream.absolute() if settings.stream.is_file() else settings.stream
    open_run(out, replace(settings, stream=stream), FREE_IN_RUN)
    tasks = [open_source(source, out / "data") for source in sources]
    check_inputs(out, {"model": known.weights, **inputs(sources, tasks)})
    bench = Bench(settings, tasks)
    rows: Rows = {ZERO_SHOT: bench.row(out, known.weights, lambda: clip)}
    taken: list[steps.Step] = []
    if settings.method == ZERO_SHOT:
        rows |= {task.name: rows[ZERO_SHOT] for task in tasks}
    elif settings.method == JOINT:
        taken.append(learn_jointly(settings, clip, known, sources, tasks, out / "tasks" / JOINT))
        rows[JOINT] = bench.model_row(taken[-1].model)
    else:
        del clip
        for position, task in enumerate(tasks):
            taken.append(steps.take(add_settings(settings, sources, position), out / "data"))
            rows[task.name] = bench.model_row(taken[-1].model)
    result = plain(record(settings, tasks, rows, taken, bench))
    write_csv(out / "matrix.csv", rows, [task.name for task in tasks], "top1")
    write_csv(out / "matrix-union.csv", rows, [task.name for task in tasks], "union_top1")
    write_json(out / "result.json", result)
    write_report(result, out / "report.html")
    return result


def check(settings: ContinualRunSettings, sources: Sequence[TaskSource]) -> None:
    """Raise UsageError or HoldfastError for what is wrong with the stream, before anything is made.

    Data sets are not looked at, since they are drawn into the run's folder.
    """
    if settings.max_drop is not None and settings.method not in PLANS:
        raise UsageError(f"There is no gate for {settings.method}; leave out max_drop.")
    if settings.held_out and settings.max_drop is None:
        raise UsageError(
            "In a stream, held_out tasks are for max_drop; give it, or leave them out."
        )
    known = known_tasks(settings.model)
    for position, source in enumerate(sources):
        if names.comparable(source.name) in (ZERO_SHOT, JOINT):
            raise UsageError(
                f"A task cannot be called {source.name!r}, as a row of the matrix is; rename it."
            )
        if settings.method in PLANS:
            adding = add_settings(settings, sources, position)
            train = check_task(adding, source, known)
            if not (adding.out / "model").exists():
                check_generator(adding, train)
        elif settings.method == JOINT and known is not None:
            known.check_new(source.name)
        if not source.is_dataset:
            split(open_source(source, settings.out), settings)


def split(task: Task, settings: ContinualRunSettings) -> Exam:
    """The images to measure on. Raises UsageError if the task has none."""
    found = exam(task, settings.split)
    if found is None:
        raise UsageError(
            f"The task {task.name!r} has no split {settings.split!r} to be measured on; add a "
            f"folder {settings.split} to it, or take the other of val and test with --split."
        )
    return found


def inputs(sources: Sequence[TaskSource], tasks: Sequence[Task]) -> dict[str, str]:
    """Hashes of what a stream file says and of the images that it names."""
    said = json.dumps([asdict(each) for each in sources])
    seen = json.dumps([fingerprint(images) for each in tasks for _, images in steps.splits(each)])
    texts = {"tasks": said, "images": seen}
    return {what: hashlib.sha256(text.encode()).hexdigest() for what, text in texts.items()}


def add_settings(
    settings: ContinualRunSettings, sources: Sequence[TaskSource], position: int
) -> ContinualAddSettings:
    """The settings of `continual add` for one task of the stream."""
    source = sources[position]
    before = folder_of(settings.out, sources, position - 1) / "model" if position else None
    return ContinualAddSettings(
        model=str(before or settings.model),
        task=source.place,
        out=folder_of(settings.out, sources, position),
        name=source.name,
        templates=source.templates,
        pretrained=settings.pretrained,
        method=settings.method,  # type: ignore[arg-type]
        ensemble=settings.ensemble,
        generator=settings.generator,
        per_class=source.per_class,
        max_drop=settings.max_drop,
        held_out=settings.held_out,
        replay=settings.replay,
        train=replace(settings.train, **source.train),
        seed=settings.seed,
        device=settings.device,
    )


def folder_of(out: Path, sources: Sequence[TaskSource], position: int) -> Path:
    """The folder of one task of the stream."""
    return out / "tasks" / f"{position + 1:02d}-{names.make_id(sources[position].name)}"


class Bench:
    """Measures models on all tasks of the stream; a row that was measured before is read."""

    def __init__(self, settings: ContinualRunSettings, tasks: Sequence[Task]) -> None:
        self.settings = settings
        self.exams = [split(task, settings) for task in tasks]
        self.vocabulary = [
            pair
            for each in self.exams
            if not each.captions
            for pair in zip(each.classes, each.prompts, strict=True)
        ]
        self.seconds = 0.0

    def model_row(self, model: Path) -> dict[str, dict[str, Any]]:
        """Scores of a model's folder, which are also put into its task history."""
        weights = task_history.read(model).tasks[-1].weights
        place = f"local-dir:{model}"
        found = self.row(
            model.parent, weights, lambda: load_clip(place, "", self.settings.device, 0)
        )
        task_history.note_scores(model, {self.settings.split: found})
        return found

    def row(self, folder: Path, weights: str, clip: Any) -> dict[str, dict[str, Any]]:
        """Scores by task; `clip()` gives the model if they are not in `folder` yet."""
        path = folder / f"scores-{self.settings.split}.json"
        if path.exists():
            earlier = read_json(path)
            if earlier["weights"] == weights:
                return earlier["tasks"]
        start = time.monotonic()
        model: CLIP = clip()
        found = measure(model, self.exams, self.vocabulary, self.settings.train)
        self.seconds += time.monotonic() - start
        write_json(path, {"weights": weights, "tasks": found})
        return found


def record(
    settings: ContinualRunSettings,
    tasks: Sequence[Task],
    rows: Rows,
    taken: Sequence[steps.Step],
    bench: Bench,
) -> dict[str, Any]:
    """What `result.json` holds."""
    measured = matrices(rows, [task.name for task in tasks], settings.split)
    return {
        "kind": "continual",
        "title": f"A stream of {several(len(tasks), 'task')}, {settings.method}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": plain(asdict(settings)),
        "environment": environment(),
        "method": settings.method,
        "tasks": [
            {
                "name": task.name,
                "classes": list(task.classes.names),
                "templates": list(task.templates),
                "captions": task.captions,
                "images": {name: len(images) for name, images in steps.splits(task)},
            }
            for task in tasks
        ],
        **measured,
        "verdict": conclude(settings.method, measured["matrix"], measured["metrics"]),
        "coverage": {
            each.record["task"]: each.record["replay"]["coverage"]
            for each in taken
            if each.record["replay"] is not None
        },
        "steps": [
            {**each.record, "training": thinned(Records(each.out / "records.jsonl").read())}
            for each in taken
        ],
        "notes": [f"{each.task.name}: {note}" for each in taken for note in each.record["notes"]],
        "costs": {
            "generation_seconds": total(taken, "generation_seconds"),
            "training_seconds": total(taken, "training_seconds"),
            "gate_seconds": total(taken, "gate_seconds"),
            "evaluation_seconds": bench.seconds,
            "peak_memory_bytes": peak_memory(),
        },
    }


def total(taken: Sequence[steps.Step], cost: str) -> float:
    """A cost of all tasks together."""
    return sum(each.record["costs"][cost] for each in taken)


def thinned(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Evenly spaced records, the last among them."""
    every = max(1, -(-len(records) // TRAINING_POINTS))
    return list(records[::-every][::-1])
