"""The page of one more task for a model."""

from __future__ import annotations

from holdfast.report.blocks import (
    Block,
    Cell,
    Column,
    Details,
    Hero,
    Row,
    Section,
    Table,
    Tiles,
)
from holdfast.report.formats import percent
from holdfast.report.page import (
    ReportPage,
    change_blocks,
    concluded,
    cost_tiles,
    method_in_words,
)
from holdfast.report.steps import (
    gate_blocks,
    replay_blocks,
    replay_cards,
    step_curves,
    step_table,
)
from holdfast.results import AddResult, TaskScores


class AddPage(ReportPage[AddResult]):
    """One more task for a model."""

    def facts(self) -> list[str]:
        settings = self.result.settings
        return [
            method_in_words(self.result),
            f"from {settings['model']}" if settings.get("model") else "",
            f"knows {', '.join(self.result.tasks)}",
        ]

    def hero(self) -> Hero:
        return concluded(self.result.verdict, "", "", ("", ""))

    def body(self) -> list[Section]:
        steps = [self.result.step]
        return [
            Section("scores", "Before and after", self.scores()),
            Section("gate", "The gate", gate_blocks(steps)),
            Section("replay", "Replay", [*replay_blocks(steps), *replay_cards(self, steps)]),
            Section("training", "Training", step_curves(steps)),
            Section("accounting", "Costs", self.accounting()),
        ]

    def scores(self) -> list[Block]:
        """Accuracy before and after the task, on it and on the held-out tasks."""
        before, after = self.result.before, self.result.after
        both = [name for name in before if name in after]
        values = [
            (n, before[n].task_aware_top1, after[n].task_aware_top1, before[n].images) for n in both
        ]
        lead = (
            "Task-aware accuracy (the task is known at test time), before (ring) and after (dot) "
            "the task was learnt, on its own images and on those of the held-out tasks."
        )
        blocks = change_blocks(values, "before", "after", lead, "Task")
        if not blocks:
            return []
        rows = []
        for name in both:
            note = "held out" if name in self.result.held_out else ""
            for when, found in (("before", before[name]), ("after", after[name])):
                rows.append(Row(name, [when, found.split, *_numbers(found)], tag=note))
        columns = [Column("Task"), Column("When", "words"), Column("Images of", "words")]
        columns += [Column("Task-aware"), Column("Task-agnostic")]
        columns += [Column("Task-aware mean per class"), Column("Task-aware calibration error")]
        return [*blocks, Details("All numbers", [Table("All scores", columns, rows)])]

    def accounting(self) -> list[Block]:
        """What the task was learnt with, and what that took."""
        step = self.result.step
        return [Tiles(cost_tiles(step.costs)), *step_table([step], images=True)]


def _numbers(found: TaskScores) -> list[str | Cell]:
    shares = (found.task_aware_top1, found.task_agnostic_top1)
    further = (found.task_aware_mean_per_class, found.task_aware_ece)
    return [percent(share) for share in (*shares, *further)]
