"""What the commands print of their typed results, and the tables of methods and anchors."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.anchors.base import Anchor, Need
from holdfast.commands import settings as of
from holdfast.methods.base import PROVIDED, Family, Method, compose
from holdfast.settings.base import shown, to_jsonable

if TYPE_CHECKING:
    from holdfast.results import (
        AddResult,
        Advice,
        Conclusion,
        ContinualResult,
        DistillResult,
        Evaluation,
        Verdict,
    )


def show_generated(_: of.GenerateSettings, found: Any) -> None:
    """Where the images are, or what they would cost."""
    print(f"Images: {found}" if isinstance(found, Path) else found)


def show_transfer(settings: of.TransferSettings, found: Any) -> None:
    """Scores, the verdict, and where everything is; or what it would cost."""
    from holdfast.results import TransferResult, read_result
    from holdfast.runs import RESULT

    if is_dataclass(found):  # what it would take
        print(found)
        return
    result = read_result(settings.out / RESULT)
    assert isinstance(result, TransferResult)
    for kind, scores in result.scores.items():
        print(f"{kind:12} top-1 {scores.top1:6.1%}   calibration error {scores.ece:6.1%}")
    print(f"alpha {result.alpha.chosen:g} ({result.alpha.why})")
    show_notes(result.notes)
    show_verdict(result.verdict)
    show_places("Classifier", settings.out / "model", settings.out)


def show_distilled(settings: of.DistillSettings, found: DistillResult | Advice | Any) -> None:
    """Accuracy by domain, what was asked, and where everything is; or what it would cost."""
    from holdfast.results import Advice, DistillResult

    if isinstance(found, Advice):  # itself it is printed as soon as it is known
        print(f"Per class and domain: {settings.out / 'advice.json'}")
        return
    if not isinstance(found, DistillResult):
        print(found)
        return
    tables = {"trained on": found.summary.in_domain}
    if found.summary.held_out:
        tables["unseen"] = found.summary.held_out["full"]
    for kind, table in tables.items():
        rows = table.domains | {"average": table.average, "worst": table.worst}
        for name, row in rows.items():
            spread = "" if row.deviation is None else f" ± {row.deviation:.1%}"
            print(f"{kind:12} {name:20} {row.mean:6.1%}{spread}")
    show_notes(found.notes)
    show_verdict(found.verdict)
    print(f"Queries: {found.queries.asked_by_this_run:,}")
    students = [trial.classifier for trial in found.trials if trial.classifier]
    several = f"{len(students)} in {settings.out}"
    place = settings.out / students[0] if len(students) == 1 else several
    show_places("Student", place if students else None, settings.out)


def show_evaluation(settings: of.EvaluateSettings, found: Evaluation) -> None:
    """Accuracy and calibration on each folder, and the verdict if there is one."""
    from holdfast.results import SetScores

    first = SetScores(scores=found.scores, zero_shot=found.zero_shot, verdict=found.verdict)
    for name, each in {"": first, **found.further}.items():
        if found.further:
            print(f"{name or settings.data[0]}:")
        for kind, scores in (("zero-shot", each.zero_shot), ("classifier", each.scores)):
            if scores is not None:
                print(
                    f"{kind:12} {scores.n} images   top-1 {scores.top1:6.1%}   mean per class "
                    f"{scores.mean_per_class:6.1%}   calibration error {scores.ece:6.1%}"
                )
        show_verdict(each.verdict)
    show_notes(found.notes)


def show_compared(_: of.CompareSettings, found: Any) -> None:
    """The table."""
    print(found)


def show_predictions(settings: of.PredictSettings, found: Any) -> None:
    """A line for each image: path, then names with probabilities, separated by tabs.

    Where they were written to a file only that is named.
    """
    if settings.out is not None:
        print(f"Names of {len(found):,} images: {settings.out}")
        return
    for path, names in found:
        print("\t".join([str(path), *(f"{name}\t{p:.4f}" for name, p in names)]))


def show_stream(settings: of.ContinualRunSettings, found: ContinualResult) -> None:
    """The accuracy matrix and its numbers; or what it would take."""
    if not hasattr(found, "matrix"):
        print(found)
        return
    matrix = found.matrix
    width = max(len(name) for name in (*matrix.rows, *matrix.columns, "after"))
    line = " ".join(f"{name:>{max(7, len(name))}}" for name in matrix.columns)
    print(f"{'after':{width}} {line}   (task-aware, {matrix.split})")
    for after, row in zip(matrix.rows, matrix.task_aware, strict=True):
        cells = zip(matrix.columns, row, strict=True)
        line = " ".join(f"{value:>{max(7, len(name))}.1%}" for name, value in cells)
        print(f"{after:{width}} {line}")
    for kind, numbers in (("task-aware", found.task_aware), ("task-agnostic", found.task_agnostic)):
        named = vars(numbers).items()
        known = [f"{name} {100 * v:.2f}" for name, v in named if isinstance(v, float)]
        shown = ", ".join(known)
        if numbers.forget_interval is not None:
            low, high = numbers.forget_interval
            shown += f" (95 % interval {100 * low:.2f} to {100 * high:.2f})"
        if shown:
            print(f"{kind}: {shown}")
    stages = found.class_incremental
    if None not in stages.by_stage:
        shown = ", ".join(f"{100 * stage:.2f}" for stage in stages.by_stage if stage is not None)
        average = f", average {100 * stages.average:.2f}" if stages.average is not None else ""
        print(f"class-incremental: after each task {shown}{average}")
    if found.held_out is not None:
        first, *_, last = found.held_out.task_aware
        for name, old, new in zip(found.held_out.columns, first, last, strict=True):
            print(f"held out, task-aware: {name} {old:.1%} -> {new:.1%}")
    show_notes(found.notes)
    show_verdict(found.verdict)
    show_places("Models", settings.out / "tasks", settings.out)


def show_added(settings: of.ContinualAddSettings, found: AddResult) -> None:
    """Accuracy before and after, and where the model is; or what it would take."""
    if not hasattr(found, "before"):
        print(found)
        return
    for name, before in found.before.items():
        old, new = before.task_aware_top1, found.after[name].task_aware_top1
        images = f"({before.images} {before.split} images, task-aware)"
        print(f"{name:20} {old:6.1%} -> {new:6.1%}   {images}")
    show_notes(found.notes)
    show_verdict(found.verdict)
    show_places("Model", settings.out / "model", settings.out)


def show_report(_: of.ReportSettings, found: Path) -> None:
    """Where the page is."""
    print(f"Report: {found}")


def show_demo(settings: of.DemoSettings, found: tuple[Any, Any]) -> None:
    """What the command that was demonstrated prints."""
    shows: dict[str, Callable[..., None]] = {
        "transfer": show_transfer,
        "distill": show_distilled,
        "continual": show_stream,
    }
    shows[settings.what](*found)


def as_json(settings: Any, found: Any) -> Any:
    """What a command found, as JSON types."""
    from holdfast.files import read_sealed
    from holdfast.results import Result, result_as_json
    from holdfast.runs import RESULT

    if isinstance(settings, of.DemoSettings):
        return as_json(*found)
    if isinstance(found, Path):
        return {"path": str(found)}
    if isinstance(found, Result):
        return result_as_json(found)
    if isinstance(settings, of.PredictSettings):
        from holdfast.commands.predict import as_rows

        return as_rows(found)
    if isinstance(settings, of.TransferSettings) and not is_dataclass(found):
        return read_sealed(settings.out / RESULT)  # what was found is the classifier itself
    return to_jsonable(found)


def show_nothing(*_: Any) -> None:
    """A command that prints for itself."""


def show_verdict(verdict: Verdict | Conclusion | None) -> None:
    """What a run comes to, in words."""
    headline = getattr(verdict, "headline", "")
    if verdict is not None:
        print(f"Verdict: {headline}{'. ' if headline else ''}{verdict.text}")
        for detail in getattr(verdict, "details", ()):
            print(f"         {detail}")


def show_notes(notes: Sequence[str]) -> None:
    """What else there is to know, a line each; a long list is cut short."""
    for note in notes[:10]:
        print(f"Note: {note}")
    if len(notes) > 10:
        print(f"Note: and {len(notes) - 10} more, in result.json.")


def show_places(what: str, place: Any, run: Path) -> None:
    """Where a run's model is, and its report."""
    if place:
        print(f"{what + ':':11} {place}")
    print(f"{'Report:':11} {run / 'report.html'}")


