"""The page of an evaluation."""

from __future__ import annotations

from holdfast.report.blocks import Block, Column, Details, Hero, Row, Section, Table
from holdfast.report.formats import percent
from holdfast.report.page import ReportPage, counted, set_well
from holdfast.report.scores import (
    NOT_COMPARED,
    ZERO_SHOT,
    mistake_cards,
    mistake_section,
    score_sections,
    verdict_hero,
)
from holdfast.results import Evaluation


class EvaluationPage(ReportPage[Evaluation]):
    """A classifier on real images."""

    def facts(self) -> list[str]:
        scores = self.result.scores
        return [counted(len(scores.classes), "class", "classes"), counted(scores.n, "image")]

    def hero(self) -> Hero:
        return NOT_COMPARED if self.result.verdict is None else verdict_hero(self.result.verdict)

    def body(self) -> list[Section]:
        before = self.result.zero_shot
        scores = {} if before is None else {ZERO_SHOT: before}
        sections = score_sections(scores | {"classifier": self.result.scores})
        wrong = mistake_section(self, self.result.mistakes)
        return [
            *sections,
            wrong,
            Section("further", "On other images", self.further(), "Other images"),
        ]

    def further(self) -> list[Block]:
        """A row for each of the other folders."""
        rows = []
        for name, found in self.result.further.items():
            before, verdict = found.zero_shot, found.verdict
            cells = [
                f"{found.scores.n:,}",
                percent(found.scores.top1),
                percent(found.scores.mean_per_class),
                percent(found.scores.ece),
                percent(before.top1) if before else "–",
                set_well(verdict.text) if verdict else "–",
            ]
            rows.append(Row(name, cells))
        columns = [
            *(Column(each) for each in ("Folder", "Images", "Right", "Mean per class")),
            *(Column(each) for each in ("Calibration error", "Zero-shot, right")),
            Column("Verdict", "words"),
        ]
        if not rows:
            return []
        wrong = {
            name: cards
            for name, found in self.result.further.items()
            if (cards := mistake_cards(self, found.mistakes))
        }
        behind = [Details(f"Mistakes on {name}", cards) for name, cards in wrong.items()]
        return [Table("Scores on other folders", columns, rows), *behind]
