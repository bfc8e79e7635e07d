"""The record of a folder of generated images: where each came from, to the bit.

out/generation.json          the settings that must stay the same when the folder grows
out/manifest.jsonl           one line an image, in the order they were drawn
out/missing.jsonl            one line an image that came out flawed in all of its tries
out/images/classes.json      {"class id": "class name"}
out/images/<class id>/<index>.png
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from holdfast import names
from holdfast.errors import DamagedFile, HoldfastError
from holdfast.files import as_type, read_sealed
from holdfast.json_lines import read_lines
from holdfast.names import ClassNames

MANIFEST, SETTINGS, IMAGES = "manifest.jsonl", "generation.json", "images"
MISSING = "missing.jsonl"
T = TypeVar("T")


@dataclass(frozen=True)
class GeneratedImage:
    """One generated image.

    class_id, name: of its class. index: its number among the images of that class.
    prompt: its text. seed: of its own random generator.
    attempt: how many black, flat or NaN images came before it.
    generator, revision: the pipeline, and its commit or the hash of its folder.
    scheduler, guidance, steps, precision: how it was drawn. width, height: in pixels.
    sha256: of the PNG file.
    """

    class_id: str
    name: str
    index: int
    prompt: str
    seed: int
    attempt: int
    generator: str
    revision: str
    scheduler: str
    guidance: float
    steps: int
    width: int
    height: int
    precision: str
    sha256: str

    @property
    def file(self) -> str:
        """Path below the folder of generation."""
        return f"{IMAGES}/{self.class_id}/{self.index:05d}.png"

    def to_json(self) -> dict[str, Any]:
        """Its line of the manifest."""
        return asdict(self)


@dataclass(frozen=True)
class MissingImage:
    """An image that came out flawed in all of its tries.

    class_id, name, index, prompt: as of a `GeneratedImage`. flaw: what was wrong with it the last
    time. tries: how often it was drawn.
    """

    class_id: str
    name: str
    index: int
    prompt: str
    flaw: str
    tries: int


@dataclass(frozen=True)
class Manifest:
    """The images of a finished folder, in the order of their labels and then of their index.

    folder: where they are. classes: their classes. records: of the images. missing: of those that
    could not be drawn.
    """

    folder: Path
    classes: ClassNames
    records: tuple[GeneratedImage, ...]
    missing: tuple[MissingImage, ...] = ()

    @property
    def paths(self) -> list[Path]:
        """The files."""
        return [self.folder / record.file for record in self.records]

    @property
    def labels(self) -> list[int]:
        """Of each image, an index into `classes`."""
        order = {class_id: label for label, class_id in enumerate(self.classes.ids)}
        return [order[record.class_id] for record in self.records]

    @property
    def redraws(self) -> int:
        """How many images were black, flat or NaN, and drawn again."""
        return sum(record.attempt for record in self.records)

    @property
    def missing_note(self) -> str | None:
        """A sentence on the images that could not be drawn, with the classes that lack most."""
        if not self.missing:
            return None
        counts = Counter((image.name, image.flaw) for image in self.missing).most_common()
        worst = ", ".join(f"{count:,} of {name!r} ({flaw})" for (name, flaw), count in counts[:5])
        rest = len(self.missing) - sum(count for _, count in counts[:5])
        return (
            f"{len(self.missing):,} of {len(self.missing) + len(self.records):,} images could not "
            f"be drawn and are missing: {worst}{f', and {rest:,} others' if rest else ''}."
        )


def is_generated(folder: Path) -> bool:
    """Whether `folder` is (or was to be) a folder of generated images."""
    return (folder / SETTINGS).is_file() and (folder / IMAGES).is_dir()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the images that were last asked for; `folder` may hold more of a class.

    Raises HoldfastError if images are still to be drawn, or if the files are damaged or of another
    version.
    """
    classes = names.read_names(folder / IMAGES / "classes.json")
    order = {class_id: label for label, class_id in enumerate(classes.ids)}
    about = read_sealed(folder / SETTINGS)
    listed = as_type(about.get("counts"), list[int], folder / SETTINGS)
    if len(listed) != len(classes):
        raise another_version(folder / SETTINGS)
    if about.get("classes") != classes.to_json():
        raise DamagedFile(
            f"{folder / IMAGES / 'classes.json'} names other classes than were drawn."
        )
    counts = dict(zip(classes.ids, listed, strict=True))
    records = {
        (r.class_id, r.index): r
        for r in read_records(folder)
        if r.index < counts.get(r.class_id, 0)
    }
    missing = tuple(
        image
        for image in read_missing(folder)
        if image.index < counts.get(image.class_id, 0)
        and (image.class_id, image.index) not in records
    )
    wanted = sum(counts.values())
    if lacking := wanted - len(records) - len(missing):
        raise HoldfastError(
            f"{folder} still lacks {lacking} of {wanted} images; run the same "
            f"generation again to finish it, or use the folder {folder / IMAGES} as it is."
        )
    by_label = sorted(records.values(), key=lambda r: (order[r.class_id], r.index))
    return Manifest(folder, classes, tuple(by_label), missing)


def read_records(folder: Path, *, leave_out: bool = False) -> list[GeneratedImage]:
    """All lines of the manifest of `folder`; half a line, as a kill may leave one, is left out.

    leave_out: name damaged lines in a warning, and go on without them.

    Raises DamagedFile for them else, and HoldfastError for lines of another version.
    """
    return _records(folder / MANIFEST, GeneratedImage, leave_out)


def read_missing(folder: Path, *, leave_out: bool = False) -> list[MissingImage]:
    """The images of `folder` that came out flawed in all of their tries, as last recorded.

    leave_out: as for `read_records`.

    Raises HoldfastError for lines that are damaged, or of another version.
    """
    found = _records(folder / MISSING, MissingImage, leave_out)
    return list({(image.class_id, image.index): image for image in found}.values())


def _records(path: Path, kind: type[T], leave_out: bool) -> list[T]:
    """The lines of `path` as objects of a `kind`, read once while it stays as it is."""
    if not path.exists():
        return []
    state = path.stat()
    wanted: Any = kind
    try:
        return list(
            _parsed(path.absolute(), wanted, state.st_size, state.st_mtime_ns, state.st_ino)
        )
    except DamagedFile:
        if not leave_out:
            raise
        return _typed(read_lines(path, leave_out=True), kind, path)


@lru_cache(maxsize=8)
def _parsed(path: Path, kind: Any, *state: int) -> tuple[Any, ...]:
    return tuple(_typed(read_lines(path), kind, path))


def _typed(lines: list[dict[str, Any]], kind: Any, path: Path) -> list[Any]:
    known = {each.name for each in fields(kind)}
    if any(set(line) != known for line in lines):
        raise another_version(path)
    found: list[Any] = as_type(lines, list[kind], path)
    return found


def another_version(path: Path) -> HoldfastError:
    """The error for a file `path` that has other fields than this version writes."""
    return HoldfastError(
        f"{path} was written by another version of this program; choose another folder."
    )
