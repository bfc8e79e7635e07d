"""The page of a stream of tasks."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from holdfast.report import charts
from holdfast.report.blocks import (
    Block,
    Cell,
    Column,
    Details,
    Figure,
    Figures,
    Heading,
    HeatCell,
    HeatMap,
    Hero,
    Paragraph,
    Row,
    Section,
    Table,
    Terms,
    Tiles,
)
from holdfast.report.charts import Mark, Series, line_chart
from holdfast.report.formats import DASH, percent, points
from holdfast.report.page import (
    ReportPage,
    concluded,
    cost_tiles,
    counted,
    method_in_words,
)
from holdfast.report.steps import (
    gate_blocks,
    replay_blocks,
    replay_cards,
    step_curves,
    step_table,
)
from holdfast.results import ContinualResult, StreamNumbers

AWARE = "Task-aware accuracy (the task is known at test time)"
AGNOSTIC = "Task-agnostic accuracy (the task is not known: among the classes of all tasks)"
INCREMENTAL = (
    "Class-incremental accuracy (the task is not known: among the classes of the tasks learnt so "
    "far)"
)
MEANING = {
    "Task-aware": "share of images whose most similar class of their own task is right",
    "Task-agnostic": "share of images whose most similar class of all tasks is right",
    "Class-incremental": "share of images of the tasks learnt so far whose most similar class of "
    "these tasks is right",
    "Zero-shot": "mean of the first row of the matrix",
    "Transfer": "mean over tasks of the accuracy before they were learnt, column by column; the "
    "model before any task does not count (ZSCL, GIFT)",
    "Transfer by stage": "the same entries averaged row by row first, as other libraries do; not "
    "to be compared with transfer",
    "Average": "mean of the whole matrix without the first row",
    "Last": "mean of the last row",
    "Forget": "mean change of a task from right after it was learnt to the end, over T - 1; "
    "negative where tasks were forgotten; below it its 95 % interval, as if each time other images "
    "had been measured",
}
CURVES = 24  # tasks with a chart of their own
TEMPLATES = 2  # of a task, before the rest are counted
CLASSES_LISTED = 100


class ContinualPage(ReportPage[ContinualResult]):
    """A stream of tasks, one after the other."""

    def facts(self) -> list[str]:
        result, settings = self.result, self.result.settings
        return [
            method_in_words(result),
            f"from {settings['model']}" if settings.get("model") else "",
            counted(len(result.tasks), "task"),
            counted(sum(len(task.classes) for task in result.tasks), "class", "classes"),
        ]

    def hero(self) -> Hero:
        return concluded(self.result.verdict, "", "", ("", ""))

    def body(self) -> list[Section]:
        steps = self.result.steps
        title = "Transfer, average, last, forget"
        return [
            Section("matrix", "Accuracy matrix", self.matrices()),
            Section("numbers", title, self.numbers(), "The stream in numbers"),
            Section("curves", "Task by task", self.curves()),
            Section("gate", "The gate", gate_blocks(steps)),
            Section("replay", "Replay", [*replay_blocks(steps), *replay_cards(self, steps)]),
            Section("training", "Training", step_curves(steps)),
            Section("accounting", "Tasks and costs", self.accounting()),
        ]

    @property
    def learnt_in_turn(self) -> bool:
        """Whether there is a model after each task."""
        matrix = self.result.matrix
        return self.result.method != "zero-shot" and matrix.rows[1:] == matrix.columns

    def matrices(self) -> list[Block]:
        """Heat maps: a row for each model, a column for each task.

        A cell's colour is its distance from the first row, zero-shot; a frame is put around a
        task's score right after it was learnt. What was forgotten since is orange.
        """
        matrix = self.result.matrix
        lead = (
            f"A row for each model, a column for each task, measured on the tasks' {matrix.split} "
            "images. Green is above the zero-shot row, orange below it, and the stronger the "
            "further."
        )
        if self.learnt_in_turn:
            lead += (
                " A frame marks a task that was just learnt. A cell below it that is lower was "
                "forgotten: it is orange too, and the stronger the more was. The cells above it "
                "say how the model did on the task before it learnt it."
            )
        blocks: list[Block] = [Paragraph(lead, "lead")]
        counts = ", ".join(
            f"{name} {count:,}" for name, count in zip(matrix.columns, matrix.images, strict=True)
        )
        for title, values in (
            (AWARE, matrix.task_aware),
            (AGNOSTIC, matrix.task_agnostic),
            (INCREMENTAL, matrix.class_incremental),
        ):
            if all(value is None for row in values for value in row):
                continue
            blocks += [Heading(title), self._heat_map(title, values)]
        return [*blocks, Paragraph(f"Images measured on: {counts}.", "small")]

    def _heat_map(self, title: str, values: Sequence[Sequence[float | None]]) -> HeatMap:
        matrix = self.result.matrix
        distances = [
            abs(value - start)
            for row in values
            for value, start in zip(row, values[0], strict=True)
            if value is not None and start is not None
        ]
        furthest = max(distances, default=0) or 1
        rows = []
        for place, (name, row) in enumerate(zip(matrix.rows, values, strict=True)):
            cells = []
            for column, (value, start, task) in enumerate(
                zip(row, values[0], matrix.columns, strict=True)
            ):
                learnt = values[column + 1][column] if self.learnt_in_turn else None
                if value is not None and start is not None and learnt is not None:
                    start = learnt if place > column + 1 and value < learnt else start
                framed = self.learnt_in_turn and place > 0 and task == name
                if value is None or start is None:  # there is nothing to compare with
                    text = DASH if value is None else f"{100 * value:.1f}"
                    cells.append(HeatCell(text, 0, True, framed))
                else:
                    shade = min(100, round(100 * abs(value - start) / furthest))
                    cells.append(HeatCell(f"{100 * value:.1f}", shade, value >= start, framed))
            rows.append((name if place == 0 else f"after {name}", cells))
        caption = "Share of images named right, per cent."
        return HeatMap(title, matrix.columns, rows, caption, wide=True)

    def numbers(self) -> list[Block]:
        """Transfer, average, last and forget of both ways to measure, beside zero-shot."""
        result = self.result
        rows = []
        for title, found, values in (
            (AWARE, result.task_aware, result.matrix.task_aware),
            (AGNOSTIC, result.task_agnostic, result.matrix.task_agnostic),
        ):
            if found == StreamNumbers(
                transfer=None, transfer_by_stage=None, average=None, last=None, forget=None
            ):
                continue
            known = [value for value in values[0] if value is not None]
            start = statistics.mean(known) if len(known) == len(values[0]) else None
            shares = [start, found.transfer, found.transfer_by_stage, found.average, found.last]
            rows.append(Row(title, [*map(percent, shares), self._forgotten(found)]))
        if not rows:
            return []
        *_, zero, transfer, by_stage, average, last, forget = MEANING
        heads = (zero, transfer, by_stage, average, last)
        columns = [Column("Accuracy"), *map(Column, heads), Column(f"{forget}, points")]
        table = Table("Numbers of the stream", columns, rows, style="scores")
        return [table, *self.incremental(), *self.held_out(), Terms(list(MEANING.items()))]

    @staticmethod
    def _forgotten(found: StreamNumbers) -> str | Cell:
        """Forget in points with its interval; what was measurably forgotten is red."""
        if found.forget_interval is None:
            return points(found.forget)
        low, high = found.forget_interval
        style = "loss" if high < 0 else ""
        return Cell(points(found.forget), f"{points(low)} to {points(high)}", style)

    def incremental(self) -> list[Block]:
        """Class-incremental accuracy after each task."""
        found, matrix = self.result.class_incremental, self.result.matrix
        if all(stage is None for stage in found.by_stage):
            return []
        columns = [Column("Accuracy"), *(Column(f"after {name}") for name in matrix.rows[1:])]
        shares = [*found.by_stage, found.average, found.last]
        row = Row(INCREMENTAL, [*map(percent, shares)])
        columns += [Column("Average"), Column("Last")]
        return [Table("Class-incremental accuracy, stage by stage", columns, [row], style="scores")]

    def held_out(self) -> list[Block]:
        """Accuracy on tasks that are not in the stream, before it and after each task."""
        found = self.result.held_out
        if found is None:
            return []
        columns = [Column("Model"), *map(Column, found.columns)]
        rows = [
            Row(name if place == 0 else f"after {name}", [*map(percent, row)])
            for place, (name, row) in enumerate(zip(found.rows, found.task_aware, strict=True))
        ]
        counts = [f"{name} {n:,}" for name, n in zip(found.columns, found.images, strict=True)]
        table = Table("Held-out tasks: task-aware accuracy", columns, rows)
        return [table, Paragraph(f"Images measured on: {', '.join(counts)}.", "small")]

    def curves(self) -> list[Block]:
        """For each task, its accuracy before the stream and after each task."""
        matrix = self.result.matrix
        if not self.learnt_in_turn:
            return []
        kinds = (("task-aware", matrix.task_aware), ("task-agnostic", matrix.task_agnostic))
        known = [v for _, rows in kinds for row in rows for v in row if v is not None]
        low, high = max(0.0, min(known) - 0.05), min(1.0, max(known) + 0.05)
        figures: list[Figure] = []
        for place, task in enumerate(matrix.columns[:CURVES]):
            lines = []
            for name, rows in kinds:
                y = [value for row in rows if (value := row[place]) is not None]
                if len(y) == len(rows):
                    second = name == "task-agnostic"
                    colour = charts.TUNED if second else charts.ENSEMBLE
                    lines.append(Series(range(len(y)), y, name, colour, second))
            y = list(lines[0].y)
            figures.append(
                line_chart(
                    task,
                    lines,
                    f"Accuracy on {task}: {percent(y[0])} before any task, {percent(y[place + 1])} "
                    f"right after it was learnt, {percent(y[-1])} after the last.",
                    "model after",
                    "accuracy",
                    percent=True,
                    mark=Mark(place + 1, "learnt"),
                    names=["zero-shot", *matrix.columns],
                    limits=(low, high),
                )
            )
        lead = (
            "Accuracy on each task after each task of the stream. What falls to the right of the "
            f"mark was forgotten. All charts have one scale, from {100 * low:.0f} to "
            f"{100 * high:.0f} per cent."
        )
        if len(matrix.columns) > CURVES:
            lead += f" The first {CURVES} of {len(matrix.columns)} tasks; the matrix has all."
        return [Paragraph(lead, "lead"), Figures(figures)]

    def accounting(self) -> list[Block]:
        """What the tasks are, what each was learnt with, and what all of it took."""
        rows = []
        for task in self.result.tasks:
            templates = " · ".join(task.templates[:TEMPLATES])
            if len(task.templates) > TEMPLATES:
                templates += f" and {len(task.templates) - TEMPLATES} more"
            images = ", ".join(f"{count:,} {split}" for split, count in task.images.items())
            kind = "captions" if task.captions else ""
            rows.append(Row(task.name, [f"{len(task.classes):,}", images, templates], tag=kind))
        columns = [Column("Task"), Column("Classes"), Column("Images", "words")]
        columns.append(Column("Templates", "words"))
        names = [Row(task.name, [self._listed(task.classes)]) for task in self.result.tasks]
        classes = Table("Classes of each task", (), names, style="plain")
        return [
            Tiles(cost_tiles(self.result.costs)),
            Table("Tasks of the stream", columns, rows),
            Details("Classes of each task", [classes]),
            *step_table(self.result.steps),
        ]

    @staticmethod
    def _listed(names: Sequence[str]) -> str:
        more = f" and {len(names) - CLASSES_LISTED:,} more" if len(names) > CLASSES_LISTED else ""
        return ", ".join(names[:CLASSES_LISTED]) + more
