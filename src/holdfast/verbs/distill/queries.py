"""What a run asks a teacher, in which order, and how much that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from holdfast.data.domains import Domains
from holdfast.data.teacher_batches import rounds
from holdfast.data.views import View, Views
from holdfast.errors import UsageError
from holdfast.settings import DistillSettings
from holdfast.teachers.store import EmbeddingStore
from holdfast.verbs.distill.trials import ASKING, Trial, tested_images, training_images, trainings


@dataclass(frozen=True)
class Questions:
    """The views that a run asks about before it trains.

    sample: looked at before anything else is paid; training: all images' first views, then all
    second ones ...; testing: the images that students are tested on, where the teacher is to be
    measured on them; online: the most that the steps of all trainings ask on top of these.
    """

    sample: list[View]
    training: list[list[View]]
    testing: list[View]
    prompts: list[str]
    online: int

    @property
    def views(self) -> list[View]:
        """All of them."""
        return [*self.sample, *chain.from_iterable(self.training), *self.testing]


@dataclass(frozen=True)
class QueryPlan:
    """What a run would ask; a dry run returns it.

    images, texts: queries that are not answered yet; at_most: whether online views make the number
    of images a limit and no exact number; limit: the most that may be asked, with what was spent.
    """

    images: int
    texts: int
    stored_images: int
    stored_texts: int
    trainings: int
    at_most: bool
    spent: int
    limit: int | None

    def __str__(self) -> str:
        most = "at most " if self.at_most else ""
        limit = "no limit" if self.limit is None else f"a limit of {self.limit:,}"
        return (
            f"This run asks the teacher for {most}{self.images:,} images and {self.texts:,} texts; "
            f"{self.stored_images:,} and {self.stored_texts:,} more are stored. Trainings: "
            f"{self.trainings}. Spent so far: {self.spent:,} queries, with {limit}."
        )


def ask_what(
    settings: DistillSettings,
    domains: Domains,
    views: Views,
    trials: Sequence[Trial],
    prompts: list[str],
) -> Questions:
    """The questions of a run."""
    asks = settings.method in ASKING
    indices = training_images(domains, trials)
    sample = spread(indices, settings.sample) if asks else []
    tests_all = settings.teacher_scores == "all" or settings.method == "zero-shot"
    per_step = settings.train.steps * settings.train.per_domain
    if settings.method == "distill" and settings.student != "teacher":
        per_step += settings.align.steps * settings.align.per_domain
    every = [sources for trial in trials for sources in trainings(settings, trial)]
    online = per_step * sum(map(len, every)) if asks and not settings.views else 0
    return Questions(
        sample=[views.whole(index) for index in sample],
        training=rounds(views, indices, settings.views) if asks else [],
        testing=[views.whole(i) for i in tested_images(domains, trials)] if tests_all else [],
        prompts=prompts,
        online=online,
    )


def spread(indices: Sequence[int], count: int) -> list[int]:
    """At most `count` of the places, evenly spaced, and so over domains and classes."""
    count = min(count, len(indices))
    return [indices[i * len(indices) // count] for i in range(count)]


def plan_queries(
    settings: DistillSettings, questions: Questions, store: EmbeddingStore, trials: Sequence[Trial]
) -> QueryPlan:
    """What the questions cost with what is stored; asks nothing."""
    views = questions.sample if settings.advice_only else questions.views
    plan = store.plan(views, questions.prompts)
    online = 0 if settings.advice_only else questions.online
    return QueryPlan(
        images=plan.images + online + count_again(settings, questions, store),
        texts=plan.texts,
        stored_images=plan.stored_images,
        stored_texts=plan.stored_texts,
        trainings=sum(len(trainings(settings, trial)) for trial in trials),
        at_most=online > 0,
        spent=store.ledger.spent,
        limit=settings.max_queries,
    )


def count_again(settings: DistillSettings, questions: Questions, store: EmbeddingStore) -> int:
    """How many stored answers a spot check asks for again."""
    if not settings.spot_check:
        return 0
    return min(settings.spot_check, store.plan(questions.views).stored_images)


def check_budget(settings: DistillSettings, questions: Questions, store: EmbeddingStore) -> None:
    """Raise UsageError, before anything is asked, where not one view of each image is affordable.

    A budget that ends between that and all views stops the run there, with what it paid for.
    """
    first, what = questions.sample, "the sample of images"
    if not settings.advice_only and questions.training:
        first, what = [*first, *questions.training[0]], "one view of each image"
    elif not settings.advice_only and questions.testing:
        first, what = [*first, *questions.testing], "the images to test on"
    plan = store.plan(first, questions.prompts)
    again = count_again(settings, questions, store)
    needed, left = plan.images + plan.texts + again, store.ledger.left
    if again:
        what = f"a spot check of {again:,} answers, {what}"
    if needed > left and not store.teacher.free:
        raise UsageError(
            f"The budget of {settings.max_queries:,} queries is too small: {store.ledger.spent:,} "
            f"are spent, and {what} and the prompts need {needed:,} more; give --max_queries "
            f"{store.ledger.spent + needed} or more."
        )
