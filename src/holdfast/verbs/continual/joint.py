"""The upper reference: all tasks of a stream learnt at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from holdfast import names, task_history
from holdfast.data.folders import LabelledImages
from holdfast.data.streams import Task, TaskSource
from holdfast.files import derive_seed, read_json, write_json
from holdfast.models.clip import CLIP
from holdfast.models.tower import read_weights
from holdfast.runs import peak_memory, plain
from holdfast.settings import ContinualRunSettings
from holdfast.task_history import TaskHistory, TaskRecord
from holdfast.verbs.continual.plans import training
from holdfast.verbs.continual.step import Step, hashes, remove_training, train_and_keep

JOINT = "joint"


def learn_jointly(
    settings: ContinualRunSettings,
    clip: CLIP,
    known: TaskHistory,
    sources: Sequence[TaskSource],
    tasks: Sequence[Task],
    out: Path,
) -> Step:
    """Fine-tune on the images of all tasks, with as many steps as the tasks have together.

    The classes are those of all tasks; one that several have is one class, with the first's
    prompt. known: the task history of the model that `clip` is.
    """
    images, prompts = together(tasks)
    both = Task(JOINT, ("{}",), images)
    if (out / "model" / task_history.TASKS).is_file():
        remove_training(out)  # an earlier start may have been killed before it did
        return Step(both, out, read_json(out / "step.json"))
    planned = [replace(settings.train, **source.train).steps for source in sources]
    train = replace(training("finetune", settings.train, 0), steps=sum(planned))
    if any(task.captions for task in tasks):
        train = replace(train, negatives="batch")  # there may be thousands of captions
    seed = derive_seed(settings.seed, "task", 0, JOINT)
    start = time.monotonic()
    finished = out / "learnt.safetensors"
    if finished.exists():
        clip.model.load_state_dict(read_weights(finished, clip.device))
    else:
        out.mkdir(parents=True, exist_ok=True)
        train_and_keep(clip, images, prompts, None, train, out, seed)
    record = plain(
        {
            "task": JOINT,
            "position": 0,
            "classes": len(images.classes),
            "captions": False,
            "method": JOINT,
            "seed": seed,
            "train": asdict(train),
            "images": {"train": len(images)},
            "replay": None,
            "gate": None,
            "notes": ignored(sources),
            "costs": {
                "generation_seconds": 0.0,
                "training_seconds": time.monotonic() - start,
                "gate_seconds": 0.0,
                "peak_memory_bytes": peak_memory(),
            },
        }
    )
    write_json(out / "step.json", record)
    entries = [
        TaskRecord(
            name=task.name,
            classes=task.classes.names,
            templates=task.templates,
            captions=task.captions,
            method=JOINT,
            seed=settings.seed,
            settings=plain({"train": asdict(train)}),
            data=hashes(task),
            replay=None,
        )
        for task in tasks
    ]
    task_history.save(clip, known.with_task(*entries), out / "model")
    remove_training(out)
    return Step(both, out, record)


def ignored(sources: Sequence[TaskSource]) -> list[str]:
    """A note on the settings of single tasks that training on all at once cannot have."""
    found = sorted({name for source in sources for name in source.train} - {"steps"})
    if not found:
        return []
    return [f"All tasks were learnt at once, so what single ones set was not used: {found}."]


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
