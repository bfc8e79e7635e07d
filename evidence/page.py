"""What runs found -> claims judged, a page in Markdown, and its numbers as JSON beside it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from evidence.engine import FAILED, Evidence, Study, UndecidedError
from evidence.intervals import paired

ROOT = Path(__file__).resolve().parent.parent
VERDICTS = ("holds", "does not hold", "cannot tell")
HOW = """Made by `make evidence-{name}` from {seeds} seeds. Each figure is the mean ± standard
deviation over them, accuracies in percent. All numbers are in [{name}.json]({name}.json).

## What holds, what does not, and why

A claim holds where the 95 % interval of the paired difference (Student's t over the seeds) lies
above zero, or above the margin that the claim names; it does not hold where the interval lies
below; else these runs cannot tell. Differences of accuracies are in points, with their intervals.
By chance one in forty of these {comparisons} would hold. The seeds share their test pictures: the
intervals do not cover other pictures."""


@dataclass(frozen=True)
class Table:
    """Rows, measures and cases: those named in `down` downwards, the others across."""

    rows: Sequence[str]
    measures: Sequence[str]
    cases: Sequence[str] = ()  # none is all
    down: Sequence[str] = ("row",)

    def text(self, evidence: Evidence) -> str:
        """The table; lines of which nothing was run are left out."""
        cases = self.cases or list(evidence.study.cases)
        axes = {"case": cases, "row": self.rows, "measure": self.measures}

        def points(names: Sequence[str]) -> list[dict[str, str]]:
            found = product(*(axes[name] for name in names))
            return [dict(zip(names, point, strict=True)) for point in found]

        def title(point: dict[str, str]) -> str:
            several = [value for axis, value in point.items() if len(axes[axis]) > 1]
            return ", ".join(several or point.values())

        columns = points([axis for axis in axes if axis not in self.down])
        lines = [
            [title(line), *(cell(evidence, **line, **column) for column in columns)]
            for line in points(self.down)
        ]
        return table(["", *map(title, columns)], [ls for ls in lines if set(ls[1:]) != {"–"}])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def cell(evidence: Evidence, row: str, measure: str, case: str) -> str:
    """`71.2 ± 0.8`; the deviation is left out where nothing varies."""
    values, shown = evidence.values(row, measure, case), evidence.study.measures[measure]
    if values is None:
        return "–"
    varies = f" ± {shown.scale * stdev(values):,.{shown.digits}f}" if len(set(values)) > 1 else ""
    return f"{shown.scale * mean(values):,.{shown.digits}f}{varies}"


def judged(evidence: Evidence) -> list[dict[str, Any]]:
    """Every claim by every measure in every case, with its interval in numbers and words."""
    study, found = evidence.study, []
    for claim in study.claims:
        cases = claim.cases or list(study.cases)
        for measure, case in product(claim.measures, cases):
            more, less = (evidence.values(row, measure, case) for row in (claim.more, claim.less))
            if more and less:
                interval, of = paired(more, less), study.measures[measure]
                ends = (
                    f"{of.scale * x:+.{of.digits}f}"
                    for x in (interval.mean, interval.low, interval.high)
                )
                place = [measure] * (len(claim.measures) > 1) + [case] * (len(cases) > 1)
                words = "{} (between {} and {})".format(*ends)
                about = {"claim": claim.text, "measure": measure, "case": case, "place": place}
                verdict = {"verdict": interval.judge(claim.margin), "words": words}
                found.append(about | verdict | asdict(interval))
    return found


def overview(study: Study, found: Sequence[dict[str, Any]]) -> str:
    """What holds, what does not, and why: a line for each claim."""
    lines = []
    for text in (claim.text for claim in study.claims):
        cells: dict[str, list[str]] = {verdict: [] for verdict in VERDICTS}
        for each in (each for each in found if each["claim"] == text):
            words = ": ".join(filter(None, (", ".join(each["place"]), each["words"])))
            cells[each["verdict"]].append(words)
        surprise = cells["does not hold"] or cells["cannot tell"]
        reason = "not looked into yet" if surprise else "–" if cells["holds"] else "not run"
        by_verdict = ["<br>".join(cell) or "–" for cell in cells.values()]
        lines.append([text, *by_verdict, study.why.get(text, reason)])
    return table(["claim", *VERDICTS, "why"], lines)


def choices(evidence: Evidence) -> str:
    """What was tried on development data, and what was taken."""
    lines = []
    for (name, choice), case in product(evidence.study.choices.items(), evidence.study.cases):
        scores = evidence.scores(name, case)
        try:
            best = evidence.chosen(name, case)
        except UndecidedError:
            continue
        values = list(scores)
        tried = ", ".join(f"{value}: {100 * (s or 0):.1f}" for value, s in scores.items())
        edge = " (at the edge)" if best in (values[0], values[-1]) else ""
        lines.append([name, case, f"{choice.measure} of {tried}", f"{best}{edge}"])
    return table(["choice", "for", "tried", "taken"], lines)


def render(name: str, evidence: Evidence, blocks: Sequence[str | Table]) -> str:
    """The page: title, how to read it, the overview, the blocks, choices, and what is missing."""
    study, found, left = evidence.study, judged(evidence), set(evidence.plan())
    how = HOW.format(name=name, seeds=len(evidence.seeds), comparisons=len(found))
    parts = [f"# {study.title}", how, overview(study, found)]
    parts += [each if isinstance(each, str) else each.text(evidence) for each in blocks]
    parts += ["## Chosen on development data", choices(evidence)] if study.choices else []
    left |= {job.label for job in evidence.jobs.values() if not job.record.exists()}
    parts += [f"Not run for every seed: {', '.join(sorted(left))}."] if left else []
    return "\n\n".join(part.strip() for part in parts) + "\n"


def numbers(evidence: Evidence) -> dict[str, Any]:
    """All numbers of a page that was rendered, as JSON takes them."""
    study = evidence.study
    about = {"runs": evidence.work.name, "seeds": evidence.seeds, "why": dict(study.why)}
    tried: dict[str, dict[str, Any]] = {name: {} for name in study.choices}
    for name, case in product(study.choices, study.cases):
        scores = evidence.scores(name, case).items()
        tried[name][case] = {str(v): "failed" if s == FAILED else s for v, s in scores}
    return {**about, "choices": tried, "claims": judged(evidence), "values": evidence.shown}


def quiet(folder: Path) -> None:
    """What a process of the pool prints goes to a file."""
    sys.stdout = sys.stderr = (folder / f"log-{os.getpid()}.txt").open("a", buffering=1)


def main() -> int:
    """Make what is missing for a page, then write `docs/evidence/NAME.md`; 1 if a run failed."""
    parser = argparse.ArgumentParser(description="Make the runs of a page, and the page.")
    parser.add_argument("name", help="of the file beside this one: transfer, distill, continual")
    parser.add_argument("--quick", action="store_true", help="tiny runs, to test; page in build")
    parser.add_argument("--left", action="store_true", help="only say what is left")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after")
    parser.add_argument("--workers", type=int, default=2, help="runs side by side")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # two processes of one thread beat one of two
    name, pages = options.name, ROOT / "docs" / "evidence"
    if options.quick:
        pages = ROOT / "build" / "evidence" / "quick"
    declared = import_module(f"evidence.{name}")
    root = pages if options.quick else ROOT / "build" / "evidence"
    evidence = Evidence(declared.STUDY, root / name, options.quick)
    render(name, evidence, declared.PAGE)  # an unknown name is found before hours are spent
    print(evidence.left(), flush=True)
    if options.left:
        return 0
    evidence.work.mkdir(parents=True, exist_ok=True)
    start: dict[str, Any] = {"initializer": quiet, "initargs": (evidence.work,)}
    with ProcessPoolExecutor(options.workers, get_context("spawn"), **start) as pool:
        evidence.make(pool, options.workers, options.minutes)
    (pages / f"{name}.md").write_text(render(name, evidence, declared.PAGE))
    (pages / f"{name}.json").write_text(
        json.dumps(numbers(evidence), indent=1, allow_nan=False) + "\n"
    )
    print(*evidence.failed.values(), pages / f"{name}.md", sep="\n")
    return 1 if evidence.failed else 0


if __name__ == "__main__":
    from evidence import page  # the module that the pages import, with the same `Table`

    sys.exit(page.main())
