"""Streams of tasks: a file that lists them, and a task's folder -> its images, split by split.

A stream file, YAML or JSON, is a list of tasks, or a mapping with that list under `tasks`:

    - pocket:flags                       # a data set by name, or a folder
    - folder: data/aircraft
      templates: aircraft                # the first one trains, all of them evaluate
      learning_rate: 5e-5                # any training setting, for this task alone
    - {folder: data/eurosat, names: "names:eurosat"}   # class names of a list, or of a file

A task's folder holds `train` and, if it has them, `val` and `test`; or it is the training split
itself. A split holds images in any layout with labels (`holdfast.data.layouts`), or with captions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from holdfast import builtin, names
from holdfast.builtin import is_dataset
from holdfast.data.captions import scan_captions
from holdfast.data.folders import LabelledImages, log_layout, scan_part, without_images
from holdfast.data.layouts import Choice, Part, has_labels, look, parts_to_learn
from holdfast.data.readable import readable
from holdfast.errors import HoldfastError, UsageError, did_you_mean
from holdfast.names import ClassNames
from holdfast.prompts import expand_templates
from holdfast.published import LIST_PREFIX
from holdfast.settings import ContinualTrainSettings
from holdfast.settings.convert import convert
from holdfast.yaml_files import read_yaml

TEMPLATE = "a photo of a {}."


@dataclass(frozen=True)
class TaskSource:
    """A task as a stream names it.

    name: of the task. place: its folder, or the name of a data set.
    templates: sentences with one `{}`, or the name of a list.
    per_class: images of each class and split of a data set; None is all.
    train: training settings of this task alone. choice: how its folder is read.
    names: file of its class names, or a data set's (`names:eurosat`), whose folders are called
        otherwise; "" is what the folders say.
    """

    name: str
    place: str
    templates: list[str] | str = TEMPLATE
    per_class: int | None = None
    train: dict[str, Any] = field(default_factory=dict)
    choice: Choice = field(default_factory=Choice)
    names: str = ""

    def read_as(self, settings: Any, classes: Sequence[str] = ()) -> TaskSource:
        """The same, read as the settings of a command say; classes: those of this task to take."""
        return replace(self, choice=replace(Choice.of(settings), classes=classes))

    @property
    def is_dataset(self) -> bool:
        """Whether its place is the name of a data set."""
        return is_dataset(self.place)


def task_name(place: str) -> str:
    """The default name of a task: the folder's own name, or the data set's without its family.

    place: folder, or name of a data set.
    """
    return place.partition(":")[2] if is_dataset(place) else Path(place).absolute().name


def open_source(source: TaskSource, root: Path, learnt: bool = True) -> Task:
    """A task's images; a data set is drawn into a folder below `root` unless it is there.

    source: the task. root: folder for data sets. learnt: whether it is to be trained on.
    Raises what `open_task` raises.
    """
    if source.is_dataset:
        folder = builtin.dataset(source.place, root, source.per_class)
        return open_task(source.name, folder, source.templates, learnt, checked=False)
    known = names.from_arguments([source.names]) if source.names else None
    place = Path(source.place)
    return open_task(source.name, place, source.templates, learnt, source.choice, classes=known)


def find_stream(stream: Path, settings: Any = None) -> list[TaskSource]:
    """The tasks of a `stream`: a built-in one's name, or a file.

    settings: of a command, which say how folders are read; `classes` of a task are its own.
    Raises UsageError as `read_stream` does.
    """
    known = None if stream.is_file() else builtin.stream(str(stream))
    if known is None:
        return [each.read_as(settings, each.choice.classes) for each in read_stream(stream)]
    return [TaskSource(task_name(place), place) for place in known]


def read_stream(path: Path) -> list[TaskSource]:
    """The tasks of the stream file `path`, in its order; folders are relative to the file.

    Raises UsageError, naming the task, for a file that cannot be read, for unknown keys, data sets
    and settings, for folders that do not exist, and for two tasks of one name.
    """
    try:
        value = read_yaml(path)
    except HoldfastError as error:
        raise UsageError(f"The stream file {error}") from None
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
        folder = entry.pop("folder")
        if not isinstance(folder, str) or not folder:
            raise UsageError(f"folder is {folder!r}; write the name of one.")
        place = str((root / Path(folder).expanduser()).absolute())
    else:
        place = str(entry.pop("dataset"))
        if ":" not in place:
            raise UsageError(f"There is no data set {place!r}; a folder is given as `folder`.")
    name = entry.pop("name", "") if "name" in entry else task_name(place)
    if not isinstance(name, str | None):
        raise UsageError(f"A task's name is {name!r}, no text; put it in quotation marks.")
    if not (name or "").strip():
        raise UsageError("A task's name is empty; write one, or leave `name` out.")
    per_class = convert(entry.pop("per_class", None), int | None, "per_class")
    if per_class is not None and per_class < 1:
        raise UsageError(f"per_class is {per_class!r}; it must be at least 1.")
    if per_class is not None and not is_dataset(place):
        raise UsageError("per_class is for data sets; a folder is used as a whole.")
    templates = entry.pop("templates", TEMPLATE)
    sentences = templates if isinstance(templates, list) else [templates]
    if not all(isinstance(each, str) for each in sentences):
        raise UsageError(f"templates is {templates!r}; it must be a text, or a list of texts.")
    expand_templates(templates)
    listed = convert(entry.pop("names", ""), str, "names")
    if listed and is_dataset(place):
        raise UsageError("names are for folders; a data set has its own.")
    if listed and not listed.startswith(LIST_PREFIX):
        listed = str((root / Path(listed).expanduser()).absolute())
    return TaskSource(
        name=str(name),
        place=place,
        templates=templates,
        per_class=per_class,
        choice=Choice(classes=convert(entry.pop("classes", []), list[str], "classes")),
        names=listed,
        train=training_settings(entry),
    )


def training_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The training settings `given` for one task, by name, with the types of their fields.

    Raises UsageError for unknown names and for values that do not fit.
    """
    known = {each.name for each in fields(ContinualTrainSettings)}
    for name in given:
        if name not in known:
            raise UsageError(f"A task has no setting {name!r}{did_you_mean(str(name), known)}.")
    checked = ContinualTrainSettings.from_dict(given)
    return {name: getattr(checked, name) for name in given}


