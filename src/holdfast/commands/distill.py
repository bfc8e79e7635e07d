"""`holdfast distill`: labelled images of domains + a teacher -> a student for unseen domains."""

from __future__ import annotations

import copy
import hashlib
import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import torch
from torch import Tensor

from holdfast import results
from holdfast.commands import distill_plan as plan
from holdfast.commands import distill_scores as measure
from holdfast.commands.costs import Work
from holdfast.commands.distill_cost import distill_work
from holdfast.commands.distill_trial import run_trial
from holdfast.commands.settings import DistillSettings
from holdfast.data.domains import evenly, find_unreadable, scan_domains
from holdfast.data.teacher_batches import TaughtImages
from holdfast.data.views import Renderer, View, Views
from holdfast.device import pick_device
from holdfast.errors import UsageError
from holdfast.experiment import Experiment
from holdfast.files import read_typed, write_sealed
from holdfast.models.student import check_student, load_student
from holdfast.models.text import class_means
from holdfast.models.tower import Tower
from holdfast.places import absolute_file, absolute_model
from holdfast.prompts import prompts_for
from holdfast.runs import Run, peak_memory
from holdfast.seen import SEEN
from holdfast.settings.base import free_fields, to_jsonable
from holdfast.teachers import LocalTeacher, Teacher, open_teacher
from holdfast.teachers.store import EmbeddingStore
from holdfast.weights import digest

logger = logging.getLogger(__name__)

VIEW_SEED = 0  # of all views in all runs, so that runs share the answers they paid for
SHOWN = 4  # pictures of each domain that the result names
# Written before any training; a run that has no more may go on with other settings.
PRELIMINARY = {"queries.json", "advice.json"}


def distill(
    settings: DistillSettings,
) -> results.DistillResult | results.Advice | plan.QueryPlan:
    """Domains + teacher -> students, their scores, and what was paid (VL2V-ADiP and others).

    Everything is kept in `settings.out`, the teacher's answers in `settings.store`. Run again with
    the same settings, it goes on where it stopped.

    Returns the result; with `advice_only` what the teacher makes of a sample; of a dry run, which
    leaves nothing, the plan of its queries and its time. Raises UsageError for a wrong request,
    before anything is asked, and HoldfastError for what is wrong outside.
    """
    # What can be wrong is found before anything is spent.
    SEEN.recall(settings.out)
    domains = scan_domains(settings.data, settings)
    trials = plan.plan_trials(settings, domains)
    composition = plan.check_method(settings, trials)
    classes = domains.images.classes
    prompts = prompts_for(classes, replace(settings.prompts, llm_url=None))
    device = pick_device(settings.device)
    teacher = open_teacher(settings, settings.device)
    tower = student_maker(settings, teacher)
    trains = settings.method.trains and not (settings.dry_run or settings.advice_only)
    first = tower(None, 0) if trains else None
    if not settings.dry_run:
        domains = find_unreadable(domains)
    plan.check_splits(domains, trials)
    store = EmbeddingStore(settings.store, teacher, settings.max_queries)
    views = Views(domains.images.paths, settings.view, VIEW_SEED)
    if settings.dry_run:
        asked = plan.Questions.of(settings, composition, domains, views, trials, prompts)
        work: tuple[Work, ...] = ()
        if settings.method.trains:
            untrained = student_maker(replace(settings, student_weights="random"), teacher)
            work = distill_work(settings, domains, views, trials, composition, untrained)
        return replace(asked.plan(store), work=work)

    described = settings.prompts.descriptions
    settings = replace(  # as they hold in any working directory
        settings,
        data=settings.data.absolute(),
        teacher=absolute_model(settings.teacher),
        pretrained=absolute_file(settings.pretrained),
        student=absolute_model(settings.student),
        prompts=replace(settings.prompts, descriptions=described and described.absolute()),
    )
    bound = [name for name in free_fields(settings) if name.startswith("method.")]
    with Run.open(settings.out, settings, "distill", bound=bound, preliminary=PRELIMINARY) as run:
        if settings.prompts.llm_url:
            prompts = prompts_for(classes, settings.prompts, run.folder / "descriptions.json")
        questions = plan.Questions.of(settings, composition, domains, views, trials, prompts)
        questions.check_budget(store)
        inputs = {
            "images": hashed(*zip(views.digests, domains.images.labels, strict=True)),
            "class names": hashed(classes),
            "prompts": hashed(prompts),
            "teacher": hashed(teacher.identity, teacher.logit_scale),
        }
        if first is not None:
            kept = first.visual.state_dict().items()
            own = {name: t for name, t in kept if not name.startswith("projection.")}
            inputs["student weights"] = digest(own)
        run.check_inputs(inputs)
        ledger_name = run.folder / "queries.json"  # of the run, whatever its folder is called
        if not ledger_name.exists():
            write_sealed(ledger_name, {"run": uuid.uuid4().hex})
        store.ledger.run = read_typed(ledger_name, dict[str, str], sealed=True).get("run", "")
        # Before anything is paid to a teacher that is no longer the one that filled the store.
        checked = spot_check(store, questions, settings)

        def ask_online(seen: Sequence[View]) -> Tensor:
            store.fill(seen, bar=False)
            return store.images(seen)

        flat = store.text(questions.prompts)
        taught = TaughtImages(
            views=views,
            labels=torch.tensor(domains.images.labels),
            ask=store.images if settings.views else ask_online,
            text=class_means(flat, [len(group) for group in prompts]).to(device),
            renderer=Renderer(first.preprocess, settings.workers) if first else None,
        )
        experiment = Experiment(settings, domains, taught, teacher.logit_scale, tower)
        advice = None
        if questions.sample:
            store.fill(questions.sample)
            logits = measure.zero_shot_logits(experiment, store, questions.sampled)
            advice = measure.advise(domains, questions.sampled, logits)
            print(advice.text, flush=True)
        if advice:
            write_sealed(run.folder / "advice.json", to_jsonable(advice))
        if advice and settings.advice_only:
            return advice

        store.fill(*questions.training)
        store.fill(questions.testing)
        done = [run_trial(run, experiment, store, trial) for trial in trials]
        summary = measure.summarise(domains.names, done)
        about = about_teacher(experiment, store, teacher)
        student = replace(done[0].student, name=first.name if first else None)
        verdict = measure.conclude(done, summary, student, about.tower)
        beside = measure.what_was_compared(settings, done) if summary.gap else ""
        places = {name: domains.indices(number) for number, name in enumerate(domains.names)}
        paths = [str(path) for path in domains.images.paths]
        result = results.DistillResult(
            **run.header("Distillation"),
            method=settings.method.name,
            method_title=settings.method.title,
            paper=settings.method.paper,
            classes=list(classes.names),
            prompts=prompts,
            domains=[results.DomainInfo(name=k, images=len(v)) for k, v in places.items()],
            unreadable=[f"{paths[i]}: {why}" for i, why in sorted(domains.unreadable.items())],
            notes=list(domains.images.notes),
            samples={k: [paths[i] for i in evenly(v, SHOWN)] for k, v in places.items()},
            spot_check=checked,
            advice=advice,
            trials=done,
            summary=summary,
            teacher=about,
            student=student,
            queries=results.QueryCount(
                asked_by_this_run=store.ledger.spent_by_run,
                needed_images=len({view.key for view in questions.views}) + questions.online,
                needed_texts=len(set(questions.prompts)),
                images_in_all=store.ledger.images,
                texts_in_all=store.ledger.texts,
                limit=settings.max_queries,
            ),
            verdict=replace(verdict, text=verdict.text + beside),
            costs=results.Costs(
                training_seconds=sum(trial.training_seconds for trial in done),
                evaluation_seconds=sum(trial.evaluation_seconds for trial in done),
                peak_memory_bytes=peak_memory(),
            ),
        )
        run.finish(result)
    return result


