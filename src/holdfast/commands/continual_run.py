"""`holdfast continual run`: a stream of tasks, and each model measured on all of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from holdfast import names, task_history
from holdfast.commands.continual_add import LearntTask, learn_task
from holdfast.commands.continual_joint import JOINT, learn_jointly
from holdfast.commands.continual_prepare import (
    GATE_FIELDS,
    held_out_sources,
    open_held_out,
    open_model,
    open_task_run,
    prepare,
    with_absolute_paths,
)
from holdfast.commands.continual_results import (
    FIRST_ROW,
    Evaluator,
    Rows,
    measured_split,
    stream_scores,
    write_matrices,
)
from holdfast.commands.continual_words import several
from holdfast.commands.settings import ContinualAddSettings, ContinualRunSettings
from holdfast.data.folders import fingerprint
from holdfast.data.streams import Task, TaskSource, find_stream, open_source
from holdfast.errors import UsageError
from holdfast.methods import Family, compose
from holdfast.results import ContinualResult, Costs, StreamTask
from holdfast.runs import Run, peak_memory
from holdfast.stages import Stage


def run_stream(settings: ContinualRunSettings) -> ContinualResult:
    """Learn the tasks of a stream in order and measure each model on all of them.

    Everything is kept in `settings.out`; run again with the same settings, it goes on where it
    stopped.

    Raises UsageError or HoldfastError for what is wrong with the stream, before anything is made;
    HoldfastError if the gate lets a task pass in no way.
    """
    sources = find_stream(settings.stream, settings)
    check_stream(settings, sources)
    out, method = settings.out, settings.method
    clip, history = open_model(settings.model, settings.pretrained, settings.device, settings.seed)
    stream = settings.stream.absolute() if settings.stream.is_file() else settings.stream
    named = replace(with_absolute_paths(settings), stream=stream)
    # Each task checks for itself what it depends on.
    with Run.open(out, named, "continual run", free=GATE_FIELDS) as run:
        tasks = [open_source(source, out / "data") for source in sources]
        run.check_inputs({"model": history.weights, **stream_hashes(sources, tasks)})
        evaluator = Evaluator(settings, tasks, run, open_held_out(settings, out / "data"))
        rows: Rows = {FIRST_ROW: evaluator.row(FIRST_ROW, out, history.weights, lambda: clip)}
        learnt: list[LearntTask] = []
        if not method.trains:
            for count, task in enumerate(tasks, 1):  # the same model, with ever more classes
                rows[task.name] = evaluator.row(
                    task.name, out, history.weights, lambda: clip, count
                )
        elif method.name == JOINT:
            folder = out / "tasks" / JOINT
            learnt.append(learn_jointly(settings, clip, history, sources, tasks, folder))
            rows[JOINT] = evaluator.model_row(JOINT, learnt[-1].model, len(tasks))
        else:
            del clip
            for position, task in enumerate(tasks):
                prepared = prepare(add_settings(settings, sources, position))
                with open_task_run(prepared) as task_run:
                    learnt.append(learn_task(task_run, prepared, out / "data"))
                model = learnt[-1].model
                rows[task.name] = evaluator.model_row(task.name, model, position + 1)
        result = ContinualResult(
            **run.header(f"A stream of {several(len(tasks), 'task')}, {method.title}"),
            method=method.name,
            method_title=method.title,
            paper=method.paper,
            tasks=[
                StreamTask(
                    name=task.name,
                    classes=list(task.classes.names),
                    templates=list(task.templates),
                    captions=task.captions,
                    images={split: len(images) for split, images in task.splits()},
                )
                for task in tasks
            ],
            **stream_scores(rows, [task.name for task in tasks], settings.split, method.name),
            held_out=evaluator.held_out_scores(),
            steps=[
                replace(each.step, training=Stage(each.model.parent, "train").curve())
                for each in learnt
            ],
            notes=[f"{each.task.name}: {note}" for each in learnt for note in each.step.notes],
            costs=Costs(
                generation_seconds=sum(each.step.costs.generation_seconds for each in learnt),
                training_seconds=sum(each.step.costs.training_seconds for each in learnt),
                gate_seconds=sum(each.step.costs.gate_seconds for each in learnt),
                evaluation_seconds=run.seconds.get("evaluation", 0.0),
                peak_memory_bytes=peak_memory(),
            ),
        )
        write_matrices(out, result)
        run.finish(result)
    return result


def check_stream(settings: ContinualRunSettings, sources: Sequence[TaskSource]) -> None:
    """Raise UsageError or HoldfastError for what is wrong with the stream, before anything is made.

    Data sets are not looked at, since they are drawn into the run's folder.
    """
    method = settings.method
    composition = compose(method, settings.anchors, Family.CONTINUAL)
    gated = method.trains and method.name != JOINT
    if settings.max_drop is not None and not gated:
        raise UsageError(f"There is no gate for {method.name}; leave out max_drop.")
    held_out_sources(settings)
    if not gated and composition.asks_replay:
        raise UsageError(f"{method.title} replays no images; leave out such anchors.")
    folder = task_history.find_model(settings.model)
    history = task_history.read_history(folder) if folder is not None else None
    for position, source in enumerate(sources):
        if names.comparable(source.name) in (FIRST_ROW, JOINT):
            raise UsageError(
                f"A task cannot be called {source.name!r}, as a row of the matrix is; rename it."
            )
        if gated:
            task = prepare(add_settings(settings, sources, position)).task
        else:
            task = None if source.is_dataset else open_source(source, settings.out)
        if history is not None and method.trains:
            history.check_new(source.name)
        if task is not None:
            measured_split(task, settings)


def stream_hashes(sources: Sequence[TaskSource], tasks: Sequence[Task]) -> dict[str, str]:
    """Hashes of what a stream file says and of the images that it names."""
    said = json.dumps([asdict(each) for each in sources])
    seen = json.dumps([fingerprint(images) for each in tasks for _, images in each.splits()])
    texts = {"tasks": said, "images": seen}
    return {what: hashlib.sha256(text.encode()).hexdigest() for what, text in texts.items()}


def add_settings(
    settings: ContinualRunSettings, sources: Sequence[TaskSource], position: int
) -> ContinualAddSettings:
    """The settings of `continual add` for one task of the stream."""
    source = sources[position]

    def folder(place: int) -> Path:
        return settings.out / "tasks" / f"{place + 1:02d}-{names.make_id(sources[place].name)}"

    before = folder(position - 1) / "model" if position else None
    return ContinualAddSettings(
        model=str(before or settings.model),
        task=source.place,
        out=folder(position),
        name=source.name,
        templates=source.templates,
        pretrained=settings.pretrained,
        method=settings.method,
        anchors=settings.anchors,
        generator=settings.generator,
        per_class=source.per_class,
        classes=list(source.choice.classes),
        class_names=settings.class_names,
        names=source.names,
        links=settings.links,
        max_drop=settings.max_drop,
        # Without a gate they are measured beside the stream, and may change.
        held_out=settings.held_out if settings.max_drop is not None else [],
        replay=settings.replay,
        train=replace(settings.train, **source.train),
        seed=settings.seed,
        device=settings.device,
    )
