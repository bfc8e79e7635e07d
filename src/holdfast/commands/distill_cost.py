"""The time that a distillation would take (`holdfast distill --dry_run`); no teacher is asked."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.anchors.base import Memory
from holdfast.commands.costs import SOME_IMAGES, STEPS, Work, timed_steps
from holdfast.commands.distill_plan import Trial, places_to_learn
from holdfast.commands.settings import DistillSettings
from holdfast.data.domains import Domains
from holdfast.data.pictures import UnreadableImage, read_image
from holdfast.data.teacher_batches import TaughtImages
from holdfast.data.views import Renderer, Views
from holdfast.errors import HoldfastError
from holdfast.experiment import Experiment
from holdfast.methods.base import Composition, Phase, phases_of
from holdfast.models.tower import Tower
from holdfast.settings import StageSettings
from holdfast.teachers.teacher import LOGIT_SCALE
from holdfast.training_run import TrainingRun

WIDTH = 512  # of the space that answers are made up in


def distill_work(
    settings: DistillSettings,
    domains: Domains,
    views: Views,
    trials: Sequence[Trial],
    composition: Composition,
    tower: Callable[[int | None, int], Tower],
) -> tuple[Work, ...]:
    """The trainings and tests of a run, from a few steps with answers that are made up.

    settings, domains, views, trials, composition: of the run. tower: makes a student, whose weights
    may be any. Nothing is left. Raises HoldfastError where no image can be read.
    """
    first = trials[0]
    trainings = sum(len(trial.trainings(settings)) for trial in trials)
    seeds = len({trial.seed for trial in trials})
    learnt = len(places_to_learn(domains, [first]))
    validated = sum(len(domains.split(domain, first.seed)[0]) for domain in first.sources)
    tested = sum(len(part) for trial in trials for part in trial.tested(domains))
    work = []
    with TemporaryDirectory() as folder:
        experiment = made_up(settings, domains, views, tower)
        run = TrainingRun(experiment, first.seed, first.sources, Path(folder))
        image = student_image(run, composition)
        for phase in phases_of(settings.method, settings.student):
            stage: StageSettings = getattr(settings, phase.draws)
            if settings.views and phase.part in ("projection", "head"):
                # The features are computed once for each seed, and a step only reads them.
                count = learnt * settings.views * seeds
                work.append(Work(f"features for {phase.label}", "images", count, image))
                continue
            step = student_step(run, composition, phase)
            work.append(Work(phase.label, "steps", stage.steps * trainings, step))
            times = -(-stage.steps // stage.validate_every) * trainings
            work.append(Work(f"validating while {phase.label}", "images", times * validated, image))
    return (*work, Work("testing", "images", tested, image))


def made_up(
    settings: DistillSettings,
    domains: Domains,
    views: Views,
    tower: Callable[[int | None, int], Tower],
) -> Experiment:
    """The run's experiment with few steps, a few readable images in the place of all, and answers
    that are noise.
    """
    settings = replace(
        settings,
        views=0,
        align=replace(settings.align, steps=STEPS, validate_every=STEPS),
        train=replace(settings.train, steps=STEPS, validate_every=STEPS),
        average=replace(settings.average, kind="none"),
    )
    some = readable_places(views.paths)
    stand_in = copy.copy(views)
    stand_in.paths = [views.paths[some[n % len(some)]] for n in range(len(views))]
    stand_in.digests = [views.digests[some[n % len(some)]] for n in range(len(views))]
    student = tower(None, 0)
    renderer = Renderer(student.preprocess, settings.workers)
    width = WIDTH
    if settings.student == "teacher":  # it lives in the space of its answers
        image = renderer.one(stand_in.whole(0))[None].to(student.device)
        with torch.no_grad():
            width = student.visual(image).shape[1]
    draw = torch.Generator().manual_seed(0)

    def answers(count: int) -> Tensor:
        return F.normalize(torch.randn(count, width, generator=draw), dim=1)

    taught = TaughtImages(
        views=stand_in,
        labels=torch.tensor(domains.images.labels),
        ask=lambda asked: answers(len(asked)),
        text=answers(len(domains.images.classes)).to(student.device),
        renderer=renderer,
    )
    # Validation has a time of its own, from the number of its images.
    [one] = taught.images([0])
    one.images = one.images.to(student.device)
    few = {(settings.seed, domain): [one] for domain in range(len(domains))}
    return Experiment(settings, domains, taught, LOGIT_SCALE, tower, validation=few)


def readable_places(paths: Sequence[Path]) -> list[int]:
    """Positions of the first images that can be read, a few of them."""
    found = []
    for place, path in enumerate(paths):
        try:
            read_image(path)
        except UnreadableImage:
            continue
        found.append(place)
        if len(found) == SOME_IMAGES:
            break
    if not found:
        raise HoldfastError("None of the images could be read.")
    return found


def student_image(run: TrainingRun, composition: Composition) -> float:
    """The seconds that reading an image and sending it through the student take."""
    _, learner = run.new_learner(composition)
    experiment, taken = run.experiment, 0.0
    for _ in range(2):  # the first pass warms up
        begun = time.perf_counter()
        images = experiment.taught.images(range(SOME_IMAGES))
        experiment.outputs(lambda x: learner(x)[1], images)
        taken = time.perf_counter() - begun
    return taken / SOME_IMAGES


def student_step(run: TrainingRun, composition: Composition, phase: Phase) -> float:
    """The seconds of a step of one of the run's trainings."""
    _, learner = run.new_learner(composition)
    initial = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    with timed_steps() as each:
        run.train_phase(phase, composition, learner, Memory(initial=lambda: initial))
        return each()
