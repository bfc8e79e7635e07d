"""Streams of tasks: a file that lists them, and a task's folder -> its images, split by split.

A stream file, YAML or JSON, is a list of tasks, or a mapping with that list under `tasks`:

    - pocket:letters                     # a data set by name, or a folder
    - folder: data/aircraft
      templates: aircraft                # the first one trains, all of them evaluate
      learning_rate: 5e-5                # any training setting, for this task alone

A task's folder holds `train` and, if it has them, `val` and `test`; or it is the training split
itself. A split holds class folders, or images with captions (see `holdfast.data.captions`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from holdfast import builtin, names
from holdfast.builtin import is_dataset
from holdfast.data.captions import has_captions, scan_captions
from holdfast.data.folders import LabelledImages, scan, without_images
from holdfast.errors import HoldfastError, UsageError, did_you_mean
from holdfast.names import ClassNames
from holdfast.prompts import expand_templates
from holdfast.settings import ContinualTrainSettings

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}
TEMPLATE = "a photo of a {}."


@dataclass(frozen=True)
class TaskSource:
    """A task as a stream names it.

    place: its folder, or a data set's name; templates: sentences with one `{}`, or a list's name;
    per_class: images per class and split of a data set that is drawn; train: training settings
    that hold for this task alone.
    """

    name: str
    place: str
    templates: list[str] | str = TEMPLATE
    per_class: int | None = None
    train: dict[str, Any] = field(default_factory=dict)

    @property
    def is_dataset(self) -> bool:
        return is_dataset(self.place)


def task_name(place: str) -> str:
    """What a task is called if nobody says otherwise: its folder, or its data set."""
    return place.partition(":")[2] if is_dataset(place) else Path(place).absolute().name


def open_source(source: TaskSource, root: Path, learnt: bool = True) -> Task:
    """A task's splits; a data set is drawn into a folder below `root` unless it is there.

    learnt, and what is raised: see `open_task`.
    """
    folder = Path(source.place)
    if source.is_dataset:
        folder = builtin.dataset(source.place, root, source.per_class)
    return open_task(source.name, folder, source.templates, learnt)


def find_stream(stream: Path) -> list[TaskSource]:
    """The tasks of a built-in stream, or of a stream file (see `read_stream`)."""
    known = None if stream.is_file() else builtin.stream(str(stream))
    if known is None:
        return read_stream(stream)
    return [TaskSource(task_name(place), place) for place in known]


def read_stream(path: Path) -> list[TaskSource]:
    """The tasks of a stream file, in its order; folders are relative to the file.

    Raises UsageError, naming the task, for what cannot be read, unknown keys, data sets and
    settings, missing folders and names given twice.
    """
    import yaml

    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(f"The stream file {str(path)!r} cannot be read: {reason}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise UsageError(f"The stream file {path} is neither YAML nor JSON{place}.") from None
    if isinstance(value, dict) and (unknown := [key for key in value if key != "tasks"]):
        raise UsageError(
            f"The stream file {path} has {unknown[0]!r} beside its tasks; a setting of one task "
            "goes with the task, one of all on the command line."
        )
    listed = value.get("tasks") if isinstance(value, dict) else value
    if not isinstance(listed, list) or not listed:
        raise UsageError(
            f"The stream file {path} lists no tasks; write one a line, as in '- data/pets'."
        )
    tasks: list[TaskSource] = []
    for number, entry in enumerate(listed, 1):
        try:
            task = _task(entry, path.parent)
            builtin.check_place(task.place)
        except UsageError as error:
            raise UsageError(f"{path}, task {number}: {error}") from None
        tasks.append(task)
    known: set[str] = set()
    for task in tasks:
        if names.comparable(task.name) in known:
            raise UsageError(f"{path} has two tasks called {task.name!r}; give one a `name`.")
        known.add(names.comparable(task.name))
    return tasks


def _task(entry: Any, root: Path) -> TaskSource:
    if isinstance(entry, str):
        entry = {"dataset" if is_dataset(entry) else "folder": entry}
    if not isinstance(entry, dict):
        raise UsageError(f"{entry!r} is no task; write a folder, a data set, or keys and values.")
    entry = dict(entry)
    if ("folder" in entry) == ("dataset" in entry):
        raise UsageError("A task has one `folder` or one `dataset`.")
    if "folder" in entry:
        place = str((root / str(entry.pop("folder"))).absolute())
    else:
        place = str(entry.pop("dataset"))
        if ":" not in place:
            raise UsageError(f"There is no data set {place!r}; a folder is given as `folder`.")
    if "name" in entry and not str(entry["name"] or "").strip():
        raise UsageError("A task's name is empty; write one, or leave `name` out.")
    per_class = entry.pop("per_class", None)
    if per_class is not None and (not isinstance(per_class, int) or per_class < 1):
        raise UsageError(f"per_class is {per_class!r}; it must be at least 1.")
    if per_class is not None and not is_dataset(place):
        raise UsageError("per_class is for data sets; a folder is used as a whole.")
    templates = entry.pop("templates", TEMPLATE)
    sentences = templates if isinstance(templates, list) else [templates]
    if not all(isinstance(each, str) for each in sentences):
        raise UsageError(f"templates is {templates!r}; it must be a text, or a list of texts.")
    expand_templates(templates)
    return TaskSource(
        name=str(task_name(place) if (name := entry.pop("name", None)) is None else name),
        place=place,
        templates=templates,
        per_class=per_class,
        train=training_settings(entry),
    )


def training_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of one task with the types of `ContinualTrainSettings`.

    Raises UsageError for unknown names and values that do not fit.
    """
    known = {each.name for each in fields(ContinualTrainSettings)}
    for name in given:
        if name not in known:
            raise UsageError(f"A task has no setting {name!r}{did_you_mean(str(name), known)}.")
    checked = ContinualTrainSettings.from_dict(given)
    return {name: getattr(checked, name) for name in given}


