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

    class_id, name, index: its class, and its place among the images of that class.
    seed: of its own random generator; attempt: how many black, flat or NaN images came before it.
    generator, revision: the pipeline, and its commit or the hash of its folder.
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
        return asdict(self)


@dataclass(frozen=True)
class Manifest:
    """What a finished folder of generated images holds, in label order and then by index."""

    folder: Path
    classes: ClassNames
    records: tuple[GeneratedImage, ...]

    @property
    def paths(self) -> list[Path]:
        return [self.folder / record.file for record in self.records]

    @property
    def labels(self) -> list[int]:
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
    """The manifest of the images last asked for; a folder may hold more of a class than that.

    Raises HoldfastError when images are still missing.
    """
    classes = names.read(folder / IMAGES / "classes.json")
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
    """All lines of the manifest; one cut short by a kill is left out."""
    lines = read_lines(folder / MANIFEST)
    try:
        return [GeneratedImage(**line) for line in lines]
    except TypeError:
        raise another_version(folder / MANIFEST) from None


def another_version(path: Path) -> HoldfastError:
    """What to say of a file whose fields are not today's."""
    return HoldfastError(
        f"{path} was written by another version of this program; choose another folder."
    )
