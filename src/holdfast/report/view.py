"""A run's record -> what each section of the page shows. Plain data in, plain data out."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.report import charts
from holdfast.report.charts import Mark, Series, line_chart, thin_out
from holdfast.report.formats import number, percent, points
from holdfast.report.thumbnails import Thumbnail, thumbnail

Record = Mapping[str, Any]

MODELS = ("zero-shot", "fine-tuned", "ensemble")
# key, heading, better when larger
METRICS = (
    ("top1", "Top-1", True),
    ("mean_per_class", "Mean per class", True),
    ("ece", "Calibration error", False),
    ("nll", "NLL", False),
)
SAMPLE_CLASSES = 24
SAMPLES_EACH = 6
ALL_CLASSES = 30  # up to here every class is shown, beyond it those that changed most
CHANGED_CLASSES = 10  # at either end
HEAT_MAP_CLASSES = 20
CONFUSED_PAIRS = 10


def page(record: Record, folder: Path) -> dict[str, Any]:
    """The template's variables; relative image paths are looked up in the run's folder."""
    scores = {name: (record.get("scores") or {})[name] for name in models_of(record)}
    return {
        "record": record,
        "hero": hero(record.get("verdict"), bool(scores)),
        "score_rows": score_rows(scores),
        "samples": samples(record.get("samples") or {}, record.get("classes") or [], folder),
        "alpha": alpha(record.get("alpha") or {}),
        "change": per_class_change(scores),
        "confusion": confusion(scores),
        "training": training(record.get("training") or []),
        "diagnostics": diagnostics(record.get("diagnostics") or {}),
        "settings": as_json(record.get("settings")),
        "environment": flat(record.get("environment") or {}),
        "generator": flat(record.get("generator") or {}),
    }


def models_of(record: Record) -> list[str]:
    """The models that were scored, in the order they come to be."""
    return [name for name in MODELS if (record.get("scores") or {}).get(name)]


def hero(verdict: Record | None, measured: bool) -> dict[str, Any]:
    """The verdict's colour, headline, number and interval, on a scale with zero in the middle."""
    if not verdict:
        headline = "Measured, not compared" if measured else "Not measured on real images"
        return {"kind": "open", "headline": headline}
    low, high, difference = (verdict[key] for key in ("low", "high", "difference"))
    use = verdict["decision"] == "use"
    reach = max(abs(low), abs(high), abs(difference), 1e-6) * 1.2
    text, _, advice = verdict["text"].rpartition(": ")  # the headline already gives the advice

    def place(value: float) -> float:
        return round(50 + 50 * value / reach, 2)

    return {
        "kind": "use" if use else "worse" if high < 0 else "keep",
        "headline": "Use the adapted model" if use else "Keep the zero-shot model",
        "low": points(low),
        "high": points(high),
        "text": re.sub(r"(?<!\w)-(?=\d)", "−", text or advice),
        "strip": {
            "low": place(low),
            "high": place(high),
            "width": round(place(high) - place(low), 2),
            "at": place(difference),
        },
        "gained": verdict.get("gained"),
        "lost": verdict.get("lost"),
    }


def score_rows(scores: Record) -> list[dict[str, Any]]:
    """One row per model: each metric's text, and whether it is the best of its column."""
    best = {}
    for key, _, larger in METRICS:
        values = [score[key] for score in scores.values() if score.get(key) is not None]
        if len(values) > 1:
            best[key] = max(values) if larger else min(values)
    return [
        {
            "name": name,
            "cells": [
                {
                    "heading": heading,
                    "text": number(score.get(key)) if key == "nll" else percent(score.get(key)),
                    "best": key in best and score.get(key) == best[key],
                }
                for key, heading, _ in METRICS
            ],
        }
        for name, score in scores.items()
    ]


