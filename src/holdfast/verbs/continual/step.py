"""One task: from a model's folder to a new one, which appears when it is whole.

out/settings.json, environment.json, inputs.json   what it was made from
out/replay/                                         replay images with their manifest
out/records.jsonl                                   a line for each training step
out/step.json                                       what happened: coverage, gate, notes, costs
out/model/                                          the new model with its registry
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from holdfast import registry
from holdfast.data.folders import LabelledImages, fingerprint
from holdfast.data.streams import Task, TaskSource, check_place, task_name
from holdfast.errors import HoldfastError, UsageError
from holdfast.files import derive_seed, read_json, replacing, write_json
from holdfast.methods.continual import ReplaySet, learn, teach
from holdfast.models import CLIP, read_weights
from holdfast.names import comparable
from holdfast.registry import Learnt, Registry
from holdfast.runs import Records, check_inputs, open_run, peak_memory, plain
from holdfast.settings import ContinualAddSettings, ContinualTrainSettings
from holdfast.verbs.continual.gate import Verdict, judge, refusal, suite
from holdfast.verbs.continual.places import DATASETS, held_out_sources, open_source
from holdfast.verbs.continual.plans import DRAWN, PLANS, needs_replay, training
from holdfast.verbs.continual.replay import ReplayImages, count, known_sources, replay_images
from holdfast.verbs.continual.scores import Exam, exam
from holdfast.verbs.measure import load
from holdfast.weights import digest, interpolate

# What may change when a task goes on: how fast it is done, and where things are kept.
FREE = (
    *("out", "device", "train.workers", "train.checkpoint_minutes"),
    *("replay.batch_size", "replay.redraws", "replay.cache"),
)
GATE = ("max_drop", "held_out")  # come after training: free until a model passes


@dataclass(frozen=True)
class Step:
    """A task that was learnt: its images, its folder, and what is in `step.json`."""

    task: Task
    out: Path
    record: dict[str, Any]

    @property
    def model(self) -> Path:
        """The new model's folder."""
        return self.out / "model"


def take(settings: ContinualAddSettings, data: Path) -> Step:
    """Learn one task, or what an earlier start has left of it to do.

    data: where data sets are drawn into.

    Raises UsageError or HoldfastError for what is wrong with the settings, the task or the model,
    before anything is spent; HoldfastError if the gate lets no model pass.
    """
    source = source_of(settings)
    start = registry.find(settings.model)
    known = registry.read(start) if start is not None else None
    train = check(settings, source, known)
    made = settings.out / "model"
    if (made / registry.TASKS).is_file():
        run = open_run(settings.out, resolved(settings), FREE)
        task = open_source(source, data)
        check_inputs(run, {"images of the task": fingerprint(task.train)})
        check_follows(registry.read(made), known, made)
        return Step(task, run, read_json(run / "step.json"))
    if not source.is_dataset:
        open_source(source, data)
    clip, known = open_model(settings, start, known)
    run = open_run(settings.out, resolved(settings), (*FREE, *GATE))
    task = open_source(source, data)
    previous = known.tasks[-1].weights if known.tasks else known.base["weights"]
    inputs = {"images of the task": fingerprint(task.train), "previous model": previous}
    check_inputs(run, inputs)
    return learn_task(settings, data, clip, known, task, train)


def source_of(settings: ContinualAddSettings) -> TaskSource:
    """The task as a stream would name it."""
    name = settings.name or task_name(settings.task)
    return TaskSource(name, settings.task, settings.templates, settings.per_class)


def check(
    settings: ContinualAddSettings, source: TaskSource, known: Registry | None
) -> ContinualTrainSettings:
    """The settings that the task trains with; UsageError for what can be known to be wrong."""
    check_place(source.place, DATASETS)
    if source.per_class is not None and not source.is_dataset:
        raise UsageError("per_class is for data sets; a folder is used as a whole.")
    if known is not None:
        known.check_new(source.name)
    drawn = PLANS[settings.method].replay in DRAWN
    images = count(settings.replay) if drawn else 0
    train = training(settings.method, settings.train, images)
    if drawn and needs_replay(train):
        if images < train.replay_batch_size:
            raise UsageError(
                f"There are {images} replay images, fewer than the {train.replay_batch_size} of a "
                "step; raise --replay.images, or lower --train.replay_batch_size."
            )
        known_sources(known or Registry({}), settings.replay)
    held_out = held_out_sources(settings.held_out)
    if any(comparable(each.name) == comparable(source.name) for each in held_out):
        raise UsageError(
            f"The task {source.name!r} is held out too; give one of them another name."
        )
    if settings.max_drop is not None and not held_out and not (drawn and needs_replay(train)):
        raise UsageError("max_drop has nothing to be measured on; name tasks with --held_out.")
    return train


