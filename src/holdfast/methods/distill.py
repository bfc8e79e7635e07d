"""Distillation of a vision-language teacher into a vision student: VL2V-ADiP (arXiv 2310.08255).

The student is a pre-trained backbone with a linear projection into the teacher's embedding space.
Align: only the projection learns; distill: only the backbone does; both have one objective.
Predict: cosine similarities with the teacher's text embeddings, times its logit scale.

Self-distillation, VL2V-SD: the student is the teacher's own image tower. It needs no alignment,
and all of it learns, its projection too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from holdfast.data.batches import Batch
from holdfast.harness import Fold
from holdfast.losses import cosine_loss
from holdfast.models.classifier import Classifier, Head, head_of
from holdfast.models.student import Student
from holdfast.settings import Optimisation
from holdfast.train import Batches, Callback, Objective, fit


def objective(image_weight: float) -> Objective:
    """-lambda·cos(z, teacher's image) - (1 - lambda)·cos(z, teacher's text of the label)."""

    def step(student: nn.Module, batch: Batch) -> Iterator[dict[str, Tensor]]:
        assert batch.teacher_images is not None and batch.teacher_text is not None
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
    checkpoint: Path | None = None,
    checkpoint_minutes: float = 5.0,
    callback: Callback | None = None,
    record: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """One stage, in place. Align: the projection learns; distill: the backbone does."""
    student.projection.requires_grad_(part == "projection")
    student.backbone.requires_grad_(part == "backbone")
    fit(
        student,
        batches,
        objective(image_weight),
        optimisation,
        seed=seed,
        checkpoint=checkpoint,
        checkpoint_minutes=checkpoint_minutes,
        callback=callback,
        record=record,
        label="aligning" if part == "projection" else "distilling",
    )


def distill(fold: Fold, image_weight: float) -> Classifier:
    """Align, then distill; the head is the text embeddings times the teacher's logit scale.

    The teacher's own tower is aligned already.
    """
    settings = fold.settings.train
    tower, student = fold.student(projected=True)
    head = head_of(fold.world.text, fold.world.logit_scale).requires_grad_(False)
    if isinstance(student.projection, nn.Linear):
        align(fold, student, head, image_weight)
    fold.stage(
        "distill",
        student,
        settings,
        fold.validator(lambda x: head(student(x))),
        lambda **kept: train(
            student,
            "backbone",
            fold.batches("distill", settings, asks=True),
            image_weight,
            settings,
            **kept,
        ),
    )
    return fold.classifier(tower, head)


def align(fold: Fold, student: Student, head: Head, image_weight: float) -> None:
    """The first stage, in place; on stored views from features that are computed once."""
    settings, stored = fold.settings.align, fold.settings.views > 0
    learner = Student(nn.Identity(), student.projection) if stored else student
    frozen = student.backbone if stored else None
    fold.stage(
        "align",
        learner,
        settings,
        fold.validator(lambda x: head(learner(x)), frozen),
        lambda **kept: train(
            learner,
            "projection",
            fold.batches("align", settings, True, frozen),
            image_weight,
            settings,
            **kept,
        ),
    )
