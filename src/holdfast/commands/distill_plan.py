"""Which trainings a distillation consists of, what they need, and what they ask the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from holdfast.anchors.base import Need
from holdfast.anchors.consolidation import Consolidation
from holdfast.anchors.teacher_embeddings import TeacherEmbeddings
from holdfast.anchors.weight_ensemble import WeightEnsemble
from holdfast.commands.costs import RunCost, Work
from holdfast.commands.settings import DistillSettings
from holdfast.data.domains import Domains, evenly
from holdfast.data.teacher_batches import rounds
from holdfast.data.views import View, Views
from holdfast.errors import UsageError, did_you_mean
from holdfast.methods.base import Composition, Family, compose, phases_of
from holdfast.teachers.store import EmbeddingStore


@dataclass(frozen=True)
class Trial:
    """One result: a seed, the domain left out of training (none: all are trained on)."""

    seed: int
    held_out: int | None
    sources: tuple[int, ...]

    def folder(self, settings: DistillSettings, domains: Domains) -> str:
        """Where it is kept below the run's folder; a single deployed student lies at the top."""
        parts = [] if self.held_out is None else [f"without-{domains.names[self.held_out]}"]
        if settings.trials > 1:
            parts.append(f"seed-{self.seed}")
        return "/".join(parts)

    def tested(self, domains: Domains) -> list[list[int]]:
        """Of each domain, places of what the student is tested on: unseen images only."""
        return [
            domains.indices(d) if d == self.held_out else domains.split(d, self.seed)[0]
            for d in range(len(domains))
        ]

    def trainings(self, settings: DistillSettings) -> list[tuple[int, ...]]:
        """The domains of each training it needs, with those that select an image weight."""
        count = len(settings.method.candidates())
        if not settings.method.trains:
            return []
        if count == 1 or settings.selection == "validation":
            return [self.sources] * count
        without = [tuple(d for d in self.sources if d != left) for left in self.sources]
        return without * count + [self.sources]


def plan_trials(settings: DistillSettings, domains: Domains) -> list[Trial]:
    """The trials of a run, seed after seed. Raises UsageError for an unknown domain."""
    everything = range(len(domains))
    left_out: Sequence[int | None]
    if settings.held_out == "none":
        left_out = [None]
    elif settings.held_out == "all":
        left_out = everything
    elif settings.held_out in domains.names:
        left_out = [domains.names.index(settings.held_out)]
    else:
        raise UsageError(
            f"There is no domain {settings.held_out!r} in {domains.images.root}"
            f"{did_you_mean(settings.held_out, domains.names)}; hold out one of "
            f"{', '.join(domains.names)}, or all, or none."
        )
    return [
        Trial(seed, domain, tuple(d for d in everything if d != domain))
        for seed in range(settings.seed, settings.seed + settings.trials)
        for domain in left_out
    ]


def check_method(settings: DistillSettings, trials: Sequence[Trial]) -> Composition:
    """The method with all its anchors.

    Raises UsageError for what does not go together, and for anchors whose needs a distillation
    cannot meet.
    """
    method, own_tower = settings.method, settings.student == "teacher"
    own = method.anchors(Family.DISTILL)
    for pull in [*own, *settings.anchors]:
        if isinstance(pull, Consolidation) and pull.active and pull.importance != "uniform":
            raise UsageError(
                f"The importance {pull.importance!r} of the consolidation comes from replayed "
                "images, and a distillation has none; take consolidation:importance=uniform."
            )
    if settings.anchors and not method.trains:
        raise UsageError(f"The method {method.name!r} trains nothing; leave --anchors out.")
    composition = compose(method, settings.anchors, Family.DISTILL)
    if any(isinstance(each, TeacherEmbeddings) for each in settings.anchors):
        if any(isinstance(each, TeacherEmbeddings) for each in own):
            weighs = hasattr(method, "image_weight")
            advice = "give its weight by --method.image_weight" if weighs else "leave it out"
            raise UsageError(
                f"The method {method.name!r} has the anchor 'teacher-embeddings' already; {advice}."
            )
        if method.head == "new" and not own_tower:
            raise UsageError(
                "The anchor 'teacher-embeddings' needs features in the teacher's space, and the "
                f"method {method.name!r} does not project into it; take text-head, or give "
                "--student teacher."
            )
    if Need.TEACHER_WEIGHTS in composition.needs and not own_tower:
        raise UsageError(
            f"The method {method.name!r} fine-tunes the teacher itself; give --student teacher."
        )
    single = len(phases_of(method, settings.student)) == 1
    if Need.ORIGINAL in composition.needs and single and (method.head == "new" or not own_tower):
        names = f"The method {method.name!r} has a weight ensemble, and before its training "
        if method.head == "new":
            raise UsageError(
                f"{names}a new head names no classes; take a method whose head starts as the text "
                "embeddings, or one of two trainings such as lp-ft."
            )
        raise UsageError(
            f"{names}a student with a new projection names no classes; give --student teacher."
        )
    if any(each.alpha == "auto" for each in composition.of(WeightEnsemble)):
        raise UsageError(
            "alpha=auto chooses the weight of the ensemble from generated images, and a "
            "distillation has none; give a number from 0 to 1."
        )
    if settings.advice_only and not (Need.TEACHER in composition.needs and settings.sample):
        raise UsageError(
            "advice_only shows what the teacher makes of a sample, and this run would ask about "
            "none; give --sample a number, and --method vl2v or kd."
        )
    if settings.selection == "source" and len(trials[0].sources) < 2:
        raise UsageError(
            "--selection source leaves out one training domain in turn, and there is only one; "
            "take --selection validation."
        )
    return composition


