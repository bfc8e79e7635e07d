"""A ready classifier from anything that knows names.

A transfer run, a student of a distillation, a saved classifier: as it was saved. A model that keeps
learning: over the classes of one task, of several, or of all. A CLIP with class names: zero-shot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from holdfast import names, task_history
from holdfast.commands.settings import LoadSettings
from holdfast.errors import UsageError, did_you_mean
from holdfast.models.checkpoint import CONFIG
from holdfast.models.classifier import (
    Classifier,
    holds_classifier,
    load_classifier,
    text_head,
)
from holdfast.models.clip import load_clip
from holdfast.names import ClassNames, comparable
from holdfast.places import LOCAL
from holdfast.prompts import prompts_for
from holdfast.runs import SETTINGS
from holdfast.settings import PromptSettings
from holdfast.task_history import TASKS, TaskHistory, TaskRecord

LISTED_CLASSIFIERS = 24  # classifiers below a folder that a message names


def ready_classifier(
    settings: LoadSettings, otherwise: Callable[[], ClassNames] | None = None
) -> Classifier:
    """The classifier that the settings mean, in evaluation mode.

    otherwise: gives class names for a CLIP where the settings have none. Raises UsageError for what
    knows no names, saying what would; HoldfastError for files that cannot be read.
    """
    source, words = settings.classifier, given_names(settings.names)
    if source.loaded is not None:
        if words or settings.tasks:
            raise UsageError("A loaded classifier has its names; leave out names and tasks.")
        return source.loaded
    folder = Path(source.removeprefix(LOCAL))
    if not folder.is_dir():
        if settings.tasks:
            raise UsageError(f"{source} has learnt no tasks; give class names with --names.")
        return zero_shot(source, settings, words or (otherwise and otherwise()))
    saved, model = holds_classifier(folder), model_with_tasks(folder)
    if words:
        places = [folder, folder / "model", *([model] if model else [])]
        clip = next((place for place in places if (place / CONFIG).is_file()), None)
        if clip is None:
            raise UsageError(f"{folder} is no CLIP, so it cannot be given other names.")
        return zero_shot(f"{LOCAL}{clip}", settings, words)
    if saved is None and model is not None:
        return of_tasks(model, settings)
    if settings.tasks:
        raise UsageError(f"{folder} is no model that keeps learning; leave --tasks out.")
    if saved is not None:
        return load_classifier(saved, settings.device)
    if (folder / CONFIG).is_file():
        return zero_shot(f"{LOCAL}{folder}", settings, otherwise and otherwise())
    return load_classifier(only_classifier(folder), settings.device)


def given_names(given: Sequence[str]) -> ClassNames | None:
    """The classes that a user names, or None: one text may hold several, separated by commas."""
    words = list(given)
    if len(words) == 1 and not Path(words[0]).is_file():
        words = [part for part in map(str.strip, words[0].split(",")) if part]
    return names.from_arguments(words) if words else None


def zero_shot(model: str, settings: LoadSettings, classes: ClassNames | None) -> Classifier:
    """A CLIP model with the head of class names. Raises UsageError where there are none."""
    prompts = [] if classes is None else prompts_for(classes, settings.prompts)  # before it loads
    clip = load_clip(model, settings.pretrained, settings.device)
    if classes is None:
        raise UsageError(
            f"{model} is a CLIP without class names; give them, as in --names cat,dog, or a file "
            "of them."
        )
    about = {"method": "zero-shot", "model": clip.name}
    return Classifier(clip, text_head(clip, prompts), classes, about).eval()


def model_with_tasks(folder: Path) -> Path | None:
    """The folder of a model that keeps learning: its own, its run's, or the last of a stream's."""
    found = task_history.find_model(str(folder))
    stream = folder.glob(f"tasks/*/model/{TASKS}")
    by_position = {place.parents[1].name.partition("-")[0]: place.parent for place in stream}
    order = sorted(by_position, key=lambda position: (len(position), position))
    return found or (by_position[order[-1]] if order else None)


def of_tasks(model: Path, settings: LoadSettings) -> Classifier:
    """The classifier over the classes of tasks that a model has learnt.

    A class that several of them have is one, with the prompts of all. Raises UsageError for tasks
    that it has not learnt, and for tasks of captions.
    """
    history = task_history.read_history(model)
    tasks = chosen_tasks(history, settings.tasks)
    spelt: dict[str, str] = {}
    prompts: dict[str, list[str]] = {}
    for task in tasks:
        for name in task.classes:
            key = comparable(name)
            spelt.setdefault(key, name)
            prompts.setdefault(key, [])
            prompts[key] += [each.replace("{}", spelt[key]) for each in task.templates]
    classes = names.from_names(spelt.values())
    sentences = [list(dict.fromkeys(each)) for each in prompts.values()]
    if settings.prompts != PromptSettings():
        sentences = prompts_for(classes, settings.prompts)
    clip = load_clip(f"{LOCAL}{model}", device=settings.device)
    about = {
        "method": tasks[-1].method,
        "model": history.base["model"],
        "tasks": [task.name for task in tasks],
    }
    return Classifier(clip, text_head(clip, sentences), classes, about).eval()


def chosen_tasks(history: TaskHistory, wanted: Sequence[str]) -> list[TaskRecord]:
    """The tasks of these names; all whose classes have names where none is given.

    wanted: names; one text may hold several, separated by commas. Raises UsageError.
    """
    known = {comparable(task.name): task for task in history.tasks}
    words = list(wanted)
    if len(words) == 1 and comparable(words[0]) not in known:
        words = [part for part in map(str.strip, words[0].split(",")) if part]
    if not words:
        words = [task.name for task in history.tasks if not task.captions]
        if not words:
            raise UsageError("The model has learnt captions only; give class names with --names.")
    for word in words:
        listed = ", ".join(task.name for task in history.tasks)
        if comparable(word) not in known:
            hint = did_you_mean(word, [task.name for task in history.tasks])
            raise UsageError(f"The model has learnt no task {word!r}{hint}; it has {listed}.")
        if known[comparable(word)].captions:
            raise UsageError(f"The task {word!r} has captions and no class names; leave it out.")
    return list({comparable(word): known[comparable(word)] for word in words}.values())


def list_several(settings: LoadSettings) -> None:
    """Raise UsageError that lists the classifiers of a folder which holds several."""
    folder = Path(settings.classifier.removeprefix(LOCAL))
    if folder.is_dir() and holds_classifier(folder) is None and model_with_tasks(folder) is None:
        only_classifier(folder)


def only_classifier(folder: Path) -> Path:
    """The one classifier below a folder. Raises UsageError that lists them where there are more."""
    patterns = ("*/model/classifier.json", "*/*/model/classifier.json")
    found = sorted(path.parents[1] for pattern in patterns for path in folder.glob(pattern))
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(map(str, found[:LISTED_CLASSIFIERS])) + (
            ", ..." if len(found) > LISTED_CLASSIFIERS else ""
        )
        raise UsageError(f"{folder} holds {len(found)} classifiers; give one of {listed}.")
    if (folder / SETTINGS).is_file():
        raise UsageError(
            f"{folder} holds a run that has made no classifier; run its command again to finish it."
        )
    raise UsageError(
        f"{folder} holds no classifier and no model; give the folder of a run, or a CLIP with "
        "--names."
    )
