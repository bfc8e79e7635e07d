"""The corpus: which drawings are used, rendered once at 32 px, near-duplicates found.

Makes in `build/world`: `pictures.npy` (n, 32, 32, 4) uint8, straight RGBA, and `index.json`, a row
for each picture.
"""

from __future__ import annotations

import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .source import BUILD, Icon, icons, load, svg

SIDE = 32
TEAMS = 3  # of pre-training that must have drawn a noun, so that a model can learn it
EMPTY = 0.01  # mean alpha of a picture that shows nothing
Bytes = NDArray[np.uint8]


def chosen() -> list[Icon]:
    """The drawings whose nouns enough teams of pre-training drew, and those of the categories."""
    every = list(icons())
    teams, sets = defaultdict(set), defaultdict(set)
    for icon in every:
        if icon.role == "train" and not icon.category:
            teams[icon.group].add(icon.team)
        if icon.category:
            sets[icon.category, icon.group].add(
                icon.collection if icon.category == "map" else icon.team
            )
    return [
        icon
        for icon in every
        if (
            len(sets[icon.category, icon.group]) >= 2
            if icon.category
            else len(teams[icon.group]) >= TEAMS
        )
    ]


def _render(job: tuple[str, list[str]]) -> tuple[Bytes, NDArray[np.bool_]]:
    """Icons of one set -> (n, 32, 32, 4), and which of them show something."""
    import resvg_py

    collection, names = job
    data = load(collection)
    pictures = np.zeros((len(names), SIDE, SIDE, 4), np.uint8)
    for i, name in enumerate(names):
        try:
            png = resvg_py.svg_to_bytes(
                svg_string=svg(data, name), width=SIDE, height=SIDE, skip_system_fonts=True
            )
            pictures[i] = np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGBA"))
        except Exception:  # a document that the renderer refuses
            continue
    alpha = pictures[..., 3].mean(axis=(1, 2)) / 255
    coloured = bool(data["info"].get("palette"))
    return pictures, (alpha > EMPTY) & (coloured | (alpha < 0.995))


def _jobs(rows: list[Icon]) -> Iterator[tuple[int, str, list[str]]]:
    """Pieces of at most 1,000 icons of one set: (first row, set, names)."""
    start = 0
    while start < len(rows):
        end = start
        while (
            end < len(rows)
            and rows[end].collection == rows[start].collection
            and end - start < 1000
        ):
            end += 1
        yield start, rows[start].collection, [row.name for row in rows[start:end]]
        start = end


def render(workers: int = 2) -> None:
    """Write `pictures.npy` and `index.json`."""
    BUILD.mkdir(parents=True, exist_ok=True)
    rows = chosen()
    jobs = list(_jobs(rows))
    pictures = np.lib.format.open_memmap(
        BUILD / "pictures.npy", mode="w+", dtype=np.uint8, shape=(len(rows), SIDE, SIDE, 4)
    )
    kept = np.zeros(len(rows), bool)
    with ProcessPoolExecutor(workers) as pool:
        done = pool.map(_render, [(collection, names) for _, collection, names in jobs])
        for (start, _, names), (drawn, good) in zip(jobs, done, strict=True):
            pictures[start : start + len(names)] = drawn
            kept[start : start + len(names)] = good
    pictures.flush()
    solid = thickness(pictures) > 0.12
    index = []
    for row, good, thick in zip(rows, kept, solid, strict=True):
        style = row.style or ("solid" if thick else "line")
        index.append({**asdict(row), "style": style, "shown": bool(good)})
    (BUILD / "index.json").write_text(json.dumps(index), encoding="utf-8")


def thickness(pictures: Bytes, batch: int = 8192) -> NDArray[np.float32]:
    """Share of the inked area that lies two pixels or more from an edge: (n,)."""
    result = []
    for start in range(0, len(pictures), batch):
        ink = pictures[start : start + batch, ..., 3] > 100
        inner = ink
        for _ in range(2):
            inner = (
                inner[:, 1:-1, 1:-1]
                & inner[:, :-2, 1:-1]
                & inner[:, 2:, 1:-1]
                & inner[:, 1:-1, :-2]
                & inner[:, 1:-1, 2:]
            )
        total = ink.sum((1, 2))
        result.append((inner.sum((1, 2)) / np.maximum(total, 1)).astype(np.float32))
    return np.concatenate(result)


def summary() -> str:
    """Counts by role and category."""
    rows = json.loads((BUILD / "index.json").read_text(encoding="utf-8"))
    counts = Counter((row["role"], row["category"]) for row in rows if row["shown"])
    lines = [f"{role:6s} {kind or 'general':8s} {n}" for (role, kind), n in sorted(counts.items())]
    return "\n".join(lines)
