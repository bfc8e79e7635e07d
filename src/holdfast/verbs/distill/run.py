"""The verb itself: scan, ask, say whether it is worth it, train each trial, write the result."""

from __future__ import annotations

import copy
import hashlib
import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from holdfast.data.domains import Domains, find_unreadable, scan_domains
from holdfast.data.teacher_batches import Ask
from holdfast.data.views import View, Views
from holdfast.device import pick_device
from holdfast.errors import UsageError
from holdfast.files import read_json, write_json
from holdfast.harness import Fold, World
from holdfast.methods.baselines import BASELINES
from holdfast.methods.distill import distill as align_and_distill
from holdfast.models.classifier import Classifier
from holdfast.models.student import check_student, load_student
from holdfast.models.text import class_means
from holdfast.models.tower import Tower
from holdfast.prompts import prompts_for
from holdfast.report import write_report
from holdfast.runs import (
    INPUTS,
    STARTED,
    alone,
    check_inputs,
    environment,
    open_run,
    peak_memory,
    plain,
)
from holdfast.settings import DistillSettings
from holdfast.teachers import LocalTeacher, Teacher, open_teacher
from holdfast.teachers.store import EmbeddingStore
from holdfast.verbs.distill.advice import advise
from holdfast.verbs.distill.queries import (
    QueryPlan,
    Questions,
    ask_what,
    check_budget,
    count_again,
    plan_queries,
    spread,
)
from holdfast.verbs.distill.scores import size_and_speed, summary, teacher_logits, trial_scores
from holdfast.verbs.distill.trials import (
    ASKING,
    Trial,
    check_method,
    check_splits,
    plan_trials,
    training_images,
)
from holdfast.verbs.distill.verdict import conclude
from holdfast.weights import digest

logger = logging.getLogger(__name__)

VIEW_SEED = 0  # of all views in all runs, so that runs share the answers they paid for
SAMPLES = 4  # pictures of each domain that the result names
# What may change when a run goes on: nothing that is kept depends on it.
FREE = (
    *("out", "store", "max_queries", "device", "dry_run", "advice_only", "spot_check", "sample"),
    *("batch", "retries", "timeout", "workers", "checkpoint_minutes"),
    # Where the teacher is to be found; which one it is, `inputs.json` knows.
    *("teacher", "model", "pretrained", "revision"),
)
# Written before any training; a run that has no more may go on with other settings.
PRELIMINARY = {INPUTS, "queries.json", "advice.json"}
Method = Callable[[Fold, float], Classifier]


@alone
def distill(settings: DistillSettings) -> dict[str, Any] | QueryPlan:
    """Domains + teacher -> students, their scores, and what was paid (VL2V-ADiP, VL2V-SD).

    Everything is kept in `settings.out`, as `result.json` says; the teacher's answers are kept in
    `settings.store`. Run again with the same settings, it goes on where it stopped. Returns the
    result; a dry run returns a plan of the queries instead, and leaves nothing.
    """
    # What can be wrong is found before anything is spent.
    domains = scan_domains(settings.data)
    trials = plan_trials(settings, domains)
    check_method(settings, trials)
    templates = replace(settings.prompts, llm_url=None)
    prompts = prompts_for(domains.images.classes, templates)
    device = pick_device(settings.device)
    teacher = open_teacher(settings, settings.device)
    tower = towers(settings, teacher)
    trains = not (settings.dry_run or settings.advice_only or settings.method == "zero-shot")
    first = tower(None, 0) if trains else None
    if not settings.dry_run:
        domains = find_unreadable(domains)
    check_splits(domains, trials)
    store = EmbeddingStore(settings.store, teacher, settings.max_queries)
    views = Views(domains.images.paths, settings.view, VIEW_SEED)
    if settings.dry_run:
        flat = [prompt for group in prompts for prompt in group]
        questions = ask_what(settings, domains, views, trials, flat)
        return plan_queries(settings, questions, store, trials)

    settings = resolved(settings)
    run = open_run(settings.out, settings, FREE, STARTED | PRELIMINARY)
    if settings.prompts.llm_url:
        prompts = prompts_for(domains.images.classes, settings.prompts, run / "descriptions.json")
    questions = ask_what(
        settings, domains, views, trials, [prompt for group in prompts for prompt in group]
    )
    check_budget(settings, questions, store)
    check_inputs(run, inputs(domains, views, prompts, teacher, first))
    store.ledger.run = name_of(run)
    # Before anything is paid to a teacher that is no longer the one that filled the store.
    checked = spot_check(store, questions, settings)
    text = class_means(store.text(questions.prompts), [len(group) for group in prompts]).to(device)
    world = World(
        settings=settings,
        domains=domains,
        views=views,
        ask=asking(store) if settings.views == 0 else store.images,
        text=text,
        logit_scale=teacher.logit_scale,
        tower=tower,
        first=first,
    )
    result: dict[str, Any] = {
        "title": "Distillation",
        "kind": "distill",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": plain(asdict(settings)),
        "environment": environment(),
        "method": settings.method,
        "classes": list(domains.images.classes.names),
        "prompts": prompts,
        "domains": [
            {"name": name, "images": len(domains.indices(number))}
            for number, name in enumerate(domains.names)
        ],
        "unreadable": [str(domains.images.paths[i]) for i in sorted(domains.unreadable)],
        "samples": samples(domains),
        "spot_check": checked,
        "advice": advice(world, store, questions, trials),
    }
    write_json(run / "advice.json", result["advice"])
    if settings.advice_only:
        return result
    store.fill(*questions.training)
    store.fill(questions.testing)
    result["trials"] = [trained(world, store, trial, run) for trial in trials]
    result["summary"] = summary(domains, result["trials"])
    result["teacher"] = about_teacher(world, store, questions, teacher)
    name = None if first is None else first.name
    result["student"] = result["trials"][0]["student"] | {"name": name}
    result["queries"] = {
        "asked_by_this_run": store.ledger.spent_by_run,
        "needed_without_store": needed(questions),
        "images_asked_in_all": store.ledger.images,
        "texts_asked_in_all": store.ledger.texts,
        "limit": settings.max_queries,
    }
    result["peak_memory_bytes"] = peak_memory()
    result["verdict"] = conclude(
        settings.method, result["trials"], result["summary"], result["student"], result["teacher"]
    )
    result = plain(result)
    write_json(run / "result.json", result)
    write_report(result, run / "report.html")
    return result


