"""`holdfast compare`: results of runs side by side, and the settings in which they differ."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from holdfast.commands.settings import CompareSettings
from holdfast.errors import UsageError
from holdfast.results import (
    AddResult,
    ContinualResult,
    Costs,
    DistillResult,
    DomainTable,
    Evaluation,
    Result,
    Scores,
    TransferResult,
    read_result,
)
from holdfast.runs import RESULT
from holdfast.settings.base import flatten, shown

Form = Literal["share", "seconds", "number"]
Measure = tuple[str, float | None, Form]
PLACES = ("out", "store")  # settings in which runs differ anyway


@dataclass(frozen=True)
class SideBySide:
    """Results of runs, in the order of `runs`; None where a run has no such value.

    runs: as they were given. about: what each is. numbers: by name; shares lie in [0, 1].
    forms: what each number is. settings: by dotted name, those in which the runs differ.
    """

    runs: list[str]
    about: dict[str, list[str]]
    numbers: dict[str, list[float | None]]
    forms: dict[str, Form]
    settings: dict[str, list[Any]]

    def __str__(self) -> str:
        """A table, a column for each run; as many side by side as the terminal is wide."""
        rows = [(name, values) for name, values in self.about.items()]
        rows += [
            (name, [written(value, self.forms[name]) for value in values])
            for name, values in self.numbers.items()
        ]
        rows += [
            (f"--{name}", ["-" if value is None else shown(value) for value in values])
            for name, values in self.settings.items()
        ]
        short = [Path(run).name for run in self.runs]
        runs = short if len(set(short)) == len(short) else self.runs
        return "\n".join(columns(runs, rows, shutil.get_terminal_size((100, 24)).columns))


def side_by_side(settings: CompareSettings) -> SideBySide:
    """The results of runs side by side.

    Raises UsageError for a folder without a result, HoldfastError for one that cannot be read.
    """
    if not settings.runs:
        raise UsageError("No runs are given; name their folders.")
    results = [read_result(result_file(run)) for run in settings.runs]
    found = [list(measures(result)) for result in results]
    forms: dict[str, Form] = {name: form for each in found for name, _, form in each}
    tables = [{name: value for name, value, _ in each} for each in found]
    given = [dict(flatten(result.settings)) for result in results]
    names = dict.fromkeys(name for each in given for name in each)
    known = {name: [each.get(name) for each in given] for name in names}
    return SideBySide(
        runs=[str(run) for run in settings.runs],
        about={
            "kind": [result.kind for result in results],
            "method": [getattr(result, "method", "-") for result in results],
        },
        numbers={name: [table.get(name) for table in tables] for name in forms},
        forms=forms,
        settings={name: values for name, values in known.items() if differs(name, values)},
    )


def differs(name: str, values: Sequence[Any]) -> bool:
    """Whether runs differ in a setting that may change what they find."""
    return name not in PLACES and any(value != values[0] for value in values)


def result_file(run: Path) -> Path:
    """The result of a run's folder, or the file itself. Raises UsageError where there is none."""
    file = run if run.is_file() else run / RESULT
    if file.is_file():
        return file
    if not run.exists():
        raise UsageError(f"There is no folder {str(run)!r}; give that of a finished run.")
    raise UsageError(f"{run} holds no {RESULT}; give the folder of a finished run.")


def measures(result: Result) -> Iterator[Measure]:
    """The numbers of a result, in the order in which they are shown."""
    kinds: dict[type[Result], Callable[[Any], Iterator[Measure]]] = {
        TransferResult: of_transfer,
        DistillResult: of_distillation,
        ContinualResult: of_stream,
        AddResult: of_task,
        Evaluation: of_evaluation,
    }
    yield from kinds[type(result)](result)


def of_scores(what: str, scores: Scores | None) -> Iterator[Measure]:
    """The accuracies of a model, and its calibration error."""
    if scores is not None:
        yield f"{what}: top-1", scores.top1, "share"
        yield f"{what}: mean per class", scores.mean_per_class, "share"
        yield f"{what}: calibration error", scores.ece, "share"


