"""Scores of several models on one set of images -> a table, the classes, and the mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from holdfast.report import charts
from holdfast.report.blocks import (
    Block,
    Card,
    Cards,
    Cell,
    Column,
    Details,
    Figures,
    Heading,
    HeatCell,
    HeatMap,
    Hero,
    Paragraph,
    Row,
    Section,
    Table,
    Thumbnail,
)
from holdfast.report.charts import Series, line_chart
from holdfast.report.formats import number, percent
from holdfast.report.page import ReportPage, change_blocks, gains, interval_of, set_well
from holdfast.results import Mistake, Scores, Verdict

ZERO_SHOT = "zero-shot"
HEAT_MAP_CLASSES = 20
CONFUSED_PAIRS = 10
FEWEST_IN_BIN = 5  # images of a group of the reliability diagram
NOT_COMPARED = Hero(
    "open",
    "Measured, not compared",
    "The scores below come from real images, but only one model was scored on them.",
)
EXPLAINED = (
    "Mean per class gives every class the same weight, however many images it has. Calibration "
    "error is how far the model's confidence lies from its accuracy, in 15 bins of confidence. "
    "Log loss is the mean of −log p over the images, p the probability of the right class. "
    "For the last two, lower is better."
)


def score_sections(scores: Mapping[str, Scores]) -> list[Section]:
    """Sections on the scores of models by name, in the order they come to be."""
    return [
        Section("scores", "Scores on real images", _table(scores), "Scores"),
        Section("classes", "Class by class", _classes(scores)),
        Section("calibration", "How sure it is", _calibration(scores)),
        Section("confusion", "What it confuses", _confusion(scores)),
    ]


def mistake_section(page: ReportPage[Any], mistakes: Sequence[Mistake]) -> Section:
    """Pictures that a model was surest of and wrong about."""
    cards = mistake_cards(page, mistakes)
    return Section("mistakes", "Where it was surest and wrong", cards, "Mistakes")


def mistake_cards(page: ReportPage[Any], mistakes: Sequence[Mistake]) -> list[Block]:
    """Pictures of mistakes, a card for each true class."""
    by_class: dict[str, list[Thumbnail]] = {}
    for one in mistakes:
        for image in page.pictures([one.path], f"{one.true}, taken for {one.predicted}"):
            caption = f"{one.predicted}, {percent(one.confidence)} sure"
            by_class.setdefault(one.true, []).append(replace(image, caption=caption))
    cards = [Card(name, [("taken for", images)]) for name, images in by_class.items()]
    lead = "Look at them: some may have a wrong label. They are stored in this file."
    return [Paragraph(lead, "lead"), Cards(cards)] if cards else []


def verdict_hero(found: Verdict) -> Hero:
    """The head of a page from a comparison with the zero-shot model."""
    use = found.decision == "use"
    text, _, advice = found.text.rpartition(": ")  # the headline already gives the advice
    return Hero(
        "use" if use else "worse" if found.high < 0 else "keep",
        "Use the adapted model" if use else "Keep the zero-shot model",
        set_well(text or advice) + ".",
        interval_of(found, "zero-shot better", "adapted better"),
        [gains(found, "adapted model", "zero-shot model"), *map(set_well, found.details)],
    )


def _table(scores: Mapping[str, Scores]) -> list[Block]:
    if not scores:
        return []
    columns = {
        "Right": [s.top1 for s in scores.values()],
        "Mean per class": [s.mean_per_class for s in scores.values()],
        "Calibration error": [s.ece for s in scores.values()],
        "Log loss": [s.nll for s in scores.values()],
    }
    best = {name: (max if i < 2 else min)(vs) for i, (name, vs) in enumerate(columns.items())}
    rows = []
    for place, model in enumerate(scores):
        cells = [
            Cell(
                number(values[place]) if name == "Log loss" else percent(values[place]),
                style="best" if len(scores) > 1 and values[place] == best[name] else "",
            )
            for name, values in columns.items()
        ]
        rows.append(Row(model, cells, swatch=model))
    one = next(iter(scores.values()))
    classes = sum(map(bool, one.count)) + one.more_classes
    caption = f"{one.n:,} labelled images of {classes:,} classes."
    if len(scores) > 1:
        caption += " The best of each column is bold."
    heads = [Column("Model"), *map(Column, columns)]
    return [Table("Scores", heads, rows, caption, "scores"), Paragraph(EXPLAINED, "small")]


def _classes(scores: Mapping[str, Scores]) -> list[Block]:
    """Accuracy of each class before and after; nothing for one model."""
    if len(scores) < 2 or ZERO_SHOT not in scores:
        return []
    name = list(scores)[-1]
    before, after = scores[ZERO_SHOT], scores[name]
    empty = after.count.count(0)
    lead = (
        f"From the zero-shot model (ring) to the {name} (dot): {{better}} classes better, {{worse}}"
        f" worse, {{same}} unchanged{f', {empty} without images' if empty else ''}. A class with "
        "few images moves easily by chance."
    )
    if after.more_classes:
        total = len(after.classes) + after.more_classes
        lead = (
            f"Of {total:,} classes the {len(after.classes):,} that are best, worst, confused or "
            f"changed most; classes.csv beside the result has all. Among these: {lead}"
        )
    columns = (after.classes, before.per_class, after.per_class, after.count)
    return change_blocks(zip(*columns, strict=True), ZERO_SHOT, name, lead)


def _calibration(scores: Mapping[str, Scores]) -> list[Block]:
    """A reliability diagram: how often a model is right against how sure it was."""
    some = list(dict.fromkeys([ZERO_SHOT, *scores]))
    kept = {name: scores[name] for name in (some[0], some[-1]) if name in scores}
    lines = []
    for place, (name, found) in enumerate(kept.items()):
        known = [(sure, right) for n, sure, right in found.reliability if n >= FEWEST_IN_BIN]
        if len(known) > 1:
            x, y = zip(*known, strict=True)
            colour = charts.ENSEMBLE if place == len(kept) - 1 else charts.TUNED
            lines.append(Series(x, y, name, colour, place < len(kept) - 1))
    if not lines:
        return []
    chart = line_chart(
        "How often it is right when it is that sure",
        [*lines, Series([0, 1], [0, 1], "as sure as right", charts.MUTED, True, False)],
        "Share of images named right against the model's confidence in what it says: "
        + "; ".join(
            f"{line.name} {percent(line.y[0])} at {percent(line.x[0])} to {percent(line.y[-1])} "
            f"at {percent(line.x[-1])}"
            for line in lines
        ),
        "confidence",
        "right",
        percent=True,
        percent_x=True,
        limits=(0.0, 1.02),
    )
    lead = (
        "Images in 15 groups by the model's confidence, the probability it gives to what it says. "
        "On the thin line it is as sure as it is right; below it, too sure. Groups of fewer than "
        f"{FEWEST_IN_BIN} images are left out."
    )
    rows = [
        Row(percent(sure), [percent(right), f"{images:,}"])
        for images, sure, right in list(kept.values())[-1].reliability
    ]
    columns = [Column("Confidence, mean"), Column("Right"), Column("Images")]
    table = Table(f"Groups of the {list(kept)[-1]}", columns, rows, style="narrow")
    return [Paragraph(lead, "lead"), Figures([chart]), Details("The numbers", [table])]


def _confusion(scores: Mapping[str, Scores]) -> list[Block]:
    """The last model's mistakes: a heat map for few classes, and the most confused pairs."""
    if not scores:
        return []
    name = list(scores)[-1]
    found = scores[name]
    cells = {(true, guess): images for true, guess, images in found.confusion}
    mistakes = [(images, pair) for pair, images in cells.items() if pair[0] != pair[1]]
    mistakes.sort(key=lambda entry: (-entry[0], entry[1]))
    blocks: list[Block] = []
    if not mistakes:
        blocks.append(Paragraph(f"The {name} model made no mistake on these images.", "lead"))
    if len(found.classes) <= HEAT_MAP_CLASSES:
        text = (
            f"Rows are true classes, columns what the {name} model said, in numbers of images. "
            "The shade is the share of the row."
        )
        blocks += [Paragraph(text, "lead"), _heat_map(found.classes, found.count, cells)]
    if not mistakes:
        return blocks
    compared = name != ZERO_SHOT and ZERO_SHOT in scores
    earlier = scores[ZERO_SHOT].confusion if compared else ()
    before = {(true, guess): images for true, guess, images in earlier}
    rows = []
    for images, (true, guess) in mistakes[:CONFUSED_PAIRS]:
        numbers = [f"{images:,}", percent(images / found.count[true])]
        numbers += [f"{before.get((true, guess), 0):,}"] if compared else []
        rows.append(Row(found.classes[true], [found.classes[guess], *numbers]))
    shown = sum(images for images, _ in mistakes[:CONFUSED_PAIRS])
    total = found.n - round(found.top1 * found.n)
    columns = [Column("True class"), Column("Taken for", "words"), Column("Images")]
    columns += [Column("Of its class"), *([Column("With zero-shot")] if compared else [])]
    caption = f"{shown:,} of {total:,} mistakes of the {name} model."
    table = Table("Most confused pairs", columns, rows, caption, "narrow")
    return [*blocks, Heading("The most confused pairs"), table]


def _heat_map(
    classes: Sequence[str], count: Sequence[int], cells: Mapping[tuple[int, int], int]
) -> HeatMap:
    rows = []
    for true, name in enumerate(classes):
        row = []
        for guess in range(len(classes)):
            images = cells.get((true, guess), 0)
            shade = round(100 * images / count[true]) if count[true] else 0
            row.append(HeatCell(str(images or ""), shade, true == guess))
        rows.append((name, row))
    return HeatMap("Confusion matrix", classes, rows)
