"""What a task starts from: its settings, checked before anything is spent, and the model."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from holdfast import builtin, task_history
from holdfast.anchors.weight_ensemble import WeightEnsemble
from holdfast.builtin import is_dataset
from holdfast.commands.settings import ContinualAddSettings, ContinualRunSettings
from holdfast.data.folders import fingerprint
from holdfast.data.replay import BASE
from holdfast.data.streams import Task, TaskSource, open_source, task_name
from holdfast.errors import HoldfastError, UsageError
from holdfast.files import read_sealed
from holdfast.generation.sources import find_pipelines
from holdfast.methods import Composition, Family, compose
from holdfast.models.clip import CLIP, load_clip
from holdfast.names import comparable
from holdfast.places import (
    LOCAL,
    absolute_file,
    absolute_generators,
    absolute_model,
    absolute_path,
)
from holdfast.replay import base_names, count, known_sources, pairs_digest
from holdfast.runs import Run
from holdfast.seen import SEEN
from holdfast.task_history import TaskHistory, TaskRecord
from holdfast.weights import digest

AnyContinual = TypeVar("AnyContinual", ContinualAddSettings, ContinualRunSettings)
GATE_FIELDS = ("max_drop", "held_out")  # come after training: free until a model passes


@dataclass(frozen=True)
class Prepared:
    """A task whose settings were checked; nothing was spent on it yet.

    task: its images, None for a data set, which is drawn into the run's folder. history: of the
    model it is added to, None for a model that no task was added to.
    """

    settings: ContinualAddSettings
    source: TaskSource
    task: Task | None
    history: TaskHistory | None
    composition: Composition

    def open_task(self, data: Path) -> Task:
        """The task's images; a data set is drawn into `data` unless it is there."""
        return self.task or open_source(self.source, data)

    @property
    def model(self) -> Path:
        """The folder of the new model."""
        return self.settings.out / "model"

    @property
    def finished(self) -> bool:
        """Whether the new model is whole."""
        return (self.model / task_history.TASKS).is_file()

    @property
    def draws(self) -> bool:
        """Whether replayed images are drawn, or taken from the user's folder."""
        return self.composition.asks_replay and self.composition.replayed != "task"


def prepare(settings: ContinualAddSettings) -> Prepared:
    """Check a task's settings. Raises UsageError or HoldfastError for what is wrong with them."""
    SEEN.recall(settings.out)
    name = settings.name or task_name(settings.task)
    source = TaskSource(name, settings.task, settings.templates, settings.per_class)
    source = replace(source, names=settings.names)
    source = source.read_as(settings, settings.classes)
    builtin.check_place(source.place)
    if source.per_class is not None and not source.is_dataset:
        raise UsageError("per_class is for data sets; a folder is used as a whole.")
    settings = resolved(settings)
    folder = task_history.find_model(settings.model)
    history = task_history.read_history(folder) if folder is not None else None
    if history is not None:
        history.check_new(name)
    composition = compose(
        settings.method, settings.anchors, Family.CONTINUAL, replay=count(settings.replay) > 0
    )
    task = None if source.is_dataset else open_source(source, settings.out)
    prepared = Prepared(settings, source, task, history, composition)
    images, batch = count(settings.replay), settings.train.replay_batch_size
    if prepared.draws and images < batch:
        raise UsageError(
            f"There are {images} replayed images, fewer than the {batch} of a step; raise "
            "--replay.images, or lower --train.replay_batch_size."
        )
    if composition.asks_replay:
        known_sources(history or TaskHistory({}), settings.replay)  # raises for unusable names
    for ensemble in composition.of(WeightEnsemble):
        if ensemble.alpha == "auto" or ensemble.merge == "fisher":
            raise UsageError(
                "Continual learning takes a number for the weight ensemble's alpha, and the merge "
                "linear; auto and fisher are for name-only transfer."
            )
    if comparable(name) == comparable(BASE):
        raise UsageError(f"A task cannot be called {name!r}, as pre-training is; rename it.")
    held_out = held_out_sources(settings)
    if any(comparable(each.name) == comparable(name) for each in held_out):
        raise UsageError(f"The task {name!r} is held out too; give one of them another name.")
    if settings.max_drop is not None and not held_out and not prepared.draws:
        raise UsageError("max_drop has nothing to be measured on; name tasks with --held_out.")
    if not prepared.finished and prepared.draws and settings.replay.folder is None:
        find_pipelines(settings.generator)
    return prepared


def resolved(settings: ContinualAddSettings) -> ContinualAddSettings:
    """The settings as they hold anywhere: paths absolute."""
    return replace(
        with_absolute_paths(settings),
        task=absolute_task(settings.task),
        names=absolute_file(settings.names),
    )


def with_absolute_paths(settings: AnyContinual) -> AnyContinual:
    """The settings of a task or of a stream, without its own place, with absolute paths."""
    replay, folder = settings.replay, task_history.find_model(settings.model)
    return replace(
        settings,
        model=str(folder.absolute()) if folder is not None else absolute_model(settings.model),
        pretrained=absolute_file(settings.pretrained),
        generator=absolute_generators(settings.generator),
        held_out=[absolute_task(place) for place in settings.held_out],
        replay=replace(
            replay,
            base=absolute_file(replay.base),
            folder=replay.folder and replay.folder.absolute(),
            cache=replay.cache and replay.cache.absolute(),
        ),
    )


