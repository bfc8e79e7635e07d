"""One-stage ADiP: aligning and distilling at once, the ablation of VL2V-ADiP (arXiv 2310.08255)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.anchors.base import Anchor, Answers, Learner, Need
from holdfast.anchors.teacher_embeddings import TeacherEmbeddings
from holdfast.methods.base import Family, Method, with_each_weight
from holdfast.settings.base import setting

if TYPE_CHECKING:
    from torch import Tensor

    from holdfast.data.batches import Batch


@dataclass(frozen=True)
class OneStage(Method):
    """Student and projection learn at once from the teacher's embeddings."""

    name = "one-stage"
    title = "One-stage ADiP"
    paper = "arXiv 2310.08255"
    families = frozenset({Family.DISTILL})
    needs = frozenset({Need.TEACHER})
    head = "fixed"

    image_weight: float | list[float] = setting(
        0.5,
        "Weight of the teacher's image embedding (lambda), the text's is the rest; of several, one "
        "is selected.",
        low=0,
        high=1,
    )

    def anchors(self, family: Family) -> list[Anchor]:
        """The teacher's embeddings."""
        weight = self.image_weight
        return [TeacherEmbeddings(weight[0] if isinstance(weight, list) else weight)]

    def new_loss(
        self, learner: Learner, answers: Answers, batch: Batch, label_smoothing: float
    ) -> dict[str, Tensor]:
        """Nothing: the label is learnt as the teacher's embedding of its text."""
        return {}

    def candidates(self) -> list[OneStage]:
        """One for each image weight."""
        return with_each_weight(self)
