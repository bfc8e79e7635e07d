"""A student beside its teacher in each domain."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from markupsafe import Markup

from holdfast.report.blocks import (
    Bars,
    Block,
    Cell,
    Column,
    Details,
    Divider,
    Paragraph,
    Row,
    Table,
)
from holdfast.report.formats import DASH, number, percent, points
from holdfast.results import DistillResult, DomainScores, DomainTable, Spread

STUDENT = Markup('<span class="swatch ensemble">student</span>')
TEACHER = Markup('<span class="swatch zero-shot">teacher, zero-shot,</span>')


def domain_blocks(result: DistillResult) -> list[Block]:
    """Domains that the student never saw, and those that it learned from."""
    held_out, seeds = result.summary.held_out, len(result.summary.seeds)
    scores = [found for trial in result.trials for found in trial.scores.values()]
    compared = any(found.teacher for found in scores)
    full, part = held_out.get("full"), held_out.get("domainbed")
    rows: list[Row | Divider] = []
    below = "Below the average difference is its deviation over seeds."
    if seeds == 1:
        below = "Below a difference is its 95 % interval, where there is one trial."
    words = [below] if compared else []
    for title, table in (
        ("Domains the student never saw", full),
        ("Domains it learned from, images held back", result.summary.in_domain),
    ):
        if table is None or not table.domains:
            continue
        rows += [Divider(title), *_domain_rows(result, table, table is full, compared)]
        if len(table.domains) > 1:
            words.append(f"{title}: worst {spread_text(table.worst)}, {table.worst.domain}.")
    if not rows:
        return []
    who = Markup("{} and the {} name").format(STUDENT, TEACHER) if compared else STUDENT + " names"
    lead = Markup("Share of images that the {} right.").format(who)
    if seeds > 1:
        lead += f" Means of {seeds} seeds, ± their deviation."
        words.append("The worst is that of each seed, averaged.")
    columns = [Column("Domain"), Column("0 to 100 %", "words"), Column("Student")]
    columns += [Column("Teacher"), Column("Student minus teacher, points")] if compared else []
    columns += [Column("Student, on DomainBed's four fifths of the images")] if part else []
    return [
        Paragraph(lead, "lead"),
        Table("Accuracy by domain", [*columns, Column("Images")], rows, style="domains"),
        Paragraph(" ".join(words), "small"),
        Details("Mean per class, calibration and loss", [_details(result)]),
    ]


def _domain_rows(
    result: DistillResult, table: DomainTable, left_out: bool, compared: bool
) -> list[Row]:
    """A row for each domain of a table, and their average. left_out: whether none was learned."""
    part = result.summary.held_out.get("domainbed")
    rows: list[Row] = []
    teachers: list[float | None] = []
    gaps: list[float | None] = []

    def add(name: str, value: Spread, teacher: float | None, gap: Cell, columns: list[str]) -> None:
        bars = [(value.mean, "ours"), *([] if teacher is None else [(teacher, "theirs")])]
        beside: list[str | Cell] = [percent(teacher), gap] if compared else []
        own = Cell(spread_text(value), style="strong")
        cells: list[str | Cell | Bars] = [Bars(bars), own, *beside, *columns]
        worst = len(table.domains) > 1 and name == table.worst.domain
        rows.append(Row(name, cells, tag="worst" if worst else ""))

    for name, value in table.domains.items():
        scores = [t.scores[name] for t in result.trials if (t.held_out == name) == left_out]
        known = [s.teacher.top1 for s in scores if s.teacher]
        found = [s.gap for s in scores if s.gap]
        teachers.append(statistics.mean(known) if known else None)
        gaps.append(statistics.mean(gap.difference for gap in found) if found else None)
        single = found[0] if len(found) == len(scores) == 1 else None
        interval = f"{points(single.low)} to {points(single.high)}" if single else ""
        shown = [spread_text(part.domains[name]) if left_out else ""] if part else []
        add(name, value, teachers[-1], Cell(points(gaps[-1]), interval), [*shown, _images(scores)])
    if len(rows) > 1:
        gap = result.summary.gap if left_out else None
        deviation = "" if gap is None or gap.deviation is None else f"± {100 * gap.deviation:.1f}"
        between = Cell(points(_mean_of_all(gaps) if gap is None else gap.mean), deviation)
        shown = [spread_text(part.average) if left_out else ""] if part else []
        add("average", table.average, _mean_of_all(teachers), between, [*shown, ""])
    return rows


def _images(scores: Sequence[DomainScores]) -> str:
    counts = {found.n for s in scores if (found := s.full or s.validation)}
    return f"{max(counts):,}" if counts else DASH


def _mean_of_all(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known and len(known) == len(values) else None


def _details(result: DistillResult) -> Table:
    """What else was measured of the student in each domain, a row for each trial."""
    rows = []
    for trial in result.trials:
        for name, scores in trial.scores.items():
            found = scores.full or scores.validation
            if found is not None:
                numbers = [percent(found.mean_per_class), percent(found.ece), number(found.nll)]
                kind = "left out" if scores.role == "held-out" else "learned from"
                rows.append(Row(name, [kind, f"seed {trial.seed}", *numbers]))
    columns = [Column("Domain"), Column("It was", "words"), Column("Trial", "words")]
    columns += [Column("Mean per class"), Column("Calibration error"), Column("Log loss")]
    return Table("Calibration and mean per class", columns, rows, style="narrow")


def spread_text(value: Spread) -> str:
    """Mean, and deviation over seeds if there are several: "78.3 % ± 1.2"."""
    text = percent(value.mean)
    return text if value.deviation is None else f"{text} ± {100 * value.deviation:.1f}"
