"""`holdfast predict`: the most likely names of images, and the table of them."""

from __future__ import annotations

import csv
import glob
import io
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast.commands.ready import list_several, ready_classifier
from holdfast.commands.settings import PredictSettings
from holdfast.data.pictures import UnreadableImage
from holdfast.data.readable import find_images
from holdfast.errors import HoldfastError, UsageError
from holdfast.files import write_text

logger = logging.getLogger(__name__)

NamedImage = tuple[
    Path | int, list[tuple[str, float]]
]  # an image, and its names with probabilities
TABLE_SUFFIXES = (".csv", ".jsonl")
STANDARD_INPUT = Path("-")


def predict(settings: PredictSettings) -> list[NamedImage]:
    """The `top` most likely names of each image with their probabilities.

    An image is its path, or of a picture in memory its place among what was given, from 0. With
    `out` they are written there too. Files that cannot be read are named in a warning and left
    out; HoldfastError if none is left.
    """
    if settings.out is not None:
        check_table(settings.out)
    images = images_to_name(settings)
    classifier = ready_classifier(settings)
    known = classifier.names
    found: list[NamedImage] = []
    rows = classifier.probabilities(images, settings.batch_size, settings.workers)
    for place, (image, row) in enumerate(zip(images, rows, strict=True)):
        if isinstance(row, UnreadableImage):
            logger.warning("%s It is skipped.", row)
            continue
        values, order = row.topk(min(settings.top, len(known)))
        pairs = zip(order.tolist(), values.tolist(), strict=True)
        name = image if isinstance(image, Path) else place
        found.append((name, [(known[i], share) for i, share in pairs]))
    if not found:
        raise HoldfastError("None of the images could be read; look at the files named above.")
    if settings.out is not None:
        write_text(settings.out, as_table(found, settings.out.suffix.lower()))
    return found


def images_to_name(settings: PredictSettings) -> list[Any]:
    """The files and pictures to name, in the order in which they were given.

    Raises UsageError for places that do not exist, and where there is no image at all; of a run
    with several classifiers it then lists them.
    """
    given = [each for image in settings.images for each in each_path(image)]
    if settings.files is not None:
        given += listed(settings.files)
    if not given:
        list_several(settings)
        raise UsageError("No images are given; name files or folders, or a list with --files.")
    if all(isinstance(image, Path) for image in given):
        return find_images(given)
    found: list[Any] = []
    for image in given:
        found += find_images([image]) if isinstance(image, Path) else [image]
    return found


def each_path(image: Any) -> Sequence[Any]:
    """An image as given: the paths of a pattern, or of standard input, or itself."""
    if not isinstance(image, Path):
        return [image]
    if image == STANDARD_INPUT:
        return listed(image)
    if image.exists() or not glob.has_magic(str(image)):
        return [image]
    paths = [Path(path) for path in sorted(glob.glob(str(image), recursive=True))]  # noqa: PTH207
    if not paths:
        raise UsageError(f"No file is called like {str(image)!r}.")
    return paths


def listed(file: Path) -> list[Path]:
    """The paths in a file, or in standard input: one a line, or with NUL between them.

    Relative ones start at the working directory. Raises UsageError for a file that cannot be read.
    """
    try:
        data = sys.stdin.buffer.read() if file == STANDARD_INPUT else file.read_bytes()
    except OSError as error:
        raise UsageError(f"The list {file} cannot be read: {error.strerror}.") from None
    data = data.removeprefix(b"\xef\xbb\xbf")
    lines = data.split(b"\0") if b"\0" in data else data.splitlines()
    return [Path(os.fsdecode(line)).expanduser() for line in lines if line.strip()]


def check_table(out: Path) -> None:
    """Raise UsageError for a file of another kind than those that can be written."""
    if out.is_dir() or out.suffix.lower() not in TABLE_SUFFIXES:
        raise UsageError(
            f"{out} is no table; give a file that ends in {' or '.join(TABLE_SUFFIXES)}."
        )


def as_table(found: Sequence[NamedImage], suffix: str) -> str:
    """Predictions as text: `.csv`, a row for each image, or `.jsonl`, a JSON line for each."""
    if suffix == ".jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in as_rows(found))
    places = range(1, max(len(names) for _, names in found) + 1)
    columns = [f"{what}{'' if n == 1 else f'_{n}'}" for n in places for what in COLUMNS]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", *columns])
    for image, names in found:
        writer.writerow([image, *(cell for name, p in names for cell in (name, f"{p:.6f}"))])
    return text.getvalue()


COLUMNS = ("name", "probability")


def as_rows(found: Sequence[NamedImage]) -> list[dict[str, Any]]:
    """Predictions as JSON has them."""
    return [
        {
            "file": str(image),
            "names": [dict(zip(COLUMNS, pair, strict=True)) for pair in names],
        }
        for image, names in found
    ]
