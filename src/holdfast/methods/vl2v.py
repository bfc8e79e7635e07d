"""VL2V-ADiP and VL2V-SD: distillation from a vision-language teacher (arXiv 2310.08255).

    align    only the projection learns: the student's features meet the teacher's space
    distil   only the backbone learns
    predict  by similarity with the teacher's text embeddings

Both trainings draw the features toward the teacher's embeddings of the image and of its label
(Eq. 1 and 2). Where the student is the teacher's own tower it needs no alignment: VL2V-SD.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from holdfast.anchors.base import Anchor, Answers, Learner, Need
from holdfast.anchors.teacher_embeddings import TeacherEmbeddings
from holdfast.methods.base import Family, Method, Phase, with_each_weight
from holdfast.settings.base import setting

if TYPE_CHECKING:
    from torch import Tensor

    from holdfast.data.batches import Batch


@dataclass(frozen=True)
class VL2V(Method):
    """Aligns the student with the teacher's embeddings, then distils them into it."""

    name = "vl2v"
    title = "VL2V-ADiP"
    paper = "arXiv 2310.08255"
    families = frozenset({Family.DISTILL})
    needs = frozenset({Need.TEACHER})
    head = "fixed"
    phases = (
        Phase("align", part="projection", draws="align", label="aligning"),
        Phase("distill", part="backbone", label="distilling"),
    )

    image_weight: float | list[float] = setting(
        0.5,
        "Weight of the teacher's image embedding (lambda), the text's is the rest; of several, one "
        "is selected.",
        low=0,
        high=1,
    )

    aligned: Literal["best", "average"] = setting(
        "best",
        "The projection that distilling starts from: the single one that validated `best`, as in "
        "the paper's code, or the `average` that is kept of aligning.",
    )

    def anchors(self, family: Family) -> list[Anchor]:
        """The teacher's embeddings."""
        weight = self.image_weight
        return [TeacherEmbeddings(weight[0] if isinstance(weight, list) else weight)]

    def keeps(self, phase: Phase) -> Literal["settings", "best"]:
        """The best single projection of the alignment, unless an average is asked for."""
        return "best" if phase.part == "projection" and self.aligned == "best" else "settings"

    def new_loss(
        self, learner: Learner, answers: Answers, batch: Batch, label_smoothing: float
    ) -> dict[str, Tensor]:
        """Nothing: the label is learnt as the teacher's embedding of its text."""
        return {}

    def candidates(self) -> list[VL2V]:
        """One for each image weight."""
        return with_each_weight(self)