def resolved(settings: DistillSettings) -> DistillSettings:
    """The settings as they hold in any working directory."""
    described = settings.prompts.descriptions
    prompts = replace(settings.prompts, descriptions=described and described.absolute())
    return replace(settings, data=settings.data.absolute(), prompts=prompts)


def towers(settings: DistillSettings, teacher: Teacher) -> Callable[[int | None, int], Tower]:
    """A function that makes a new student: (width to project to, or none; seed) -> tower."""
    if settings.student == "teacher":
        if not isinstance(teacher, LocalTeacher):
            raise UsageError(
                "The student `teacher` needs the teacher's weights, and a service or a file gives "
                "only embeddings; give a local model with --teacher, or another --student."
            )
        clip = teacher.clip
        return lambda dim, seed: replace(clip, model=copy.deepcopy(clip.model))
    pretrained = settings.student_weights == "pretrained"
    name = settings.student
    check_student(name, pretrained)
    return lambda dim, seed: load_student(
        name, dim, pretrained=pretrained, device=settings.device, seed=seed
    )


def asking(store: EmbeddingStore) -> Ask:
    """The teacher's embeddings of views, asked for as they come."""

    def ask(views: Sequence[View]) -> Tensor:
        store.fill(views, bar=False)
        return store.images(views)

    return ask


def inputs(
    domains: Domains,
    views: Views,
    prompts: list[list[str]],
    teacher: Teacher,
    student: Tower | None,
) -> dict[str, str]:
    """Hashes of what a run is made from and its settings only name: see `check_inputs`."""
    images = hashlib.sha256()
    for file, label in zip(views.digests, domains.images.labels, strict=True):
        images.update(f"{file} {label}\n".encode())
    found = {
        "images": images.hexdigest(),
        "class names": hashlib.sha256(repr(domains.images.classes).encode()).hexdigest(),
        "prompts": hashlib.sha256(repr(prompts).encode()).hexdigest(),
        "teacher": hashlib.sha256(teacher.identity.encode()).hexdigest(),
        "logit scale": repr(teacher.logit_scale),
    }
    if student is not None:
        weights = student.visual.state_dict().items()
        found["student weights"] = digest(
            {name: tensor for name, tensor in weights if not name.startswith("projection.")}
        )
    return found


def name_of(run: Path) -> str:
    """What the teacher's ledger knows the run by, whatever its folder is called."""
    path = run / "queries.json"
    if not path.exists():
        write_json(path, {"run": uuid.uuid4().hex})
    return str(read_json(path)["run"])


def advice(
    world: World, store: EmbeddingStore, questions: Questions, trials: Sequence[Trial]
) -> dict[str, Any] | None:
    """What the teacher makes of the sample, printed before anything else is paid for."""
    if not questions.sample:
        return None
    store.fill(questions.sample)
    indices = spread(training_images(world.domains, trials), world.settings.sample)
    found = advise(world.domains, indices, teacher_logits(world, store, indices))
    print(found["text"], flush=True)
    return found


