"""GIFT: continual learning with generated images (CVPR 2025, arXiv 2503.04229).

Algorithm 1, a step on a replay batch of generated images with their prompts and a task batch:

    distillation   each image picks among the prompts, and each prompt among the images, as the
                   previous model did                                          (section 3.2, Eq. 3)
    alignment      each image finds its own prompt, and each prompt its images (section 3.2, Eq. 5)
    consolidation  weights that these losses lean on are pulled back to what they were
                                                                               (section 3.3, Eq. 8)
    cross-entropy  over the classes of the task
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.anchors.alignment import Alignment
from holdfast.anchors.consolidation import Consolidation
from holdfast.anchors.replay_distillation import ReplayDistillation
from holdfast.methods.base import Family, Method
from holdfast.settings.base import setting


@dataclass(frozen=True)
class GIFT(Method):
    """Replays generated images: distillation, alignment, adaptive consolidation."""

    name = "gift"
    title = "GIFT"
    paper = "arXiv 2503.04229"
    families = frozenset({Family.CONTINUAL})

    distillation: ReplayDistillation = setting(
        factory=ReplayDistillation, help="Distillation from the previous model."
    )
    alignment: Alignment = setting(factory=Alignment, help="Image-text alignment.")
    consolidation: Consolidation = setting(
        factory=Consolidation, help="Adaptive weight consolidation."
    )