def check_follows(made: Registry, known: Registry | None, folder: Path) -> None:
    """Raise HoldfastError if a finished model was not made from the one that is given now."""
    before = known.tasks if known is not None else ()
    if [task.weights for task in made.tasks[:-1]] != [task.weights for task in before]:
        raise HoldfastError(
            f"{folder} was made from another model than the one given now; give another --out, or "
            "remove it to make it again."
        )


def resolved(settings: ContinualAddSettings) -> ContinualAddSettings:
    """The settings as they hold anywhere: paths absolute."""

    def absolute(place: str) -> str:
        return str(Path(place).absolute()) if Path(place).exists() else place

    held_out = [settings.held_out] if isinstance(settings.held_out, str) else settings.held_out
    return replace(
        settings,
        model=absolute(settings.model),
        task=absolute(settings.task),
        held_out=[absolute(place) for place in held_out],
        replay=replace(
            settings.replay,
            base=absolute(settings.replay.base),
            folder=settings.replay.folder and settings.replay.folder.absolute(),
            cache=settings.replay.cache and settings.replay.cache.absolute(),
        ),
    )


def open_model(
    settings: ContinualAddSettings, start: Path | None, known: Registry | None
) -> tuple[CLIP, Registry]:
    """The model to add to, and its registry: an empty one for a model that no task was added to."""
    if start is None:
        clip = load(settings.model, settings.pretrained, settings.device, settings.seed)
        base = {"model": settings.model, "pretrained": settings.pretrained}
        return clip, Registry(base | {"weights": digest(clip.model.state_dict())})
    assert known is not None
    clip = load(f"local-dir:{start}", "", settings.device, settings.seed)
    return replace(clip, name=known.base["model"]), known


def learn_task(
    settings: ContinualAddSettings,
    data: Path,
    clip: CLIP,
    known: Registry,
    task: Task,
    train: ContinualTrainSettings,
) -> Step:
    """Draw the replay images, train, pass the gate, and write the new model."""
    run, plan = settings.out, PLANS[settings.method]
    train = replace(train, negatives="batch") if task.captions else train
    seed = derive_seed(settings.seed, "task", len(known.tasks), task.name)
    clock = [time.monotonic()]
    replay = None
    if plan.replay in DRAWN and needs_replay(train):
        sources = known_sources(known, settings.replay)
        sources = sources[:1] if plan.replay == "pretraining" else sources
        replay = replay_images(sources, settings, seed, run)
    exams = gate_exams(settings, replay, data)
    clock.append(time.monotonic())

    previous = weights_of(clip) if plan.ensemble or settings.max_drop is not None else {}
    finished = run / "learnt.safetensors"
    if finished.exists():
        clip.model.load_state_dict(read_weights(finished, clip.device))
    else:
        asked = ask(settings, clip, known, task, replay, train)
        train_and_keep(clip, task.train, task.training_prompts(), asked, train, run, seed)
    if plan.ensemble:
        clip.model.load_state_dict(interpolate(previous, weights_of(clip), settings.ensemble))
    clock.append(time.monotonic())
    verdict = None
    if settings.max_drop is not None:
        tuned, own = weights_of(clip), exam(task, "val")
        verdict = judge(clip, previous, tuned, exams, own, settings.max_drop, train)
        if verdict.alpha is None:
            raise refusal(task.name, verdict)
        clip.model.load_state_dict(interpolate(previous, tuned, verdict.alpha))
    clock.append(time.monotonic())

    record = {
        "task": task.name,
        "position": len(known.tasks),
        "classes": len(task.classes),
        "captions": task.captions,
        "method": settings.method,
        "seed": seed,
        "train": asdict(train),
        "images": {split: len(images) for split, images in splits(task)},
        "replay": replay.record() if replay is not None else None,
        "gate": verdict.to_record() if verdict is not None else None,
        "notes": notes(known, task, settings, verdict),
        "costs": {
            "generation_seconds": clock[1] - clock[0],
            "training_seconds": clock[2] - clock[1],
            "gate_seconds": clock[3] - clock[2],
            "peak_memory_bytes": peak_memory(),
        },
    }
    write_json(run / "step.json", plain(record))
    registry.save(clip, known.with_task(entry(task, settings, train, record)), run / "model")
    finished.unlink(missing_ok=True)
    (run / "checkpoint.safetensors").unlink(missing_ok=True)
    return Step(task, run, plain(record))


