"""What the trainings of a distillation share: the same splits, views and validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from holdfast import averaging
from holdfast.data.batches import CACHE_BYTES, Batch
from holdfast.data.domains import Domains
from holdfast.data.teacher_batches import (
    CHUNK,
    CachedFeatures,
    TaughtImages,
)
from holdfast.device import attention
from holdfast.evaluation import Outputs, forward
from holdfast.learners import HeadLearner
from holdfast.losses import cross_entropy
from holdfast.models.classifier import Classifier
from holdfast.models.tower import Tower

if TYPE_CHECKING:
    from holdfast.commands.settings import DistillSettings


@dataclass
class Experiment:
    """What the trainings of a run share.

    taught: the images of all domains, with what the teacher says of them.
    logit_scale: the teacher's factor on cosine similarities.
    tower: makes a new student, from a width to project to, or none, and a seed.
    features, validation: of (seed, domain), what is known of the stored views of the images to
        learn from, and the images to validate on.
    """

    settings: DistillSettings
    domains: Domains
    taught: TaughtImages
    logit_scale: float
    tower: Callable[[int | None, int], Tower]
    features: dict[tuple[int, int], CachedFeatures] = field(default_factory=dict)
    validation: dict[tuple[int, int], list[Batch]] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where students are trained."""
        return self.taught.text.device

    def forget(self, seed: int) -> None:
        """Drop what is remembered of other seeds, whose splits do not come back."""
        for known in (self.features, self.validation):
            for key in [key for key in known if key[0] != seed]:
                del known[key]

    def outputs(
        self,
        model: Callable[[Tensor], Tensor],
        batches: Iterable[Batch],
        total: int = 0,
        label: str = "",
    ) -> Outputs:
        """What a model in evaluation mode makes of images, on the CPU; total: number of images.

        In the precision of the last training: what is computed once must be what steps compute.
        """
        with attention(self.device):
            return forward(
                [lambda: model],
                batches,
                self.device,
                total=total,
                label=label,
                precision=self.settings.train.precision,
            )

    def logits(self, classifier: Classifier, indices: Sequence[int]) -> Tensor:
        """A classifier's logits (n, classes) of whole images, on the CPU."""
        classifier.eval()
        images = self.taught.images(indices)
        found = self.outputs(lambda x: classifier(x)[1], images, len(indices), "testing")
        return found.rows[0]

    def validator(
        self,
        seed: int,
        sources: Sequence[int],
        learner: HeadLearner,
        frozen: nn.Module | None = None,
    ) -> averaging.Validate:
        """Accuracy and loss on the validation images of the domains `sources`, each domain alike.

        frozen: what lies before the learner; its features are computed once.
        """
        features: dict[int, list[Batch]] = {}

        def features_of(domain: int) -> list[Batch]:
            if domain not in features:
                assert frozen is not None
                found = self.outputs(frozen.eval(), self.validation_images(seed, domain))
                columns = found.rows[0].to(self.device), found.labels, found.indices
                rows = zip(*(column.split(CHUNK) for column in columns), strict=True)
                features[domain] = [Batch(*row) for row in rows]
            return features[domain]

        def validate() -> averaging.Validation:
            found = []
            for domain in sources:
                batches = (
                    self.validation_images(seed, domain) if frozen is None else features_of(domain)
                )
                seen = self.outputs(lambda x: learner(x)[1].float(), batches)
                found.append(measured(seen.rows[0], seen.labels))
            accuracies, losses = ([getattr(f, k) for f in found] for k in ("accuracy", "loss"))
            return averaging.Validation(sum(accuracies) / len(found), sum(losses) / len(found))

        return validate

    def validation_images(self, seed: int, domain: int) -> Iterable[Batch]:
        """The held-out fifth of a domain, preprocessed; kept on the device where it fits."""
        indices = self.domains.split(domain, seed)[0]
        kept, key = self.validation, (seed, domain)
        if key not in kept:
            held = sum(batch.images.nbytes for batches in kept.values() for batch in batches)
            first = next(self.taught.images(indices[:1]))
            if held + first.images.nbytes * len(indices) > CACHE_BYTES:
                return self.taught.images(indices)
            kept[key] = list(self.taught.images(indices))
            for batch in kept[key]:
                batch.images = batch.images.to(self.device)
        return kept[key]


def measured(logits: Tensor, labels: Tensor) -> averaging.Validation:
    """Accuracy and cross-entropy of logits (n, classes) against labels (n,)."""
    right = (logits.argmax(dim=1) == labels).float().mean().item()
    return averaging.Validation(right, cross_entropy(logits, labels).item())
