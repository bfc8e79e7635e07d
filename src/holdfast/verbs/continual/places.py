"""Where a task's images are: a folder, or one of the data sets that come along."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from holdfast import pocket
from holdfast.data.streams import (
    Task,
    TaskSource,
    check_place,
    open_task,
    read_stream,
    task_name,
)
from holdfast.errors import UsageError
from holdfast.files import read_json, write_json
from holdfast.pocket.tasks import Split

FAMILY = "pocket:"
DATASETS = tuple(f"{FAMILY}{task}" for task in pocket.TASKS)
SPLITS: tuple[Split, ...] = ("train", "val", "test")
# Streams that come along, by name.
STREAMS = {
    "pocket": ("letters", "textures", "digits", "shapes", "things"),
    "pocket-2": ("things", "digits", "textures", "letters", "shapes"),
}
VALIDATION = 4  # one in so many training images of a data set that has no validation images


def sources_of(stream: Path) -> list[TaskSource]:
    """The tasks of a stream file, or of a stream that comes along."""
    if str(stream) in STREAMS and not stream.is_file():
        return [TaskSource(task, f"{FAMILY}{task}") for task in STREAMS[str(stream)]]
    return read_stream(stream, DATASETS)


def open_source(source: TaskSource, root: Path, learnt: bool = True) -> Task:
    """A task's splits; a data set is drawn into `root` unless it is there."""
    folder = drawn(source, root) if source.is_dataset else Path(source.place)
    return open_task(source.name, folder, source.templates, learnt)


def drawn(source: TaskSource, root: Path) -> Path:
    """The folder of a data set below `root`, drawn by the first who needs it."""
    task = source.place.removeprefix(FAMILY)
    folder = root / f"{task.replace('/', '-')}-{source.per_class or 'all'}"
    for split in SPLITS:
        if (folder / split / "classes.json").exists():  # it is written last
            continue
        if task == "digits" and split == "val":
            take_validation(folder)
        else:
            pocket.write_task(task, folder / split, source.per_class, split)
    return folder


def take_validation(folder: Path) -> None:
    """Move every few training images of each class to the validation split."""
    for path in sorted((folder / "train").glob("*/*.png")):
        if int(path.stem) % VALIDATION == VALIDATION - 1:
            place = folder / "val" / path.parent.name / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
    write_json(folder / "val" / "classes.json", read_json(folder / "train" / "classes.json"))


def held_out_sources(given: Sequence[str] | str) -> list[TaskSource]:
    """The tasks that must not suffer. Raises UsageError for one that is not there."""
    places = [given] if isinstance(given, str) else list(given)
    for place in places:
        check_place(place, DATASETS)
    sources = [TaskSource(task_name(place), place) for place in places]
    if len({source.name for source in sources}) < len(sources):
        raise UsageError("Two held-out tasks have the same folder name; rename one folder.")
    return sources