def gate_exams(
    settings: ContinualAddSettings, replay: ReplayImages | None, data: Path
) -> list[Exam]:
    """What must not get worse, if there is a gate. Raises UsageError if that is nothing."""
    if settings.max_drop is None:
        return []
    opened = (open_source(source, data) for source in held_out_sources(settings.held_out))
    held_out = [found for each in opened if (found := exam(each, "val", "train"))]
    exams = suite(replay, held_out)
    if not exams:
        raise UsageError(
            "max_drop has nothing to be measured on: no source has enough replay images; name "
            "tasks with --held_out, or raise --replay.images."
        )
    return exams


def ask(
    settings: ContinualAddSettings,
    clip: CLIP,
    known: Registry,
    task: Task,
    replay: ReplayImages | None,
    train: ContinualTrainSettings,
) -> ReplaySet | None:
    """The replay set with what the previous model, or the initial one, makes of it."""
    plan = PLANS[settings.method]
    if plan.replay == "task":
        prompts = task.training_prompts()
        own = [prompts[label] for label in task.train.labels]
        earlier = [prompt for each in known.tasks for prompt in each.training_prompts()]
        return teach(clip, task.train.paths, own, train, among=earlier)
    if replay is None:
        return None
    teacher = clip
    if plan.teacher == "initial" and known.tasks:
        base = known.base
        teacher = load(base["model"], base["pretrained"], settings.device, settings.seed)
        if digest(teacher.model.state_dict()) != base["weights"]:
            raise HoldfastError(
                f"{settings.method} asks the initial model, and {base['model']} is no longer the "
                "one that the first task was added to."
            )
    return teach(teacher, replay.paths, replay.prompts, train)


def train_and_keep(
    clip: CLIP,
    images: LabelledImages,
    prompts: Sequence[str],
    replay: ReplaySet | None,
    train: ContinualTrainSettings,
    run: Path,
    seed: int,
) -> None:
    """Learn from images, and keep the weights until the model is written."""
    if replay is not None and len(replay) < train.replay_batch_size:
        train = replace(train, replay_batch_size=len(replay))
    learn(
        clip,
        images,
        prompts,
        replay,
        train,
        seed=seed,
        checkpoint=run / "checkpoint.safetensors",
        record=Records(run / "records.jsonl").add,
    )
    with replacing(run / "learnt.safetensors") as temporary:
        save_file({name: t.contiguous() for name, t in weights_of(clip).items()}, temporary)


def weights_of(clip: CLIP) -> dict[str, Tensor]:
    """A copy of all weights, on the CPU."""
    return {name: t.detach().to("cpu", copy=True) for name, t in clip.model.state_dict().items()}


def splits(task: Task) -> list[tuple[str, LabelledImages]]:
    """The splits that a task has, by name."""
    found = {"train": task.train, "val": task.val, "test": task.test}
    return [(split, images) for split, images in found.items() if images is not None]


def notes(
    known: Registry,
    task: Task,
    settings: ContinualAddSettings,
    verdict: Verdict | None,
) -> list[str]:
    """What the user should know of the task."""
    found = []
    shared = {} if task.captions else known.shared_classes(task.classes.names)
    for other, both in shared.items():
        more = (
            f" and {len(both) - 3} more are"
            if len(both) > 3
            else " is"
            if len(both) == 1
            else " are"
        )
        found.append(f"{', '.join(map(repr, both[:3]))}{more} also among the classes of {other!r}.")
    if PLANS[settings.method].replay in DRAWN and count(settings.replay) == 0:
        found.append("Without replay images this is plain L2 toward the previous weights.")
    if verdict is not None and verdict.alpha != 1:
        found.append(
            f"The gate took a weight of {verdict.alpha:g} of the new model; as it was trained it "
            f"lost more than {100 * verdict.max_drop:g} points on what the model knew."
        )
    return found


def entry(
    task: Task,
    settings: ContinualAddSettings,
    train: ContinualTrainSettings,
    record: dict[str, Any],
) -> Learnt:
    """The task's line in the registry."""
    return Learnt(
        name=task.name,
        classes=task.classes.names,
        templates=task.templates,
        captions=task.captions,
        method=settings.method,
        seed=settings.seed,
        settings=plain(
            {
                "train": asdict(train),
                "replay": asdict(settings.replay),
                "generator": settings.generator,
                "ensemble": settings.ensemble if PLANS[settings.method].ensemble else None,
                "max_drop": settings.max_drop,
            }
        ),
        data={
            split: {"images": len(images), "sha256": fingerprint(images)}
            for split, images in splits(task)
        },
        replay=record["replay"],
    )
