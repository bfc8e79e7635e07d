"""What the pages of all results share: head, change by class, training curves, reproduction."""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from holdfast.report.blocks import (
    Block,
    Cell,
    Code,
    Column,
    Details,
    Divider,
    Figure,
    Hero,
    Interval,
    Items,
    Paragraph,
    Row,
    Section,
    Table,
    Thumbnail,
    Track,
    tone_of,
)
from holdfast.report.charts import Series, line_chart, thin_out
from holdfast.report.formats import duration, number, percent, points, size
from holdfast.report.thumbnails import thumbnail
from holdfast.results import Comparison, Conclusion, Costs, MethodResult, Result, TrainingStep
from holdfast.settings.base import to_jsonable

PageResult = TypeVar("PageResult", bound=Result)

# Colours of a conclusion's decision.
TONES = {
    "holds up": "use",
    "learnt": "use",
    "forgot": "mixed",
    "falls short": "keep",
    "lost": "worse",
}
ALL_CLASSES = 30  # up to here every class is shown, beyond it those that changed most
CHANGED_CLASSES = 10  # at either end
LISTED = 100  # of the files that could not be read
LOSSES = {
    "cross_entropy": "Loss on the labels (cross-entropy)",
    "variance": "Features that hardly vary (variance loss)",
    "covariance": "Features that vary together (covariance loss)",
    "distillation": "Distance from the teacher's answers (distillation)",
    "distillation_image": "Distance from the old model: which prompt an image has",
    "distillation_text": "Distance from the old model: which image a prompt has",
    "drift_image": "Drift from the old model: which prompt an image has",
    "drift_text": "Drift from the old model: which image a prompt has",
    "alignment_image": "Replayed images: finding their prompt",
    "alignment_text": "Replayed prompts: finding their image",
    "consolidation": "Distance from the old weights (consolidation)",
    "image": "Distance from the teacher's image embedding",
    "text": "Distance from the teacher's text embedding",
}


class ReportPage(ABC, Generic[PageResult]):
    """The page of a result; a subclass for each kind.

    folder: where relative image paths are looked up, if they are not in the working directory.
    """

    def __init__(self, result: PageResult, folder: Path) -> None:
        self.result, self.folder = result, folder

    @abstractmethod
    def facts(self) -> list[str]:
        """The line under the title; what is empty is left out."""

    @abstractmethod
    def hero(self) -> Hero:
        """What the run comes to."""

    @abstractmethod
    def body(self) -> list[Section]:
        """The sections, in order; one without blocks is left out."""

    @property
    def sections(self) -> list[Section]:
        """The sections of the page, the last of which says how to get it again."""
        return [section for section in [*self.body(), self.reproduce()] if section.blocks]

    def reproduce(self) -> Section:
        """The command that makes the run again, its settings, and what it ran on."""
        settings = json.dumps(to_jsonable(self.result.settings), indent=2, ensure_ascii=False)
        rows = [Row(name, [value]) for name, value in flat(to_jsonable(self.result.environment))]
        return Section(
            "reproduce",
            "Reproduce this run",
            [
                Paragraph("One click selects the whole command.", "lead"),
                Code(self.result.command),
                Details("All settings, as JSON", [Code(settings)]),
                Details("Environment", [Table("Environment", (), rows, style="plain")]),
            ],
            "Reproduce",
        )

    def pictures(self, paths: Iterable[str], alt: str) -> list[Thumbnail]:
        """Those of the images that can be read. alt: in words, with {} for the number."""
        found: list[Thumbnail] = []
        for path in map(Path, paths):
            where = path if path.exists() else self.folder / path
            if image := thumbnail(where, alt.replace("{}", str(len(found) + 1))):
                found.append(image)
        return found


def method_in_words(result: MethodResult) -> str:
    """The method's title, its name if that differs, and its paper."""
    title = result.method_title or result.method
    same = title.casefold().replace(" ", "-") == result.method.casefold()
    named = title if same else f"{title} ({result.method})"
    return f"{named}, {result.paper}" if result.paper else named


def counted(count: int, one: str, more: str = "") -> str:
    """5, "class", "classes" -> "5 classes"; nothing for none."""
    return f"{count:,} {one if count == 1 else more or one + 's'}" if count else ""


def set_well(text: str) -> str:
    """Numbers with a true minus sign, and with their per cent sign on the same line."""
    return re.sub(r"(?<!\w)-(?=\d)", "\u2212", text).replace(" %", "\u00a0%")


def concluded(found: Conclusion, less: str, more: str, better: tuple[str, str]) -> Hero:
    """The head of a page from a conclusion.

    less, more: the ends of the scale of its gap; better: the model that gained images, and the one
    that lost them.
    """
    gap = found.gap
    lines = [] if gap is None else [gains(gap, *better)]
    return Hero(
        TONES.get(found.decision, "open"),
        set_well(found.headline),
        set_well(found.text),
        None if gap is None else interval_of(gap, less, more),
        lines,
    )


def gains(gap: Comparison, gained: str, lost: str) -> str:
    """How many images only one of two models gets right."""
    return (
        f"{gap.gained:,} images are right only with the {gained}, {gap.lost:,} only with the "
        f"{lost}."
    )


