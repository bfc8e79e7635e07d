"""Downstream tasks as folders of PNG files, and the real digits that scikit-learn ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from holdfast.builtin import Split
from holdfast.errors import UsageError, did_you_mean
from holdfast.files import write_json

from .captions import readable_name
from .world import CLASSES, NUMBERS, SIDE, SPACES, STYLES, draw

DATASETS = ("digits", "textures", "letters", "shapes", "things", *(f"things/{s}" for s in STYLES))
_TRAIN_SHARE = 0.4  # of the real digits, class by class


def write_task(
    task: str, root: Path, per_class: int | None = None, seed_split: Split = "test"
) -> dict[str, str]:
    """Write `root/<class folder>/<n>.png`, then `root/classes.json`: {folder: readable_name name}.

    task: one of DATASETS. `things` is painted mostly as photos, `things/<style>` in one style.
        `digits` are real: scikit-learn's 1,797, which no part of the pocket world was trained on.
    per_class: pictures per class; none is all there are for `digits`, and 100 for the others.
    seed_split: pictures of different splits have nothing in common. `digits` has train (40 %) and
        test (60 %), and `all`; the other tasks have train, val and test.
    """
    if task not in DATASETS:
        raise UsageError(
            f"There is no pocket task {task!r}{did_you_mean(task, DATASETS)}; choose from "
            f"{', '.join(DATASETS)}."
        )
    family = task.partition("/")[0]
    folders = {_folder(family, name): readable_name(family, name) for name in CLASSES[family]}
    pictures = real_digits(seed_split) if task == "digits" else None
    for position, (folder, name) in enumerate(zip(folders, CLASSES[family], strict=True)):
        if pictures is not None:
            shown = pictures[position][:per_class]
        else:
            count = 100 if per_class is None else per_class
            shown = np.stack([picture(task, name, seed_split, n) for n in range(count)])
        (root / folder).mkdir(parents=True, exist_ok=True)
        for n, pixels in enumerate(shown):
            Image.fromarray(pixels).save(root / folder / f"{n:04d}.png")
    write_json(root / "classes.json", folders)
    return folders


def picture(task: str, name: str, split: Split, index: int) -> NDArray[np.uint8]:
    """Downstream picture `index` of class `name`: (32, 32, 3)."""
    if split not in ("train", "val", "test"):
        raise UsageError(f"Task {task!r} has no split {split!r}: choose train, val or test.")
    family, _, style = task.partition("/")
    seed = (SPACES[split], DATASETS.index(task), CLASSES[family].index(name), index)
    if task == "things" and index % 5 != 4:  # every fifth in any style
        style = "photo"
    return draw(family, name, seed, far=True, style=style)[0]


def real_digits(split: Split) -> list[NDArray[np.uint8]]:
    """scikit-learn's written digits, enlarged: for each of ten classes (n, 32, 32, 3)."""
    from sklearn.datasets import load_digits

    if split not in ("train", "test", "all"):
        raise UsageError(f"The real digits have no split {split!r}: choose train, test or all.")
    images, labels = load_digits(return_X_y=True)
    classes = []
    for digit in range(len(NUMBERS)):
        order = np.random.default_rng((5, digit)).permutation(np.flatnonzero(labels == digit))
        cut = round(_TRAIN_SHARE * len(order))
        chosen = {"train": order[:cut], "test": order[cut:], "all": order}[split]
        classes.append(np.stack([_enlarged(images[i].reshape(8, 8)) for i in chosen]))
    return classes


def _enlarged(ink: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Ink 0..16 (8, 8) -> light strokes on black (32, 32, 3)."""
    small = Image.fromarray((ink * 255 / 16).astype(np.uint8))
    large = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return np.repeat(large[..., None], 3, axis=2)


def _folder(family: str, name: str) -> str:
    """Digits are 0 .. 9, letters A .. Z, the rest their name with underscores."""
    return str(NUMBERS.index(name)) if family == "digits" else name.replace(" ", "_")
