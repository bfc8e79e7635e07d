"""Folders of images with captions: a table beside the images, or a text file beside each."""

from __future__ import annotations

from pathlib import Path

from holdfast import names
from holdfast.data.folders import LabelledImages
from holdfast.data.layouts import Part
from holdfast.data.tables import TABLE_FILES, TableRow, find_rows
from holdfast.errors import UsageError
from holdfast.generation.manifest import is_generated, read_manifest


def read_pairs(folder: Path) -> list[tuple[Path, str]]:
    """(image, caption) of each image of `folder`, in the order of the table or by file name.

    The captions are in `metadata.jsonl` or `metadata.csv` (`file_name`, and `text` or `caption`),
    in a `.txt` beside each image, or in archives of WebDataset; of a folder that `holdfast
    generate` wrote they are the prompts.

    Raises UsageError for a folder without captions, for an image without one, and for a table that
    cannot be used; HoldfastError if no image is named.
    """
    if not folder.exists():
        raise UsageError(f"The folder of images with captions {str(folder)!r} does not exist.")
    if is_generated(folder):
        manifest = read_manifest(folder)
        return list(zip(manifest.paths, (r.prompt for r in manifest.records), strict=True))
    rows = find_rows(folder)
    if rows is None:
        raise UsageError(
            f"{folder} has no captions; put a {TABLE_FILES[0]} there, with file_name and text, or "
            "a .txt beside each image."
        )
    return [(row.path, _caption(row)) for row in rows]


def _caption(row: TableRow) -> str:
    if not row.caption:
        raise UsageError(f"The image {row.path} has no caption; write one, or remove the image.")
    return row.caption


def scan_captions(part: Part) -> LabelledImages:
    """The images of a part with their captions as classes.

    Captions that differ in case or spaces only are one class. Raises what `read_pairs` raises.
    """
    pairs = [(row.path, _caption(row)) for row in part.rows or ()]
    first: dict[str, str] = {}
    for _, caption in pairs:
        first.setdefault(names.comparable(caption), caption)
    classes = names.from_names(first.values())
    label = {key: number for number, key in enumerate(first)}
    return LabelledImages(
        [path for path, _ in pairs],
        [label[names.comparable(caption)] for _, caption in pairs],
        classes,
        part.folder,
    )
