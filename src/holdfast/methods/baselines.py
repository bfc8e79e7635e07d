"""What distillation is compared with: on the same splits, views, draws, steps and students.

Each is one objective and the parts it trains. A `Learner` is a student with a head; all of them
train it by labels, by the teacher's probabilities, or by both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.data.batches import Batch
from holdfast.files import derive_seed
from holdfast.harness import Fold
from holdfast.losses import clip_logits, covariance_loss, cross_entropy, kl_loss, variance_loss
from holdfast.models.classifier import Classifier, Head, head_of
from holdfast.models.student import Student
from holdfast.settings import StageSettings
from holdfast.train import Batches, Objective, fit
from holdfast.weights import interpolate


class Learner(nn.Module):
    """A student and a head: images -> embeddings (batch, dim) and logits (batch, classes)."""

    def __init__(self, student: nn.Module, head: Head) -> None:
        super().__init__()
        self.student, self.head = student, head

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images: as the student wants them. The embeddings are not normalised."""
        z = self.student(images)
        return z, self.head(z)


def supervised(learner: Learner, batch: Batch) -> Iterator[dict[str, Tensor]]:
    """Cross-entropy with the labels: empirical risk minimisation."""
    yield {"cross_entropy": cross_entropy(learner(batch.images)[1], batch.labels)}


def probabilities(
    weight: float, temperature: float, text: Tensor, logit_scale: Tensor
) -> Objective:
    """weight·T^2·KL(teacher || student) + (1 - weight)·cross-entropy (arXiv 1503.02531).

    The teacher's logits are its zero-shot ones; both sides are softened by the temperature T.
    text: (classes, dim); logit_scale: its exponential, a scalar.
    """

    def step(learner: Learner, batch: Batch) -> Iterator[dict[str, Tensor]]:
        logits = learner(batch.images)[1]
        assert batch.teacher_images is not None
        teacher = clip_logits(batch.teacher_images, text, logit_scale)
        yield {
            "distillation": weight * kl_loss(logits, teacher, temperature),
            "cross_entropy": (1 - weight) * cross_entropy(logits, batch.labels),
        }

    return step


def regularised(variance: float, covariance: float) -> Objective:
    """Cross-entropy + variance and covariance of the embeddings (RegFT, arXiv 2406.05432)."""

    def step(learner: Learner, batch: Batch) -> Iterator[dict[str, Tensor]]:
        z, logits = learner(batch.images)
        yield {
            "cross_entropy": cross_entropy(logits, batch.labels),
            "variance": variance * variance_loss(z),
            "covariance": covariance * covariance_loss(z),
        }

    return step


def erm(fold: Fold, image_weight: float) -> Classifier:
    """Student and new head learn from the labels (with `average`, ERM and averaging)."""
    tower, student = fold.student(projected=False)
    learner = Learner(student, new_head(fold, student))
    learn(fold, learner, supervised)
    return fold.classifier(tower, learner.head)


def lp_ft(fold: Fold, image_weight: float) -> Classifier:
    """First the new head alone, then student and head (LP-FT, arXiv 2202.10054).

    On stored views the first stage sees features that are computed once, as alignment does.
    """
    settings, stored = fold.settings.align, fold.settings.views > 0
    tower, student = fold.student(projected=False)
    learner = Learner(student, new_head(fold, student))
    probe = Learner(nn.Identity(), learner.head) if stored else learner
    frozen = student if stored else None
    fold.stage(
        "probe",
        probe,
        settings,
        fold.validator(lambda x: probe(x)[1], frozen),
        lambda **kept: train(
            probe,
            probe.head,
            fold.batches("align", settings, False, frozen),
            supervised,
            settings,
            **kept,
        ),
    )
    learn(fold, learner, supervised)
    return fold.classifier(tower, learner.head)


def logits(fold: Fold, image_weight: float) -> Classifier:
    """Student and new head learn from the teacher's probabilities and the labels."""
    world, temperature = fold.world, fold.settings.baseline.temperature
    tower, student = fold.student(projected=False)
    learner = Learner(student, new_head(fold, student))
    scale = torch.tensor(world.logit_scale, device=world.device)
    step = probabilities(image_weight, temperature, world.text, scale)
    learn(fold, learner, step, asks=True)
    return fold.classifier(tower, learner.head)


def text_head(fold: Fold, image_weight: float) -> Classifier:
    """Student, projection and a head that starts as the text embeddings learn from the labels."""
    tower, student = fold.student(projected=True)
    learner = Learner(student, zero_shot_head(fold))
    learn(fold, learner, supervised)
    return fold.classifier(tower, learner.head)


def wise_ft(fold: Fold, image_weight: float) -> Classifier:
    """Fine-tuned teacher, then averaged with what it was (WiSE-FT, arXiv 2109.01903)."""
    tower, student = fold.student(projected=True)
    learner = Learner(student, zero_shot_head(fold))
    original = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    learn(fold, learner, supervised)
    tuned = learner.state_dict()
    learner.load_state_dict(interpolate(original, tuned, fold.settings.baseline.alpha))
    return fold.classifier(tower, learner.head)


def regft(fold: Fold, image_weight: float) -> Classifier:
    """Fine-tuned teacher whose embeddings are kept diverse, on real images."""
    weights = fold.settings.baseline
    tower, student = fold.student(projected=True)
    learner = Learner(student, zero_shot_head(fold))
    learn(fold, learner, regularised(weights.variance, weights.covariance))
    return fold.classifier(tower, learner.head)


BASELINES: dict[str, Callable[[Fold, float], Classifier]] = {
    "erm": erm,
    "lp-ft": lp_ft,
    "logits": logits,
    "text-head": text_head,
    "wise-ft": wise_ft,
    "regularised": regft,
}


def learn(fold: Fold, learner: Learner, objective: Objective, asks: bool = False) -> None:
    """Train student and head on the images that distillation draws."""
    settings = fold.settings.train
    fold.stage(
        "train",
        learner,
        settings,
        fold.validator(lambda x: learner(x)[1]),
        lambda **kept: train(
            learner,
            learner,
            fold.batches("distill", settings, asks),
            objective,
            settings,
            **kept,
        ),
    )


def train(
    learner: Learner,
    part: nn.Module,
    batches: Batches,
    objective: Objective,
    settings: StageSettings,
    **kept: Any,
) -> None:
    """Train a part of a learner, in place; `kept` is what `Fold.stage` hands to `fit`."""
    learner.requires_grad_(False)
    part.requires_grad_(True)
    fit(learner, batches, objective, settings, label="training", **kept)


def new_head(fold: Fold, student: Student) -> Head:
    """An untrained linear classifier on the student's features."""
    some = fold.world.domains.indices(fold.sources[0])[:1]
    image = next(iter(fold.world.images(some)))
    with torch.no_grad():
        width = student.eval()(image).shape[1]
    torch.manual_seed(derive_seed(fold.seed, "head"))
    head = Head(width, len(fold.world.text), normalise=False)
    return head.to(fold.world.device)


def zero_shot_head(fold: Fold) -> Head:
    """The text embeddings as a head that learns."""
    return head_of(fold.world.text, fold.world.logit_scale)
