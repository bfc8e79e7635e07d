"""What every anchor is: one way to hold on to the old while a model learns the new.

An anchor is a loss term on the new batch, a loss term on replayed images, a pull on the weights,
or an average of weights. Each file here has one, beside its paper; `losses` and `weights` have the
pure functions. A method is a composition of them (see `holdfast.methods`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from holdfast.errors import UsageError
from holdfast.lazy import losses
from holdfast.settings.base import Named

if TYPE_CHECKING:
    from torch import Tensor

    from holdfast.data.batches import Batch
    from holdfast.train import Callback

Towers = Literal["both", "image", "text"]


class Need(StrEnum):
    """What a method or an anchor cannot work without."""

    REPLAY = "replay images"
    INITIAL = "the weights of the initial model"
    TEACHER = "a teacher's embeddings of the images"
    TEACHER_WEIGHTS = "the teacher's own weights as the student"
    ORIGINAL = "a model that could name the classes before the training"


@dataclass(frozen=True)
class Answers:
    """What a learner makes of the new images of a step.

    features: (batch, dim), not normalised; logits: (batch, classes); labels: (batch,), each a
    class, or (batch, classes) probabilities.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor


@dataclass(frozen=True)
class ReplaySet:
    """Images that stand for what a model knew, with what that model made of them, on the CPU.

    paths, labels: each image and its prompt, an index into `prompts`, which are all different (0
    for images without a prompt of their own); tokens: (prompts, context) as the learner's text
    tower takes them; teacher_images: (images, dim), teacher_text: (prompts, dim), the normalised
    embeddings of the model that is to be kept.
    """

    paths: list
    labels: list[int]
    prompts: list[str]
    tokens: Tensor
    teacher_images: Tensor
    teacher_text: Tensor

    def __len__(self) -> int:
        return len(self.paths)


class Learner(Protocol):
    """A model under training, as methods and anchors see it.

    trains_text: whether its text tower learns too.
    """

    trains_text: bool

    @property
    def logit_scale(self) -> Tensor:
        """The factor on cosine similarities, a scalar."""

    def answers(self, batch: Batch) -> Answers:
        """Features, logits and labels of the new images of a step."""

    def image_features(self, images: Tensor) -> Tensor:
        """Normalised embeddings (batch, dim) of images (batch, 3, height, width)."""

    def text_features(self, tokens: Tensor) -> Tensor:
        """Normalised embeddings (prompts, dim) of tokens (prompts, context)."""

    def teacher_logits(self, batch: Batch) -> Tensor:
        """What a teacher makes of the new images of a step: (batch, classes)."""

    def learning(self) -> dict[str, Tensor]:
        """The parameters that learn, by name."""


@dataclass(frozen=True)
class Memory:
    """What a training can look back to; what a run does not have is none.

    replay: images that stand for what the model knew. initial: gives the weights of the initial
    model, under the learner's names. fisher: gives the Fisher information of each weight for what
    the model knew, under the same names.
    """

    replay: ReplaySet | None = None
    initial: Callable[[], Mapping[str, Tensor]] | None = None
    fisher: Callable[[], Mapping[str, Tensor]] | None = None