def spot_check(
    store: EmbeddingStore, questions: Questions, settings: DistillSettings
) -> dict[str, Any] | None:
    """How far the teacher's answers are now from those that are stored; a warning if they moved.

    None where nothing is to be asked again, or nothing was stored before.
    """
    if not count_again(settings, questions, store):
        return None
    drift = store.spot_check(questions.views, settings.spot_check, settings.seed)
    if drift.drifted:
        logger.warning(
            "The teacher has changed since it filled %s: the lowest cosine of %d answers is %.4f. "
            "Give another --store to ask it anew.",
            store.folder,
            drift.count,
            drift.lowest_cosine,
        )
    return asdict(drift) | {"drifted": drift.drifted}


def trained(world: World, store: EmbeddingStore, trial: Trial, run: Path) -> dict[str, Any]:
    """The record of a trial: train it, score it, keep its classifier; or read what was kept."""
    settings, domains = world.settings, world.domains
    folder = run / trial.folder(settings, domains)
    done = folder / "trial.json"
    if done.exists():
        return read_json(done)
    world.forget(trial.seed)
    held_out = None if trial.held_out is None else domains.names[trial.held_out]
    record: dict[str, Any] = {
        "seed": trial.seed,
        "held_out": held_out,
        "sources": [domains.names[d] for d in trial.sources],
    }
    if settings.method == "zero-shot":
        record["scores"] = trial_scores(world, store, trial, None)
        record["student"] = {"parameters": None}
        write_json(done, record)
        return record
    method: Method = BASELINES.get(settings.method, align_and_distill)
    weight, candidates = select(world, method, trial, folder)
    fold = Fold(world, trial.seed, trial.sources, folder / "training")
    if candidates and settings.selection == "validation":
        fold = Fold(world, trial.seed, trial.sources, folder / f"weight-{weight:g}")
    classifier = method(fold, weight)
    image = next(iter(world.images(training_images(domains, [trial])[:1])))
    record |= {
        "image_weight": weight if settings.method in ASKING else None,
        "candidates": candidates,
        "stages": fold.stages,
        "scores": trial_scores(world, store, trial, classifier),
        "student": size_and_speed(classifier.visual, image),
        "classifier": str((folder / "model").relative_to(run)),
    }
    about = {"method": settings.method, "student": classifier.tower.name, "held_out": held_out}
    classifier.save(folder / "model", about)
    write_json(done, record)
    return record


def select(
    world: World, method: Method, trial: Trial, folder: Path
) -> tuple[float, list[dict[str, Any]]]:
    """The image weight of a trial and, of several, what spoke for each.

    By validation: the accuracy of what the last stage kept, on the training domains' validation
    images. By source: the accuracy on each training domain of a student that did not see it.
    """
    settings = world.settings
    if len(settings.image_weights) == 1:
        return settings.image_weights[0], []
    found = []
    for weight in settings.image_weights:
        place = folder / f"weight-{weight:g}"
        if settings.selection == "validation":
            fold = Fold(world, trial.seed, trial.sources, place)
            method(fold, weight)
            accuracy = [*fold.stages.values()][-1]["kept"]["accuracy"]
        else:
            accuracy = left_out(world, method, trial, place, weight)
        found.append({"image_weight": weight, "accuracy": accuracy})
    best = max(found, key=lambda row: row["accuracy"])  # of equals, the first
    return best["image_weight"], found


def left_out(world: World, method: Method, trial: Trial, place: Path, weight: float) -> float:
    """Mean accuracy on each training domain of a student that learns from the others."""
    shares = []
    for domain in trial.sources:
        others = [d for d in trial.sources if d != domain]
        fold = Fold(world, trial.seed, others, place / f"without-{world.domains.names[domain]}")
        classifier = method(fold, weight)
        shares.append(fold.accuracy(classifier, domain))
    return sum(shares) / len(shares)


def about_teacher(
    world: World, store: EmbeddingStore, questions: Questions, teacher: Teacher
) -> dict[str, Any]:
    """The teacher, and its zero-shot accuracy on all whole images whose answers are stored."""
    everything = range(len(world.domains.images))
    known = [i for i in everything if world.views.whole(i) in store]
    found: dict[str, Any] = {
        "name": teacher.name,
        "identity": teacher.identity,
        "logit_scale": teacher.logit_scale,
        "width": world.text.shape[1],
        "zero_shot": advise(world.domains, known, teacher_logits(world, store, known))
        if known
        else None,
    }
    if isinstance(teacher, LocalTeacher):
        some = world.views.whole(world.domains.indices(0)[0])
        image = teacher.clip.preprocess(some.image())[None].to(world.device)
        found |= size_and_speed(teacher.clip.visual, image)
    return found


def needed(questions: Questions) -> dict[str, int]:
    """Queries of the run if nothing had been stored."""
    images = len({view.key for view in questions.views}) + questions.online
    return {"images": images, "texts": len(set(questions.prompts))}


def samples(domains: Domains) -> dict[str, list[str]]:
    """A few pictures of each domain, for a report."""
    return {
        name: [str(domains.images.paths[i]) for i in spread(domains.indices(number), SAMPLES)]
        for number, name in enumerate(domains.names)
    }