@dataclass(frozen=True)
class Task:
    """A task's images, split by split.

    name: of the task. templates: sentences with one `{}`; the first is used in training, all of
    them in evaluation.
    train, val, test: the images; val and test are None where the folder has none.
    captions: whether the images have captions. Each split then has its own captions as classes,
    and every caption is its own prompt; the splits of class folders share their classes.
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
        """The prompt of each class."""
        return [self.templates[0].replace("{}", name) for name in self.classes]

    def evaluation_prompts(self, data: LabelledImages) -> list[list[str]]:
        """All prompts of each class of `data`, one of the splits."""
        return [[each.replace("{}", name) for each in self.templates] for name in data.classes]


def open_task(
    name: str,
    folder: Path,
    templates: list[str] | str = TEMPLATE,
    learnt: bool = True,
    choice: Choice | None = None,
    checked: bool = True,
    classes: ClassNames | None = None,
) -> Task:
    """The images of a task's folder.

    name: of the task. folder: as the top of this file says. templates: sentences with one `{}`, or
    the name of a list. learnt: whether the task is to be trained on; if not, another split takes
    the place of training images that do not exist. choice: how the folder is read. checked: whether
    images that cannot be read are left out, for which each is decoded once. classes: the names of
    the folders; None is what they say themselves.

    Raises UsageError or HoldfastError, naming the folder, if it has no images, if the training
    split lacks a class, if two classes have one name, if a class has no image, or if there are
    templates beside captions.
    """
    layout = look(folder, choice)
    parts = parts_to_learn(layout)
    training = parts.get("train")
    if training is None and not learnt:
        training = parts.get("val") or parts["test"]
    if training is None:
        raise UsageError(f"{folder} has no folder train; put the task's training images there.")
    captions = not has_labels(training)
    if captions and templates != TEMPLATE:
        raise UsageError(
            f"{folder} has captions, which are prompts themselves; leave out templates."
        )

    def images(part: Part, known: ClassNames | None) -> LabelledImages:
        found = scan_captions(part) if captions else scan_part(part, known, choice)
        return readable(found) if checked else found

    train = images(training, classes)
    if missing := without_images(train):
        raise HoldfastError(
            f"{training.folder} has no image of {', '.join(map(repr, missing[:5]))}."
        )
    rest = {s: images(part, train.classes) for s, part in parts.items() if s != "train"}
    log_layout(layout, {"train": train, **rest} if layout.kind == "splits" else {"": train})
    sentences = ("{}",) if captions else tuple(expand_templates(templates))
    return Task(name, sentences, train, rest.get("val"), rest.get("test"), captions)
