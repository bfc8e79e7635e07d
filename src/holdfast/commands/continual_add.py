"""`holdfast continual add`: one more task for a model that keeps learning.

out/settings.json, environment.json, inputs.json   what it was made from
out/replay/                                         replayed images with their manifest
out/train.jsonl                                     a line for each training step
out/step.json                                       what happened: coverage, gate, notes, costs
out/model/                                          the new model with its task history
out/result.json, report.html                        accuracy before and after
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from holdfast import task_history
from holdfast.anchors.base import Memory, ReplaySet, WeightAverage
from holdfast.anchors.weight_ensemble import WeightEnsemble
from holdfast.commands.continual_prepare import (
    Prepared,
    check_follows,
    held_out_sources,
    notes,
    open_model,
    open_task_run,
    prepare,
    task_hashes,
)
from holdfast.commands.continual_results import Gate, conclude_add, gate_refusal
from holdfast.commands.settings import ContinualAddSettings
from holdfast.data.batches import ContinualBatches, FixedStepBatches
from holdfast.data.folders import LabelledImages, fingerprint
from holdfast.data.streams import Task, open_source
from holdfast.device import attention
from holdfast.errors import HoldfastError
from holdfast.evaluation import eval_set, evaluate_clip
from holdfast.files import derive_seed, read_typed, write_json
from holdfast.learners import TwoTowerLearner
from holdfast.methods import Composition
from holdfast.models.clip import CLIP, load_clip
from holdfast.replay import (
    ReplayImages,
    base_names,
    build_replay_set,
    known_sources,
    pairs_digest,
    replay_fisher,
    replay_images,
    with_prefix,
)
from holdfast.results import AddResult, Costs, StepResult
from holdfast.runs import Run, peak_memory
from holdfast.settings import ContinualTrainSettings
from holdfast.settings.base import to_jsonable
from holdfast.task_history import LOCAL, TaskHistory, TaskRecord
from holdfast.train import capped_warmup, fit, objective
from holdfast.weights import digest

PREFIX = "model."  # of the weights' names in a `TwoTowerLearner`


@dataclass(frozen=True)
class LearntTask:
    """A task that was learnt: its images, the new model's folder, and what is in `step.json`."""

    task: Task
    model: Path
    step: StepResult


def add(settings: ContinualAddSettings) -> AddResult:
    """Add a task to a model and write the new model to `settings.out / "model"`.

    The model that was given stays as it is. Run again with the same settings, it goes on where it
    stopped.

    Raises UsageError or HoldfastError for what is wrong with the settings, the task or the model,
    before anything is spent; HoldfastError if the gate lets no model pass.
    """
    prepared = prepare(settings)
    data = settings.out / "data"
    with open_task_run(prepared) as run:
        learnt = learn_task(run, prepared, data)
        history = task_history.read(learnt.model)
        held_out = [open_source(each, data, False) for each in held_out_sources(settings)]
        sets = [
            eval_set(learnt.task, "test", "val"),
            *(eval_set(each, "test", "val", "train") for each in held_out),
        ]
        measured = [each for each in sets if each is not None]
        before, after = {}, {}
        if measured:
            words, workers = vocabulary(history.tasks), settings.train.workers
            clip, _ = open_model(settings.model, settings.pretrained, settings.device)
            before = evaluate_clip(clip, measured, words, workers)
            clip = load_clip(f"{LOCAL}{learnt.model}", device=settings.device)
            after = evaluate_clip(clip, measured, words, workers)
            scores = {"before": to_jsonable(before), "after": to_jsonable(after)}
            task_history.note_scores(learnt.model, scores)
        name, others = learnt.task.name, [task.name for task in held_out]
        result = AddResult(
            **run.header(f"{name} added"),
            method=settings.method.name,
            method_title=settings.method.title,
            paper=settings.method.paper,
            tasks=[task.name for task in history.tasks],
            held_out=others,
            before=before,
            after=after,
            verdict=conclude_add(name, before, after, others),
            step=replace(learnt.step, training=run.stage("train").curve()),
            notes=learnt.step.notes,
        )
        run.finish(result)
    return result


