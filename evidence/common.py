"""What all pages of evidence share: where runs are kept, means and deviations, tables."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

from scipy.stats import t

from holdfast import pocket

ROOT = Path(__file__).resolve().parent.parent


def work(name: str, *models: str) -> Path:
    """Where runs are kept: another folder for other weights of these pocket models, or of any."""
    digest = hashlib.sha256()
    folders = [pocket.WEIGHTS / model for model in models] or [pocket.WEIGHTS]
    for path in sorted(path for folder in folders for path in folder.rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return ROOT / "build" / "evidence" / name / digest.hexdigest()[:12]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation (n - 1)."""
    return {"mean": mean(values), "deviation": stdev(values) if len(values) > 1 else 0.0}


def judged(difference: dict[str, float], seeds: int) -> str:
    """Whether the 95 % interval of a mean difference (Student's t over the seeds) excludes zero."""
    margin = float(t.ppf(0.975, seeds - 1)) * difference["deviation"] / sqrt(seeds)
    if difference["mean"] > margin:
        return "holds"
    return "the opposite" if difference["mean"] < -margin else "not measurable"


def points(value: dict[str, float], sign: bool = False) -> str:
    """`71.2 ± 0.8`, in percent."""
    return f"{100 * value['mean']:{'+' if sign else ''}.1f} ± {100 * value['deviation']:.1f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
