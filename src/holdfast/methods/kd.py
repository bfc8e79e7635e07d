"""KD: the teacher's softened probabilities and the labels (arXiv 1503.02531)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.anchors.base import Answers, Learner, Need
from holdfast.lazy import losses
from holdfast.methods.base import Family, Method, with_each_weight
from holdfast.settings.base import setting

if TYPE_CHECKING:
    from torch import Tensor

    from holdfast.data.batches import Batch


@dataclass(frozen=True)
class KD(Method):
    """Student and new head learn from the teacher's zero-shot probabilities and the labels.

    weight·T^2·KL(teacher || student) + (1 - weight)·cross-entropy; both sides are softened by T.
    """

    name = "kd"
    title = "Logit distillation"
    paper = "arXiv 1503.02531"
    families = frozenset({Family.DISTILL})
    needs = frozenset({Need.TEACHER})
    head = "new"

    image_weight: float | list[float] = setting(
        0.5, "Weight of the teacher's probabilities; the labels' is the rest.", low=0, high=1
    )
    temperature: float = setting(2.0, "Softens both sides.", low=0.01, high=1000)

    def new_loss(
        self, learner: Learner, answers: Answers, batch: Batch, label_smoothing: float
    ) -> dict[str, Tensor]:
        """`distillation` and `cross_entropy`."""
        weight = self.candidates()[0].image_weight
        assert not isinstance(weight, list)
        taught = learner.teacher_logits(batch)
        return {
            "distillation": weight * losses.kl_loss(answers.logits, taught, self.temperature),
            "cross_entropy": (1 - weight)
            * losses.cross_entropy(answers.logits, answers.labels, label_smoothing),
        }

    def candidates(self) -> list[KD]:
        """One for each weight."""
        return with_each_weight(self)
