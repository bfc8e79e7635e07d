"""RegFT: name-only transfer with generated images (arXiv 2406.05432).

cross-entropy        on generated images of the classes
variance-covariance  keeps the features diverse, against the look of generated images
weight ensemble      with the original model, after the training (section 3.4, Eq. 6)
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.anchors.variance_covariance import VarianceCovariance
from holdfast.anchors.weight_ensemble import WeightEnsemble
from holdfast.methods.base import Family, Method
from holdfast.settings.base import setting


@dataclass(frozen=True)
class RegFT(Method):
    """Fine-tuning whose features are kept diverse, averaged with the original model."""

    name = "regft"
    title = "RegFT"
    paper = "arXiv 2406.05432"
    families = frozenset({Family.TRANSFER, Family.DISTILL})

    regulariser: VarianceCovariance = setting(
        factory=VarianceCovariance, help="Variance and covariance of the features."
    )
    ensemble: WeightEnsemble = setting(
        factory=WeightEnsemble, help="Average with the original model."
    )
