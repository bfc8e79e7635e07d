"""Tables of images: a CSV or JSON-lines file beside them, or the samples of WebDataset archives."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.archives import ARCHIVE, COMPRESSED, members, open_file
from holdfast.data.pictures import suffixes
from holdfast.errors import HoldfastError, UsageError
from holdfast.files import decode, parse_json, read_json, read_plain_text

logger = logging.getLogger(__name__)

# Hugging Face's image folders have the first two: columns `file_name`, and `text` or `label`.
TABLE_FILES = ("metadata.jsonl", "metadata.csv", "labels.csv")
FILE_COLUMNS = ("file_name", "filename", "file", "image", "path", "filepath", "image_path")
LABEL_COLUMNS = ("label", "class", "class_name", "category")
CAPTION_COLUMNS = ("text", "caption")
# What the numbers mean that stand for classes: a name a line, or a list; here or one folder up.
NUMBERED = ("classnames.txt", "classes.txt", "names.txt", "classes.json")
TEXT_BYTES = 2**20  # of a label, a caption or a description inside of an archive
MISSING_SHOWN = 3  # missing files that are named


@dataclass(frozen=True)
class TableRow:
    """An image of a table.

    path: the file. label: its class as the table spells it. caption: its text. split, domain: the
    part of the data it belongs to; "" where the table does not say.
    """

    path: Path
    label: str | None = None
    caption: str | None = None
    split: str = ""
    domain: str = ""


def find_rows(place: Path, follow: bool = False) -> list[TableRow] | None:
    """The rows of a table, of archives, or of images with a .txt beside each; else None.

    place: a table, an archive, or a folder that has some. follow: whether images may be links to
    files outside of the folder.

    Raises UsageError for what cannot be read, and for a table that names files outside.
    """
    if place.suffix.lower() in (".csv", ".tsv", ".jsonl") and place.is_file():
        return read_table(place, follow)
    if place.suffix.lower() == ARCHIVE and place.is_file():
        return read_archives([place])
    if not place.is_dir():
        return None
    table = next((place / name for name in TABLE_FILES if (place / name).is_file()), None)
    if table is not None:
        return read_table(table, follow)
    names = sorted(entry.name for entry in os.scandir(place) if not entry.name.startswith("."))
    packed = [name for name in names if name.lower().endswith(COMPRESSED)]
    if packed and not any((place / name).is_dir() for name in names):
        raise UsageError(f"{place / packed[0]} is compressed; unpack it, or pack a plain .tar.")
    archives = [place / name for name in names if name.lower().endswith(ARCHIVE)]
    if archives:
        return read_archives(archives)
    images = [place / name for name in names if Path(name).suffix.lower() in suffixes()]
    if not any(path.with_suffix(".txt").is_file() for path in images):
        return None
    real = os.path.realpath(place)
    inside = [p for p in images if follow or os.path.realpath(p).startswith(real + os.sep)]
    return [TableRow(path, caption=_beside(path)) for path in inside if path.is_file()]


def _beside(image: Path) -> str:
    """The caption in the text file of an image, on one line; "" without one."""
    file = image.with_suffix(".txt")
    return one_line(read_plain_text(file)) if file.is_file() else ""


def read_table(table: Path, follow: bool = False) -> list[TableRow]:
    """The rows of a CSV, TSV or JSON-lines file; images that do not exist are left out and named.

    table: the file; it names images in its own folder or below. follow: as for `find_rows`.
    Raises UsageError for a table of another form, for files outside of its folder, and if none of
    its images exists; HoldfastError for a table without rows.
    """
    found: list[TableRow] = []
    missing: list[Path] = []
    inside = os.path.realpath(table.parent)
    count = 0
    for number, cells in enumerate(_cells(table), 1):
        count = number
        place, values = f"Row {number} of {table}", _columns(cells)
        name = _first(values, FILE_COLUMNS)
        label, caption = _first(values, LABEL_COLUMNS), _first(values, CAPTION_COLUMNS)
        if not name or (label is None and caption is None):
            raise UsageError(f"{place} must have file_name, and label or text.")
        path = _inside(table.parent, name, place)
        if not follow and not os.path.realpath(path).startswith(inside + os.sep):
            raise UsageError(f"{place} names {name}, a link that leads out of its folder.")
        if not path.is_file():
            missing.append(path)
            continue
        split, domain = _first(values, ("split",)) or "", _first(values, ("domain",)) or ""
        found.append(TableRow(path, label, caption, split, domain))
    if not count:
        raise HoldfastError(f"{table} names no images.")
    if not found:
        raise UsageError(f"Row 1 of {table} names {missing[0]}, which does not exist.")
    for path in missing[:MISSING_SHOWN]:
        logger.warning("%s names %s, which does not exist; it is skipped.", table, path)
    if len(missing) > MISSING_SHOWN:
        logger.warning("%s: %d files do not exist in all.", table, len(missing))
    return found


def _inside(folder: Path, name: str, place: str) -> Path:
    """The path of a file below `folder`. Raises UsageError for a name that leads elsewhere."""
    path = Path(name)
    if not (folder / path).exists() and "\\" in name:
        path = Path(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", name):
        raise UsageError(
            f"{place} names {name}, which lies outside of {folder}; move the image there and give "
            "its path from there."
        )
    return folder / path


def _cells(table: Path) -> Iterator[dict[str, Any]]:
    text = read_plain_text(table)
    try:
        if table.suffix.lower() == ".jsonl":
            for line in text.split("\n"):
                if line.strip():
                    row = parse_json(line.encode())
                    yield row if isinstance(row, dict) else {}
            return
        head = text.partition("\n")[0]
        yield from csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=head.count))
    except (ValueError, RecursionError, csv.Error) as error:
        raise UsageError(f"{table} cannot be read as a table of images: {error}.") from None


def _columns(cells: Mapping[Any, Any]) -> dict[str, Any]:
    """Cells by the plain names of their columns."""
    return {key.strip().casefold(): v for key, v in cells.items() if isinstance(key, str)}


def _first(values: Mapping[str, Any], columns: Sequence[str]) -> str | None:
    """The text of the first of the columns that is there."""
    value = next((values[key] for key in columns if values.get(key) is not None), None)
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise UsageError(f"{value!r} stands for a text or a number; write one a row.")
    return None if value is None else one_line(str(value))


def read_archives(archives: Sequence[Path]) -> list[TableRow]:
    """The samples of WebDataset archives: what has one name up to its first dot belongs together.

    archives: plain tar files. The picture has a suffix of its format; `.cls` is the class, by its
    name or number, `.json` has it as `label`, and `.txt` is the caption. An archive whose name
    begins with a split, as in `train-0001.tar`, belongs to it. Raises UsageError for what is no
    archive, HoldfastError if there is no picture.
    """
    found = []
    for archive in archives:
        samples: dict[str, dict[str, str]] = {}
        for name in members(archive):
            folder, slash, file = name.rpartition("/")
            key, _, suffix = file.partition(".")
            if key:
                samples.setdefault(f"{folder}{slash}{key}", {})[suffix.lower()] = name
        split = re.split(r"[-_.]", archive.stem)[0] if re.search(r"[-_.]", archive.stem) else ""
        for parts in samples.values():
            picture = next((n for s, n in parts.items() if f".{s}" in suffixes()), None)
            if picture is not None:
                label, caption = _described(archive, parts)
                found.append(TableRow(archive / picture, label, caption, split))
    if not found:
        raise HoldfastError(f"{archives[0]} holds no pictures.")
    return found


def one_line(text: str) -> str:
    """The `text` of a label or caption without breaks and runs of spaces."""
    return " ".join(text.split())


def _described(archive: Path, parts: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Class and caption of a sample, of which `parts` has the names by suffix."""

    def text(suffix: str) -> str | None:
        if suffix not in parts:
            return None
        path = archive / parts[suffix]
        try:
            with open_file(path) as opened:
                found = decode(opened.read(TEXT_BYTES))
                return found if suffix == "json" else one_line(found)
        except ValueError as error:
            raise UsageError(f"{path} cannot be read: {error}.") from None

    label, caption, about = text("cls"), text("txt"), text("json")
    if about is not None and (label is None or caption is None):
        try:
            value = json.loads(about)
        except (ValueError, RecursionError):
            raise UsageError(f"{archive / parts['json']} is no JSON.") from None
        values = _columns(value) if isinstance(value, dict) else {}
        label = _first(values, LABEL_COLUMNS) if label is None else label
        caption = _first(values, CAPTION_COLUMNS) if caption is None else caption
    return label, caption


def names_of_numbers(labels: Sequence[str], place: Path) -> Sequence[str]:
    """The labels, or where all are numbers the names they stand for, if a list of names is there.

    labels: as a table spells them. place: its folder. Raises UsageError for a number that the list
    does not have.
    """
    if not all(label.isdecimal() for label in labels):
        return labels
    places = [folder / name for folder in (place, place.parent) for name in NUMBERED]
    listed = next((path for path in places if path.is_file()), None)
    if listed is None:
        return labels
    if listed.suffix == ".json":
        value = read_json(listed)
        known = list(value.values()) if isinstance(value, dict) else value
    else:
        known = [line.strip() for line in read_plain_text(listed).split("\n") if line.strip()]
    if not isinstance(known, list) or not all(isinstance(name, str) for name in known):
        raise UsageError(f"{listed} must be a list of class names.")
    if beyond := [label for label in labels if int(label) >= len(known)]:
        raise UsageError(f"{listed} has {len(known)} names, and there is a class {beyond[0]}.")
    return [known[int(label)] for label in labels]