@dataclass(frozen=True)
class Task:
    """A task's images, split by split; val and test are None where the folder has none.

    templates: sentences with one `{}`; the first one trains, all of them evaluate.
    The splits of class folders share their classes. With captions each split has its own captions
    as classes, and every caption is its own prompt.
    """

    name: str
    templates: tuple[str, ...]
    train: LabelledImages
    val: LabelledImages | None = None
    test: LabelledImages | None = None
    captions: bool = False

    @property
    def classes(self) -> ClassNames:
        """The classes that training tells apart."""
        return self.train.classes

    def splits(self) -> list[tuple[str, LabelledImages]]:
        """The splits that the task has, by name."""
        found = {"train": self.train, "val": self.val, "test": self.test}
        return [(split, images) for split, images in found.items() if images is not None]

    def training_prompts(self) -> list[str]:
        """One for each class."""
        return [self.templates[0].replace("{}", name) for name in self.classes]

    def evaluation_prompts(self, data: LabelledImages) -> list[list[str]]:
        """All of each class of one of the splits."""
        return [[each.replace("{}", name) for each in self.templates] for name in data.classes]


def open_task(
    name: str, folder: Path, templates: list[str] | str = TEMPLATE, learnt: bool = True
) -> Task:
    """The splits of a task's folder.

    learnt: whether it is to be trained on. Without that any split will do; one takes the place of
    training images that are not there.

    Raises UsageError or HoldfastError, naming the folder, for one without images, for classes that
    the training split lacks, for two classes with one name, for a class without images, and for
    templates of captions.
    """
    places = split_folders(folder)
    training = places["train"]
    if training is None and not learnt:
        training = places["val"] or places["test"]
    if training is None:
        raise UsageError(f"{folder} has no folder train; put the task's training images there.")
    captions = has_captions(training)
    if captions and templates != TEMPLATE:
        raise UsageError(
            f"{folder} has captions, which are prompts themselves; leave out templates."
        )
    train = scan_captions(training) if captions else scan(training)
    if missing := without_images(train):
        raise HoldfastError(f"{training} has no image of {', '.join(map(repr, missing[:5]))}.")
    rest: dict[str, LabelledImages | None] = {}
    for split in ("val", "test"):
        place = places[split]
        if place is None:
            rest[split] = None
        else:
            rest[split] = scan_captions(place) if captions else scan(place, train.classes)
    known = ("{}",) if captions else tuple(expand_templates(templates))
    return Task(name, known, train, rest["val"], rest["test"], captions)


def holds_split(folder: Path) -> bool:
    """Whether a folder holds class folders or captions, and so is no class itself."""
    entries = [entry for entry in folder.iterdir() if not names.is_ignored(entry.name)]
    return has_captions(folder) or any(entry.is_dir() for entry in entries)


def split_folders(folder: Path) -> dict[str, Path | None]:
    """Where each split lies; a folder of anything but splits is the training split.

    Raises UsageError for two folders of one split, and for splits among other folders: as classes
    they would put test images into training.
    """
    entries = {e.name for e in folder.iterdir() if e.is_dir() and not names.is_ignored(e.name)}
    spellings = {spelling for each in SPLITS.values() for spelling in each}
    if others := sorted(entries - spellings):
        splits = sorted(e for e in entries & spellings if holds_split(folder / e))
        if splits:
            raise UsageError(
                f"{folder} has {others[0]!r} beside {' and '.join(splits)}; move it elsewhere, or "
                "if all of them are classes, put them into a folder train."
            )
    if not entries or others:
        return {"train": folder, "val": None, "test": None}
    found: dict[str, Path | None] = {}
    for split, spelt in SPLITS.items():
        present = [folder / spelling for spelling in spelt if spelling in entries]
        if len(present) > 1:
            raise UsageError(f"{folder} has {present[0].name} and {present[1].name}; keep one.")
        found[split] = present[0] if present else None
    return found
