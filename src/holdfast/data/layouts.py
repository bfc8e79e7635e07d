"""What a folder of images is, in all verbs: classes, splits, domains, a table, archives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from holdfast.data.tables import TableRow, find_rows
from holdfast.data.walk import Walk
from holdfast.errors import HoldfastError, UsageError
from holdfast.generation.manifest import is_generated
from holdfast.names import comparable

Kind = Literal["classes", "table", "captions", "generated", "splits", "domains"]
# What folders of splits are called, in any case.
SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "validate", "dev", "crossval"),
    "test": ("test", "testing", "eval", "evaluation"),
}
# What else can be in such a name: "Train_Set", "seg_train", "test images".
FILLING = {"set", "seg", "split", "data", "images", "imgs"}
KINDS = {
    "classes": "class folders",
    "table": "a table of labels",
    "captions": "images with captions",
    "generated": "images that `holdfast generate` drew",
}
# Of a folder of splits: what is learnt from, and the first there is of what is measured on.
TO_LEARN, TO_MEASURE = ("train",), ("test", "val", "train")
COMPARED = 20  # class folders whose subfolders are compared with those of all others


@dataclass(frozen=True)
class Choice:
    """How a folder is read.

    classes: names of those to take, or with a `-` before each of those to leave out; all if empty.
    class_names: `words` makes names of what data sets call their folders, `exact` takes these.
    links: `follow` takes what links to places outside of the folder lead to, `inside` does not.
    """

    classes: Sequence[str] = ()
    class_names: Literal["words", "exact"] = "words"
    links: Literal["inside", "follow"] = "inside"

    @classmethod
    def of(cls, settings: Any) -> Choice:
        """The choice in the settings of a command; what they do not have is as by default."""
        names = ("classes", "class_names", "links")
        return cls(**{name: getattr(settings, name) for name in names if hasattr(settings, name)})


@dataclass(frozen=True)
class Part:
    """Images of one split, of one domain, or of the whole.

    folder: where they are. rows: those of a table; None where the folder itself says what they are.
    within: what the user gave, which links must not lead out of; None is the folder.
    """

    folder: Path
    rows: Sequence[TableRow] | None = None
    within: Path | None = None


@dataclass(frozen=True)
class Layout:
    """What a place holds.

    place: the folder, table or archive. kind: of it, or of its parts if it has none itself.
    parts: by name, "train", "val" and "test" of splits, or those of domains; "" is the whole.
    """

    place: Path
    kind: Kind
    parts: dict[str, Part] = field(default_factory=dict)


def look(place: Path, choice: Choice | None = None) -> Layout:
    """What `place` is; no picture is opened.

    choice: how it is read. Raises UsageError for a place that does not exist, for splits that
    stand beside other folders, and for folders of which one cannot tell what they are.
    """
    follow = choice is not None and choice.links == "follow"
    if not place.exists():
        raise UsageError(f"The folder of images {str(place)!r} does not exist.")
    if is_generated(place):
        return Layout(place, "generated", {"": Part(place)})
    rows = find_rows(place, follow)
    if rows is not None:
        return _of_rows(place, rows)
    if not place.is_dir():
        raise UsageError(f"{place} is no folder, table or archive of images.")
    walk = Walk(place, follow)
    folders = walk.folders(place)
    if parts := _splits(place, folders, walk):
        return Layout(place, "splits", parts)
    if not (place / "classes.json").is_file() and (same := _same_inside(place, folders, walk)):
        return Layout(place, "domains", {name: Part(place / name, within=place) for name in same})
    return Layout(place, "classes", {"": Part(place)})


def split_of(name: str) -> str | None:
    """The split that a folder's `name` means, in any spelling: train, val or test; else None."""
    words = [word for word in re.split(r"[-_. ]+", name.casefold()) if word]
    kept = [word for word in words if word not in FILLING]
    if len(kept) == 1:
        word = kept[0].removesuffix("set")
        return next((split for split, spelt in SPLITS.items() if word in spelt), None)
    return None


def parts_to_learn(layout: Layout) -> dict[str, Part]:
    """The splits of a task; of a `layout` without any the whole is its training images.

    Raises UsageError for domains, with one of them to give.
    """
    refuse_domains(layout)
    return layout.parts if layout.kind == "splits" else {"train": layout.parts[""]}


