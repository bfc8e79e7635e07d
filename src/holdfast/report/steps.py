"""Tasks that were learnt: the gate, the replayed images, the trainings, and their costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from holdfast.report.blocks import (
    Block,
    Card,
    Cards,
    Cell,
    Column,
    Details,
    Figures,
    Heading,
    Paragraph,
    Row,
    Table,
    Thumbnail,
)
from holdfast.report.formats import DASH, duration, number, percent, points
from holdfast.report.page import ReportPage, flat, training_figures
from holdfast.results import Comparison, GateTrial, ReplayInfo, StepResult

REPLAYED_EACH = 6  # replayed pictures of one source
SHA_DIGITS = 12


def gate_blocks(steps: Sequence[StepResult]) -> list[Block]:
    """What the gate measured and took, a row a task, with the sweep behind it."""
    gated = [(step.task, step.gate) for step in steps if step.gate is not None]
    if not gated:
        return []
    lead = (
        f"A new model may lose at most {number(100 * gated[0][1].max_drop)} points on anything it "
        "is checked on, where the task is known (task-aware). If it loses more, its weights are "
        "averaged with the previous ones, as far as needed. Intervals are of 95 %: with few images "
        "they are wide, and a loss that they reach is not ruled out."
    )
    rows, behind = [], []
    for task, gate in gated:
        weight = "none passes" if gate.alpha is None else f"{gate.alpha:g}"
        cells = [Cell(weight, style="strong"), _worst(gate.sweep[0]), _worst(gate.taken)]
        cells.append(Cell(f"{sum(each.images for each in gate.before.values()):,}"))
        unsure = [f"{name} ({count})" for name, count in gate.cannot_tell.items()]
        rows.append(Row(task, [*cells, ", ".join(unsure) or DASH]))
        sets = list(gate.before)
        known = [
            Cell(percent(s.task_aware_top1), f"{s.images:,} images") for s in gate.before.values()
        ]
        measured = [Row("0 (previous)", [DASH, *known, ""])]
        for trial in gate.sweep:
            changes = [_change(trial.changes.get(name)) for name in sets]
            passes = "yes" if trial.passes else "no"
            tag = "taken" if trial.alpha == gate.alpha else ""
            numbers = [percent(trial.task_aware_top1), *changes, passes]
            measured.append(Row(f"{trial.alpha:g}", numbers, tag=tag))
        columns = [Column("Weight of the new model"), Column(f"Task-aware accuracy on {task}")]
        columns += [*(Column(f"{name}, points") for name in sets), Column("Passes")]
        table = Table(f"Sweep for {task}", columns, measured)
        behind.append(Details(f"What was measured for {task}", [table]))
    columns = [Column("Task"), Column("Weight of the new model")]
    columns += [Column("Worst change as trained, points"), Column("Worst change as taken, points")]
    columns += [Column("Images measured"), Column("Cannot tell, too few images", "words")]
    return [Paragraph(lead, "lead"), Table("Decisions of the gate", columns, rows), *behind]


def _worst(trial: GateTrial | None) -> Cell:
    """What changed for the worst under one weight of the new model."""
    if trial is None or not trial.changes:
        return Cell(DASH)
    name, change = min(trial.changes.items(), key=lambda pair: pair[1].difference)
    interval = f"{points(change.low)} to {points(change.high)}"
    return Cell(points(change.difference), note=f"{name}, {change.n:,} images, {interval}")


def _change(change: Comparison | None) -> str | Cell:
    """A change of accuracy with its interval."""
    if change is None:
        return DASH
    return Cell(points(change.difference), f"{points(change.low)} to {points(change.high)}")


def replay_blocks(steps: Sequence[StepResult]) -> list[Block]:
    """How many images each source got in each task."""
    drawn: list[tuple[str, ReplayInfo]] = [(s.task, s.replay) for s in steps if s.replay]
    if not drawn:
        return []
    sources = list(dict.fromkeys(each.source for _, found in drawn for each in found.coverage))
    rows = []
    for task, found in drawn:
        coverage = {each.source: each for each in found.coverage}
        also = [f"{found.redrawn:,} drawn again"] if found.redrawn else []
        also += [f"{found.missing:,} could not be drawn"] if found.missing else []
        cells: list[str | Cell] = [Cell(f"{found.images:,}", ", ".join(also)), f"{found.prompts:,}"]
        for source in sources:
            each = coverage.get(source)
            if each is None:
                cells.append("")
                continue
            names = f"{percent(each.share)}, {each.names_drawn:,} of {each.names:,} names"
            cells.append(Cell(f"{each.images:,}", names))
        rows.append(Row(task, [*cells, found.sha256[:SHA_DIGITS]]))
    columns = [Column("Learning"), Column("Images"), Column("Prompts")]
    columns += [*(Column(f"of {source}") for source in sources), Column("SHA-256 starts with")]
    lead = (
        "Images that stood for what the model knew while it learnt a task, and how many each "
        "source got."
    )
    return [Paragraph(lead, "lead"), Table("Coverage of the replay", columns, rows)]


def replay_cards(page: ReportPage[Any], steps: Sequence[StepResult]) -> list[Block]:
    """Replayed pictures of the last task that had any, with their prompts, by source."""
    having = [step for step in steps if step.samples]
    if not having:
        return []
    by_source: dict[str, list[Thumbnail]] = {}
    for sample in having[-1].samples:
        group = by_source.setdefault(sample.source, [])
        if len(group) < REPLAYED_EACH:
            alt = f"replayed image for the prompt: {sample.prompt}"
            found = page.pictures([sample.path], alt)
            group += [replace(image, alt=alt, caption=sample.prompt) for image in found]
    cards = [Card(source, [("", images)]) for source, images in by_source.items() if images]
    title = f"What the model was shown while it learnt {having[-1].task}"
    return [Heading(title), Cards(cards)] if cards else []


def step_curves(steps: Sequence[StepResult]) -> list[Block]:
    """The training curves of all tasks, one after the other."""
    rows, starts, offset = [], [], 0
    for step in steps:
        rows += [replace(record, step=offset + record.step) for record in step.training]
        offset += _length(step)
        starts.append(offset)
    figures = training_figures(rows, starts[:-1])
    if not figures:
        return []
    lead = "The tasks one after the other; a line marks where the next one starts."
    return [*([Paragraph(lead, "lead")] if len(steps) > 1 else []), Figures(figures)]


def step_table(steps: Sequence[StepResult], images: bool = False) -> list[Block]:
    """With which settings each task was learnt, and how long that took.

    images: whether classes and images are not told elsewhere.
    """
    if not steps:
        return []
    rows = []
    for step in steps:
        peak = max((record.learning_rate for record in step.training), default=None)
        times = (
            step.costs.generation_seconds,
            step.costs.training_seconds,
            step.costs.gate_seconds,
        )
        cells = [f"{step.position + 1}", f"{_length(step):,}", number(peak), *map(duration, times)]
        if images:
            splits = ", ".join(f"{count:,} {split}" for split, count in step.images.items())
            cells = [f"{step.classes:,}", splits, *cells]
        rows.append(
            Row(step.task, [*cells, f"{step.seed}"], tag="captions" if step.captions else "")
        )
    columns = [Column("Learnt"), *([Column("Classes"), Column("Images", "words")] * images)]
    columns += [Column("Place in the stream"), Column("Steps"), Column("Highest learning rate")]
    columns += [Column("Drawing images"), Column("Training"), Column("The gate"), Column("Seed")]
    blocks: list[Block] = [Table("Tasks that were learnt", columns, rows)]
    settings = [dict(flat(step.train)) for step in steps]
    keys = dict.fromkeys(key for found in settings for key in found)
    differing = [key for key in keys if len({found.get(key) for found in settings}) > 1]
    if differing:
        rows = [
            Row(step.task, [found.get(key, DASH) for key in differing])
            for step, found in zip(steps, settings, strict=True)
        ]
        columns = [Column("Task"), *(Column(key) for key in differing)]
        table = Table("Training settings", columns, rows)
        blocks.append(Details("Training settings in which the tasks differ", [table]))
    return blocks


def _length(step: StepResult) -> int:
    """Steps of a training: the last of them is always recorded."""
    return step.training[-1].step + 1 if step.training else 0
