"""What every method is: the loss on the new thing, anchors to the old, and what they need.

A method is a frozen dataclass: its fields are its settings, most of them anchors. It imports no
torch, so that the command line knows it without waiting. A file in this package that defines a
subclass with a `name` is all that a new method takes: its choice on the command line, its options,
its checks, and its row in the reports come from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

from holdfast.anchors.base import Anchor, Answers, Learner, Need, ReplayLoss
from holdfast.anchors.consolidation import Consolidation
from holdfast.anchors.replay_distillation import ReplayDistillation
from holdfast.errors import UsageError
from holdfast.lazy import losses
from holdfast.settings.base import Named

if TYPE_CHECKING:
    from torch import Tensor

    from holdfast.data.batches import Batch


class Family(StrEnum):
    """The three kinds of work; each has its command."""

    TRANSFER = "transfer"
    DISTILL = "distill"
    CONTINUAL = "continual"


# What the runs of a command have.
PROVIDED = {
    Family.TRANSFER: {Need.REPLAY, Need.INITIAL, Need.ORIGINAL},
    Family.DISTILL: {Need.INITIAL, Need.TEACHER, Need.TEACHER_WEIGHTS, Need.ORIGINAL},
    Family.CONTINUAL: {Need.REPLAY, Need.INITIAL, Need.ORIGINAL},
}


Weighted = TypeVar("Weighted", bound="Method")  # a method with an `image_weight`


@dataclass(frozen=True)
class Phase:
    """One training of a method.

    part: what learns. draws: which of a distillation's two settings and draws of images it takes;
    methods with the same one see the same images.
    """

    name: str
    part: Literal["all", "head", "projection", "backbone"] = "all"
    draws: Literal["align", "train"] = "train"
    label: str = "training"


@dataclass(frozen=True)
class Method(Named):
    """One way to learn the new thing.

    title, paper: as reports name it. families: the commands that offer it. needs: what it cannot
    work without, beside what its anchors need. trains: whether anything learns. head: the
    classifier that a distillation starts with: a `new` one, the `text` embeddings, or those
    `fixed`. phases: its trainings, in order.
    """

    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    families: ClassVar[frozenset[Family]] = frozenset(Family)
    needs: ClassVar[frozenset[Need]] = frozenset()
    trains: ClassVar[bool] = True
    head: ClassVar[Literal["new", "text", "fixed"]] = "text"
    phases: ClassVar[tuple[Phase, ...]] = (Phase("train"),)
    registry: ClassVar[dict[str, type[Method]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.name:
            Method.registry[cls.name] = cls

    @classmethod
    def known(cls) -> dict[str, type[Method]]:
        """All methods by name."""
        import holdfast.methods

        holdfast.methods.load_methods()
        return dict(sorted(Method.registry.items()))

    def anchors(self, family: Family) -> list[Anchor]:
        """Its anchors, in the order of its fields."""
        return [each for f in fields(self) if isinstance(each := getattr(self, f.name), Anchor)]

    def new_loss(
        self, learner: Learner, answers: Answers, batch: Batch, label_smoothing: float
    ) -> dict[str, Tensor]:
        """The loss on the new thing, as named scalars: cross-entropy with the labels."""
        return {
            "cross_entropy": losses.cross_entropy(answers.logits, answers.labels, label_smoothing)
        }

    def keeps(self, phase: Phase) -> Literal["settings", "best"]:
        """What is kept of a `phase`: as the settings say, or the weights that validate best."""
        return "settings"

    def candidates(self) -> list[Self]:
        """The settings that a run selects among: only these, unless a setting is a list."""
        return [self]


def with_each_weight(method: Weighted) -> list[Weighted]:
    """The method once for each of its image weights, of which a run selects one."""
    weight: Any = getattr(method, "image_weight")  # noqa: B009 - not all methods have one
    weights = weight if isinstance(weight, list) else [weight]
    changes: list[dict[str, Any]] = [{"image_weight": each} for each in weights]
    return [replace(method, **change) for change in changes]


def phases_of(method: Method, student: str) -> list[Phase]:
    """The trainings of a method for a student.

    The teacher's own tower is in the teacher's space already: no projection is trained, and all of
    the tower is its backbone (VL2V-SD).
    """
    return [p for p in method.phases if student != "teacher" or p.part != "projection"]


def available(family: Family) -> dict[str, type[Method]]:
    """The methods of a command, by name."""
    return {name: kind for name, kind in Method.known().items() if family in kind.families}


def check_family(method: Method, family: Family) -> None:
    """Raise UsageError for a method that the command does not offer."""
    if family not in method.families:
        raise UsageError(
            f"The method {method.name!r} is not for {family}; give one of "
            f"{', '.join(available(family))}."
        )


@dataclass(frozen=True)
class Composition:
    """A method with all of its anchors, as one run trains it."""

    method: Method
    anchors: tuple[Anchor, ...]

    @property
    def needs(self) -> frozenset[Need]:
        """What the run must have."""
        return self.method.needs.union(*(anchor.needs for anchor in self.anchors))

    def of(self, kind: type[Anchor]) -> list:
        """The anchors of a kind."""
        return [anchor for anchor in self.anchors if isinstance(anchor, kind)]

    @property
    def replays(self) -> bool:
        """Whether a step has losses on replayed images."""
        return bool(self.of(ReplayLoss))

    @property
    def asks_replay(self) -> bool:
        """Whether anything looks at replayed images."""
        return Need.REPLAY in self.needs or self.weighs_by_replay

    @property
    def weighs_by_replay(self) -> bool:
        """Whether the Fisher information before the training is asked for."""
        return any(each.importance == "static" for each in self.of(Consolidation))

    @property
    def distillation(self) -> ReplayDistillation | None:
        """The distillation on replayed images, if there is one."""
        return next(iter(self.of(ReplayDistillation)), None)

    @property
    def replayed(self) -> Literal["known", "pretraining", "task"]:
        """Which images are replayed."""
        return self.distillation.images if self.distillation else "known"

    @property
    def teacher(self) -> Literal["previous", "initial"]:
        """The model whose answers on them are kept."""
        return self.distillation.teacher if self.distillation else "previous"


def compose(
    method: Method, extra: Sequence[Anchor], family: Family, *, replay: bool = True
) -> Composition:
    """A method with its own anchors and those that the user adds.

    An added anchor takes the place of the method's own of that kind; one without weight is left
    out. replay: whether there will be replayed images; without them nothing is distilled or
    aligned, and what is left of consolidation is plain L2.

    Raises UsageError for a method of another command, for anchors that do not go together, and for
    those that need what the runs of the command have not.
    """
    check_family(method, family)
    added = {type(anchor) for anchor in extra}
    if len(added) < len(extra):
        raise UsageError("An anchor is given twice in anchors; give each once.")
    for anchor in extra:
        if missing := sorted(anchor.needs - PROVIDED[family]):
            raise UsageError(
                f"The anchor {anchor.name!r} needs {' and '.join(missing)}, which {family} has "
                "not; leave it out."
            )
    own = [anchor for anchor in method.anchors(family) if type(anchor) not in added]
    anchors = [anchor for anchor in [*own, *extra] if anchor.active]
    if not replay:
        anchors = [without_replay(a) for a in anchors if not isinstance(a, ReplayLoss)]
    found = Composition(method, tuple(anchors))
    for pull in found.of(Consolidation):
        if pull.importance == "adaptive" and not found.replays:
            raise UsageError(
                "The adaptive importance of the consolidation comes from the losses on replayed "
                "images, and there are none; add replay-distillation or alignment with a weight, "
                "or take the importance uniform."
            )
    return found


def without_replay(anchor: Anchor) -> Anchor:
    """The anchor as it is where nothing is replayed."""
    return replace(anchor, importance="uniform") if isinstance(anchor, Consolidation) else anchor
