"""Tasks as folders of PNG files: the shipped drawings, and the handwritten digits of scikit-learn.

A task's drawings lie side by side in two sheets for each split, `<task>-<split>-plain.webp` (only
the coverage of the ink) and `<task>-<split>-colour.webp` (RGBA), both lossless. `tasks.json` says
of which class and of which set each drawing is. Plain drawings get their colours here, from a seed.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from holdfast.errors import UsageError, did_you_mean
from holdfast.files import write_json

Split = Literal["train", "test", "all"]
Bytes = NDArray[np.uint8]
SIDE = 32
COLOURED = 0.3  # share of plain drawings that are not dark on white
SHEETS = Path(__file__).parent / "pictures"
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGITS_TRAIN = 0.4  # share of the real digits, class by class


@cache
def index() -> dict[str, Any]:
    """What `tasks.json` says: task -> names, and the class and set of each drawing."""
    data: dict[str, Any] = json.loads((SHEETS / "tasks.json").read_text(encoding="utf-8"))
    return data


TASKS: tuple[str, ...] = (*index(), "digits")


def class_names(task: str) -> tuple[str, ...]:
    """The readable names of a task's classes."""
    if task not in TASKS:
        raise UsageError(
            f"There is no pocket task {task!r}{did_you_mean(task, TASKS)}; "
            f"choose from {', '.join(TASKS)}."
        )
    return NUMBERS if task == "digits" else tuple(index()[task]["names"])


NOUNS: tuple[str, ...] = class_names("nouns")


def write_task(
    task: str, root: Path, per_class: int | None = None, split: Split = "test"
) -> dict[str, str]:
    """Write `root/<class folder>/<n>.png`, then `root/classes.json`: {folder: readable name}.

    task: one of TASKS.
    per_class: drawings per class at most; none is all there are.
    split: drawings of `test` are by teams whose work no model of this world has seen, and but for
        `domains/...` nothing was chosen by; those of `train` are by others. `all` is both.

    Raises UsageError for an unknown task, and for a split that the task lacks.
    """
    names = class_names(task)
    folders = {_folder(task, name): name for name in names}
    for folder, shown in zip(folders, pictures(task, split), strict=True):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for n, pixels in enumerate(shown[:per_class]):
            Image.fromarray(pixels).save(root / folder / f"{n:04d}.png")
    write_json(root / "classes.json", folders)
    return folders


def pictures(task: str, split: Split = "test") -> list[Bytes]:
    """For each class of a task its pictures, (n, 32, 32, 3)."""
    if split == "all":
        parts = [pictures(task, part) for part in splits(task)]
        return [np.concatenate(both) for both in zip(*parts, strict=True)]
    if split not in splits(task):
        has = ", ".join((*splits(task), "all"))
        raise UsageError(f"Task {task!r} has no split {split!r}: choose from {has}.")
    if task == "digits":
        return real_digits(split)
    drawings, labels = drawn(task, split), np.array(index()[task][split]["classes"])
    painted = np.stack(
        [paint(drawing, f"{task}/{split}/{n}") for n, drawing in enumerate(drawings)]
    )
    return [painted[labels == k] for k in range(len(class_names(task)))]


def splits(task: str) -> tuple[Split, ...]:
    """The splits that a task has, without `all`."""
    both: tuple[Split, ...] = ("train", "test")
    return both if task == "digits" else tuple(s for s in both if s in index()[task])


def drawn(task: str, split: Split) -> list[Bytes]:
    """The drawings of a split in the order of `tasks.json`: (32, 32) ink or (32, 32, 4) RGBA."""
    kinds = index()[task][split]["coloured"]
    sheets = {
        kind: iter(_tiles(SHEETS / f"{task.replace('/', '-')}-{split}-{kind}.webp"))
        for kind in {"colour" if kind else "plain" for kind in kinds}
    }
    return [next(sheets["colour" if kind else "plain"]) for kind in kinds]


def _tiles(path: Path) -> list[Bytes]:
    """A sheet cut into its drawings, row by row."""
    with Image.open(path) as image:
        sheet = np.asarray(image.convert("RGBA" if path.stem.endswith("colour") else "L"))
    rows, columns = sheet.shape[0] // SIDE, sheet.shape[1] // SIDE
    cut = sheet.reshape(rows, SIDE, columns, SIDE, -1).swapaxes(1, 2)
    tiles = cut.reshape(rows * columns, SIDE, SIDE, -1)
    return list(tiles if tiles.shape[-1] == 4 else tiles[..., 0])


def paint(drawing: Bytes, seed: str) -> Bytes:
    """A drawing (32, 32) or (32, 32, 4) as a picture (32, 32, 3), its colours from the seed."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little")
    r = np.random.default_rng(number)
    ink, ground = np.full(3, 25.0), np.full(3, 255.0)
    if r.random() < COLOURED:
        ink, ground = _pair(r)
    if drawing.ndim == 3:
        alpha = drawing[..., 3:] / 255
        whole = drawing[..., :3] * alpha + 255.0 * (1 - alpha)
    else:
        alpha = drawing[..., None] / 255
        whole = ink * alpha + ground * (1 - alpha)
    picture: Bytes = whole.round().astype(np.uint8)
    return picture


def _pair(r: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two colours that differ enough in lightness."""
    while True:
        ink, ground = r.random((2, 3)) * 255
        if abs((ink - ground) @ (0.299, 0.587, 0.114)) > 90:
            return ink, ground


def real_digits(split: Split) -> list[Bytes]:
    """scikit-learn's written digits, enlarged: for each of ten classes (n, 32, 32, 3)."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    classes = []
    for digit in range(len(NUMBERS)):
        order = np.random.default_rng((5, digit)).permutation(np.flatnonzero(labels == digit))
        cut = round(DIGITS_TRAIN * len(order))
        chosen = order[:cut] if split == "train" else order[cut:]
        classes.append(np.stack([_enlarged(images[i].reshape(8, 8)) for i in chosen]))
    return classes


def _enlarged(ink: NDArray[np.float64]) -> Bytes:
    """Ink 0..16 (8, 8) -> light strokes on black (32, 32, 3)."""
    small = Image.fromarray((ink * 255 / 16).astype(np.uint8))
    large = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return np.repeat(large[..., None], 3, axis=2)


def _folder(task: str, name: str) -> str:
    """Digits are 0 .. 9, the rest their name with underscores."""
    return str(NUMBERS.index(name)) if task == "digits" else name.replace(" ", "_")
