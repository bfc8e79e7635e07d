"""Text-only distillation: embeddings of labels, no alignment; a baseline of arXiv 2310.08255."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.anchors.base import Answers, Learner
from holdfast.lazy import losses
from holdfast.methods.base import Family, Method

if TYPE_CHECKING:
    from torch import Tensor

    from holdfast.data.batches import Batch


@dataclass(frozen=True)
class TextOnly(Method):
    """Student and projection learn from the text embedding of each label alone.

    The teacher is asked about no image.
    """

    name = "text-only"
    title = "Text-only distillation"
    paper = "arXiv 2310.08255"
    families = frozenset({Family.DISTILL})
    head = "fixed"

    def new_loss(
        self, learner: Learner, answers: Answers, batch: Batch, label_smoothing: float
    ) -> dict[str, Tensor]:
        """`text`: the label is learnt as the teacher's embedding of its text."""
        assert batch.teacher_text is not None
        return {"text": losses.cosine_loss(answers.features, batch.teacher_text)}