def one_part(layout: Layout, splits: Sequence[str]) -> tuple[str, Part]:
    """The first of the `splits` that a `layout` has, with its name; or the whole, which has none.

    Raises UsageError if none is there, and for domains.
    """
    refuse_domains(layout)
    if layout.kind != "splits":
        return "", layout.parts[""]
    for split in splits:
        if split in layout.parts:
            return split, layout.parts[split]
    raise UsageError(
        f"{layout.place} has the splits {', '.join(layout.parts)}, and none for "
        f"{' or '.join(splits)}; give the folder of one."
    )


def refuse_domains(layout: Layout) -> None:
    """Raise UsageError for a `layout` of domains, where the images of one are wanted."""
    if layout.kind == "domains":
        first, second, *_ = layout.parts
        raise UsageError(
            f"{layout.place} is no folder of classes: {first!r} and {second!r} hold the same "
            f"folders, so they are domains or splits; give one of them, such as "
            f"{layout.parts[first].folder}, or `holdfast distill` the folder of domains. If they "
            'are classes, say so in a classes.json beside them, {"folder": "class name"}.'
        )


def has_labels(part: Part) -> bool:
    """Whether the images of a `part` have classes, and no captions alone."""
    return part.rows is None or all(row.label is not None for row in part.rows)


def _of_rows(place: Path, rows: Sequence[TableRow]) -> Layout:
    folder = place if place.is_dir() else place.parent
    kind: Kind = "table" if all(row.label is not None for row in rows) else "captions"
    splits = {row.split for row in rows}
    spelt = {name: split_of(name) for name in splits if name}
    if spelt and "" not in splits and all(spelt.values()):
        parts = {
            split: Part(folder, [row for row in rows if spelt[row.split] == split])
            for split in SPLITS
            if split in spelt.values()
        }
        return Layout(place, "splits", parts)
    domains = sorted({row.domain for row in rows if row.domain})
    if domains and all(row.domain for row in rows):
        parts = {d: Part(folder, [row for row in rows if row.domain == d]) for d in domains}
        if len(parts) > 1:
            return Layout(place, "domains", parts)
    return Layout(place, kind, {"": Part(folder, rows)})


def _splits(folder: Path, folders: Sequence[str], walk: Walk) -> dict[str, Part]:
    """The splits of a folder, {} if it has none.

    Raises UsageError for two folders of one split, and for splits beside other folders: if they
    were taken as classes, test images would get into training.
    """
    spelt = {name: split for name in folders if (split := split_of(name))}
    if others := [name for name in folders if name not in spelt]:
        if splits := [name for name in spelt if _holds_split(folder / name, walk)]:
            raise UsageError(
                f"{folder} has {others[0]!r} beside {' and '.join(splits)}; move it elsewhere, or "
                "if all of them are classes, put them into a folder train."
            )
        return {}
    found: dict[str, Part] = {}
    for split in SPLITS:
        present = [name for name in folders if spelt[name] == split]
        if len(present) > 1:
            raise UsageError(f"{folder} has {present[0]} and {present[1]}; keep one.")
        if present:
            place = folder / present[0]
            found[split] = Part(place, find_rows(place, walk.follow), folder)
    return found


def _holds_split(folder: Path, walk: Walk) -> bool:
    """Whether a folder has class folders, a table or archives in it, and so is no class itself."""
    try:
        return bool(walk.folders(folder)) or find_rows(folder, walk.follow) is not None
    except HoldfastError:
        return True


def _same_inside(folder: Path, folders: Sequence[str], walk: Walk) -> list[str]:
    """Folders that hold at least two folders of the same names, and so are no classes."""
    quiet = Walk(folder, walk.follow)  # what is left out is counted when images are looked for
    inside = {name: {comparable(n) for n in quiet.folders(folder / name)} for name in folders}
    several = {name: each for name, each in inside.items() if len(each) > 1}
    for first in list(several)[:COMPARED]:
        same = [name for name, each in several.items() if len(each & several[first]) > 1]
        if len(same) > 1:
            return same
    return []
