"""Distillation from the old model on replayed images: GIFT's contrastive one, and its relatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from holdfast.anchors.base import ReplayForward, ReplayLoss, Towers
from holdfast.errors import UsageError
from holdfast.lazy import losses
from holdfast.settings.base import setting

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ReplayDistillation(ReplayLoss):
    """The new model answers on replayed images as the old one did.

    GIFT's contrastive distillation (arXiv 2503.04229, section 3.2) compares the similarities of
    the images and prompts of a batch, in both directions. ZSCL (arXiv 2303.06628) and LwF (arXiv
    1606.09282) compare each image with all prompts, in one direction.
    """

    name = "replay-distillation"
    paper = "arXiv 2503.04229"

    weight: float = setting(1.0, "Weight of the distillation on replayed images.", low=0)
    loss: Literal["contrastive", "kl", "reverse_kl", "features"] = setting(
        "contrastive",
        "`contrastive` compares similarities by cross-entropy; `kl` by the divergence from the old "
        "model to the new one; `reverse_kl` the other way round, as GIFT's public code does; "
        "`features` takes the squared distance of the embeddings.",
    )
    over: Literal["batch", "all"] = setting(
        "batch", "Similarities to the prompts of the replay batch, or to all replay prompts."
    )
    directions: Literal["both", "image"] = setting(
        "both",
        "`both` compares how each image picks among the prompts and each prompt among the images; "
        "`image` only the first.",
    )
    temperature: float = setting(2.0, "Softens both sides of the comparison.", low=0.01)
    train_towers: Towers = setting(
        "both", "Towers that it teaches; the other side is the old model's embedding."
    )
    images: Literal["known", "pretraining", "task"] = setting(
        "known",
        "Replayed images: of pre-training and all earlier tasks, of pre-training alone, or the "
        "task's own images.",
    )
    teacher: Literal["previous", "initial"] = setting(
        "previous", "The old model: the one before this training, or the one before all."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        of_images = self.loss == "features" and self.directions == "image"
        if self.weight and of_images and self.train_towers == "text":
            raise UsageError(
                "Distilling the features of images teaches the text tower nothing; take another "
                "loss, directions or train_towers."
            )

    @property
    def active(self) -> bool:
        return self.weight > 0

    def replay_losses(self, seen: ReplayForward) -> dict[str, Tensor]:
        """`distillation_image` and `distillation_text`, one for each direction."""
        if self.loss == "features":
            images, text = seen.embeddings(self.train_towers)
            old_text = seen.teacher_text
            if self.over == "batch":
                text, old_text = text[seen.pairs], old_text[seen.pairs]
            terms = {
                "image": losses.feature_mse(images, seen.teacher_images),
                "text": losses.feature_mse(text, old_text),
            }
        else:
            new, old = self.both_logits(seen)
            terms = {"image": self.compare(new, old), "text": self.compare(new.T, old.T)}
        return {f"distillation_{side}": self.weight * terms[side] for side in self.sides}

    def measures(self, seen: ReplayForward) -> dict[str, Tensor]:
        """`drift_image` and `drift_text`: how far the new model's answers are from the old one's.

        The divergence KL(old || new) of the softened answers, in nats. The contrastive loss is T^2
        times more than it by the old model's own entropy, so it is no zero where nothing drifted.
        """
        if self.loss == "features":
            return {}
        new, old = (logits.detach() for logits in self.both_logits(seen))
        sides = {"image": (new, old), "text": (new.T, old.T)}
        softened = self.temperature**2
        return {
            f"drift_{side}": losses.kl_loss(*sides[side], self.temperature) / softened
            for side in self.sides
        }

    @property
    def sides(self) -> tuple[str, ...]:
        """The directions that are compared."""
        return ("image", "text") if self.directions == "both" else ("image",)

    def both_logits(self, seen: ReplayForward) -> tuple[Tensor, Tensor]:
        """(batch, candidates) logits of the new model and of the old one."""
        paired, old = self.over == "batch", seen.teacher_logits
        new = seen.logits(self.train_towers, paired)
        return new, old[:, seen.pairs] if paired else old

    def compare(self, new: Tensor, old: Tensor) -> Tensor:
        """One direction: (batch, candidates) logits of the new and of the old model -> a scalar."""
        if self.loss == "contrastive":
            return losses.distillation_loss(new, old, self.temperature)
        return losses.kl_loss(new, old, self.temperature, self.loss == "reverse_kl")