def vocabulary(tasks: Sequence[TaskRecord]) -> list[tuple[str, list[str]]]:
    """The class names of all tasks learnt, with their prompts."""
    return [
        (name, [template.replace("{}", name) for template in task.templates])
        for task in tasks
        if not task.captions
        for name in task.classes
    ]


def learn_task(run: Run, prepared: Prepared, data: Path) -> LearntTask:
    """Draw the replayed images, train, pass the gate, and write the new model; or read it.

    data: where data sets are drawn into. Raises HoldfastError if the gate lets no model pass.
    """
    settings, composition = prepared.settings, prepared.composition
    model, stage = prepared.model, run.stage("train", settings.train.checkpoint_minutes)
    if prepared.finished:
        task = prepared.open_task(data)
        run.check_inputs({"images of the task": fingerprint(task.train)})
        check_follows(task_history.read(model), prepared)
        stage.remove()  # an earlier start may have been killed before it did
        return LearntTask(task, model, read_typed(run.folder / "step.json", StepResult))
    clip, history = open_model(settings.model, settings.pretrained, settings.device, settings.seed)
    task = prepared.open_task(data)
    base = json.dumps(base_names(settings.replay.base)) if composition.asks_replay else ""
    run.check_inputs(
        {
            "images of the task": fingerprint(task.train),
            "previous model": history.weights,
            "replay images": pairs_digest(settings.replay),
            "names of pre-training": base and hashlib.sha256(base.encode()).hexdigest(),
        }
    )
    train = replace(settings.train, negatives="batch") if task.captions else settings.train
    seed = derive_seed(settings.seed, "task", len(history.tasks), task.name)
    images = None
    with run.clock("generation"):
        if prepared.draws:
            sources = known_sources(history, settings.replay)
            sources = sources[:1] if composition.replayed == "pretraining" else sources
            images = replay_images(
                sources, settings.replay, settings.generator, settings.device, seed, run.folder
            )
        held_out = [open_source(each, data, False) for each in held_out_sources(settings)]
        gate = None if settings.max_drop is None else Gate(settings, images, held_out)

    ensembles = composition.of(WeightEnsemble)
    previous = weights_of(clip) if ensembles or gate else {}
    learner = TwoTowerLearner(clip, clip.tokenizer(task.training_prompts()), train.negatives)
    if not stage.load_finished(learner):
        memory = look_back(clip, history, task, images, prepared, seed)
        with attention(clip.device):
            training = prepare_training(learner, clip, task.train, composition, memory, train, seed)
            fit(learner, **training, stage=stage)
    for ensemble in ensembles:
        merged = ensemble.merging(previous, weights_of(clip))(ensemble.alpha)
        clip.model.load_state_dict(merged)
    passed = None
    if gate is not None:
        with run.clock("gate"):
            passed = gate.judge(clip, previous, eval_set(task, "val"))
            if passed.alpha is None:
                raise gate_refusal(task.name, passed)

    step = StepResult(
        task=task.name,
        position=len(history.tasks),
        classes=len(task.classes),
        captions=task.captions,
        method=settings.method.name,
        seed=seed,
        train=train.to_json(),
        images={split: len(each) for split, each in task.splits()},
        replay=None if images is None else images.info(),
        samples=[] if images is None else images.samples(),
        gate=passed,
        notes=[*notes(history, task, prepared), *(gate.notes(passed) if gate and passed else [])],
        costs=Costs(
            generation_seconds=run.seconds["generation"],
            training_seconds=stage.seconds,
            gate_seconds=run.seconds.get("gate", 0.0),
            peak_memory_bytes=peak_memory(),
        ),
    )
    write_json(run.folder / "step.json", to_jsonable(step))
    entry = TaskRecord(
        name=task.name,
        classes=task.classes.names,
        templates=task.templates,
        captions=task.captions,
        method=settings.method.name,
        seed=settings.seed,
        settings={
            **{k: to_jsonable(getattr(settings, k)) for k in ("method", "anchors", "replay")},
            "train": train.to_json(),
            "generator": settings.generator,
            "max_drop": settings.max_drop,
        },
        data=task_hashes(task),
        replay=to_jsonable(step.replay),
    )
    task_history.save(clip, history.with_task(entry), model)
    stage.remove()
    return LearntTask(task, model, step)