def student_maker(
    settings: DistillSettings, teacher: Teacher
) -> Callable[[int | None, int], Tower]:
    """A function that makes a new student: (width to project to, or none; seed) -> tower.

    Raises UsageError for a student that cannot be.
    """
    if settings.student == "teacher":
        if not isinstance(teacher, LocalTeacher):
            raise UsageError(
                "The student `teacher` needs the teacher's weights, and a service or a file gives "
                "only embeddings; give a local model with --teacher, or another --student."
            )
        clip = teacher.clip
        return lambda dim, seed: replace(clip, model=copy.deepcopy(clip.model))
    name, pretrained = settings.student, settings.student_weights == "pretrained"
    check_student(name, pretrained)
    return lambda dim, seed: load_student(
        name, dim, pretrained=pretrained, device=settings.device, seed=seed
    )


def hashed(*values: object) -> str:
    """SHA-256 of what the values look like."""
    return hashlib.sha256("\n".join(map(repr, values)).encode()).hexdigest()


def spot_check(
    store: EmbeddingStore, questions: plan.Questions, settings: DistillSettings
) -> results.SpotCheck | None:
    """How far the teacher's answers are now from those that are stored; a warning if they moved.

    None where nothing is to be asked again, or nothing was stored before.
    """
    if not questions.again(store):
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
    return results.SpotCheck(**asdict(drift), drifted=drift.drifted)


def about_teacher(
    experiment: Experiment, store: EmbeddingStore, teacher: Teacher
) -> results.TeacherInfo:
    """The teacher, and its zero-shot accuracy on all whole images whose answers are stored."""
    domains, taught, tower = experiment.domains, experiment.taught, None
    known = [i for i in range(len(domains.images)) if taught.views.whole(i) in store]
    logits = measure.zero_shot_logits(experiment, store, known)
    if isinstance(teacher, LocalTeacher):
        some = taught.views.whole(domains.indices(0)[0])
        image = teacher.clip.preprocess(some.image())[None].to(experiment.device)
        tower = measure.size_and_speed(teacher.clip.visual, image)
    return results.TeacherInfo(
        name=teacher.name,
        identity=teacher.identity,
        logit_scale=teacher.logit_scale,
        width=taught.text.shape[1],
        zero_shot=measure.advise(domains, known, logits) if known else None,
        tower=tower,
    )