def check_splits(domains: Domains, trials: Sequence[Trial]) -> None:
    """Raise UsageError for a domain too small to validate on."""
    for trial in trials:
        for domain in range(len(domains)):
            if not all(domains.split(domain, trial.seed)):
                raise UsageError(
                    f"The domain {domains.names[domain]!r} of {domains.images.root} has only "
                    f"{len(domains.indices(domain))} readable images, too few to hold a fifth out; "
                    "add some or remove the domain."
                )


def places_to_learn(domains: Domains, trials: Sequence[Trial]) -> list[int]:
    """Places of all images that some training may learn from."""
    sources = {(domain, trial.seed) for trial in trials for domain in trial.sources}
    return sorted({i for domain, seed in sources for i in domains.split(domain, seed)[1]})


@dataclass(frozen=True)
class QueryPlan:
    """What a run would ask; a dry run returns it.

    images, texts: queries that are not answered yet; at_most: whether online views make the number
    of images a limit and no exact number; limit: the most that may be asked, with what was spent.
    work: the trainings and tests, of a dry run.
    """

    images: int
    texts: int
    stored_images: int
    stored_texts: int
    trainings: int
    at_most: bool
    spent: int
    limit: int | None
    work: tuple[Work, ...] = ()

    def __str__(self) -> str:
        most = "at most " if self.at_most else ""
        limit = "no limit" if self.limit is None else f"a limit of {self.limit:,}"
        text = (
            f"This run asks the teacher for {most}{self.images:,} images and {self.texts:,} texts; "
            f"{self.stored_images:,} and {self.stored_texts:,} more are stored. Trainings: "
            f"{self.trainings}. Spent so far: {self.spent:,} queries, with {limit}."
        )
        return f"{text}\n{RunCost(None, self.work)}" if self.work else text


@dataclass(frozen=True)
class Questions:
    """What a run asks a teacher, in this order.

    sampled: places of the images of the sample.
    sample: their views, looked at before anything else is paid.
    training: the first views of all images to learn from, then all second ones, and so on.
    testing: the images that students are tested on, where the teacher is to be measured on them.
    prompts: of all classes.
    online: the most views that the steps of all trainings ask about on top of these.
    """

    settings: DistillSettings
    trainings: int
    sampled: list[int]
    sample: list[View]
    training: list[list[View]]
    testing: list[View]
    prompts: list[str]
    online: int

    @classmethod
    def of(
        cls,
        settings: DistillSettings,
        composition: Composition,
        domains: Domains,
        views: Views,
        trials: Sequence[Trial],
        prompts: Sequence[Sequence[str]],
    ) -> Questions:
        """The questions of a run. prompts: those of each class."""
        asks, indices = Need.TEACHER in composition.needs, places_to_learn(domains, trials)
        sampled = evenly(indices, settings.sample) if asks else []
        tests_all = settings.teacher_scores == "all" or not settings.method.trains
        tested = {i for trial in trials for part in trial.tested(domains) for i in part}
        every = [sources for trial in trials for sources in trial.trainings(settings)]
        per_domain = sum(
            (stage := getattr(settings, phase.draws)).steps * stage.per_domain
            for phase in phases_of(settings.method, settings.student)
        )
        return cls(
            settings=settings,
            trainings=len(every),
            sampled=sampled,
            sample=[views.whole(index) for index in sampled],
            training=rounds(views, indices, settings.views) if asks else [],
            testing=[views.whole(i) for i in sorted(tested)] if tests_all else [],
            prompts=list(chain.from_iterable(prompts)),
            online=per_domain * sum(map(len, every)) if asks and not settings.views else 0,
        )

    @property
    def views(self) -> list[View]:
        """All of them."""
        return [*self.sample, *chain.from_iterable(self.training), *self.testing]

    def again(self, store: EmbeddingStore) -> int:
        """How many stored answers a spot check asks for again."""
        wanted = self.settings.spot_check
        return min(wanted, store.plan(self.views).stored_images) if wanted else 0

    def plan(self, store: EmbeddingStore) -> QueryPlan:
        """What the questions cost with what is stored; asks nothing."""
        advice_only = self.settings.advice_only
        plan = store.plan(self.sample if advice_only else self.views, self.prompts)
        online = 0 if advice_only else self.online
        return QueryPlan(
            images=plan.images + online + self.again(store),
            texts=plan.texts,
            stored_images=plan.stored_images,
            stored_texts=plan.stored_texts,
            trainings=self.trainings,
            at_most=online > 0,
            spent=store.ledger.spent,
            limit=self.settings.max_queries,
        )

    def check_budget(self, store: EmbeddingStore) -> None:
        """Raise UsageError, before anything is asked, where one view of each image costs too much.

        A budget that ends between that and all views stops the run there, with what it paid for.
        """
        first, what = self.sample, "the sample of images"
        if not self.settings.advice_only and self.training:
            first, what = [*first, *self.training[0]], "one view of each image"
        elif not self.settings.advice_only and self.testing:
            first, what = [*first, *self.testing], "the images to test on"
        plan, again, spent = store.plan(first, self.prompts), self.again(store), store.ledger.spent
        needed = plan.images + plan.texts + again
        if again:
            what = f"a spot check of {again:,} answers, {what}"
        if needed > store.ledger.left and not store.teacher.free:
            raise UsageError(
                f"The budget of {self.settings.max_queries:,} queries is too small: {spent:,} are "
                f"spent, and {what} and the prompts need {needed:,} more; give --max_queries "
                f"{spent + needed} or more."
            )
