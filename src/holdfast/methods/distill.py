"""Distillation of a vision-language teacher into a vision student: VL2V-ADiP (arXiv 2310.08255).

The student is a pre-trained backbone with a linear projection into the teacher's embedding space.
Align: only the projection learns; distill: only the backbone does; both have one objective.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

from torch import Tensor, nn

from holdfast.losses import cosine_loss
from holdfast.settings import Optimisation
from holdfast.students import Student, TaughtBatch
from holdfast.train import Batches, Objective, fit


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
