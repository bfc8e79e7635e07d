"""The trainings of a distillation: validations, the weights that were kept, the trials."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.report.blocks import (
    Block,
    Cell,
    Column,
    Details,
    Figure,
    Figures,
    Heading,
    Paragraph,
    Row,
    Table,
)
from holdfast.report.charts import Band, Mark, Series, line_chart
from holdfast.report.formats import DASH, duration, number, percent
from holdfast.report.page import counted, finite_columns
from holdfast.results import KeptWeights, TrialResult

FEW = 6  # rows up to which a table is not hidden


def training_blocks(trials: Sequence[TrialResult]) -> list[Block]:
    """Validation of each stage, the steps that were kept, and weights that were tried."""
    blocks: list[Block] = []
    if kept := _kept(trials):
        lead = (
            "Validation is on held-back images of the domains that were learned from, never on "
            "a domain left out. The shaded steps are those whose weights were averaged."
        )
        if len(trials) > 1:
            lead += f" The curves are of the first of {len(trials)} trials."
        blocks += [Paragraph(lead, "lead"), Figures(_curves(trials)), *kept]
    rows = [
        Row(
            f"{one.image_weight:g}",
            [*_trial(trial, trials), percent(one.accuracy)],
            tag="taken" if one.image_weight == trial.image_weight else "",
        )
        for trial in trials
        for one in trial.candidates
    ]
    if rows:
        title = "Weight of the teacher's image embedding"
        columns = [Column("Weight"), *_trial_column(trials)]
        columns.append(Column("Accuracy it was selected by"))
        blocks += folded(title, Table("Image weights tried", columns, rows, style="narrow"))
    if blocks:
        blocks += folded("What each trial learned from", _trials(trials), few=0)
    return blocks


def _curves(trials: Sequence[TrialResult]) -> list[Figure]:
    figures = []
    for name, stage in trials[0].stages.items():
        steps = kept_steps(stage.kept)
        for label, values in (
            ("accuracy", [(v.step, v.accuracy) for v in stage.validations]),
            ("loss", [(v.step, v.loss) for v in stage.validations]),
        ):
            x, y = finite_columns(values)
            if len(x) < 2:
                continue
            share = label == "accuracy"
            form = percent if share else number
            figures.append(
                line_chart(
                    f"{name[0].upper()}{name[1:]}: validation {label}",
                    [Series(x, y)],
                    f"{name}, validation {label}: {form(y[0])} at step {x[0]:,}, {form(y[-1])} "
                    f"at step {x[-1]:,}. Kept: {steps}.",
                    "step",
                    label,
                    percent=share,
                    mark=Mark(stage.kept.step, "kept") if stage.kept.step is not None else None,
                    band=kept_band(stage.kept),
                )
            )
    return figures


def _kept(trials: Sequence[TrialResult]) -> list[Block]:
    """What each stage of each trial kept, and what it is worth on the validation images."""
    rows = []
    for trial in trials:
        for name, stage in trial.stages.items():
            kept = stage.kept
            what = Cell(kept_steps(kept), note=kept_remark(kept))
            numbers = [percent(kept.accuracy), number(kept.loss), duration(stage.seconds)]
            rows.append(Row(name, [*_trial(trial, trials), what, *numbers]))
    if not rows:
        return []
    columns = [Column("Stage"), *_trial_column(trials), Column("Kept", "words")]
    columns += [Column("Accuracy"), Column("Loss"), Column("Took")]
    return folded("What was kept", Table("What was kept", columns, rows))


def _trials(trials: Sequence[TrialResult]) -> Table:
    rows = [
        Row(
            f"seed {trial.seed}",
            [
                ", ".join(trial.sources),
                DASH if trial.held_out is None else trial.held_out,
                DASH if trial.image_weight is None else f"{trial.image_weight:g}",
                duration(trial.training_seconds),
                duration(trial.evaluation_seconds),
                trial.classifier or DASH,
            ],
        )
        for trial in trials
    ]
    columns = [Column("Trial"), Column("Learned from", "words"), Column("Left out", "words")]
    columns += [Column("Image weight"), Column("Training"), Column("Evaluation")]
    columns.append(Column("Its folder in the run", "words"))
    return Table("Trials", columns, rows)


def _trial(trial: TrialResult, trials: Sequence[TrialResult]) -> list[str]:
    """Which trial a row is about; nothing if there is only one."""
    without = f"without {trial.held_out}, " if trial.held_out is not None else ""
    return [f"{without}seed {trial.seed}"] if len(trials) > 1 else []


def _trial_column(trials: Sequence[TrialResult]) -> list[Column]:
    return [Column("Trial", "words")] if len(trials) > 1 else []


def kept_steps(kept: KeptWeights) -> str:
    """The steps whose weights were kept, in words."""
    if kept.first_step is None or kept.last_step is None:
        return DASH if kept.step is None else f"step {kept.step:,}"
    return f"mean of steps {kept.first_step:,} to {kept.last_step:,}"


def kept_remark(kept: KeptWeights) -> str:
    """How a loss-valley average came to its steps."""
    if kept.average == "iterates":
        return "of some of them, evenly spaced"
    if kept.average != "valley":
        return ""
    if not kept.converged:
        found = "the loss never turned: its last stretch"
    else:
        found = "the valley ended" if kept.ended else "the training ended first"
    return f"{counted(kept.segments or 0, 'validation')}; {found}" if kept.segments else found


def kept_band(kept: KeptWeights) -> Band | None:
    """The steps that were averaged, as a chart shades them."""
    if kept.first_step is None or kept.last_step is None:
        return None
    return Band(kept.first_step, kept.last_step, "averaged")


def folded(title: str, table: Table, few: int = FEW) -> list[Block]:
    """A table under its title; one of many rows is behind it."""
    if len(table.rows) > few:
        return [Details(title, [table])]
    return [Heading(title), table]
