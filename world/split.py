"""The final split: `split.json` and `hashes.npy` beside the corpus.

A picture of a development team that is nearly one of pre-training is dropped, and one of a test
team that is nearly one of pre-training or development.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .duplicates import hashes, near, normalised, thumbnails
from .source import BUILD


def split() -> None:
    """Find near-duplicates across roles; write the use of each picture and its hash."""
    rows = json.loads((BUILD / "index.json").read_text(encoding="utf-8"))
    pictures = np.load(BUILD / "pictures.npy", mmap_mode="r")
    ink = normalised(pictures)
    codes, small = hashes(ink), thumbnails(ink)
    use = np.array([row["role"] if row["shown"] else "blank" for row in rows], dtype="<U10")

    def taken(*roles: str) -> NDArray[np.intp]:
        return np.flatnonzero(np.isin(use, roles))

    for role, others in (("dev", ("train",)), ("test", ("train", "dev"))):
        ours, theirs = taken(role), taken(*others)
        same = near((codes[ours], small[ours]), (codes[theirs], small[theirs]))
        use[ours[same]] = "duplicate"
    np.save(BUILD / "hashes.npy", codes)
    (BUILD / "split.json").write_text(json.dumps(use.tolist()), encoding="utf-8")


class World:
    """All rows of the corpus that may be used, with their pictures."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = json.loads((BUILD / "index.json").read_text("utf-8"))
        self.pictures: NDArray[np.uint8] = np.load(BUILD / "pictures.npy", mmap_mode="r")
        self.use = np.array(json.loads((BUILD / "split.json").read_text("utf-8")))
        self.category = np.array([row["category"] for row in self.rows])
        self.group = np.array([row["group"] for row in self.rows])
        self.style = np.array([row["style"] for row in self.rows])
        self.team = np.array([row["team"] for row in self.rows])
        self.palette = np.array([row["palette"] for row in self.rows])
