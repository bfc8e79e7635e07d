"""What the pages of all verbs share: facts, sections, pictures, training curves, settings."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.report.charts import Series, line_chart, thin_out
from holdfast.report.formats import number, points
from holdfast.report.thumbnails import Thumbnail, thumbnail

Record = Mapping[str, Any]

ALL_CLASSES = 30  # up to here every class is shown, beyond it those that changed most
CHANGED_CLASSES = 10  # at either end


def frame(
    record: Record,
    facts: Iterable[str | None],
    hero: Record,
    sections: Mapping[str, tuple[str, Any]],
) -> dict[str, Any]:
    """What base.html shows around the sections.

    facts: those that are None are left out. sections: {id: (title, what it shows)}; those that
    show nothing are left out.
    """
    settings, environment = as_json(record.get("settings")), flat(record.get("environment") or {})
    last = {"reproduce": ("Reproduce", settings or record.get("command") or environment)}
    return {
        "record": record,
        "facts": [fact for fact in facts if fact],
        "hero": hero,
        "sections": {id: title for id, (title, shown) in {**sections, **last}.items() if shown},
        "settings": settings,
        "environment": environment,
    }


def counted(count: int, one: str, more: str = "") -> str | None:
    """5, "class", "classes" -> "5 classes"; None for none."""
    return f"{count:,} {one if count == 1 else more or one + 's'}" if count else None


def set_well(text: str) -> str:
    """Numbers with a true minus sign, and with their per cent sign on the same line."""
    return re.sub(r"(?<!\w)-(?=\d)", "−", text).replace(" %", "\u00a0%")


def strip(difference: float, low: float, high: float, start: str, end: str) -> dict[str, Any]:
    """A difference and its interval on a scale with zero in the middle; start, end: its ends."""
    reach = max(abs(low), abs(high), abs(difference), 1e-6) * 1.2

    def place(value: float) -> float:
        return round(50 + 50 * value / reach, 2)

    return {
        "low": place(low),
        "high": place(high),
        "width": round(place(high) - place(low), 2),
        "at": place(difference),
        "low_text": points(low),
        "high_text": points(high),
        "start": start,
        "end": end,
    }


def locate(path: Path, folder: Path) -> Path:
    """A relative path starts at the working directory or, if nothing is there, in the run."""
    return path if path.exists() else folder / path


def pictures(paths: Iterable[str], folder: Path) -> list[Thumbnail]:
    """Those of the images that can be read; relative paths are looked up in the run's folder."""
    found = (thumbnail(locate(Path(path), folder)) for path in paths)
    return [image for image in found if image]


def finite_columns(rows: Iterable[Record], x: str, y: str) -> tuple[list[float], list[float]]:
    """The columns x and y of the rows in which y is a finite number."""
    pairs = [(row[x], row[y]) for row in rows if row.get(y) is not None and math.isfinite(row[y])]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def changes(
    values: Iterable[tuple[str, float | None, float | None, int]], before: str, after: str
) -> dict[str, Any]:
    """Classes sorted by how their accuracy changed; of many, those that changed most.

    values: name, accuracy of the model `before` and of the model `after`, images.
    """
    known = list(values)
    rows: list[dict[str, Any]] = [
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
        for name, old, new, count in known
        if old is not None and new is not None
    ]
    rows.sort(key=lambda row: -row["change"])
    kinds = [row["kind"] for row in rows]
    many = len(rows) > ALL_CLASSES
    return {
        "before": before,
        "after": after,
        "rows": rows[:CHANGED_CLASSES] + rows[-CHANGED_CLASSES:] if many else rows,
        "all": rows if many else [],
        "better": kinds.count("gain"),
        "worse": kinds.count("loss"),
        "same": kinds.count("same"),
        "empty": sum(not count for *_, count in known),
    }


def training(steps: Sequence[Record], starts: Sequence[float] = ()) -> list[dict[str, Any]]:
    """A figure per loss, for the learning rate and for the gradient's norm, over steps.

    starts: steps at which something new begins, as lines.
    """
    names = list(dict.fromkeys(name for step in steps for name in step.get("losses") or {}))
    rows = [
        {**step, **{f"loss {name}": (step.get("losses") or {}).get(name) for name in names}}
        for step in steps
    ]
    panels = [(f"loss {name}", f"{name.replace('_', '-')} loss") for name in names]
    panels += [("learning_rate", "Learning rate"), ("gradient_norm", "Gradient norm")]
    figures = []
    for key, title in panels:
        x, y = finite_columns(rows, "step", key)
        if len(x) > 1:
            svg = line_chart(
                [Series(*thin_out(x, y))],
                f"{title} over {len(x)} steps, from {number(y[0])} to {number(y[-1])}.",
                "step",
                starts=starts,
            )
            figures.append({"title": title[0].upper() + title[1:], "svg": svg})
    return figures


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