def samples(paths: Record, classes: Sequence[str], folder: Path) -> dict[str, Any]:
    """Per class some thumbnails of either domain; many classes are thinned out evenly."""
    domains = [name for name in ("generated", "real") if paths.get(name)]
    known = list(classes) or list(dict.fromkeys(name for d in domains for name in paths[d]))
    present = list(dict.fromkeys(n for n in known if any(paths[d].get(n) for d in domains)))
    step = max(1.0, len(present) / SAMPLE_CLASSES)
    shown = [present[int(i * step)] for i in range(min(len(present), SAMPLE_CLASSES))]
    rows = []
    for name in shown:
        row: dict[str, list[Thumbnail]] = {
            domain: [
                image
                for path in paths[domain].get(name, [])[:SAMPLES_EACH]
                if (image := thumbnail(locate(Path(path), folder)))
            ]
            for domain in domains
        }
        rows.append({"name": name, "domains": row})
    return {"rows": rows, "classes": len(present), "domains": domains}


def locate(path: Path, folder: Path) -> Path:
    """A relative path starts at the working directory or, if nothing is there, in the run."""
    return path if path.exists() else folder / path


def alpha(record: Record) -> dict[str, Any]:
    """Curves over alpha for what was measured, and the numbers behind them."""
    sweep = sorted(record.get("sweep") or [], key=lambda row: row["alpha"])
    chosen = record.get("chosen")
    mark = None if chosen is None else Mark(chosen, f"chosen α = {chosen:g}")
    panels: tuple[tuple[str, tuple[str, ...], bool], ...] = (
        ("Accuracy on real images", ("real_top1", "real_mean_per_class"), True),
        ("Calibration error on real images", ("ece",), True),
        ("Score without real images", ("proxy",), False),
    )
    names = {"real_top1": "top-1", "real_mean_per_class": "mean per class"}
    colours = {"real_mean_per_class": charts.TUNED}
    figures = []
    for title, keys, share in panels:
        lines = [
            Series(*columns, names.get(key, ""), colours.get(key, charts.ENSEMBLE), i > 0)
            for i, key in enumerate(keys)
            if len((columns := finite_columns(sweep, "alpha", key))[0]) > 1
        ]
        if lines:
            svg = line_chart(
                lines,
                f"{title} against alpha. The table below has the numbers.",
                "α",
                percent=share,
                mark=mark,
                ends=("zero-shot", "fine-tuned"),
            )
            figures.append({"title": title, "svg": svg})
    headings = {
        "real_top1": "Top-1",
        "real_mean_per_class": "Mean per class",
        "ece": "Calibration error",
        "proxy": "Score without real images",
    }
    used = [key for key in headings if any(row.get(key) is not None for row in sweep)]
    return {
        "chosen": chosen,
        "how": record.get("how"),
        "why": record.get("why"),
        "figures": figures,
        "headings": [headings[key] for key in used],
        "rows": [
            {
                "alpha": row["alpha"],
                "chosen": row["alpha"] == chosen,
                "cells": [(number if k == "proxy" else percent)(row.get(k)) for k in used],
            }
            for row in sweep
        ],
    }


def finite_columns(rows: Iterable[Record], x: str, y: str) -> tuple[list[float], list[float]]:
    """The columns x and y of the rows in which y is a finite number."""
    pairs = [(row[x], row[y]) for row in rows if row.get(y) is not None and math.isfinite(row[y])]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def per_class_change(scores: Record) -> dict[str, Any] | None:
    """Accuracy of each class before and after, sorted by change; None without both."""
    if "zero-shot" not in scores or len(scores) < 2:
        return None
    after_name = list(scores)[-1]
    before, after = scores["zero-shot"], scores[after_name]
    rows = [
        {
            "name": name,
            "before": old,
            "after": new,
            "change": new - old,
            "count": count,
            "kind": "gain" if new > old else "loss" if new < old else "same",
            "left": round(100 * min(old, new), 2),
            "width": round(100 * abs(new - old), 2),
        }
        for name, old, new, count in zip(
            after["classes"], before["per_class"], after["per_class"], after["count"], strict=True
        )
        if old is not None and new is not None
    ]
    rows.sort(key=lambda row: -row["change"])
    kinds = [row["kind"] for row in rows]
    many = len(rows) > ALL_CLASSES
    return {
        "after": after_name,
        "rows": rows[:CHANGED_CLASSES] + rows[-CHANGED_CLASSES:] if many else rows,
        "all": rows if many else [],
        "better": kinds.count("gain"),
        "worse": kinds.count("loss"),
        "same": kinds.count("same"),
        "empty": sum(not count for count in after["count"]),
    }