def methods_table() -> str:
    """All methods: name, paper, commands, what each needs, and what it does."""
    rows = []
    for kind in Method.known().values():
        needs: set[Need] = set()
        for family in kind.families:
            composition = compose(kind(), [], family)
            needs |= composition.needs | ({Need.REPLAY} if composition.asks_replay else set())
        rows.append((kind.name, kind.paper, sorted(kind.families), sorted(needs), [about(kind)]))
    return table(rows)


def anchors_table() -> str:
    """All anchors: name, paper, commands, what each needs, what it does, and its settings."""
    rows = []
    for kind in Anchor.known().values():
        families = sorted(f for f in Family if kind.needs <= PROVIDED[f])
        settings = [f"{key}={shown(value)}" for key, value in vars(kind()).items()]
        about_it = [about(kind), f"Settings: {', '.join(settings)}."]
        rows.append((kind.name, kind.paper, families, sorted(kind.needs), about_it))
    return table(rows)


def about(kind: type) -> str:
    """The first line of a class's docstring."""
    return (kind.__doc__ or "").strip().splitlines()[0]


def table(rows: Iterable[tuple[str, str, Sequence[str], Sequence[str], Sequence[str]]]) -> str:
    """Rows of (name, paper, commands, needs, texts) as columns; the texts stand below each."""
    listed = [("name", "paper", ["commands"], ["needs"], []), *rows]
    cells = [(name, paper or "-", ", ".join(where)) for name, paper, where, _, _ in listed]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for columns, (*_, needs, texts) in zip(cells, listed, strict=True):
        padded = [text.ljust(width) for text, width in zip(columns, widths, strict=True)]
        lines.append("  ".join([*padded, ", ".join(needs) or "-"]))
        for text in texts:
            lines.append(textwrap.fill(text, 100, initial_indent="    ", subsequent_indent="    "))
    return "\n".join(lines)
