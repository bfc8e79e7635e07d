"""The page of `transfer`: a run's record -> what each section shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.report import charts
from holdfast.report.charts import Mark, Series, line_chart
from holdfast.report.formats import large, number, percent
from holdfast.report.frame import (
    Record,
    changes,
    counted,
    finite_columns,
    flat,
    frame,
    pictures,
    set_well,
    strip,
    training,
)

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
HEAT_MAP_CLASSES = 20
CONFUSED_PAIRS = 10


def page(record: Record, folder: Path) -> dict[str, Any]:
    """The template's variables; relative image paths are looked up in the run's folder."""
    scores = {name: (record.get("scores") or {})[name] for name in models_of(record)}
    shown: dict[str, Any] = {
        "score_rows": score_rows(scores),
        "samples": samples(record.get("samples") or {}, record.get("classes") or [], folder),
        "alpha": alpha(record.get("alpha") or {}),
        "change": per_class_change(scores),
        "confusion": confusion(scores),
        "training": training(record.get("training") or []),
        "diagnostics": diagnostics(record.get("diagnostics") or {}),
        "generator": flat(record.get("generator") or {}),
    }
    sections: dict[str, tuple[str, Any]] = {
        "scores": ("Scores", shown["score_rows"]),
        "samples": ("Images", shown["samples"]["rows"]),
        "alpha": (
            "How much of the new model",
            shown["alpha"]["figures"] or shown["alpha"]["chosen"] is not None,
        ),
        "classes": ("Class by class", shown["change"]),
        "confusion": ("What it confuses", shown["confusion"]),
        "training": ("Training", shown["training"]),
        "diagnostics": (
            "Real against generated",
            shown["diagnostics"]["gap"] or shown["diagnostics"]["diversity"],
        ),
        "accounting": (
            "Images and costs",
            record.get("images") or record.get("costs") or shown["generator"],
        ),
    }
    hero = verdict(record.get("verdict"), bool(scores))
    return frame(record, facts(record), hero, sections) | shown


def facts(record: Record) -> list[str | None]:
    """The line under the title."""
    model, images = record.get("model") or {}, record.get("images") or {}
    size = f", {large(model['parameters'])} parameters" if model.get("parameters") else ""
    generated = images.get("generated")
    return [
        f"{model['name']}{size}" if model.get("name") else None,
        counted(len(record.get("classes") or []), "class", "classes"),
        None if generated is None else f"{generated:,} generated images",
    ]


def models_of(record: Record) -> list[str]:
    """The models that were scored, in the order they come to be."""
    return [name for name in MODELS if (record.get("scores") or {}).get(name)]


def verdict(found: Record | None, measured: bool) -> dict[str, Any]:
    """The verdict's colour, headline, number and interval."""
    if not found:
        if measured:
            text = "The scores below come from real images, but only one model was scored on them."
            return {"kind": "open", "headline": "Measured, not compared", "lines": [text]}
        text = (
            "No folder of real images was given, so nothing here says whether the adapted model is "
            "better than the zero-shot one. Evaluate on even a few dozen labelled photos before "
            "you rely on it."
        )
        return {"kind": "open", "headline": "Not measured on real images", "lines": [text]}
    low, high, difference = (found[key] for key in ("low", "high", "difference"))
    use = found["decision"] == "use"
    text, _, advice = found["text"].rpartition(": ")  # the headline already gives the advice
    lines = []
    if found.get("gained") is not None:
        lines = [
            f"{found['gained']:,} images are right only with the adapted model, "
            f"{found['lost']:,} only with the zero-shot model."
        ]
    return {
        "kind": "use" if use else "worse" if high < 0 else "keep",
        "headline": "Use the adapted model" if use else "Keep the zero-shot model",
        "text": set_well(text or advice) + ".",
        "strip": strip(difference, low, high, "zero-shot better", "adapted better"),
        "lines": lines,
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
        row = {
            domain: pictures(paths[domain].get(name, [])[:SAMPLES_EACH], folder)
            for domain in domains
        }
        rows.append({"name": name, "domains": row})
    return {"rows": rows, "classes": len(present), "domains": domains}


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


def per_class_change(scores: Record) -> dict[str, Any] | None:
    """Accuracy of each class before and after, sorted by change; None without both."""
    if "zero-shot" not in scores or len(scores) < 2:
        return None
    name = list(scores)[-1]
    before, after = scores["zero-shot"], scores[name]
    columns = (after["classes"], before["per_class"], after["per_class"], after["count"])
    return changes(zip(*columns, strict=True), "zero-shot", name)


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