def of_costs(costs: Costs) -> Iterator[Measure]:
    """Seconds of each part that took any."""
    for each in fields(costs):
        if each.name.endswith("_seconds") and (seconds := getattr(costs, each.name)):
            yield f"{each.name.removesuffix('_seconds')}, seconds", seconds, "seconds"


def of_transfer(result: TransferResult) -> Iterator[Measure]:
    """Of a name-only transfer."""
    for kind, scores in result.scores.items():
        yield from of_scores(kind, scores)
    if result.verdict is not None:
        yield "gain over zero-shot", result.verdict.difference, "share"
    yield "alpha", result.alpha.chosen, "number"
    yield from of_costs(result.costs)


def of_distillation(result: DistillResult) -> Iterator[Measure]:
    """Of a distillation."""
    summary = result.summary
    tables: dict[str, DomainTable] = {"trained on": summary.in_domain}
    if "full" in summary.held_out:
        tables["unseen"] = summary.held_out["full"]
    for kind, table in tables.items():
        yield f"{kind}: average", table.average.mean, "share"
        yield f"{kind}: worst", table.worst.mean, "share"
    if summary.gap is not None:
        yield "student minus teacher, unseen", summary.gap.mean, "share"
    yield "queries", float(result.queries.asked_by_this_run), "number"
    yield from of_costs(result.costs)


def of_stream(result: ContinualResult) -> Iterator[Measure]:
    """Of a stream of tasks."""
    for kind in ("task_aware", "task_agnostic"):
        for name, value in vars(getattr(result, kind)).items():
            if isinstance(value, float):  # and no interval
                yield f"{kind.replace('_', '-')}: {name}", value, "share"
    for name in ("average", "last"):
        value = getattr(result.class_incremental, name)
        if value is not None:
            yield f"class-incremental: {name}", value, "share"
    if result.held_out is not None:
        for name, share in zip(
            result.held_out.columns, result.held_out.task_aware[-1], strict=True
        ):
            yield f"held out, task-aware: {name}", share, "share"
    yield from of_costs(result.costs)


def of_task(result: AddResult) -> Iterator[Measure]:
    """Of one more task."""
    for name, before in result.before.items():
        yield f"{name}, task-aware: before", before.task_aware_top1, "share"
        yield f"{name}, task-aware: after", result.after[name].task_aware_top1, "share"
    yield from of_costs(result.step.costs)


def of_evaluation(result: Evaluation) -> Iterator[Measure]:
    """Of an evaluation."""
    yield from of_scores("zero-shot", result.zero_shot)
    yield from of_scores("classifier", result.scores)
    for name, found in result.further.items():
        yield from of_scores(f"{name}, zero-shot", found.zero_shot)
        yield from of_scores(name, found.scores)


def written(value: float | None, form: Form) -> str:
    """A number as the table has it."""
    if value is None:
        return "-"
    texts = {"share": f"{100 * value:.1f} %", "seconds": f"{value:,.1f}", "number": f"{value:g}"}
    return texts[form]


def columns(
    runs: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], width: int
) -> Iterator[str]:
    """Lines of a table with a column for each run, in blocks that are as wide as `width` allows.

    rows: the name of each row, and its text for each run.
    """
    first = max(len(name) for name, _ in rows)
    sizes = [
        max(len(run), *(len(values[place]) for _, values in rows)) for place, run in enumerate(runs)
    ]
    start = 0
    while start < len(runs):
        end = start + 1
        while end < len(runs) and first + sum(s + 2 for s in sizes[start : end + 1]) <= width:
            end += 1
        if start:
            yield ""
        for name, values in [("", runs), *rows]:
            cells = [values[place].rjust(sizes[place]) for place in range(start, end)]
            yield "  ".join([name.ljust(first), *cells])
        start = end
