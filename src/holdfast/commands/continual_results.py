"""The gate of a task, the accuracy matrix of a stream, and what both come to in words."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from holdfast.commands.settings import ContinualAddSettings
from holdfast.data.replay import images_of
from holdfast.data.streams import Task
from holdfast.errors import HoldfastError, UsageError
from holdfast.evaluation import EvalSet, eval_set, evaluate_clip
from holdfast.files import write_text
from holdfast.metrics import stream_metrics
from holdfast.models.clip import CLIP
from holdfast.replay import ReplayImages
from holdfast.results import (
    AccuracyMatrix,
    Conclusion,
    GateResult,
    GateTrial,
    StreamNumbers,
    TaskScores,
)
from holdfast.weights import Weights, interpolate

GATE_ALPHAS = tuple(round(0.1 * i, 1) for i in range(9, 0, -1))
ROUNDING = 1e-9  # of the difference of two shares
ENOUGH = 20  # images; with fewer a single one would decide

# {after which task: {on which task: scores}}, the model before any task first.
Rows = dict[str, Mapping[str, TaskScores]]


@dataclass(frozen=True)
class ReplayedImages:
    """Replayed images of one source; labels: each one's name, an index into the source's."""

    paths: list[Any]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.paths)


class Gate:
    """How far a new model may be taken without losing what the model knew.

    It stands on the replayed images of each source that has enough, told apart among the source's
    own names, and on the held-out tasks. Raises UsageError if that is nothing.
    """

    def __init__(
        self,
        settings: ContinualAddSettings,
        images: ReplayImages | None,
        held_out: Sequence[Task],
    ) -> None:
        assert settings.max_drop is not None
        self.max_drop, self.workers = settings.max_drop, settings.train.workers
        self.sets: list[EvalSet] = []
        self.too_few: list[str] = []
        for source in images.sources if images is not None else ():
            assert images is not None
            places = images_of(source, images.prompts)
            if len(places) < ENOUGH:
                self.too_few.append(source.origin)
                continue
            data = ReplayedImages([images.paths[at] for at in places], list(places.values()))
            prompts = [[prompt] for prompt in source.prompts]
            name = f"replay of {source.origin}"
            self.sets.append(EvalSet(name, "replay", data, source.names, prompts))
        self.sets += [found for each in held_out if (found := eval_set(each, "val", "train"))]
        if not self.sets:
            raise UsageError(
                "max_drop has nothing to be measured on: no source has enough replayed images; "
                "name tasks with --held_out, or raise --replay.images."
            )

    def judge(self, clip: CLIP, previous: Weights, task: EvalSet | None) -> GateResult:
        """The new weights if they pass; else the average that is best on `task` of those that do.

        clip: the model with the new weights; it ends with those that passed, or with the last
        that were tried. previous: the weights before the task. task: validation images of the new
        task; without them the largest weight that passes is taken.
        """
        tuned: dict[str, Tensor] = {
            name: t.detach().to("cpu", copy=True) for name, t in clip.model.state_dict().items()
        }

        def tried(alpha: float) -> GateTrial:
            clip.model.load_state_dict(interpolate(previous, tuned, alpha))
            found = evaluate_clip(clip, [*self.sets, *([task] if task else [])], (), self.workers)
            drops = {
                each.name: before[each.name].top1 - found[each.name].top1 for each in self.sets
            }
            return GateTrial(
                alpha=alpha,
                task_top1=found[task.name].top1 if task else None,
                drops=drops,
                passes=max(drops.values()) <= self.max_drop + ROUNDING,
            )

        clip.model.load_state_dict(dict(previous))
        before = evaluate_clip(clip, self.sets, (), self.workers)
        sweep = [tried(1.0)]
        if not sweep[0].passes:
            sweep += [tried(alpha) for alpha in GATE_ALPHAS]
        passing = [trial for trial in sweep if trial.passes]
        best = max(passing, key=lambda t: (t.task_top1 or 0.0, t.alpha)).alpha if passing else None
        if best is not None:
            clip.model.load_state_dict(interpolate(previous, tuned, best))
        return GateResult(alpha=best, max_drop=self.max_drop, before=before, sweep=sweep)

    def notes(self, passed: GateResult) -> list[str]:
        """What the user should know of it."""
        found = []
        if passed.alpha != 1:
            found.append(
                f"The gate took a weight of {passed.alpha:g} of the new model; as it was trained "
                f"it lost more than {100 * passed.max_drop:g} points on what the model knew."
            )
        if self.too_few:
            few = self.too_few
            found.append(
                f"The gate left out {', '.join(map(repr, few[:5]))}"
                f"{f' and {len(few) - 5} more' if len(few) > 5 else ''}: fewer than {ENOUGH} "
                "replayed images. --replay.sampling balanced gives earlier tasks more; --held_out "
                "takes real ones."
            )
        return found


def gate_refusal(name: str, gate: GateResult) -> HoldfastError:
    """What to say if no average passes."""
    last = gate.sweep[-1]
    worst = max(last.drops, key=lambda each: last.drops[each])
    return HoldfastError(
        f"Learning {name!r} costs {100 * last.drops[worst]:.1f} points on {worst} even with a "
        f"weight of {last.alpha:g}, more than the {100 * gate.max_drop:g} that max_drop allows; "
        "no model is written. Raise --max_drop, or lower --train.learning_rate."
    )


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
