"""Folders of images with captions: a table beside the images, or a text file beside each."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from holdfast import names
from holdfast.data.folders import LabelledImages
from holdfast.data.pictures import suffixes
from holdfast.errors import HoldfastError, UsageError
from holdfast.files import read_plain_text
from holdfast.generation.manifest import is_generated, read_manifest

# Hugging Face's image folders are written so: columns `file_name` and `text`.
CAPTION_TABLES = ("metadata.jsonl", "metadata.csv")
TEXT = ("text", "caption")


def has_captions(folder: Path) -> bool:
    """Whether the images of `folder` have captions, and no classes."""
    if any((folder / table).is_file() for table in CAPTION_TABLES):
        return True
    return any(p.with_suffix(".txt").is_file() for p in folder.iterdir() if _is_image(p))


def read_pairs(folder: Path) -> list[tuple[Path, str]]:
    """(image, caption) of each image of `folder`, in the order of the table or by file name.

    The captions are in `metadata.jsonl` or `metadata.csv` (`file_name`, and `text` or `caption`),
    or in a `.txt` beside each image; of a folder that `holdfast generate` wrote they are the
    prompts.

    Raises UsageError for a folder without captions, for an image that does not exist or has no
    caption, and for a table that cannot be read; HoldfastError if no image is named.
    """
    if not folder.is_dir():
        raise UsageError(f"The folder of images with captions {str(folder)!r} does not exist.")
    if is_generated(folder):
        manifest = read_manifest(folder)
        return list(zip(manifest.paths, (r.prompt for r in manifest.records), strict=True))
    table = next((folder / name for name in CAPTION_TABLES if (folder / name).is_file()), None)
    if table is None:
        if not has_captions(folder):
            raise UsageError(
                f"{folder} has no captions; put a {CAPTION_TABLES[0]} there, with file_name and "
                "text, or a .txt beside each image."
            )
        pairs = [(path, _beside(path)) for path in sorted(folder.iterdir()) if _is_image(path)]
    else:
        pairs = [_pair(table, number, row) for number, row in enumerate(_rows(table), 1)]
    for path, caption in pairs:
        if not caption:
            raise UsageError(f"The image {path} has no caption; write one, or remove the image.")
    if not pairs:
        raise HoldfastError(f"{table or folder} names no images.")
    return pairs


def scan_captions(folder: Path) -> LabelledImages:
    """The images of `folder` with their captions as classes.

    Captions that differ in case or spaces only are one class. Raises what `read_pairs` raises.
    """
    pairs = read_pairs(folder)
    first: dict[str, str] = {}
    for _, caption in pairs:
        first.setdefault(names.comparable(caption), caption)
    classes = names.from_names(first.values())
    label = {key: number for number, key in enumerate(first)}
    return LabelledImages(
        [path for path, _ in pairs],
        [label[names.comparable(caption)] for _, caption in pairs],
        classes,
        folder,
    )


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in suffixes() and not path.name.startswith(".")


def _beside(path: Path) -> str:
    """The caption in the text file of an image, on one line."""
    file = path.with_suffix(".txt")
    return _one_line(read_plain_text(file)) if file.is_file() else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _rows(table: Path) -> list[dict[str, str]]:
    text = read_plain_text(table)
    try:
        if table.suffix == ".csv":
            return list(csv.DictReader(io.StringIO(text)))
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError, csv.Error):
        raise UsageError(f"{table} cannot be read as a table of images and captions.") from None


def _pair(table: Path, number: int, row: dict[str, str]) -> tuple[Path, str]:
    caption = next((row[key] for key in TEXT if isinstance(row, dict) and key in row), None)
    if caption is None or "file_name" not in row:
        raise UsageError(f"Row {number} of {table} must have file_name and text.")
    if not isinstance(caption, str):
        raise UsageError(f"Row {number} of {table} has {caption!r} for a text; write one a row.")
    path = table.parent / str(row["file_name"])
    if not path.is_file():
        raise UsageError(f"Row {number} of {table} names {path}, which does not exist.")
    return path, _one_line(caption)
