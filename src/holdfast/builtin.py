"""What comes along with Holdfast, by the names that users give: models, class names, data sets.

All of it is the small embedded world of `holdfast.pocket`, which nothing else here imports. Each
function takes a name and answers None where it is not a built-in one, so that a caller can go on
with the name as it is:

    builtin.model("pocket")          -> "local-dir:/.../pocket/weights/clip"
    builtin.student("pocket-vit")    -> "local-dir:/.../pocket/weights/student-vit"
    builtin.generator("pocket")      -> "/.../pocket/weights/diffusion"
    builtin.pretraining_names("pocket") -> ("house", "car", "bicycle", ...)
    builtin.stream("pocket-2")       -> ("pocket:food", "pocket:files", ...)
    builtin.datasets()               -> ("pocket:nouns", "pocket:flags", ...)

    builtin.dataset("pocket:flags", root)   writes it and answers root / "flags-all"
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import UsageError, did_you_mean
from holdfast.files import read_json, write_json

if TYPE_CHECKING:
    from holdfast.pocket import Split

WORLD = "pocket"
FAMILY = f"{WORLD}:"  # a data set's name is its family and its own
STREAMS = {
    WORLD: ("flags", "weather", "logos", "digits", "food", "coins", "faces", "files"),
    f"{WORLD}-2": ("food", "files", "digits", "faces", "flags", "coins", "weather", "logos"),
}
VALIDATION = 4  # one in so many training images of a class is for validation


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


def pretraining_names(name: str) -> tuple[str, ...] | None:
    """Names that stand for what the built-in model `name` was pre-trained on."""
    if name != WORLD:
        return None
    from holdfast import pocket

    return pocket.NOUNS


def stream(name: str) -> tuple[str, ...] | None:
    """The data sets of the stream of tasks `name`, in its order."""
    return tuple(f"{FAMILY}{task}" for task in STREAMS[name]) if name in STREAMS else None


def datasets() -> tuple[str, ...]:
    """The names of all data sets: `pocket:nouns`, ..., `pocket:domains/line`, ..."""
    from holdfast import pocket

    return tuple(f"{FAMILY}{task}" for task in pocket.TASKS)


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
    """The folder of a data set below `root`, with its splits: `train`, `val` and `test`.

    It is written by the first who needs it. A data set that is only measured on
    (`pocket:domains/...`) has `test` alone. per_class: images of each class and split at most,
    those for validation among those to train on; None is all. Raises UsageError for an unknown
    name.
    """
    from holdfast import pocket

    task = _task(name)
    folder = root / f"{task.replace('/', '-')}-{per_class or 'all'}"
    for split in pocket.splits(task):
        if not (folder / split / "classes.json").exists():  # it is written last
            write_images(name, folder / split, per_class, split)
    if "train" in pocket.splits(task) and not (folder / "val" / "classes.json").exists():
        take_validation(folder)
    return folder


def write_images(
    name: str, folder: Path, per_class: int | None = None, split: Split = "test"
) -> None:
    """Write one split of a data set: `folder/<class folder>/<n>.png` and its `classes.json`.

    name, per_class: as in `dataset`. split: `train` and `test` have nothing in common, `all` is
    both. Raises UsageError for an unknown name and for a split that the data set lacks.
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
    """Move one in VALIDATION training images of a class to `folder/val`, if it has so many."""
    for path in sorted((folder / "train").glob("*/*.png")):
        if int(path.stem) % VALIDATION == VALIDATION - 1:
            place = folder / "val" / path.parent.name / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
    if (folder / "val").exists():
        write_json(folder / "val" / "classes.json", read_json(folder / "train" / "classes.json"))