def absolute_task(place: str) -> str:
    """A task's folder, absolute; the name of a data set stays as it is."""
    return place if is_dataset(place) else str(absolute_path(place))


def held_out_sources(settings: Any) -> list[TaskSource]:
    """The tasks of `settings.held_out`. Raises UsageError for one that is not there."""
    for place in settings.held_out:
        builtin.check_place(place)
    sources = [TaskSource(task_name(p), p).read_as(settings) for p in settings.held_out]
    if len({source.name for source in sources}) < len(sources):
        raise UsageError("Two held-out tasks have the same folder name; rename one folder.")
    return sources


def open_held_out(settings: AnyContinual, data: Path) -> list[Task]:
    """The held-out tasks; those that are data sets are drawn into `data`."""
    return [open_source(each, data, False) for each in held_out_sources(settings)]


def open_model(model: str, pretrained: str, device: str, seed: int = 0) -> tuple[CLIP, TaskHistory]:
    """A model to add a task to, and its history, which is empty before the first task."""
    folder = task_history.find_model(model)
    if folder is not None:
        return load_clip(f"{LOCAL}{folder}", "", device, seed), task_history.read_history(folder)
    clip = load_clip(model, pretrained, device, seed)
    base = {"model": absolute_model(model), "pretrained": pretrained}
    return clip, TaskHistory(base | {"weights": digest(clip.model.state_dict())})


def initial_model(clip: CLIP, history: TaskHistory, settings: ContinualAddSettings) -> CLIP:
    """The model before the first task: `clip` itself, or loaded anew where tasks were added.

    Raises HoldfastError if it is no longer the one that the first task was added to.
    """
    if not history.tasks:
        return clip
    base = history.base
    found = load_clip(base["model"], base["pretrained"], settings.device, settings.seed)
    if digest(found.model.state_dict()) != base["weights"]:
        raise HoldfastError(
            f"{settings.method.name} asks the initial model, and {base['model']} is no longer the "
            "one that the first task was added to."
        )
    return found


def open_task_run(prepared: Prepared) -> AbstractContextManager[Run]:
    """`Run.open` of a task's folder; where a model has passed the gate, it may only be looser."""
    settings, free = prepared.settings, list(GATE_FIELDS)
    if prepared.finished:
        earlier, now = (
            read_sealed(settings.out / "settings.json").get("max_drop"),
            settings.max_drop,
        )
        looser = earlier is not None and (now is None or now >= earlier)
        free = ["max_drop"] if looser else []
    return Run.open(
        settings.out, settings, "continual add", free=free, keep_settings=prepared.finished
    )


def check_follows(made: TaskHistory, prepared: Prepared) -> None:
    """Raise HoldfastError if a finished model was not made from the one that is given now."""
    known, settings = prepared.history, prepared.settings
    if known is None:
        known = open_model(settings.model, settings.pretrained, settings.device, settings.seed)[1]
    before = [task.weights for task in known.tasks]
    same = [task.weights for task in made.tasks[:-1]] == before
    if not same or made.base["weights"] != known.base["weights"]:
        raise HoldfastError(
            f"{prepared.model} was made from another model than the one given now; give another "
            "--out, or remove it to make it again."
        )


def task_hashes(task: Task) -> dict[str, dict[str, Any]]:
    """Number and hash of the images of each split."""
    return {
        split: {"images": len(images), "sha256": fingerprint(images)}
        for split, images in task.splits()
    }


def notes(history: TaskHistory, task: Task, prepared: Prepared) -> list[str]:
    """What the user should know of the task, without the gate's."""
    found = []
    shared = {} if task.captions else history.shared_classes(task.classes.names)
    for other, both in shared.items():
        rest = f" and {len(both) - 3} more are" if len(both) > 3 else " are"
        verb = " is" if len(both) == 1 else rest
        found.append(f"{', '.join(map(repr, both[:3]))}{verb} also among the classes of {other!r}.")
    for images in (images for _, images in task.splits()):
        found += images.notes
        found += [f"{each}; it was skipped." for each in images.unreadable]
    settings = prepared.settings
    wanted = compose(settings.method, settings.anchors, Family.CONTINUAL)
    if wanted.asks_replay and wanted.replayed != "task" and count(settings.replay) == 0:
        pulled = any(anchor.name == "consolidation" for anchor in prepared.composition.anchors)
        left = "plain L2 toward the previous weights" if pulled else "plain fine-tuning"
        found.append(f"Without replayed images this is {left}.")
    return found


def task_inputs(task: Task, history: TaskHistory, prepared: Prepared) -> dict[str, str]:
    """Hashes of what a task's model is made from and its settings only name."""
    replay = prepared.settings.replay
    base = json.dumps(base_names(replay.base)) if prepared.composition.asks_replay else ""
    return {
        "images of the task": fingerprint(task.train),
        "previous model": history.weights,
        "replay images": pairs_digest(replay),
        "names of pre-training": base and hashlib.sha256(base.encode()).hexdigest(),
    }


def record_of(
    task: Task, method: str, seed: int, settings: dict[str, Any], replay: Any = None
) -> TaskRecord:
    """A task as it goes into the model's history."""
    return TaskRecord(
        name=task.name,
        classes=task.classes.names,
        templates=task.templates,
        captions=task.captions,
        method=method,
        seed=seed,
        settings=settings,
        data=task_hashes(task),
        replay=replay,
    )
