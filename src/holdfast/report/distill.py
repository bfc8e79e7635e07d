"""The page of a distillation."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from markupsafe import Markup

from holdfast.report.blocks import (
    Bars,
    Block,
    Card,
    Cards,
    Cell,
    Column,
    Details,
    Divider,
    Heading,
    Hero,
    Paragraph,
    Row,
    Section,
    Table,
    Tiles,
)
from holdfast.report.domains import domain_blocks
from holdfast.report.formats import DASH, large, number, percent, size
from holdfast.report.page import (
    ReportPage,
    change_blocks,
    concluded,
    cost_tiles,
    counted,
    method_in_words,
    unreadable_files,
)
from holdfast.report.trials import training_blocks
from holdfast.results import Advice, CompactScores, DistillResult, Share

WEAKEST = 10  # classes of an advice that are shown before the rest
PROMPTS = 100  # classes whose prompts are shown
PROMPTS_EACH = 3


class DistillPage(ReportPage[DistillResult]):
    """Labelled images of several domains and a teacher -> a student."""

    def facts(self) -> list[str]:
        result, student = self.result, self.result.student
        sized = f", {large(student.parameters)} parameters" if student.parameters else ""
        return [
            method_in_words(result),
            f"student {student.name}{sized}" if student.name else "",
            f"teacher {result.teacher.name}",
            counted(len(result.domains), "domain"),
            counted(len(result.classes), "class", "classes"),
            counted(len(result.trials), "trial"),
        ]

    def hero(self) -> Hero:
        better = ("student", "teacher")
        return concluded(self.result.verdict, "teacher better", "student better", better)

    def body(self) -> list[Section]:
        result = self.result
        advice = [] if result.advice is None else advice_blocks(result.advice)
        return [
            Section("domains", "Domain by domain", domain_blocks(result)),
            Section("classes", "Class by class", self.classes()),
            Section("advice", "Should I distil?", advice),
            Section("models", "Size and speed", self.models()),
            Section("training", "Training", training_blocks(result.trials)),
            Section("samples", "Images of each domain", self.samples(), "Images"),
            Section("queries", "Queries and costs", self.queries()),
        ]

    def classes(self) -> list[Block]:
        """Teacher and student class by class where neither learned: in the domains left out."""
        # The teacher may have been asked about DomainBed's share of the images only.
        pairs = [
            (scores.teacher, student)
            for trial in self.result.trials
            if trial.held_out is not None
            for scores in [trial.scores[trial.held_out]]
            for student in (scores.full, scores.domainbed)
            if scores.teacher and student and scores.teacher.n == student.n
        ]
        if not pairs:
            return []

        def mean(scores: Sequence[CompactScores], name: str) -> float | None:
            known = [v for s in scores if (v := s.per_class.get(name)) is not None]
            return statistics.mean(known) if known else None

        teachers, students = zip(*pairs, strict=True)
        values = [(n, mean(teachers, n), mean(students, n), None) for n in teachers[0].per_class]
        lead = (
            "Where neither learned, in domains left out: from the teacher (ring) to the student "
            "(dot). The student is better in {better} classes, worse in {worse}, equal in {same}. "
            "A class with few images moves easily by chance."
        )
        if len(values) < len(self.result.classes):
            lead = (
                f"Of {len(self.result.classes):,} classes the {len(values):,} that the student "
                f"names best and worst; classes.csv beside the result has all. {lead}"
            )
        return change_blocks(values, "teacher", "student", lead)

    def models(self) -> list[Block]:
        """Size and speed of teacher and student, and what else is known of the teacher."""
        result, teacher = self.result, self.result.teacher
        rows = []
        for role, tower in (("teacher", teacher.tower), ("student", result.student)):
            if tower is None or not tower.parameters:
                continue
            speed = tower.milliseconds_per_image
            time = Cell(DASH if speed is None else f"{number(speed)} ms", note=tower.device or "")
            name = tower.name or (teacher.name if role == "teacher" else "")
            rows.append(Row(role, [name, large(tower.parameters), size(tower.bytes), time]))
        blocks: list[Block] = []
        if rows:
            caption = (
                "Image towers, in 32-bit numbers. The time is the median of several passes with "
                "one image, as this run's machine did it."
            )
            columns = [Column("Role"), Column("Model", "words"), Column("Parameters")]
            columns += [Column("Size"), Column("An image takes")]
            blocks.append(Table("Size and speed", columns, rows, caption, "scores"))
        about = [
            Row("identity", [teacher.identity]),
            Row("width of the embeddings", [f"{teacher.width:,}"]),
            Row("logit scale", [number(teacher.logit_scale)]),
        ]
        prompts = [
            Row(name, [" · ".join([*some[:PROMPTS_EACH], *["…"] * (len(some) > PROMPTS_EACH)])])
            for name, some in zip(result.classes[:PROMPTS], result.prompts, strict=False)
        ]
        blocks.append(Details("The teacher", [Table("The teacher", (), about, style="plain")]))
        if teacher.zero_shot is not None:
            summary = "The teacher, zero-shot, on all images whose answers are stored"
            blocks.append(Details(summary, advice_blocks(teacher.zero_shot, sample=False)))
        if prompts:
            table = Table("Prompts of the classes", (), prompts, style="plain")
            blocks.append(Details("Prompts of the classes", [table]))
        return blocks

    def samples(self) -> list[Block]:
        """Some pictures of each domain, and whether it was left out."""
        left_out = {trial.held_out for trial in self.result.trials}
        cards = []
        for domain in self.result.domains:
            some = self.pictures(
                self.result.samples.get(domain.name, []), f"image {{}} of {domain.name}"
            )
            tag = "never seen" if left_out == {domain.name} else ""
            cards.append(Card(domain.name, [(f"{domain.images:,} images", some)], tag))
        lead = "These images are stored in this file: think of that before you pass it on."
        unreadable = unreadable_files(self.result.unreadable)
        return [Paragraph(lead, "lead"), Cards(cards), *unreadable]

    def queries(self) -> list[Block]:
        """What the teacher was asked, and what the run took."""
        found, check = self.result.queries, self.result.spot_check
        tiles = [
            ("asked by this run", f"{found.asked_by_this_run:,}"),
            ("images it needs without a store", f"{found.needed_images:,}"),
            ("texts it needs without a store", f"{found.needed_texts:,}"),
            ("images asked, all runs of the store", f"{found.images_in_all:,}"),
            ("texts asked, all runs of the store", f"{found.texts_in_all:,}"),
        ]
        if found.limit is not None:
            tiles.append(("limit of queries", f"{found.limit:,}"))
        lead = (
            "A query is one image or one text that the teacher was asked about. Its answers are "
            "stored, so that no run pays for them again."
        )
        blocks: list[Block] = [Paragraph(lead, "lead"), Tiles(tiles)]
        if check is not None:
            drifted = Markup(" <b>The teacher has changed since.</b>") if check.drifted else ""
            text = (
                f"{check.count:,} stored answers were asked for again: mean cosine "
                f"{number(check.mean_cosine)}, lowest {number(check.lowest_cosine)}."
            )
            blocks.append(Paragraph(Markup("{}{}").format(text, drifted)))
        if costs := cost_tiles(self.result.costs):
            blocks.append(Tiles(costs))
        return blocks


def advice_blocks(found: Advice, sample: bool = True) -> list[Block]:
    """The teacher's zero-shot accuracy on a sample of the training images, or on all."""

    def table(what: str, label: str, shares: Sequence[tuple[str, Share]]) -> Table:
        columns = [Column(what), Column("0 to 100 %", "words"), Column("Teacher right")]
        rows: list[Row | Divider] = [
            Row(name, [Bars([(one.top1, "theirs")]), percent(one.top1), f"{one.n:,}"])
            for name, one in shares
        ]
        return Table(label, [*columns, Column("Images")], rows, style="narrow")

    blocks: list[Block] = []
    if sample:
        lead = f"What {found.images:,} training images told, before anything else was spent."
        blocks += [Paragraph(lead, "lead"), Paragraph(found.text)]
    else:
        blocks.append(Paragraph(f"{percent(found.top1)} of {found.images:,} images right.", "lead"))
    if found.domains:
        blocks.append(table("Domain", "The teacher by domain", list(found.domains.items())))
    weakest = sorted(found.classes.items(), key=lambda item: item[1].top1)
    first, rest = weakest[:WEAKEST], weakest[WEAKEST:]
    if first:
        blocks.append(Heading("Its weakest classes" if rest else "Its classes, the weakest first"))
        blocks.append(table("Class", "The teacher's weakest classes", first))
    if rest:
        others = table("Class", "The teacher's other classes", rest)
        blocks.append(Details(f"The other {len(rest):,} classes", [others]))
    return blocks
