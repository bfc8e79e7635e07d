"""`holdfast continual add`: one more task for a model, with scores before and after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from holdfast import task_history
from holdfast.data.streams import Task, open_source
from holdfast.files import write_json
from holdfast.models.clip import load_clip
from holdfast.report import write_report
from holdfast.runs import Records, alone, environment, plain
from holdfast.settings import ContinualAddSettings
from holdfast.task_history import TaskRecord
from holdfast.verbs.continual import step as steps
from holdfast.verbs.continual.places import held_out_sources
from holdfast.verbs.continual.scores import Exam, exam, measure
from holdfast.verbs.continual.start import open_model
from holdfast.verbs.continual.verdict import conclude_added


@alone
def add(settings: ContinualAddSettings) -> dict[str, Any]:
    """Add a task to a model and write the new model to `settings.out / "model"`.

    The model that was given stays as it is. Run again with the same settings, it goes on where it
    stopped. Returns what `result.json` holds.
    """
    data = settings.out / "data"
    step = steps.take(settings, data)
    known = task_history.read(step.model)
    held_out = [open_source(each, data, False) for each in held_out_sources(settings.held_out)]
    exams = exams_of(step.task, held_out)
    before, after = {}, {}
    if exams:
        vocabulary = words(known.tasks)
        clip, _ = open_model(settings)
        before = measure(clip, exams, vocabulary, settings.train)
        clip = load_clip(f"local-dir:{step.model}", "", settings.device, settings.seed)
        after = measure(clip, exams, vocabulary, settings.train)
        task_history.note_scores(step.model, {"before": before, "after": after})
    result = plain(
        {
            "kind": "continual-add",
            "title": f"{step.task.name} added",
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "settings": asdict(settings),
            "environment": environment(),
            "method": settings.method,
            "tasks": [task.name for task in known.tasks],
            "held_out": [task.name for task in held_out],
            "before": before,
            "after": after,
            "verdict": conclude_added(
                step.task.name, before, after, [task.name for task in held_out]
            ),
            "step": step.record,
            "training": Records(step.out / "records.jsonl").read(),
            "notes": step.record["notes"],
            "costs": step.record["costs"],
        }
    )
    write_json(settings.out / "result.json", result)
    write_report(result, settings.out / "report.html")
    return result


def exams_of(task: Task, held_out: Sequence[Task]) -> list[Exam]:
    """What to measure before and after: the task if it has images for it, and the held-out ones."""
    found = [exam(task, "test", "val"), *(exam(each, "test", "val", "train") for each in held_out)]
    return [each for each in found if each is not None]


def words(tasks: Sequence[TaskRecord]) -> list[tuple[str, list[str]]]:
    """The class names of all tasks learnt, with their prompts."""
    return [
        (name, [template.replace("{}", name) for template in task.templates])
        for task in tasks
        if not task.captions
        for name in task.classes
    ]
