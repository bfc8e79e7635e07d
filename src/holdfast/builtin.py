"""What comes along with Holdfast, by the names that users give: models, class names, data sets.

All of it is the small embedded world of `holdfast.pocket`, which nothing else here imports. Each
function takes a name and answers None where it is not a built-in one, so that a caller can go on
with the name as it is:

    builtin.model("pocket")          -> "local-dir:/.../pocket/weights/clip"
    builtin.student("pocket-vit")    -> "local-dir:/.../pocket/weights/student-vit"
    builtin.generator("pocket")      -> "/.../pocket/weights/diffusion"
    builtin.class_names("pocket")    -> ("airplane", "apple", ...)
    builtin.stream("pocket-2")       -> ("pocket:things", "pocket:digits", ...)
    builtin.datasets()               -> ("pocket:digits", "pocket:textures", ...)

    builtin.dataset("pocket:digits", root)   draws it and answers root / "digits-all"
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from holdfast.errors import UsageError, did_you_mean
from holdfast.files import read_json, write_json

WORLD = "pocket"
FAMILY = f"{WORLD}:"  # a data set's name is its family and its own
STREAMS = {
    WORLD: ("letters", "textures", "digits", "shapes", "things"),
    f"{WORLD}-2": ("things", "digits", "textures", "letters", "shapes"),
}
VALIDATION = 4  # one in so many training images of a data set that has no validation images

Split = Literal["train", "val", "test", "all"]


def model(name: str) -> str | None:
    """What open_clip calls the CLIP model `name`: `local-dir:FOLDER`.

    Raises HoldfastError if its files are missing.
    """
    if name != WORLD:
        return None
    from holdfast import pocket

    return f"local-dir:{pocket.path('clip')}"


def student(name: str) -> str | None:
    """What timm calls the student `name`: `local-dir:FOLDER`.

    Raises HoldfastError if its files are missing.
    """
    from holdfast import pocket

    weights = pocket.STUDENTS.get(name)
    return None if weights is None else f"local-dir:{pocket.path(weights)}"


def generator(name: str) -> str | None:
    """The folder of the text-to-image pipeline `name`.

    Raises HoldfastError if its files are missing.
    """
    if name != WORLD:
        return None
    from holdfast import pocket

    return str(pocket.path("diffusion"))


def class_names(name: str) -> tuple[str, ...] | None:
    """Names that stand for what the built-in model `name` was pre-trained on."""
    if name != WORLD:
        return None
    from holdfast.pocket.world import CLASSES

    return CLASSES["things"]


def stream(name: str) -> tuple[str, ...] | None:
    """The data sets of the stream of tasks `name`, in its order."""
    return tuple(f"{FAMILY}{task}" for task in STREAMS[name]) if name in STREAMS else None


def datasets() -> tuple[str, ...]:
    """The names of all data sets: `pocket:digits`, ..., `pocket:things/sketch`."""
    from holdfast import pocket

    return tuple(f"{FAMILY}{task}" for task in pocket.DATASETS)


def is_dataset(place: str) -> bool:
    """Whether `place` is a data set's name, built in or not, and no folder."""
    return ":" in place and not Path(place).exists()


def check_place(place: str) -> None:
    """Check where a task's images are: `place` is a data set's name, or a folder.

    Raises UsageError for a data set that is not built in, and for a folder that does not exist.
    """
    if is_dataset(place):
        _task(place)
    elif not Path(place).is_dir():
        raise UsageError(f"The task's folder {place!r} does not exist.")


def dataset(name: str, root: Path, per_class: int | None = None) -> Path:
    """The folder of a data set below `root`, with its splits `train`, `val` and `test`.

    It is drawn by the first who needs it. per_class: images of each class and split; None is all
    there are of `pocket:digits`, and 100 of the others. Raises UsageError for an unknown name.
    """
    folder = root / f"{_task(name).replace('/', '-')}-{per_class or 'all'}"
    splits: tuple[Split, ...] = ("train", "val", "test")
    for split in splits:
        if (folder / split / "classes.json").exists():  # it is written last
            continue
        if _task(name) == "digits" and split == "val":
            take_validation(folder)
        else:
            write_images(name, folder / split, per_class, split)
    return folder


def write_images(
    name: str, folder: Path, per_class: int | None = None, split: Split = "test"
) -> None:
    """Write one split of a data set: `folder/<class folder>/<n>.png` and its `classes.json`.

    name, per_class: as in `dataset`. split: images of different splits have nothing in common;
    `pocket:digits` has no `val` of its own, and alone has `all`. Raises UsageError for an unknown
    name or split.
    """
    from holdfast import pocket

    pocket.write_task(_task(name), folder, per_class, split)


def _task(name: str) -> str:
    """What `pocket` itself calls a data set."""
    known = datasets()
    if name not in known:
        raise UsageError(
            f"There is no data set {name!r}{did_you_mean(name, known)}; give one of "
            f"{', '.join(known)}, or a folder."
        )
    return name.removeprefix(FAMILY)


def take_validation(folder: Path) -> None:
    """Move one in VALIDATION training images of each class to `folder/val`."""
    for path in sorted((folder / "train").glob("*/*.png")):
        if int(path.stem) % VALIDATION == VALIDATION - 1:
            place = folder / "val" / path.parent.name / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
    write_json(folder / "val" / "classes.json", read_json(folder / "train" / "classes.json"))
