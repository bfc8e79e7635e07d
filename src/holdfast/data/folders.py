"""Folders of images -> paths and labels."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from holdfast import names
from holdfast.data.folder_names import from_folders, in_words, match_folders, picked
from holdfast.data.layouts import KINDS, Choice, Layout, Part, look, one_part
from holdfast.data.pictures import suffixes
from holdfast.data.tables import names_of_numbers
from holdfast.data.walk import Walk
from holdfast.errors import HoldfastError, UsageError, did_you_mean
from holdfast.generation.manifest import is_generated, read_manifest
from holdfast.names import ClassNames
from holdfast.seen import SEEN

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledImages:
    """Image files and their classes, in a fixed order.

    paths: the files. labels: of each file, an index into `classes`. root: the folder that the files
    were found in.
    unreadable: files that are no whole images, each with the reason; they are not among `paths`.
    notes: what else was left out, in sentences.
    """

    paths: list[Path]
    labels: list[int]
    classes: ClassNames
    root: Path
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)


def scan(
    place: Path, classes: ClassNames | None = None, choice: Choice | None = None
) -> LabelledImages:
    """The images of one set: class folders, a table of labels, archives, or generated images.

    place: the folder, table or archive. classes: those that the images are matched to, by name and
    never by position; a `classes.json` in a folder of class folders, {"folder": "name"}, gives the
    names of folders that are called otherwise. Without `classes` the folders or labels define them.
    choice: how it is read.
    The order is that of torchvision's ImageFolder: folders by name, then files by name.

    Raises UsageError for a place that does not exist, that holds splits or domains, and for class
    folders that match no class; HoldfastError for folders without images.
    """
    layout = look(place, choice)
    if layout.kind == "splits":
        first = next(iter(layout.parts.values())).folder
        raise UsageError(
            f"{place} holds splits ({', '.join(layout.parts)}); give one of them, such as {first}."
        )
    return scan_split(place, (), classes, choice)


def scan_split(
    place: Path,
    splits: Sequence[str],
    classes: ClassNames | None = None,
    choice: Choice | None = None,
) -> LabelledImages:
    """The images of the first of the `splits` that `place` has, or of the whole if it has none.

    place, classes, choice: as for `scan`. What was found is logged. Raises what `scan` raises, and
    UsageError for a place that has other splits only.
    """
    layout = look(place, choice)
    split, part = one_part(layout, splits)
    data = scan_part(part, classes, choice)
    log_layout(layout, {split: data})
    return data


def log_layout(layout: Layout, parts: Mapping[str, LabelledImages]) -> None:
    """Say once what a place was taken for, how much there is in each part, and what is left out.

    layout: of the place. parts: the images of those of its parts that are used.
    """
    counts = [f"{name} {len(data):,}" if name else f"{len(data):,}" for name, data in parts.items()]
    first = next(iter(parts.values()))
    kind = KINDS.get(layout.kind, layout.kind)
    ignored = [name for name in layout.parts if name not in parts]
    rest = f"; not used: {', '.join(ignored)}" if ignored else ""
    say(
        logging.INFO,
        f"{layout.place}: {kind}, {', '.join(counts)} images, {len(first.classes)} classes{rest}.",
    )
    for note in dict.fromkeys(note for data in parts.values() for note in data.notes):
        say(logging.WARNING, note)


@cache
def say(level: int, sentence: str) -> None:
    """Log a `sentence` on a `level` of logging, once: places are read several times."""
    logger.log(level, "%s", sentence)


def scan_part(
    part: Part, classes: ClassNames | None = None, choice: Choice | None = None
) -> LabelledImages:
    """The images of a `part` of a layout; classes, choice and errors as for `scan`.

    Raises UsageError for rows without a class, and for two classes of one name.
    """
    choice = choice or Choice()
    if part.rows is None and is_generated(part.folder):
        return _scan_generated(part.folder, classes, choice)
    if part.rows is None:
        return _scan_folders(part, classes, choice)
    groups: dict[str, list[Path]] = {}
    for row in part.rows:
        if row.label is None:
            raise UsageError(f"{row.path} has no class in its table, which needs a column label.")
        groups.setdefault(row.label, []).append(row.path)
    labels = sorted(groups, key=lambda label: (int(label) if label.isdecimal() else 0, label))
    spelt = dict(zip(labels, names_of_numbers(labels, part.folder), strict=True))
    grouped = {spelt[label]: groups[label] for label in labels}
    if len(grouped) < len(groups):
        raise UsageError(f"The list of class names of {part.folder} has one name twice.")
    return _labelled(part.folder, list(grouped), grouped.__getitem__, {}, classes, choice)


def _scan_folders(part: Part, classes: ClassNames | None, choice: Choice) -> LabelledImages:
    root = part.folder
    walk = Walk(root, choice.links == "follow", part.within)
    folders = walk.folders(root)
    if not folders:
        raise HoldfastError(
            f"{root} has no class folders; its images must lie in {root}/<class name>/, or a table "
            f"metadata.csv must name them (file_name, label).{_left(walk)}"
        )
    listed = root / "classes.json"
    mapping = names.read_mapping(listed) if listed.is_file() else {}
    if mapping and classes is None and not choice.classes:
        classes = names.read_names(listed)
    taken = picked(folders, mapping | _names(folders, mapping, choice), choice.classes)
    walk.loose(root)

    def images(folder: str) -> list[Path]:
        if found := walk.images(root / folder):
            return found
        raise HoldfastError(
            f"The class folder {root / folder} has no image files "
            f"({', '.join(sorted(suffixes()))}); add some or remove it.{_left(walk)}"
        )

    data = _labelled(root, taken, images, mapping, classes, replace(choice, classes=()))
    return replace(data, notes=(*walk.notes(), *data.notes))


def _left(walk: Walk) -> str:
    """What was left out, behind a sentence."""
    return "".join(f" {note}" for note in walk.notes())


def _names(folders: Sequence[str], mapping: Mapping[str, str], choice: Choice) -> dict[str, str]:
    """The class name of each folder that a `classes.json` does not name."""
    rest = [folder for folder in folders if folder not in mapping]
    return in_words(rest) if choice.class_names == "words" else {f: names.tidy(f) for f in rest}


def _labelled(
    root: Path,
    groups: Sequence[str],
    images: Callable[[str], list[Path]],
    mapping: Mapping[str, str],
    classes: ClassNames | None,
    choice: Choice,
) -> LabelledImages:
    """The images of all groups, each with the label of its class folder, or of its text.

    images: those of a group; they are looked for when all groups have their classes.
    """
    spelt = _names(groups, mapping, choice) | dict(mapping)
    kept = picked(groups, spelt, choice.classes)
    said: list[str] = []
    if classes is None:
        if mapping:
            classes = ClassNames(tuple(spelt[f] for f in kept), tuple(kept))
        else:
            classes = _from_folders(root, kept, choice)
            if changed := [f for f in kept if names.comparable(spelt[f]) != names.comparable(f)]:
                said.append(
                    f"{root}: class names were made of what folders are called, as "
                    f"{spelt[changed[0]]!r} of {changed[0]!r}; --class_names exact takes them as "
                    "they are."
                )
            elif under := [f for f in kept if spelt[f] != f]:
                say(
                    logging.INFO,
                    f"{root}: {under[0]!r} is called {spelt[under[0]]!r}, and so on; "
                    "--class_names exact takes names as they are.",
                )
    matched = match_folders(kept, classes, mapping)
    found = {group: images(group) for group in kept}
    return LabelledImages(
        [path for group in kept for path in found[group]],
        [matched[group] for group in kept for _ in found[group]],
        classes,
        root,
        notes=tuple(said),
    )


def _from_folders(root: Path, folders: Sequence[str], choice: Choice) -> ClassNames:
    try:
        return from_folders(folders, choice.class_names == "words")
    except UsageError as error:
        if len(folders) == 1 and (root / folders[0]).is_dir():
            raise UsageError(
                f"{root} holds one folder only, {folders[0]!r}, and there must be two classes or "
                f"more; if that one holds the class folders, give {root / folders[0]}."
            ) from None
        raise UsageError(f"{root}: {error}") from None


def _scan_generated(root: Path, classes: ClassNames | None, choice: Choice) -> LabelledImages:
    manifest = read_manifest(root)
    own = LabelledImages(manifest.paths, manifest.labels, manifest.classes, root)
    if choice.classes:
        spelt = own.classes.to_json()
        kept = picked(list(spelt), spelt, choice.classes)
        fewer = ClassNames(tuple(spelt[each] for each in kept), tuple(kept))
        own = _restricted(own, fewer)
    return own if classes is None else relabel(own, classes)


def _restricted(data: LabelledImages, classes: ClassNames) -> LabelledImages:
    """The images of some of the classes."""
    labels = {old: classes.label(name) for old, name in enumerate(data.classes.names)}
    keep = [i for i, old in enumerate(data.labels) if labels[old] is not None]
    new = [number for i in keep if (number := labels[data.labels[i]]) is not None]
    return replace(data, paths=[data.paths[i] for i in keep], labels=new, classes=classes)


def fingerprint(data: LabelledImages) -> str:
    """SHA-256 of the paths below the root, the bytes and the labels of `data`.

    Of files that are known from an earlier start no byte is read. Raises OSError for a file that
    does not exist.
    """
    digest = hashlib.sha256()
    for path, label in zip(data.paths, data.labels, strict=True):
        place = path.relative_to(data.root) if path.is_relative_to(data.root) else path
        line = f"{place}\0{SEEN.digest(path)}\0{label}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def subset(data: LabelledImages, keep: Sequence[int]) -> LabelledImages:
    """The images of `data` at the positions `keep`, in that order."""
    return replace(data, paths=[data.paths[i] for i in keep], labels=[data.labels[i] for i in keep])


def without_images(data: LabelledImages) -> list[str]:
    """Names of the classes of `data` that have no image."""
    present = set(data.labels)
    return [name for label, name in enumerate(data.classes.names) if label not in present]


def relabel(data: LabelledImages, classes: ClassNames) -> LabelledImages:
    """The same images with labels that are indices into `classes`, matched by name.

    data: the images. classes: at least those of the images.
    Raises UsageError for a class of the images that `classes` lacks.
    """
    labels: list[int] = []
    for name in data.classes.names:
        label = classes.label(name)
        if label is None:
            raise UsageError(
                f"{data.root} holds the class {name!r}, which is not one of the "
                f"{len(classes)} given{did_you_mean(name, classes.names)}."
            )
        labels.append(label)
    return replace(data, labels=[labels[i] for i in data.labels], classes=classes)
