"""The page of name-only transfer."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.report import charts
from holdfast.report.blocks import (
    Bars,
    Block,
    Card,
    Cards,
    Column,
    Details,
    Figure,
    Figures,
    Heading,
    Hero,
    Paragraph,
    Row,
    Section,
    Table,
    Tiles,
)
from holdfast.report.charts import Mark, Series, line_chart
from holdfast.report.formats import large, number, percent
from holdfast.report.page import (
    ReportPage,
    cost_tiles,
    counted,
    finite_columns,
    method_in_words,
    training_figures,
    unreadable_files,
)
from holdfast.report.scores import (
    NOT_COMPARED,
    mistake_section,
    score_sections,
    verdict_hero,
)
from holdfast.results import AlphaSource, TransferResult

SAMPLE_CLASSES = 24
SAMPLES_EACH = 3  # a row of a card
ALPHA_SOURCES: dict[AlphaSource, str] = {
    "default": "the method's default",
    "user": "set by the user",
    "auto": "chosen without any real image",
}
NOT_MEASURED = Hero(
    "open",
    "Not measured on real images",
    "No folder of real images was given, so nothing here says whether the adapted model is better "
    "than the zero-shot one. Evaluate it on labelled photos, even a few dozen, before you rely on "
    "it.",
)


class TransferPage(ReportPage[TransferResult]):
    """Name-only transfer: class names -> generated images -> an adapted model."""

    def facts(self) -> list[str]:
        result = self.result
        return [
            method_in_words(result),
            f"{result.model.name}, {large(result.model.parameters)} parameters",
            counted(len(result.classes), "class", "classes"),
            counted(result.images.generated, "image"),
            f"drawn by {result.generator}" if result.generator else "",
        ]

    def hero(self) -> Hero:
        if self.result.verdict is not None:
            return verdict_hero(self.result.verdict)
        return NOT_COMPARED if self.result.scores else NOT_MEASURED

    def body(self) -> list[Section]:
        result = self.result
        scores, classes, *mistakes = score_sections(result.scores)
        kinds = [kind for kind, paths in result.samples.items() if any(paths.values())]
        training = training_figures(result.training)
        return [
            scores,
            Section("samples", f"Images: {' and '.join(kinds)}", self.samples(kinds), "Images"),
            Section("alpha", "How much of the new model", self.alpha()),
            classes,
            *mistakes,
            mistake_section(self, result.mistakes),
            Section("training", "Training", [Figures(training)] if training else []),
            Section("diagnostics", "Real against generated", self.diagnostics()),
            Section("accounting", "Images and costs", self.accounting()),
        ]

    def samples(self, kinds: list[str]) -> list[Block]:
        """Per class some images of each kind; many classes are thinned out evenly."""
        samples = self.result.samples
        present = [n for n in self.result.classes if any(samples[k].get(n) for k in kinds)]
        if not present:
            return []
        step = max(1.0, len(present) / SAMPLE_CLASSES)
        names = [present[int(i * step)] for i in range(min(len(present), SAMPLE_CLASSES))]
        cards = []
        for name in names:
            groups = [
                (
                    kind,
                    self.pictures(
                        samples[kind].get(name, [])[:SAMPLES_EACH], f"{kind} image {{}} of {name}"
                    ),
                )
                for kind in kinds
            ]
            cards.append(Card(name, groups))
        lead = "These images are stored in this file: think of that before you pass it on."
        if len(names) < len(present):
            every = len(self.result.classes)
            lead += f" {len(names)} of {every:,} classes, spread evenly over the list."
        return [Paragraph(lead, "lead"), Cards(cards)]

    def alpha(self) -> list[Block]:
        """The weight of the new model, curves over it, and the numbers behind them."""
        found = self.result.alpha
        lead = "The method has no mixture with the original model: the fine-tuned weights count."
        if found.how != "none":
            lead = (
                "The final weights are a mixture: a share α of the fine-tuned model, and the rest "
                f"of the original one. Here α = {found.chosen:g}, {ALPHA_SOURCES[found.how]}."
            )
        blocks: list[Block] = [Paragraph(lead, "lead")]
        if found.how == "auto" and found.why:
            blocks.append(Paragraph(found.why))
        sweep = sorted(found.sweep, key=lambda point: point.alpha)
        right = [
            ("right", [point.real_top1 for point in sweep]),
            ("mean per class", [point.real_mean_per_class for point in sweep]),
        ]
        error = [("", [point.ece for point in sweep])]
        proxy = [("", [point.proxy for point in sweep])]
        figures = [
            *self._curve("Accuracy on real images", "accuracy", right, True),
            *self._curve("Calibration error on real images", "calibration error", error, True),
            *self._curve("Score without real images", "score", proxy, False),
        ]
        if not figures:
            return blocks
        every: dict[str, tuple[Callable[[float | None], str], list[float | None]]] = {
            "Right": (percent, [p.real_top1 for p in sweep]),
            "Mean per class": (percent, [p.real_mean_per_class for p in sweep]),
            "Calibration error": (percent, [p.ece for p in sweep]),
            "Score without real images": (number, [p.proxy for p in sweep]),
        }
        known = {name: both for name, both in every.items() if any(v is not None for v in both[1])}
        rows = [
            Row(
                f"{point.alpha:g}",
                [form(values[place]) for form, values in known.values()],
                tag="taken" if point.alpha == found.chosen else "",
            )
            for place, point in enumerate(sweep)
        ]
        columns = [Column("Share α"), *map(Column, known)]
        table = Table("Scores by share of the new model", columns, rows, style="narrow")
        return [*blocks, Figures(figures), Details("The numbers", [table])]

    def _curve(
        self,
        title: str,
        label: str,
        lines: list[tuple[str, list[float | None]]],
        share: bool,
    ) -> list[Figure]:
        """A chart over alpha, or nothing where too little was measured."""
        found = []
        alphas = sorted(point.alpha for point in self.result.alpha.sweep)
        for place, (name, values) in enumerate(lines):
            x, y = finite_columns(zip(alphas, values, strict=True))
            if len(x) > 1:
                colour = charts.TUNED if place else charts.ENSEMBLE
                found.append(Series(x, y, name, colour, place > 0))
        if not found:
            return []
        chosen = self.result.alpha.chosen
        chart = line_chart(
            title,
            found,
            f"{title} against the share of the new model. The table below has the numbers.",
            "share α",
            label,
            percent=share,
            mark=Mark(chosen, f"taken: α = {chosen:g}"),
            ends=("zero-shot", "fine-tuned"),
        )
        return [chart]

    def diagnostics(self) -> list[Block]:
        """The domain gap as bars against the distances within a domain; diversity as a table."""
        found = self.result.diagnostics
        if found is None:
            return []
        blocks: list[Block] = []
        if found.gap:
            alike = {name: len(set(name.split("/"))) == 1 for name in found.gap}
            within = [found.gap[name] for name, same in alike.items() if same]
            between = [found.gap[name] for name, same in alike.items() if not same]
            text = "How far apart the features of two sets of images lie (Fréchet distance)."
            if within and between and max(within) > 0:
                text += (
                    f" Real and generated images are {max(between) / max(within):.1f} times as far "
                    "apart as two halves of the same kind."
                )
            largest = max(found.gap.values()) or 1
            rows = [
                Row(
                    name.replace("/", " – "),
                    [
                        Bars([(value / largest, "theirs" if alike[name] else "between")]),
                        number(value),
                    ],
                )
                for name, value in found.gap.items()
            ]
            columns = [Column("Two sets of images"), Column("", "words"), Column("Distance")]
            blocks += [
                Paragraph(text, "lead"),
                Table("Domain gap", columns, rows, style="narrow"),
            ]
        if found.diversity:
            keys = list(dict.fromkeys(key for row in found.diversity.values() for key in row))
            rows = [
                Row(name, [number(row.get(key)) for key in keys])
                for name, row in found.diversity.items()
            ]
            columns = [Column("Features of"), *(Column(key.replace("_", " ")) for key in keys)]
            caption = (
                "Magnitude: how much the lengths of the features deviate, relative to their mean. "
                "Direction: mean cosine distance of two images, of all or of one class."
            )
            blocks += [
                Heading("Diversity of the features"),
                Table("Diversity of the features", columns, rows, caption, "narrow"),
            ]
        return blocks

    def accounting(self) -> list[Block]:
        """Numbers of images, time and memory, and files that were left out."""
        images = self.result.images
        asked = [] if images.requested is None else [("images asked for", f"{images.requested:,}")]
        tiles = [
            *asked,
            ("images to learn from", f"{images.generated:,}"),
            ("drawn again", f"{images.redrawn:,}"),
            ("could not be drawn", f"{images.missing:,}"),
            ("dropped by the filter", f"{images.filtered:,}"),
            ("unreadable files", f"{len(images.unreadable):,}"),
            *cost_tiles(self.result.costs),
        ]
        return [Tiles(tiles), *unreadable_files(images.unreadable)]
