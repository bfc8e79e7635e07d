"""GIFT's image-text alignment of replayed pairs (arXiv 2503.04229, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.anchors.base import ReplayForward, ReplayLoss, Towers
from holdfast.lazy import losses
from holdfast.settings.base import setting

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Alignment(ReplayLoss):
    """Replayed images and their own prompts find each other in the batch, in both directions.

    The hard counterpart of the distillation, against what the old model had wrong. Targets are
    spread over equal prompts.
    """

    name = "alignment"
    paper = "arXiv 2503.04229"

    weight: float = setting(0.25, "Weight of each direction of the alignment.", low=0)
    label_smoothing: float = setting(0.2, "Of its cross-entropy.", low=0, high=0.99)
    train_towers: Towers = setting(
        "both", "Towers that it teaches; the other side is the old model's embedding."
    )

    @property
    def active(self) -> bool:
        return self.weight > 0

    def replay_losses(self, seen: ReplayForward) -> dict[str, Tensor]:
        """`alignment_image` and `alignment_text`, one for each direction."""
        paired = seen.logits(self.train_towers, paired=True)  # (batch, batch)
        targets = losses.multi_positive_targets(seen.pairs)
        return {
            f"alignment_{side}": self.weight
            * losses.cross_entropy(logits, targets, self.label_smoothing)
            for side, logits in (("image", paired), ("text", paired.T))
        }
