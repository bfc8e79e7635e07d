"""What a task, or a stream of them, would take: `holdfast continual ... --dry_run`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from holdfast import names
from holdfast.commands.continual_prepare import (
    Prepared,
    held_out_sources,
    initial_model,
    open_model,
)
from holdfast.commands.costs import STEPS, RunCost, Work, seconds_per_image, timed_steps
from holdfast.data.replay import draw_prompts
from holdfast.data.streams import Task, TaskSource, open_source
from holdfast.device import attention
from holdfast.evaluation import eval_set
from holdfast.generation import Estimate, estimate
from holdfast.learners import TwoTowerLearner
from holdfast.memory import clip_memory, clip_training
from holdfast.methods import Composition
from holdfast.models.clip import CLIP
from holdfast.models.text import image_features
from holdfast.replay import count, known_sources
from holdfast.settings import ContinualTrainSettings
from holdfast.task_history import TaskHistory
from holdfast.train import fit


def add_cost(prepared: Prepared) -> RunCost:
    """What one more task would take. Nothing is left."""
    settings = prepared.settings
    with TemporaryDirectory() as folder:
        data = Path(folder)
        task = prepared.open_task(data)
        held_out = [open_source(each, data, False) for each in held_out_sources(settings)]
        own = eval_set(task, "test", "val")
        others = [eval_set(each, "test", "val", "train") for each in held_out]
        measured = sum(len(each.data) for each in (own, *others) if each is not None)
        gated = 0
        if settings.max_drop is not None:
            gate = [eval_set(task, "val"), *(eval_set(e, "val", "train", "test") for e in held_out)]
            gated = sum(len(each.data) for each in gate if each) + count(settings.replay)
        return tasks_cost(prepared, task, [settings.train.steps], 2 * measured, 2 * gated)


def stream_cost(
    prepared: Sequence[Prepared], sources: Sequence[TaskSource], split: str, trains: bool
) -> RunCost:
    """What a stream of tasks would take, by what its first task takes. Nothing is left.

    prepared: its tasks, of which the first is measured. split: the images to measure on. trains:
    whether anything is learnt.
    """
    first = prepared[0]
    with TemporaryDirectory() as folder:
        tasks = [open_source(source, Path(folder)) for source in sources]
        images = [getattr(task, split) for task in tasks]
        each = sum(len(found) for found in images if found is not None)
        steps = [task.settings.train.steps for task in prepared] if trains else []
        return tasks_cost(first, tasks[0], steps, (len(steps) + 1) * each, 0)


def tasks_cost(
    prepared: Prepared, task: Task, steps: Sequence[int], evaluated: int, gated: int
) -> RunCost:
    """The cost of tasks like the one that is prepared.

    task: its images. steps: of the training of each task. evaluated, gated: images that are
    measured on, each once for each model.
    """
    settings = prepared.settings
    clip, history = open_model(settings.model, settings.pretrained, settings.device, settings.seed)
    drawing, asked = None, 0
    if prepared.draws and steps:
        asked = count(settings.replay) * len(steps)
        if settings.replay.folder is None:
            one = replay_drawing(prepared, history)
            drawing = replace(one, images=one.images * len(steps))
    model = clip.model
    image = seconds_per_image(
        lambda images: image_features(model, images), task.train.paths, clip.preprocess, clip.device
    )
    step = task_step(prepared, task, clip, history) if steps else 0.0
    work = (
        Work("training", "steps", sum(steps), step),
        Work("asking the previous model", "images", asked, image),
        Work("the gate", "images", gated, image),
        Work("evaluation", "images", evaluated, image),
    )
    return RunCost(drawing, tuple(each for each in work if each.count))


def replay_drawing(prepared: Prepared, history: TaskHistory) -> Estimate:
    """Time and disk for the replayed images of one task."""
    settings, replay = prepared.settings, prepared.settings.replay
    sources = known_sources(history, replay)
    draw = draw_prompts(sources, replay.images, replay.sampling, settings.seed)
    return estimate(
        names.from_names(draw.prompts),
        [[prompt] for prompt in draw.prompts],
        draw.counts,
        settings.generator,
        replay,
        seed=settings.seed,
        device=settings.device,
    )


def task_step(prepared: Prepared, task: Task, clip: CLIP, history: TaskHistory) -> float:
    """The seconds of a step of the task's own training; images of the task stand for replayed ones.

    clip: the model before the task; it learns. history: of the model.
    """
    settings, composition = prepared.settings, prepared.composition
    train = replace(settings.train, steps=STEPS)
    if task.captions:
        train = replace(train, negatives="batch")
    learner = TwoTowerLearner(clip, clip.tokenizer(task.training_prompts()), train.negatives)
    asked, among = stand_in_replay(prepared, composition, task, history, train)
    with attention(clip.device), timed_steps() as each:
        memory = clip_memory(
            clip,
            composition,
            asked,
            among=among,
            initial=lambda: initial_model(clip, history, settings),
            train=train,
            seed=settings.seed,
        )
        training = clip_training(
            learner, clip, task.train, composition, memory, train, settings.seed
        )
        fit(learner, **training)
        return each()


def stand_in_replay(
    prepared: Prepared,
    composition: Composition,
    task: Task,
    history: TaskHistory,
    train: ContinualTrainSettings,
) -> tuple[tuple[list[Path], list[str] | None] | None, list[str]]:
    """A batch of images in the place of replayed ones, and prompts to compare images with."""
    if not composition.asks_replay:
        return None, []
    prompts = [p for each in known_sources(history, prepared.settings.replay) for p in each.prompts]
    paths = task.train.paths
    some = [paths[place % len(paths)] for place in range(train.replay_batch_size)]
    if prepared.draws:
        return (some, [prompts[place % len(prompts)] for place in range(len(some))]), []
    return (some, None), prompts