def interval_of(gap: Comparison, less: str, more: str) -> Interval:
    """A comparison as it is drawn."""
    return Interval(gap.difference, gap.low, gap.high, less, more)


def finite_columns(
    pairs: Iterable[tuple[float, float | None]],
) -> tuple[list[float], list[float]]:
    """x and y of the pairs in which y is a finite number."""
    found = [(x, y) for x, y in pairs if y is not None and math.isfinite(y)]
    return [x for x, _ in found], [y for _, y in found]


def change_blocks(
    values: Iterable[tuple[str, float | None, float | None, int | None]],
    before: str,
    after: str,
    lead: str,
    what: str = "Class",
) -> list[Block]:
    """A table of how accuracies changed, largest gain first; of many, those that changed most.

    values: name, accuracy `before` and `after`, images (None throughout shows none). lead: with
    {better}, {worse} and {same} for their numbers.
    """
    listed = list(values)
    known = [(n, old, new, c) for n, old, new, c in listed if old is not None and new is not None]
    known.sort(key=lambda row: row[1] - row[2])
    if not known:
        return []
    counts = any(count is not None for *_, count in known)
    columns = [Column(what), Column("0 to 100 %", "words"), Column(before), Column(after)]
    columns += [Column("Change, points"), *([Column("Images")] if counts else [])]
    rows: list[Row | Divider] = [
        Row(
            name,
            [
                Track(old, new),
                percent(old),
                percent(new),
                Cell(points(new - old), style=tone_of(new - old)),
                *([f"{count or 0:,}"] if counts else []),
            ],
        )
        for name, old, new, count in known
    ]
    tones = [tone_of(new - old) for _, old, new, _ in known]
    text = lead.format(
        better=tones.count("gain"), worse=tones.count("loss"), same=tones.count("same")
    )
    label = f"Change by {what.lower()}"
    if len(rows) <= ALL_CLASSES:
        return [Paragraph(text, "lead"), Table(label, columns, rows, style="change")]
    between = Divider(f"{len(rows) - 2 * CHANGED_CLASSES:,} classes between", title=False)
    some = [*rows[:CHANGED_CLASSES], between, *rows[-CHANGED_CLASSES:]]
    shown = [Paragraph(text, "lead"), Table(label, columns, some, style="change")]
    every = Table("Change of every class", columns, rows, style="change")
    return [*shown, Details(f"All {len(rows):,} of these classes", [every])]


def training_figures(steps: Sequence[TrainingStep], starts: Sequence[float] = ()) -> list[Figure]:
    """A figure per loss and measure, for the learning rate and the gradient's length, over steps.

    starts: steps at which something new begins, as lines.
    """
    names = dict.fromkeys(name for step in steps for name in step.losses)
    panels: list[tuple[str, str, list[tuple[float, float | None]]]] = [
        (LOSSES.get(n, f"{n.replace('_', ' ').capitalize()} loss"), "loss",
         [(s.step, s.losses.get(n)) for s in steps])
        for n in names
    ]  # fmt: skip
    for n in dict.fromkeys(name for step in steps for name in step.measures):
        found: list[tuple[float, float | None]] = [(s.step, s.measures.get(n)) for s in steps]
        panels.append((LOSSES.get(n, n.replace("_", " ").capitalize()), "nats", found))
    panels.append(("Learning rate", "learning rate", [(s.step, s.learning_rate) for s in steps]))
    panels.append(("Length of the gradient", "norm", [(s.step, s.gradient_norm) for s in steps]))
    figures = []
    for title, label, pairs in panels:
        x, y = finite_columns(pairs)
        if len(x) > 1:
            described = f"{title} over {len(x)} steps, from {number(y[0])} to {number(y[-1])}."
            lines = [Series(*thin_out(x, y))]
            figures.append(line_chart(title, lines, described, "step", label, starts=starts))
    return figures


def unreadable_files(paths: Sequence[str]) -> list[Block]:
    """Files that were left out, behind a summary."""
    if not paths:
        return []
    texts = list(paths[:LISTED])
    if len(paths) > LISTED:
        texts.append(f"and {len(paths) - LISTED:,} more")
    summary = f"{counted(len(paths), 'file')} that could not be read"
    return [Details(summary, [Items(texts)])]


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested values as rows, without what is None: ("packages.torch", "2.10")."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += flat(value, f"{prefix}{key}.")
        elif value is not None:
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            rows.append((f"{prefix}{key}", text))
    return rows


def cost_tiles(costs: Costs) -> list[tuple[str, str]]:
    """Seconds of each part that took any, and memory."""
    parts = [
        ("drawing images", costs.generation_seconds),
        ("training", costs.training_seconds),
        ("the gate", costs.gate_seconds),
        ("evaluation", costs.evaluation_seconds),
    ]
    tiles = [(label, duration(seconds)) for label, seconds in parts if seconds]
    if costs.peak_memory_bytes:
        tiles.append(("most memory held", size(costs.peak_memory_bytes)))
    return tiles
