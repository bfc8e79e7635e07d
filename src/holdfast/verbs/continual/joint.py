"""The upper reference: all tasks of a stream learnt at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from holdfast import names, registry
from holdfast.data.folders import LabelledImages, fingerprint
from holdfast.data.streams import Task, TaskSource
from holdfast.files import derive_seed
from holdfast.models import CLIP, read_weights
from holdfast.registry import Learnt, Registry
from holdfast.runs import plain
from holdfast.settings import ContinualRunSettings
from holdfast.verbs.continual import step as steps
from holdfast.verbs.continual.plans import training


def learn_jointly(
    settings: ContinualRunSettings,
    clip: CLIP,
    start: str,
    sources: Sequence[TaskSource],
    tasks: Sequence[Task],
    out: Path,
) -> Path:
    """Fine-tune on the images of all tasks, with as many steps as the tasks have together.

    The classes are those of all tasks; one that several have is one class, with the first's
    prompt. start: digest of the weights that `clip` comes with. Returns the model's folder.
    """
    model = out / "model"
    if (model / registry.TASKS).is_file():
        return model
    images, prompts = together(tasks)
    planned = [replace(settings.train, **source.train).steps for source in sources]
    train = replace(training("finetune", settings.train, 0), steps=sum(planned))
    seed = derive_seed(settings.seed, "task", 0, "joint")
    finished = out / "learnt.safetensors"
    if finished.exists():
        clip.model.load_state_dict(read_weights(finished, clip.device))
    else:
        out.mkdir(parents=True, exist_ok=True)
        steps.train_and_keep(clip, images, prompts, None, train, out, seed)
    base = {"model": settings.model, "pretrained": settings.pretrained, "weights": start}
    entries = [
        Learnt(
            name=task.name,
            classes=task.classes.names,
            templates=task.templates,
            captions=task.captions,
            method="joint",
            seed=settings.seed,
            settings=plain({"train": asdict(train)}),
            data={
                split: {"images": len(each), "sha256": fingerprint(each)}
                for split, each in steps.splits(task)
            },
            replay=None,
        )
        for task in tasks
    ]
    registry.save(clip, Registry(base).with_task(*entries), model)
    finished.unlink(missing_ok=True)
    (out / "checkpoint.safetensors").unlink(missing_ok=True)
    return model


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
