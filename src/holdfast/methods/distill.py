"""Distillation of a vision-language teacher into a vision student: VL2V-ADiP (arXiv 2310.08255).

The student is a pre-trained backbone with a linear projection into the teacher's embedding space.
Align: only the projection learns; distill: only the backbone does; both have one objective.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from holdfast.losses import cosine_loss
from holdfast.settings import Optimisation
from holdfast.train import Batches, Objective, fit


@dataclass
class TaughtBatch:
    """Images of one step with the teacher's answers.

    images: (batch, 3, height, width), as the student wants them; teacher_images: (batch, dim), the
    teacher's embeddings of the same images; teacher_text: (batch, dim), those of their labels.
    """

    images: Tensor
    teacher_images: Tensor
    teacher_text: Tensor


class Student(nn.Module):
    """A vision backbone and its projection into the teacher's embedding space."""

    def __init__(self, backbone: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection = projection

    def forward(self, images: Tensor) -> Tensor:
        """images: (batch, 3, height, width); returns embeddings (batch, dim), not normalised."""
        return self.projection(self.backbone(images))


def objective(image_weight: float) -> Objective:
    """-lambda·cos(z, teacher's image) - (1 - lambda)·cos(z, teacher's text of the label)."""

    def step(student: nn.Module, batch: TaughtBatch) -> Iterator[dict[str, Tensor]]:
        z = student(batch.images)
        yield {
            "image": image_weight * cosine_loss(z, batch.teacher_images),
            "text": (1 - image_weight) * cosine_loss(z, batch.teacher_text),
        }

    return step


def train(
    student: Student,
    part: Literal["projection", "backbone"],
    batches: Batches,
    image_weight: float,
    optimisation: Optimisation,
    *,
    seed: int,
    record: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """One stage, in place. Align: the projection learns; distill: the backbone does."""
    student.projection.requires_grad_(part == "projection")
    student.backbone.requires_grad_(part == "backbone")
    label = "aligning" if part == "projection" else "distilling"
    step = objective(image_weight)
    fit(student, batches, step, optimisation, seed=seed, record=record, label=label)
