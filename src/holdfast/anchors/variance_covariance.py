"""RegFT's regulariser: features that stay diverse (arXiv 2406.05432, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.anchors.base import Answers, FeatureLoss
from holdfast.lazy import losses
from holdfast.settings.base import setting

if TYPE_CHECKING:
    from torch import Tensor

    from holdfast.data.batches import Batch


@dataclass(frozen=True)
class VarianceCovariance(FeatureLoss):
    """Keeps the features spread out and uncorrelated.

    lambda_v · variance + lambda_c · covariance of the features before they are normalised.
    """

    name = "variance-covariance"
    paper = "arXiv 2406.05432"

    variance: float = setting(0.16, "Weight of the variance term (lambda_v).", low=0)
    covariance: float = setting(0.02, "Weight of the covariance term (lambda_c).", low=0)

    @property
    def active(self) -> bool:
        return bool(self.variance or self.covariance)

    def feature_losses(self, answers: Answers, batch: Batch) -> dict[str, Tensor]:
        """`variance` and `covariance`; nothing where the features do not learn."""
        z = answers.features
        if not z.requires_grad:
            return {}
        return {
            "variance": self.variance * losses.variance_loss(z),
            "covariance": self.covariance * losses.covariance_loss(z),
        }
