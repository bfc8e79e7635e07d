"""The captioned pictures that pre-training reads, rendered once into a cache folder."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from holdfast.files import atomic_write, write_text

from .captions import WRONG, describe
from .world import CLASSES, SPACES, Scene, draw

SIZE = 98_304
SHARES = {"things": 0.42, "textures": 0.14, "letters": 0.18, "shapes": 0.12, "digits": 0.14}
_CHUNK = 2048


@dataclass(frozen=True)
class Corpus:
    """Pictures, what people wrote under them, and what they really show."""

    pictures: NDArray[np.uint8]  # (n, 32, 32, 3), memory-mapped
    captions: list[str]
    scenes: list[Scene]


def sample(index: int) -> tuple[NDArray[np.uint8], str, Scene]:
    """Pre-training picture `index`, its caption, and what it really shows."""
    r = np.random.default_rng((SPACES["pretraining"], index))
    picture, scene = _any_picture(r, index, 1)
    told = _any_picture(r, index, 2)[1] if r.random() < WRONG else scene
    return picture, describe(told, r), scene


def _any_picture(r: Generator, index: int, turn: int) -> tuple[NDArray[np.uint8], Scene]:
    family = str(r.choice(list(SHARES), p=list(SHARES.values())))
    name = CLASSES[family][int(r.integers(len(CLASSES[family])))]
    return draw(family, name, (SPACES["pretraining"], index, turn), far=False)


def _chunk(start: int) -> tuple[NDArray[np.uint8], list[str], list[Scene]]:
    pictures, captions, scenes = zip(
        *(sample(i) for i in range(start, start + _CHUNK)), strict=True
    )
    return np.stack(pictures), list(captions), list(scenes)


def corpus(cache: Path, size: int = SIZE, workers: int = 2) -> Corpus:
    """Read the corpus from `cache`, rendering it there first if it is missing."""
    pixels, words = cache / "pictures.npy", cache / "captions.jsonl"
    if not words.exists():
        chunks = range(0, size, _CHUNK)
        lines: list[str] = []
        with atomic_write(pixels) as temporary, ProcessPoolExecutor(workers) as pool:
            whole = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=np.uint8, shape=(len(chunks) * _CHUNK, 32, 32, 3)
            )
            for start, (pictures, captions, scenes) in zip(
                chunks, pool.map(_chunk, chunks), strict=True
            ):
                whole[start : start + _CHUNK] = pictures
                pairs = zip(captions, scenes, strict=True)
                lines += [json.dumps({"caption": c, **asdict(s)}) for c, s in pairs]
            whole.flush()
        write_text(words, "\n".join(lines) + "\n")
    rows = [json.loads(line) for line in words.read_text(encoding="utf-8").splitlines()]
    told = [row.pop("caption") for row in rows]
    return Corpus(np.load(pixels, mmap_mode="r"), told, [Scene(**row) for row in rows])
