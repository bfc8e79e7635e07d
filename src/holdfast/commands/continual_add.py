"""`holdfast continual add`: one more task for a model that keeps learning.

out/settings.json, environment.json, inputs.json   what it was made from
out/replay/                                         replayed images with their manifest
out/train.jsonl                                     a line for each training step
out/step.json                                       what happened: coverage, gate, notes, costs
out/model/                                          the new model with its task history
out/result.json, report.html                        accuracy before and after
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from holdfast import task_history
from holdfast.anchors.weight_ensemble import WeightEnsemble
from holdfast.commands.continual_gate import Gate
from holdfast.commands.continual_prepare import (
    Prepared,
    check_follows,
    initial_model,
    notes,
    open_held_out,
    open_model,
    open_task_run,
    prepare,
    record_of,
    task_inputs,
)
from holdfast.commands.continual_results import before_and_after, read_step, write_step
from holdfast.commands.continual_words import conclude_add
from holdfast.commands.settings import ContinualAddSettings
from holdfast.data.folders import fingerprint
from holdfast.data.streams import Task
from holdfast.device import attention
from holdfast.files import derive_seed
from holdfast.learners import TwoTowerLearner
from holdfast.memory import clip_memory, clip_training, weights_of
from holdfast.models.text import tokenize
from holdfast.replay import known_sources, replay_images
from holdfast.results import AddResult, Costs, StepResult
from holdfast.runs import Run, peak_memory
from holdfast.settings.base import to_jsonable
from holdfast.train import fit


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
        history = task_history.read_history(learnt.model)
        held_out = open_held_out(settings, data)
        before, after = before_and_after(settings, learnt.task, learnt.model, held_out)
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
            verdict=conclude_add(name, before, after, others, learnt.step.gate),
            step=replace(learnt.step, training=run.stage("train").curve()),
            notes=learnt.step.notes,
        )
        run.finish(result)
    return result


def learn_task(run: Run, prepared: Prepared, data: Path) -> LearntTask:
    """Draw the replayed images, train, pass the gate, and write the new model; or read it.

    data: where data sets are drawn into. Raises HoldfastError if the gate lets no model pass.
    """
    settings, composition = prepared.settings, prepared.composition
    model, stage = prepared.model, run.stage("train", settings.train.checkpoint_minutes)
    if prepared.finished:
        task = prepared.open_task(data)
        run.check_inputs({"images of the task": fingerprint(task.train)})
        check_follows(task_history.read_history(model), prepared)
        stage.remove()  # an earlier start may have been killed before it did
        return LearntTask(task, model, read_step(run.folder))
    clip, history = open_model(settings.model, settings.pretrained, settings.device, settings.seed)
    task = prepared.open_task(data)
    run.check_inputs(task_inputs(task, history, prepared))
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
        held_out = open_held_out(settings, data)
        gate = None if settings.max_drop is None else Gate(settings, images, held_out)

    ensembles = composition.of(WeightEnsemble)
    previous = weights_of(clip) if ensembles or gate else {}
    learner = TwoTowerLearner(clip, tokenize(clip, task.training_prompts()), train.negatives)
    if not stage.load_finished(learner):
        asked: tuple[Sequence[Path], Sequence[str] | None] | None = None
        among: list[str] = []
        if images is not None:
            asked = images.paths, images.prompts
        elif composition.asks_replay:  # about the task's own images
            asked = task.train.paths, None
            among = [p for s in known_sources(history, settings.replay) for p in s.prompts]
        with attention(clip.device):
            memory = clip_memory(
                clip,
                composition,
                asked,
                among=among,
                initial=lambda: initial_model(clip, history, settings),
                train=train,
                seed=seed,
            )
            training = clip_training(learner, clip, task.train, composition, memory, train, seed)
            fit(learner, **training, stage=stage)
    for ensemble in ensembles:
        merged = ensemble.merging(previous, weights_of(clip))(ensemble.alpha)
        clip.model.load_state_dict(merged)
    passed = None
    if gate is not None:
        with run.clock("gate"):
            passed = gate.admit(clip, previous, task)

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
    write_step(run.folder, step)
    entry = record_of(
        task,
        settings.method.name,
        settings.seed,
        {
            **{k: to_jsonable(getattr(settings, k)) for k in ("method", "anchors", "replay")},
            "train": train.to_json(),
            "generator": settings.generator,
            "max_drop": settings.max_drop,
        },
        to_jsonable(step.replay),
    )
    task_history.save(clip, history.with_task(entry), model)
    stage.remove()
    return LearntTask(task, model, step)
