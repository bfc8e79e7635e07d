"""Joint training: all tasks of a stream at once, the upper reference of continual learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from holdfast import names, task_history
from holdfast.anchors.base import Memory
from holdfast.commands.continual_add import LearntTask
from holdfast.commands.continual_prepare import (
    record_of,
)
from holdfast.commands.continual_results import read_step, write_step
from holdfast.commands.settings import ContinualRunSettings
from holdfast.data.folders import LabelledImages
from holdfast.data.streams import Task, TaskSource
from holdfast.device import attention
from holdfast.files import derive_seed
from holdfast.learners import TwoTowerLearner
from holdfast.memory import clip_training
from holdfast.methods import Family, compose
from holdfast.models.clip import CLIP
from holdfast.models.text import tokenize
from holdfast.results import Costs, StepResult
from holdfast.runs import peak_memory
from holdfast.stages import Stage
from holdfast.task_history import TaskHistory
from holdfast.train import fit

JOINT = "joint"


def learn_jointly(
    settings: ContinualRunSettings,
    clip: CLIP,
    history: TaskHistory,
    sources: Sequence[TaskSource],
    tasks: Sequence[Task],
    out: Path,
) -> LearntTask:
    """Fine-tune on the images of all tasks, with as many steps as the tasks have together.

    The classes are those of all tasks; one that several have is one class, with the first's
    prompt. history: that of the model that `clip` is.
    """
    images, prompts = together(tasks)
    both, model = Task(JOINT, ("{}",), images), out / "model"
    stage = Stage(out, "train", settings.train.checkpoint_minutes)
    if (model / task_history.TASKS).is_file():
        stage.remove()  # an earlier start may have been killed before it did
        return LearntTask(both, model, read_step(out))
    steps = sum(replace(settings.train, **source.train).steps for source in sources)
    train = replace(settings.train, steps=steps)
    if any(task.captions for task in tasks):
        train = replace(train, negatives="batch")  # there may be thousands of captions
    seed = derive_seed(settings.seed, "task", 0, JOINT)
    learner = TwoTowerLearner(clip, tokenize(clip, prompts), train.negatives)
    composition = compose(settings.method, settings.anchors, Family.CONTINUAL)
    training = clip_training(learner, clip, images, composition, Memory(), train, seed)
    with attention(clip.device):
        fit(learner, **training, stage=stage)
    ignored = sorted({name for source in sources for name in source.train} - {"steps"})
    step = StepResult(
        task=JOINT,
        position=0,
        classes=len(images.classes),
        captions=False,
        method=JOINT,
        seed=seed,
        train=train.to_json(),
        images={"train": len(images)},
        notes=[f"All tasks were learnt at once, so what single ones set was not used: {ignored}."]
        if ignored
        else [],
        costs=Costs(training_seconds=stage.seconds, peak_memory_bytes=peak_memory()),
    )
    write_step(out, step)
    entries = [record_of(task, JOINT, settings.seed, {"train": train.to_json()}) for task in tasks]
    task_history.save(clip, history.with_task(*entries), model)
    stage.remove()
    return LearntTask(both, model, step)


def together(tasks: Sequence[Task]) -> tuple[LabelledImages, list[str]]:
    """The training images of all tasks under one list of classes, and the prompt of each."""
    label: dict[str, int] = {}
    spelt: list[str] = []
    prompts: list[str] = []
    for task in tasks:
        for name, prompt in zip(task.classes, task.training_prompts(), strict=True):
            if names.comparable(name) not in label:
                label[names.comparable(name)] = len(spelt)
                spelt.append(name)
                prompts.append(prompt)
    paths: list[Path] = []
    labels: list[int] = []
    for task in tasks:
        own = [label[names.comparable(name)] for name in task.classes]
        paths += task.train.paths
        labels += [own[each] for each in task.train.labels]
    return LabelledImages(paths, labels, names.from_names(spelt), tasks[0].train.root), prompts
