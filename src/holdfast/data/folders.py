"""Folders of images -> paths and labels."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from holdfast import names
from holdfast.data.pictures import UnreadableImage, read_image, suffixes
from holdfast.errors import HoldfastError, UsageError, did_you_mean
from holdfast.generation.manifest import is_generated, read_manifest
from holdfast.names import ClassNames

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledImages:
    """Image files and their classes, in a fixed order.

    paths: the files. labels: of each file, an index into `classes`. root: the folder that the files
    were found in.
    """

    paths: list[Path]
    labels: list[int]
    classes: ClassNames
    root: Path

    def __len__(self) -> int:
        return len(self.paths)


def scan(root: Path, classes: ClassNames | None = None) -> LabelledImages:
    """The images of `root/<class folder>/**`, or of a folder that `holdfast generate` wrote.

    root: the folder. classes: those that the folders are matched to, by name and never by
    position; a `classes.json` in `root`, {"folder": "name"}, gives the names of folders that are
    called otherwise. Without `classes` the folders define them.
    The order is that of torchvision's ImageFolder: folders by name, then files by name.

    Raises UsageError for a folder that does not exist and for class folders that match no class;
    HoldfastError for folders without images.
    """
    if not root.is_dir():
        raise UsageError(f"The folder of images {str(root)!r} does not exist.")
    if is_generated(root):
        return _scan_generated(root, classes)
    listed = root / "classes.json"
    mapping = names.read_mapping(listed) if listed.is_file() else {}
    folders = sorted(
        entry.name
        for entry in root.iterdir()
        if entry.is_dir() and not names.is_ignored(entry.name)
    )
    if not folders:
        raise HoldfastError(
            f"{root} has no class folders; its images must lie in {root}/<class name>/."
        )
    if classes is None:
        classes = names.read_names(listed) if mapping else names.from_folders(folders)
    matched = names.match_folders(folders, classes, mapping)
    paths: list[Path] = []
    labels: list[int] = []
    for folder in folders:
        found = list(_image_files(root / folder))
        if not found:
            raise HoldfastError(
                f"The class folder {root / folder} has no image files "
                f"({', '.join(sorted(suffixes()))}); add some or remove it."
            )
        paths += found
        labels += [matched[folder]] * len(found)
    return LabelledImages(paths, labels, classes, root)


def _scan_generated(root: Path, classes: ClassNames | None) -> LabelledImages:
    manifest = read_manifest(root)
    own = LabelledImages(manifest.paths, manifest.labels, manifest.classes, root)
    return own if classes is None else relabel(own, classes)


def _image_files(folder: Path) -> Iterator[Path]:
    """Image files below `folder` in torchvision's order: folder by folder, then by name.

    Hidden files and folders are left out, and so is a folder reached a second time by a link.
    """
    seen: set[str] = set()
    found: list[tuple[str, list[str]]] = []
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(f for f in folders if not names.is_ignored(f))
        if real not in seen:
            found.append((place, files))
        seen.add(real)
    for place, files in sorted(found):
        for file in sorted(files):
            if not file.startswith(".") and Path(file).suffix.lower() in suffixes():
                yield Path(place, file)


def readable(data: LabelledImages) -> tuple[LabelledImages, list[Path]]:
    """The images of `data` that can be decoded, and the files that cannot.

    Every image is decoded once; each that cannot be is named in a warning.
    """
    kept: list[int] = []
    broken: list[Path] = []
    for position, path in enumerate(data.paths):
        try:
            read_image(path)
            kept.append(position)
        except UnreadableImage as error:
            broken.append(path)
            logger.warning("%s It is skipped.", error)
    return (subset(data, kept) if broken else data), broken


def fingerprint(data: LabelledImages) -> str:
    """SHA-256 of the paths below the root, sizes in bytes and labels of `data`.

    Pixels are not read. Raises OSError for a file that does not exist.
    """
    digest = hashlib.sha256()
    for path, label in zip(data.paths, data.labels, strict=True):
        # A table of captions may name images that lie elsewhere.
        place = path.relative_to(data.root) if path.is_relative_to(data.root) else path
        digest.update(f"{place}\0{path.stat().st_size}\0{label}\n".encode("utf-8", "replace"))
    return digest.hexdigest()


def subset(data: LabelledImages, keep: Sequence[int]) -> LabelledImages:
    """The images of `data` at the positions `keep`, in that order."""
    return replace(data, paths=[data.paths[i] for i in keep], labels=[data.labels[i] for i in keep])


def without_images(data: LabelledImages) -> list[str]:
    """Names of the classes of `data` that have no image."""
    present = set(data.labels)
    return [name for label, name in enumerate(data.classes.names) if label not in present]


def find_images(places: Sequence[Path]) -> list[Path]:
    """The files among `places` and the images below its folders, in order.

    Raises UsageError for a place that does not exist, HoldfastError if there is no image at all.
    """
    found: list[Path] = []
    for place in places:
        if not place.exists():
            raise UsageError(f"There is no image file or folder {str(place)!r}.")
        found += _image_files(place) if place.is_dir() else [place]
    if not found:
        raise HoldfastError(
            f"There are no image files ({', '.join(sorted(suffixes()))}) in "
            f"{', '.join(map(str, places)) or 'what was given'}."
        )
    return found


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
    return LabelledImages(data.paths, [labels[i] for i in data.labels], classes, data.root)
