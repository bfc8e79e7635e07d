"""VL2V's anchor: the teacher's embeddings of the image and of its label (arXiv 2310.08255)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.anchors.base import Answers, FeatureLoss, Need
from holdfast.lazy import losses
from holdfast.settings.base import setting

if TYPE_CHECKING:
    from torch import Tensor

    from holdfast.data.batches import Batch


@dataclass(frozen=True)
class TeacherEmbeddings(FeatureLoss):
    """Draws the features toward the teacher's embeddings of the same image and of its label.

    -lambda·cos(z, image) - (1 - lambda)·cos(z, text), the objective of VL2V-ADiP (Eq. 1 and 2).
    """

    name = "teacher-embeddings"
    paper = "arXiv 2310.08255"
    needs = frozenset({Need.TEACHER})

    image_weight: float = setting(
        0.5, "Weight of the teacher's image embedding; the text's is the rest.", low=0, high=1
    )

    def feature_losses(self, answers: Answers, batch: Batch) -> dict[str, Tensor]:
        """`image` and `text`."""
        z, weight = answers.features, self.image_weight
        assert batch.teacher_images is not None and batch.teacher_text is not None
        return {
            "image": weight * losses.cosine_loss(z, batch.teacher_images),
            "text": (1 - weight) * losses.cosine_loss(z, batch.teacher_text),
        }
