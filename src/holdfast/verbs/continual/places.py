"""Where a task's images are: a folder, or one of the data sets that come along."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from holdfast import pocket
from holdfast.data.streams import Task, TaskSource, check_place, open_task, task_name
from holdfast.errors import UsageError
from holdfast.pocket.tasks import Split

FAMILY = "pocket:"
DATASETS = tuple(f"{FAMILY}{task}" for task in pocket.TASKS)
SPLITS: tuple[Split, ...] = ("train", "val", "test")


def open_source(source: TaskSource, root: Path) -> Task:
    """A task's splits; a data set is drawn into `root` unless it is there."""
    folder = drawn(source, root) if source.is_dataset else Path(source.place)
    return open_task(source.name, folder, source.templates)


def drawn(source: TaskSource, root: Path) -> Path:
    """The folder of a data set below `root`, drawn by the first who needs it."""
    task = source.place.removeprefix(FAMILY)
    folder = root / f"{task.replace('/', '-')}-{source.per_class or 'all'}"
    for split in SPLITS:
        if split == "val" and task == "digits":
            continue  # the real digits have none
        if not (folder / split / "classes.json").exists():  # it is written last
            pocket.write_task(task, folder / split, source.per_class, split)
    return folder


def held_out_sources(given: Sequence[str] | str) -> list[TaskSource]:
    """The tasks that must not suffer. Raises UsageError for one that is not there."""
    places = [given] if isinstance(given, str) else list(given)
    for place in places:
        check_place(place, DATASETS)
    sources = [TaskSource(task_name(place), place) for place in places]
    if len({source.name for source in sources}) < len(sources):
        raise UsageError("Two held-out tasks have the same folder name; rename one folder.")
    return sources