def confusion(scores: Record) -> dict[str, Any] | None:
    """The last model's mistakes: a heat map for few classes, and the most confused pairs."""
    if not scores:
        return None
    name = list(scores)[-1]
    cells = {(true, guess): images for true, guess, images in scores[name]["confusion"]}
    before = {(t, g): images for t, g, images in scores.get("zero-shot", {}).get("confusion", [])}
    classes, count = scores[name]["classes"], scores[name]["count"]
    mistakes = sorted(
        ((images, pair) for pair, images in cells.items() if pair[0] != pair[1]),
        key=lambda entry: (-entry[0], entry[1]),
    )
    pairs = [
        {
            "true": classes[true],
            "guess": classes[guess],
            "images": images,
            "share": images / count[true],
            "before": before.get((true, guess), 0) if name != "zero-shot" else None,
        }
        for images, (true, guess) in mistakes[:CONFUSED_PAIRS]
    ]
    return {
        "model": name,
        "classes": classes,
        "rows": heat_map(classes, count, cells) if len(classes) <= HEAT_MAP_CLASSES else [],
        "pairs": pairs,
        "mistakes": sum(images for images, _ in mistakes),
    }


def heat_map(
    classes: Sequence[str], count: Sequence[int], cells: Mapping[tuple[int, int], int]
) -> list[dict[str, Any]]:
    """Rows of true classes; a cell's shade is its share of the row."""
    return [
        {
            "name": classes[true],
            "cells": [
                {
                    "images": (images := cells.get((true, guess), 0)),
                    "shade": round(100 * images / count[true]) if count[true] else 0,
                    "right": true == guess,
                }
                for guess in range(len(classes))
            ],
        }
        for true in range(len(classes))
    ]


def training(steps: Sequence[Record]) -> list[dict[str, Any]]:
    """A figure per loss, for the learning rate and for the gradient's norm, over steps."""
    names = list(dict.fromkeys(name for step in steps for name in step.get("losses") or {}))
    rows = [
        {**step, **{f"loss {name}": (step.get("losses") or {}).get(name) for name in names}}
        for step in steps
    ]
    panels = [(f"loss {name}", name.replace("_", "-") + " loss") for name in names]
    panels += [("learning_rate", "Learning rate"), ("gradient_norm", "Gradient norm")]
    figures = []
    for key, title in panels:
        x, y = finite_columns(rows, "step", key)
        if len(x) > 1:
            svg = line_chart(
                [Series(*thin_out(x, y))],
                f"{title} over {len(x)} steps, from {number(y[0])} to {number(y[-1])}.",
                "step",
            )
            figures.append({"title": title[0].upper() + title[1:], "svg": svg})
    return figures


def diagnostics(record: Record) -> dict[str, Any]:
    """The domain gap as bars against the distances within a domain; diversity as a table."""
    gap = record.get("gap") or {}
    largest = max(gap.values(), default=0) or 1
    within = [gap[key] for key in ("real/real", "generated/generated") if key in gap]
    ratio = gap["real/generated"] / max(within) if within and "real/generated" in gap else None
    diversity = record.get("diversity") or {}
    if diversity and not any(isinstance(value, Mapping) for value in diversity.values()):
        diversity = {"features": diversity}
    keys = list(dict.fromkeys(key for row in diversity.values() for key in row))
    return {
        "gap": [
            {
                "name": name.replace("/", " – "),
                "distance": distance,
                "width": round(100 * distance / largest, 1),
            }
            for name, distance in gap.items()
        ],
        "ratio": ratio,
        "headings": [key.replace("_", " ") for key in keys],
        "diversity": [
            {"name": name, "cells": [number(row.get(key)) for key in keys]}
            for name, row in diversity.items()
        ],
    }


def flat(values: Record, prefix: str = "") -> list[tuple[str, str]]:
    """Nested values as rows: ("torch.threads", "2")."""
    rows = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += flat(value, f"{prefix}{key}.")
        elif value is not None:
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            rows.append((f"{prefix}{key}", text))
    return rows


def as_json(value: Any) -> str | None:
    """Text that can be copied back; paths become strings."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) if value else None
