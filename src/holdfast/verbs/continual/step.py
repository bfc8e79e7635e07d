"""One task: from a model's folder to a new one, which appears when it is whole.

out/settings.json, environment.json, inputs.json   what it was made from
out/replay/                                         replay images with their manifest
out/records.jsonl                                   a line for each training step
out/step.json                                       what happened: coverage, gate, notes, costs
out/model/                                          the new model with its history
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from holdfast import task_history
from holdfast.data.folders import LabelledImages, fingerprint
from holdfast.data.streams import Task, open_source
from holdfast.errors import HoldfastError, UsageError
from holdfast.files import atomic_write, derive_seed, read_json, write_json
from holdfast.harness import attention
from holdfast.methods.continual import ReplaySet, learn, teach
from holdfast.models.clip import CLIP, load_clip
from holdfast.models.tower import read_weights
from holdfast.runs import (
    INPUTS,
    STARTED,
    Records,
    check_inputs,
    check_run,
    open_run,
    peak_memory,
    plain,
)
from holdfast.settings import ContinualAddSettings, ContinualTrainSettings
from holdfast.task_history import TaskHistory, TaskRecord
from holdfast.verbs.continual.gate import ENOUGH, Verdict, judge, refusal, suite, too_few
from holdfast.verbs.continual.places import held_out_sources
from holdfast.verbs.continual.plans import DRAWN, PLANS, needs_replay
from holdfast.verbs.continual.replay import (
    ReplayImages,
    base_names,
    count,
    known_sources,
    pairs_digest,
    replay_images,
)
from holdfast.verbs.continual.scores import Exam, exam
from holdfast.verbs.continual.start import (
    FREE,
    GATE,
    check,
    check_follows,
    check_generator,
    known_tasks,
    open_model,
    resolved,
    source_of,
)
from holdfast.weights import digest, interpolate

BEGUN = STARTED | {INPUTS}  # of a task for which nothing was made yet


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
    settings = resolved(settings)
    known = known_tasks(settings.model)
    train = check(settings, source, known)
    made = settings.out / "model"
    run = settings.out
    if (made / task_history.TASKS).is_file():
        check_run(run, settings, (*FREE, *looser_gate(settings)))
        task = open_source(source, data)
        check_inputs(run, {"images of the task": fingerprint(task.train)})
        check_follows(task_history.read(made), known, settings)
        remove_training(run)  # an earlier start may have been killed before it did
        return Step(task, run, read_json(run / "step.json"))
    if not source.is_dataset:
        open_source(source, data)
    check_generator(settings, train)
    clip, known = open_model(settings)
    open_run(run, settings, (*FREE, *GATE), BEGUN)
    task = open_source(source, data)
    inputs = {
        "images of the task": fingerprint(task.train),
        "previous model": known.weights,
        "replay images": pairs_digest(settings.replay),
        "names of pre-training": base_digest(settings),
    }
    check_inputs(run, inputs)
    return learn_task(settings, data, clip, known, task, train)


def looser_gate(settings: ContinualAddSettings) -> tuple[str, ...]:
    """What of the gate may differ where a model has passed: it also passes one that asks less."""
    earlier = read_json(settings.out / "settings.json").get("max_drop")
    now = settings.max_drop
    return ("max_drop",) if earlier is not None and (now is None or now >= earlier) else ()


def base_digest(settings: ContinualAddSettings) -> str:
    """SHA-256 of the names that stand for pre-training, "" for a method without them."""
    if PLANS[settings.method].replay == "none":
        return ""
    return hashlib.sha256(json.dumps(base_names(settings.replay.base)).encode()).hexdigest()


def learn_task(
    settings: ContinualAddSettings,
    data: Path,
    clip: CLIP,
    known: TaskHistory,
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
        "samples": replay.samples() if replay is not None else [],
        "gate": verdict.to_record() if verdict is not None else None,
        "notes": notes(known, task, settings, replay, verdict),
        "costs": {
            "generation_seconds": clock[1] - clock[0],
            "training_seconds": clock[2] - clock[1],
            "gate_seconds": clock[3] - clock[2],
            "peak_memory_bytes": peak_memory(),
        },
    }
    write_json(run / "step.json", plain(record))
    task_history.save(clip, known.with_task(entry(task, settings, train, record)), run / "model")
    remove_training(run)
    return Step(task, run, plain(record))


def remove_training(run: Path) -> None:
    """Delete what only the training of a task needs, once its model is whole."""
    for name in ("learnt.safetensors", "checkpoint.safetensors"):
        (run / name).unlink(missing_ok=True)


def gate_exams(
    settings: ContinualAddSettings, replay: ReplayImages | None, data: Path
) -> list[Exam]:
    """What must not get worse, if there is a gate. Raises UsageError if that is nothing."""
    if settings.max_drop is None:
        return []
    opened = (open_source(source, data, False) for source in held_out_sources(settings.held_out))
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
    known: TaskHistory,
    task: Task,
    replay: ReplayImages | None,
    train: ContinualTrainSettings,
) -> ReplaySet | None:
    """The replay set with what the previous model, or the initial one, makes of it."""
    plan = PLANS[settings.method]
    if plan.replay == "task":
        sources = known_sources(known, settings.replay)
        among = [prompt for source in sources for prompt in source.prompts]
        return teach(clip, task.train.paths, None, train, among=among)
    if replay is None:
        return None
    teacher = clip
    if plan.teacher == "initial" and known.tasks:
        base = known.base
        teacher = load_clip(base["model"], base["pretrained"], settings.device, settings.seed)
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
    with attention(clip.device):
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
    with atomic_write(run / "learnt.safetensors") as temporary:
        save_file({name: t.contiguous() for name, t in weights_of(clip).items()}, temporary)


def weights_of(clip: CLIP) -> dict[str, Tensor]:
    """A copy of all weights, on the CPU."""
    return {name: t.detach().to("cpu", copy=True) for name, t in clip.model.state_dict().items()}


def splits(task: Task) -> list[tuple[str, LabelledImages]]:
    """The splits that a task has, by name."""
    found = {"train": task.train, "val": task.val, "test": task.test}
    return [(split, images) for split, images in found.items() if images is not None]


def hashes(task: Task) -> dict[str, dict[str, Any]]:
    """Number and hash of the images of each split."""
    return {
        split: {"images": len(images), "sha256": fingerprint(images)}
        for split, images in splits(task)
    }


def notes(
    known: TaskHistory,
    task: Task,
    settings: ContinualAddSettings,
    replay: ReplayImages | None,
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
        left = "plain L2 toward the previous weights"
        left = left if settings.train.consolidation else "plain fine-tuning"
        found.append(f"Without replay images this is {left}.")
    if verdict is not None and verdict.alpha != 1:
        found.append(
            f"The gate took a weight of {verdict.alpha:g} of the new model; as it was trained it "
            f"lost more than {100 * verdict.max_drop:g} points on what the model knew."
        )
    if verdict is not None and replay is not None and (few := too_few(replay)):
        found.append(
            f"The gate left out {', '.join(map(repr, few[:5]))}"
            f"{f' and {len(few) - 5} more' if len(few) > 5 else ''}: fewer than {ENOUGH} replay "
            "images. --replay.draw balanced gives earlier tasks more; --held_out takes real ones."
        )
    return found


def entry(
    task: Task,
    settings: ContinualAddSettings,
    train: ContinualTrainSettings,
    record: dict[str, Any],
) -> TaskRecord:
    """The task's record in the model's history."""
    return TaskRecord(
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
        data=hashes(task),
        replay=record["replay"],
    )
