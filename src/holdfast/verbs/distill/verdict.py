"""What came of a distillation, in a headline and a few sentences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import t as student_t

Record = Mapping[str, Any]


def conclude(
    method: str, trials: Sequence[Record], summary: Record, student: Record, teacher: Record
) -> dict[str, Any]:
    """A run's verdict: `decision`, `headline` and `text`, and `gap` where it was measured.

    decision: `holds up` where the student is not worse than its teacher on domains it never saw,
    within the 95 % interval of their difference; `falls short` where it is; `open` where that was
    not measured. gap: student minus teacher with its interval, of a single trial.
    """
    average = (summary.get("held_out") or {}).get("full")
    if method == "zero-shot":
        found = average or summary["in_domain"]
        text = f"The teacher names {percent(found['average']['mean'])} of the images right."
        return {"decision": "open", "headline": "The teacher, not a student", "text": text}
    if average is None:
        return unmeasured(summary["in_domain"])
    tested = [t["scores"][t["held_out"]] for t in trials]
    size = smaller(student, teacher)
    if not all(scores.get("gap") for scores in tested):
        found = average["average"]["mean"]
        text = (
            f"The student names {percent(found)} of the images of {unseen(trials)} right. The "
            "teacher was not asked about them all; compare with --teacher_scores all."
        )
        headline = f"{percent(found)} on domains it never saw"
        return {"decision": "open", "headline": headline, "text": joined(text, size)}
    theirs = statistics.mean(scores["teacher"]["top1"] for scores in tested)
    gap = statistics.mean(scores["gap"]["difference"] for scores in tested)
    single = tested[0]["gap"] if len(tested) == 1 else None
    low, high = interval(tested, summary.get("gap", {}).get("values", []))
    images = sum(scores["gap"]["n"] for scores in tested)
    difference = (
        f"{100 * gap:+.1f} points (95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
        f"{', over seeds' if len({t['seed'] for t in trials}) > 1 else ''})"
    )
    text = (
        f"On {images:,} images of {unseen(trials)} the student names {percent(theirs + gap)} "
        f"right and its teacher {percent(theirs)}: {difference}."
    )
    return {
        "decision": "holds up" if high >= 0 else "falls short",
        "headline": compared(theirs, gap, low, high),
        "text": joined(text, size),
        "gap": single,
    }


def interval(tested: Sequence[Record], seeds: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean gap: Student's t over several seeds, else over the images.

    tested: the scores of each domain left out; seeds: the mean gap of each seed.
    """
    if len(seeds) > 1:
        error = statistics.stdev(seeds) / math.sqrt(len(seeds))
        margin = float(student_t.ppf(0.975, len(seeds) - 1)) * error
        return statistics.mean(seeds) - margin, statistics.mean(seeds) + margin
    gaps = [scores["gap"] for scores in tested]
    if len(gaps) == 1:
        return gaps[0]["low"], gaps[0]["high"]
    # Domains have images of their own: their errors are independent.
    margin = math.hypot(*((gap["high"] - gap["low"]) / 2 for gap in gaps)) / len(gaps)
    mean = statistics.mean(gap["difference"] for gap in gaps)
    return mean - margin, mean + margin


def compared(teacher: float, gap: float, low: float, high: float) -> str:
    """How the student compares with its teacher, in a few words."""
    if low > 0:
        return "Better than its teacher"
    if high >= 0:
        return "As good as its teacher"
    return f"Keeps {100 * (teacher + gap) / teacher:.0f} % of its teacher's accuracy"


def unmeasured(in_domain: Record) -> dict[str, Any]:
    """A student for deployment, which saw every domain."""
    mean, worst = in_domain["average"]["mean"], in_domain["worst"]
    text = (
        f"On held-back images of the domains it learned from, the student names {percent(mean)} "
        f"right, and {percent(worst['mean'])} in the worst of them, {worst['domain']}. That says "
        "little about a new domain: --held_out all measures it."
    )
    headline = "Not measured on a new domain"
    return {"decision": "open", "headline": headline, "text": text}


def unseen(trials: Sequence[Record]) -> str:
    """The domains left out, in words."""
    names = list(dict.fromkeys(trial["held_out"] for trial in trials))
    if len(names) == 1:
        return f"{names[0]}, which it never saw,"
    return f"{len(names)} domains, each left out in turn,"


def smaller(student: Record, teacher: Record) -> str:
    """The sizes of the two, where both are known."""
    ours, theirs = student.get("parameters"), teacher.get("parameters")
    if not ours or not theirs or ours == theirs:
        return ""
    return f"It has {100 * ours / theirs:.0f} % of the parameters of its teacher's image tower."


def joined(*sentences: str) -> str:
    """Those that say something."""
    return " ".join(sentence for sentence in sentences if sentence)


def percent(share: float) -> str:
    """0.783 -> "78.3 %"."""
    return f"{100 * share:.1f} %"
