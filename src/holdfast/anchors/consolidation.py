"""Pulls on the weights: GIFT's adaptive consolidation, EWC, L2, L2-SP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from holdfast.anchors.base import Learner, Memory, Pull, WeightPull
from holdfast.lazy import weights
from holdfast.settings.base import setting

if TYPE_CHECKING:
    from holdfast.weights import Importance


@dataclass(frozen=True)
class Consolidation(WeightPull):
    """Pulls the weights back to old ones: strength · sum F (theta - theta')^2.

    F says how much what the model knew rests on a weight. GIFT (arXiv 2503.04229, section 3.3)
    takes it from the gradients of this step's replay losses; EWC (arXiv 1612.00796) from the
    Fisher information before the training; with F = 1 it is plain L2.
    """

    name = "consolidation"
    paper = "arXiv 2503.04229"

    strength: float = setting(1.0, "Strength of the pull toward the old weights.", low=0)
    importance: Literal["adaptive", "static", "uniform"] = setting(
        "adaptive",
        "What the pull of a weight is scaled with: `adaptive`, the squared gradient of this step's "
        "replay losses; `static`, the Fisher information before the training; `uniform`, nothing.",
    )
    toward: Literal["previous", "initial"] = setting(
        "previous", "The weights before this training, or those of the initial model."
    )

    @property
    def active(self) -> bool:
        return self.strength > 0

    def start(self, learner: Learner, memory: Memory) -> Pull:
        """The pull toward a copy of the old weights; called before the training begins."""
        learning = learner.learning()
        if self.toward == "initial":
            assert memory.initial is not None
            known = memory.initial()
            old = {name: known[name].to(p.device) for name, p in learning.items()}
        else:
            old = {name: p.detach().clone() for name, p in learning.items()}
        importance = self.importance_from(learner, memory)
        return lambda: weights.add_consolidation_grad(old, learning, self.strength, importance)

    def importance_from(self, learner: Learner, memory: Memory) -> Importance:
        """F as a function of a weight's name and its gradient so far."""
        if self.importance == "uniform":
            return weights.uniform_importance
        if self.importance == "adaptive":
            return weights.adaptive_importance
        assert memory.fisher is not None
        device = learner.logit_scale.device
        known = {name: tensor.to(device) for name, tensor in memory.fisher().items()}
        return lambda name, gradient: known[name]
