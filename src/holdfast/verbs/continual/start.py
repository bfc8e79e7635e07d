"""What a task starts from: its settings, checked before anything is spent, and the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from holdfast import builtin, task_history
from holdfast.data.replay import BASE
from holdfast.data.streams import TaskSource, is_dataset, task_name
from holdfast.errors import HoldfastError, UsageError
from holdfast.generation.pipeline import find
from holdfast.methods.continual import replays
from holdfast.models.clip import CLIP, load_clip
from holdfast.names import comparable
from holdfast.settings import ContinualAddSettings, ContinualRunSettings, ContinualTrainSettings
from holdfast.task_history import LOCAL, TaskHistory
from holdfast.verbs.continual.places import held_out_sources
from holdfast.verbs.continual.plans import DRAWN, PLANS, needs_replay, training
from holdfast.verbs.continual.replay import BASES, count, known_sources
from holdfast.weights import digest

# What may change when a task goes on: how fast it is done, and where things are kept. The model is
# known by its weights.
FREE = (
    *("out", "device", "model", "pretrained", "train.workers", "train.checkpoint_minutes"),
    *("replay.batch_size", "replay.redraws", "replay.cache"),
)
GATE = ("max_drop", "held_out")  # come after training: free until a model passes


def source_of(settings: ContinualAddSettings) -> TaskSource:
    """The task as a stream would name it."""
    name = settings.name or task_name(settings.task)
    return TaskSource(name, settings.task, settings.templates, settings.per_class)


def check(
    settings: ContinualAddSettings, source: TaskSource, known: TaskHistory | None
) -> ContinualTrainSettings:
    """The settings that the task trains with; UsageError for what can be known to be wrong."""
    builtin.check_place(source.place)
    if source.per_class is not None and not source.is_dataset:
        raise UsageError("per_class is for data sets; a folder is used as a whole.")
    if known is not None:
        known.check_new(source.name)
    plan = PLANS[settings.method]
    drawn = plan.replay in DRAWN
    images = count(settings.replay) if drawn else 0
    train = training(settings.method, settings.train, images)
    if train.consolidation and train.importance == "adaptive" and not replays(train):
        raise UsageError(
            "importance: adaptive comes from the losses on replay images, and distillation and "
            "alignment are 0; give one a weight, or take importance: uniform, or consolidation: 0."
        )
    if drawn and needs_replay(train) and images < train.replay_batch_size:
        raise UsageError(
            f"There are {images} replay images, fewer than the {train.replay_batch_size} of a "
            "step; raise --replay.images, or lower --train.replay_batch_size."
        )
    if plan.replay != "none" and needs_replay(train):
        known_sources(known or TaskHistory({}), settings.replay)  # raises for unusable names
    of_images = train.distill == "features" and train.distill_sides == "image"
    if train.distillation and of_images and train.learns == "text" and not train.alignment:
        raise UsageError(
            "Distilling the features of images teaches the text tower nothing; take another of "
            "train.distill, train.distill_sides and train.learns."
        )
    if comparable(source.name) == comparable(BASE):
        raise UsageError(f"A task cannot be called {source.name!r}, as pre-training is; rename it.")
    held_out = held_out_sources(settings.held_out)
    if any(comparable(each.name) == comparable(source.name) for each in held_out):
        raise UsageError(
            f"The task {source.name!r} is held out too; give one of them another name."
        )
    if settings.max_drop is not None and not held_out and not (drawn and needs_replay(train)):
        raise UsageError("max_drop has nothing to be measured on; name tasks with --held_out.")
    return train


def check_generator(settings: ContinualAddSettings, train: ContinualTrainSettings) -> None:
    """Raise UsageError or HoldfastError where images must be drawn and the pipeline is not here."""
    if PLANS[settings.method].replay not in DRAWN or not needs_replay(train):
        return
    if settings.replay.folder is None:
        find(settings.generator)


def check_follows(
    made: TaskHistory, known: TaskHistory | None, settings: ContinualAddSettings
) -> None:
    """Raise HoldfastError if a finished model was not made from the one that is given now."""
    if known is None:
        known = open_model(settings)[1]
    before = [task.weights for task in known.tasks]
    same = [task.weights for task in made.tasks[:-1]] == before
    if not same or made.base["weights"] != known.base["weights"]:
        raise HoldfastError(
            f"{settings.out / 'model'} was made from another model than the one given now; give "
            "another --out, or remove it to make it again."
        )


def resolved(settings: ContinualAddSettings) -> ContinualAddSettings:
    """The settings as they hold anywhere: paths absolute."""

    def absolute(place: str) -> str:
        return place if is_dataset(place) else str(Path(place).absolute())

    base, pretrained = settings.replay.base, settings.pretrained
    folder = task_history.find(settings.model)
    model = str(folder.absolute()) if folder is not None else lasting(settings.model)
    held_out = [settings.held_out] if isinstance(settings.held_out, str) else settings.held_out
    return replace(
        settings,
        model=model,
        pretrained=str(Path(pretrained).absolute()) if Path(pretrained).is_file() else pretrained,
        task=absolute(settings.task),
        held_out=[absolute(place) for place in held_out],
        replay=replace(
            settings.replay,
            base=base if base in BASES else str(Path(base).absolute()),
            folder=settings.replay.folder and settings.replay.folder.absolute(),
            cache=settings.replay.cache and settings.replay.cache.absolute(),
        ),
    )


def lasting(model: str) -> str:
    """A model's name as it holds anywhere."""
    if model.startswith(LOCAL):
        return LOCAL + str(Path(model.removeprefix(LOCAL)).absolute())
    return model


def known_tasks(model: str) -> TaskHistory | None:
    """The task history of a model's folder; none for a model that no task was added to."""
    folder = task_history.find(model)
    return task_history.read(folder) if folder is not None else None


def open_model(
    settings: ContinualAddSettings | ContinualRunSettings,
) -> tuple[CLIP, TaskHistory]:
    """The model to add to, and its task history, which is empty before the first task."""
    folder = task_history.find(settings.model)
    if folder is not None:
        known = task_history.read(folder)
        return load_clip(f"{LOCAL}{folder}", "", settings.device, settings.seed), known
    clip = load_clip(settings.model, settings.pretrained, settings.device, settings.seed)
    base = {"model": lasting(settings.model), "pretrained": settings.pretrained}
    return clip, TaskHistory(base | {"weights": digest(clip.model.state_dict())})