class ReplayForward:
    """What the learner and the old model make of a replay batch; each is computed once, if at all.

    over: the prompts that images are compared with: those of the `batch`, or `all` of the set.
    pairs: (batch,), which of those prompts is each image's.
    """

    def __init__(
        self, learner: Learner, batch: Batch, replay: ReplaySet, over: Literal["batch", "all"]
    ) -> None:
        self.learner, self.batch, self.replay = learner, batch, replay
        self.device = learner.logit_scale.device
        if over == "all":
            self.rows, pairs = None, batch.labels
        else:
            self.rows, pairs = batch.labels.unique(return_inverse=True)
        self.pairs = pairs.to(self.device, non_blocking=True)

    @cached_property
    def images(self) -> Tensor:
        """The learner's embeddings of the images, (batch, dim)."""
        return self.learner.image_features(self.batch.images.to(self.device, non_blocking=True))

    @cached_property
    def text(self) -> Tensor:
        """The learner's embeddings of the prompts, (prompts, dim)."""
        tokens = self.replay.tokens
        return self.learner.text_features(tokens if self.rows is None else tokens[self.rows])

    @cached_property
    def teacher_images(self) -> Tensor:
        """The old model's embeddings of the images, (batch, dim)."""
        known = self.replay.teacher_images[self.batch.indices]
        return known.to(self.device, non_blocking=True)

    @cached_property
    def teacher_text(self) -> Tensor:
        """The old model's embeddings of the prompts, (prompts, dim)."""
        known = self.replay.teacher_text
        return (known if self.rows is None else known[self.rows]).to(self.device, non_blocking=True)

    def embeddings(self, towers: Towers) -> tuple[Tensor, Tensor]:
        """(images, text) of the learner where a tower is to learn, else of the old model."""
        images = self.teacher_images if towers == "text" else self.images
        learns = towers != "image" and self.learner.trains_text
        return images, self.text if learns else self.teacher_text

    def logits(self, towers: Towers, paired: bool = False) -> Tensor:
        """Similarities (batch, prompts) of those embeddings, times the logit scale.

        paired: with the prompt of each image, (batch, batch); equal prompts stand there as often
        as their images.
        """
        key = (towers, paired)
        if key not in self._logits:  # shared, so that its gradients are summed once
            if paired:
                self._logits[key] = self.logits(towers)[:, self.pairs]
            else:
                images, text = self.embeddings(towers)
                self._logits[key] = losses.clip_logits(images, text, self.learner.logit_scale)
        return self._logits[key]

    @cached_property
    def _logits(self) -> dict[tuple[Towers, bool], Tensor]:
        return {}

    @cached_property
    def teacher_logits(self) -> Tensor:
        """Similarities (batch, prompts) of the old model's embeddings, times the logit scale."""
        scale = self.learner.logit_scale
        return losses.clip_logits(self.teacher_images, self.teacher_text, scale)


@dataclass(frozen=True)
class Anchor(Named):
    """One way to hold on to the old.

    paper: as pages of help name it. needs: what must be there for it. `active` is false where its
    weight is zero.
    """

    paper: ClassVar[str] = ""
    needs: ClassVar[frozenset[Need]] = frozenset()
    registry: ClassVar[dict[str, type[Anchor]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.name:
            Anchor.registry[cls.name] = cls

    @classmethod
    def known(cls) -> dict[str, type[Anchor]]:
        """All anchors by name."""
        import holdfast.anchors

        holdfast.anchors.load_anchors()
        return dict(sorted(Anchor.registry.items()))

    @classmethod
    def from_value(cls, value: Any, where: str) -> Self:
        """Also from `name:setting=value:setting=value`, as the command line has it."""
        if not cls.name and isinstance(value, str) and ":" in value:
            name, *parts = value.split(":")
            pairs = [part.partition("=") for part in parts]
            if wrong := [key for key, sign, _ in pairs if not sign]:
                raise UsageError(f"{where} has {wrong[0]!r}; write name:setting=value.")
            value = {"name": name, **{key.strip(): text.strip() for key, _, text in pairs}}
        return super().from_value(value, where)

    @property
    def active(self) -> bool:
        """Whether it does anything."""
        return True


class FeatureLoss(Anchor):
    """Loss terms on the features of the new images."""

    def feature_losses(self, answers: Answers, batch: Batch) -> dict[str, Tensor]:
        """Named scalars."""
        raise NotImplementedError


class ReplayLoss(Anchor):
    """Loss terms on replayed images. They share one forward pass, and a graph of their own."""

    needs = frozenset({Need.REPLAY})

    def replay_losses(self, seen: ReplayForward) -> dict[str, Tensor]:
        """Named scalars."""
        raise NotImplementedError

    def measures(self, seen: ReplayForward) -> dict[str, Tensor]:
        """Named scalars that are recorded and not learnt from; they need no graph."""
        return {}


Pull = Callable[[], "Tensor"]


class WeightPull(Anchor):
    """A pull on the weights, added to their gradients in closed form."""

    def start(self, learner: Learner, memory: Memory) -> Pull:
        """A function for each step: it adds to the gradients and returns the penalty, a scalar."""
        raise NotImplementedError


class WeightAverage(Anchor):
    """An average of the weights along the training."""

    def tracker(self, learner: Learner, steps: int) -> Callback:
        """What follows a training of so many steps, and puts the average into the learner."""
        raise NotImplementedError
