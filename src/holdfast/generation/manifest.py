"""The record of a folder of generated images: where each came from, to the bit.

out/generation.json          the settings that must stay the same when the folder grows
out/manifest.jsonl           one line an image, in the order they were drawn
out/images/classes.json      {"class id": "class name"}
out/images/<class id>/<index>.png
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from holdfast import names
from holdfast.errors import HoldfastError
from holdfast.files import read_json, read_lines
from holdfast.names import ClassNames

MANIFEST, SETTINGS, IMAGES = "manifest.jsonl", "generation.json", "images"


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
class Manifest:
    """The images of a finished folder, in the order of their labels and then of their index.

    folder: where they are. classes: their classes. records: of the images.
    """

    folder: Path
    classes: ClassNames
    records: tuple[GeneratedImage, ...]

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


def is_generated(folder: Path) -> bool:
    """Whether `folder` is (or was to be) a folder of generated images."""
    return (folder / SETTINGS).is_file() and (folder / IMAGES).is_dir()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the images that were last asked for; `folder` may hold more of a class.

    Raises HoldfastError if images are still missing, or if the files are of another version.
    """
    classes = names.read_names(folder / IMAGES / "classes.json")
    order = {class_id: label for label, class_id in enumerate(classes.ids)}
    listed = read_json(folder / SETTINGS).get("counts", [])
    if len(listed) != len(classes):
        raise another_version(folder / SETTINGS)
    counts = dict(zip(classes.ids, listed, strict=True))
    records = {
        (r.class_id, r.index): r
        for r in read_records(folder)
        if r.index < counts.get(r.class_id, 0)
    }
    wanted = sum(counts.values())
    if missing := wanted - len(records):
        raise HoldfastError(
            f"{folder} still lacks {missing} of {wanted} images; run the same "
            f"generation again to finish it, or use the folder {folder / IMAGES} as it is."
        )
    by_label = sorted(records.values(), key=lambda r: (order[r.class_id], r.index))
    return Manifest(folder, classes, tuple(by_label))


def read_records(folder: Path) -> list[GeneratedImage]:
    """All lines of the manifest of `folder`; half a line, as a kill may leave one, is left out.

    Raises HoldfastError for lines of another version.
    """
    lines = read_lines(folder / MANIFEST)
    try:
        return [GeneratedImage(**line) for line in lines]
    except TypeError:
        raise another_version(folder / MANIFEST) from None


def another_version(path: Path) -> HoldfastError:
    """The error for a file `path` that has other fields than this version writes."""
    return HoldfastError(
        f"{path} was written by another version of this program; choose another folder."
    )
