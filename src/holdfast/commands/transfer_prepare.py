"""What a name-only transfer starts from: its settings, checked before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from holdfast import names
from holdfast.anchors.alignment import Alignment
from holdfast.anchors.base import ReplayLoss
from holdfast.anchors.replay_distillation import ReplayDistillation
from holdfast.anchors.weight_ensemble import WeightEnsemble
from holdfast.commands.settings import TransferSettings
from holdfast.data.batches import Batch, sequential_batches
from holdfast.data.folders import LabelledImages, scan_split, subset, without_images
from holdfast.data.layouts import TO_LEARN, TO_MEASURE, Choice
from holdfast.data.readable import readable
from holdfast.errors import UsageError
from holdfast.methods.base import Composition, Family, compose
from holdfast.models.tower import Tower
from holdfast.names import ClassNames
from holdfast.places import absolute_file, absolute_generators, absolute_model
from holdfast.prompts import prompts_for
from holdfast.replay import base_source, count
from holdfast.settings import PromptSettings


@dataclass(frozen=True)
class TransferPlan:
    """A checked request.

    own: the user's own training images, none where they are generated. real: those to report on.
    """

    settings: TransferSettings
    classes: ClassNames
    composition: Composition
    own: LabelledImages | None = None
    real: LabelledImages | None = None

    @property
    def notes(self) -> list[str]:
        """What was left out of the user's own images."""
        return [note for data in (self.own, self.real) if data is not None for note in data.notes]

    @property
    def ensemble(self) -> WeightEnsemble | None:
        """The average with the original model, if the method has one."""
        return next(iter(self.composition.of(WeightEnsemble)), None)

    @property
    def default_alpha(self) -> float | str | None:
        """The ensemble's weight if nothing is said about it; None if the method has none."""
        own = type(self.settings.method)().anchors(Family.TRANSFER)
        usual = [*(type(each)() for each in self.settings.anchors), *own]
        return next((each.alpha for each in usual if isinstance(each, WeightEnsemble)), None)

    @property
    def holds_out(self) -> bool:
        """Whether alpha is chosen with images that are held out."""
        return self.ensemble is not None and self.ensemble.alpha == "auto"

    @property
    def replays(self) -> bool:
        """Whether images stand for what the model knows, drawn or of the user's folder."""
        return self.composition.asks_replay and self.composition.replayed != "task"

    @property
    def draws(self) -> bool:
        """Whether a text-to-image pipeline is needed."""
        drawn = self.replays and self.settings.replay.folder is None
        return drawn or self.settings.folder is None

    def models(self, alpha: float) -> dict[str, float]:
        """The models that are measured, and the weight of the fine-tuned one in each."""
        found = {"zero-shot": 0.0, "fine-tuned": 1.0}
        return found | {"ensemble": alpha} if self.ensemble else found

    @property
    def held_out_per_class(self) -> int:
        """A quarter as many as to train on, and eight at least."""
        return max(8, self.settings.images.per_class // 4)

    def in_order(
        self, data: LabelledImages, tower: Tower, batch_size: int | None = None
    ) -> Iterator[Batch]:
        """Batches in order, under the checkpoint's own evaluation preprocessing."""
        train = self.settings.train
        size = batch_size or train.batch_size
        return sequential_batches(data, tower.preprocess, size, train.workers)


def plan_transfer(settings: TransferSettings) -> TransferPlan:
    """Check a request. Raises UsageError or HoldfastError for what is wrong with it."""
    choice = Choice.of(settings)
    classes = names_to_learn(settings, choice)
    composition = compose(
        settings.method, settings.anchors, Family.TRANSFER, replay=count(settings.replay) > 0
    )
    check_replay(settings, composition)
    for prompts in (settings.prompts, settings.head_prompts):
        if prompts is not None:
            prompts_for(classes, replace(prompts, llm_url=None))
    plan = TransferPlan(settings, classes, composition)
    real = None
    if settings.evaluate is not None:
        real = scan_split(settings.evaluate, TO_MEASURE, classes, choice)
    return replace(plan, own=own_images(settings, classes, choice), real=real)


def names_to_learn(settings: TransferSettings, choice: Choice) -> ClassNames:
    """The names that were given, else those of the folder to learn from, or to report on."""
    if settings.names or (settings.folder is None and settings.evaluate is None):
        return names.from_arguments(settings.names)
    if settings.folder is not None:
        found = scan_split(settings.folder, TO_LEARN, None, choice)
    else:
        assert settings.evaluate is not None
        found = scan_split(settings.evaluate, TO_MEASURE, None, choice)
    return names.from_names(found.classes.names)  # as if they had been given


def check_replay(settings: TransferSettings, composition: Composition) -> None:
    """Raise UsageError for anchors on replayed images that would teach nothing."""
    for anchor in composition.of(ReplayLoss):
        if settings.train.trainable == "head":
            raise UsageError(
                f"The anchor {anchor.name!r} teaches the image tower, and --train.trainable head "
                "leaves it as it is; leave one of them out."
            )
        if isinstance(anchor, Alignment | ReplayDistillation) and anchor.train_towers == "text":
            raise UsageError(
                f"The anchor {anchor.name!r} has train_towers=text, and in name-only transfer only "
                "the image tower learns; take both or image."
            )
    if composition.asks_replay:
        base_source(settings.replay)  # raises for unusable names


def own_images(
    settings: TransferSettings, classes: ClassNames, choice: Choice
) -> LabelledImages | None:
    """The user's own training images that can be read.

    Raises UsageError for a class without any.
    """
    if settings.folder is None:
        return None
    images = readable(scan_split(settings.folder, TO_LEARN, classes, choice))
    if missing := without_images(images):
        raise UsageError(
            f"{settings.folder} has no readable image of {', '.join(map(repr, missing[:5]))}"
            f"{' and others' if len(missing) > 5 else ''}; add some, or leave the class out."
        )
    return images


def with_lasting_paths(plan: TransferPlan) -> TransferPlan:
    """The plan with settings as they hold anywhere: names spelt out, paths absolute."""

    def absolute(path: Path | None) -> Path | None:
        return path and path.absolute()

    def with_absolute(prompts: PromptSettings) -> PromptSettings:
        return replace(prompts, descriptions=absolute(prompts.descriptions))

    settings, replay = plan.settings, plan.settings.replay
    # Ids of a names file cannot be spelt out; then the file, or the list, itself is named.
    spelt = list(plan.classes.names)
    if names.from_names(spelt) != plan.classes:
        spelt = [absolute_file(settings.names[0])]
    settings = replace(
        settings,
        names=spelt,
        model=absolute_model(settings.model),
        pretrained=absolute_file(settings.pretrained),
        generator=absolute_generators(settings.generator),
        folder=absolute(settings.folder),
        evaluate=absolute(settings.evaluate),
        prompts=with_absolute(settings.prompts),
        head_prompts=settings.head_prompts and with_absolute(settings.head_prompts),
        replay=replace(
            replay,
            base=absolute_file(replay.base),
            folder=absolute(replay.folder),
            cache=absolute(replay.cache),
        ),
    )
    return replace(plan, settings=settings)


def evenly_spaced(data: LabelledImages, most: int) -> LabelledImages:
    """At most so many images, evenly spaced through the data and so through its classes."""
    if len(data.paths) <= most:
        return data
    return subset(data, [i * len(data.paths) // most for i in range(most)])