def look_back(
    clip: CLIP,
    history: TaskHistory,
    task: Task,
    images: ReplayImages | None,
    prepared: Prepared,
    seed: int,
) -> Memory:
    """What the anchors look back to: the old model's answers, weights and Fisher information.

    clip: the model with the weights before the task.
    """
    settings, composition = prepared.settings, prepared.composition
    train = settings.train
    teacher = clip

    def initial() -> CLIP:
        base = history.base
        found = load_clip(base["model"], base["pretrained"], settings.device, settings.seed)
        if digest(found.model.state_dict()) != base["weights"]:
            raise HoldfastError(
                f"{settings.method.name} asks the initial model, and {base['model']} is no longer "
                "the one that the first task was added to."
            )
        return found

    if composition.teacher == "initial" and history.tasks:
        teacher = initial()
    size, workers = train.replay_batch_size, train.workers
    replay: ReplaySet | None = None
    if images is not None:
        replay = build_replay_set(
            teacher, images.paths, images.prompts, batch_size=size, workers=workers
        )
    elif composition.asks_replay:  # the task's own images, among the names known before
        among = [p for s in known_sources(history, settings.replay) for p in s.prompts]
        replay = build_replay_set(
            teacher, task.train.paths, None, batch_size=size, workers=workers, among=among
        )

    def fisher() -> Mapping[str, Tensor]:
        assert replay is not None
        over = composition.distillation.over if composition.distillation else "batch"
        found = replay_fisher(
            clip,
            replay,
            over_all=over == "all",
            batch_size=min(size, len(replay)),
            workers=workers,
            seed=seed,
        )
        return with_prefix(found, PREFIX)

    def initial_weights() -> Mapping[str, Tensor]:
        model = initial() if history.tasks else clip
        return with_prefix({k: t.clone() for k, t in model.model.state_dict().items()}, PREFIX)

    return Memory(replay=replay, initial=initial_weights, fisher=fisher)


def prepare_training(
    learner: TwoTowerLearner,
    clip: CLIP,
    images: LabelledImages,
    composition: Composition,
    memory: Memory,
    train: ContinualTrainSettings,
    seed: int,
) -> dict[str, Any]:
    """What `fit` takes beside the learner, which has the weights before the task."""
    replay, workers = memory.replay, train.workers
    own = FixedStepBatches(
        images, clip.augment, train.batch_size, train.steps, derive_seed(seed, "task"), workers
    )
    replayed = None
    if replay is not None and composition.replays:
        replayed = FixedStepBatches(
            replay,
            clip.preprocess,
            min(train.replay_batch_size, len(replay)),
            train.steps,
            derive_seed(seed, "replay"),
            workers,
        )
    average = next(iter(composition.of(WeightAverage)), None)
    return {
        "batches": ContinualBatches(own, replayed),
        "objective": objective(composition, learner, memory, train.label_smoothing),
        "optimisation": capped_warmup(train, train.steps),
        "callback": average and average.tracker(learner, train.steps),
        "seed": seed,
        "label": "learning",
    }


def weights_of(clip: CLIP) -> dict[str, Tensor]:
    """A copy of all weights, on the CPU."""
    return {name: t.detach().to("cpu", copy=True) for name, t in clip.model.state_dict().items()}
