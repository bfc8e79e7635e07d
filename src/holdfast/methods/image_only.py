"""Image-only distillation: no alignment and no text, a baseline of arXiv 2310.08255."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.anchors.base import Anchor, Answers, Learner, Need
from holdfast.anchors.teacher_embeddings import TeacherEmbeddings
from holdfast.methods.base import Family, Method

if TYPE_CHECKING:
    from torch import Tensor

    from holdfast.data.batches import Batch


@dataclass(frozen=True)
class ImageOnly(Method):
    """Student and projection learn from the teacher's image embeddings alone."""

    name = "image-only"
    title = "Image-only distillation"
    paper = "arXiv 2310.08255"
    families = frozenset({Family.DISTILL})
    needs = frozenset({Need.TEACHER})
    head = "fixed"

    def anchors(self, family: Family) -> list[Anchor]:
        """The teacher's embeddings of the images."""
        return [TeacherEmbeddings(1.0)]

    def new_loss(
        self, learner: Learner, answers: Answers, batch: Batch, label_smoothing: float
    ) -> dict[str, Tensor]:
        """Nothing: the labels are not learnt."""
        return {}
