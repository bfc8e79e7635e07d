"""Weight-space ensembles with the original model: WiSE-FT, RegFT, and the Fisher-weighted mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from holdfast.anchors.base import Anchor, Need
from holdfast.lazy import losses, torch, weights
from holdfast.settings.base import setting

if TYPE_CHECKING:
    from torch import Tensor, nn

    from holdfast.results import AlphaSource
    from holdfast.weights import Weights

SWEEP = tuple(round(0.1 * i, 1) for i in range(11))
# What `auto` chooses from. Held-out generated images speak for the model that was tuned on their
# like, so they may only call for less of it than the paper's 0.5.
CANDIDATES = tuple(alpha for alpha in SWEEP if alpha <= 0.5)
FISHER_IMAGES = 256  # that a merge by Fisher information looks at

Merge = Callable[[float], "dict[str, Tensor]"]


@dataclass(frozen=True)
class WeightEnsemble(Anchor):
    """Averages the new weights with the original ones after the training.

    (1 - alpha) · original + alpha · new (WiSE-FT, arXiv 2109.01903, Eq. 1).
    """

    name = "weight-ensemble"
    paper = "arXiv 2109.01903"
    needs = frozenset({Need.ORIGINAL})

    alpha: float | Literal["auto"] = setting(
        0.5,
        "Weight of the new model; 0 is the original. `auto` chooses it without real images (name-"
        "only transfer).",
        low=0,
        high=1,
        free=True,
    )
    merge: Literal["linear", "fisher"] = setting(
        "linear", "Interpolate the weights, or weigh each by its Fisher information.", free=True
    )

    def merging(
        self,
        original: Weights,
        tuned: Weights,
        fisher: Callable[[Weights], dict[str, Tensor]] | None = None,
    ) -> Merge:
        """alpha -> the weights between both. fisher: the information of a set of weights."""
        if self.merge == "linear":
            return lambda alpha: weights.interpolate(original, tuned, alpha)
        assert fisher is not None
        before, after = fisher(original), fisher(tuned)
        return lambda alpha: weights.fisher_merge(original, tuned, before, after, alpha)


def label_information(
    classifier: Any, images: Sequence[Tensor], seed: int
) -> Callable[[Weights], dict[str, Tensor]]:
    """Fisher information of a classifier's image tower and head, on images (1, 3, height, width).

    Labels are drawn from the model itself. classifier: images -> (features, logits); its weights
    are changed.
    """
    device = classifier.head.weight.device
    classifier.visual.requires_grad_(True)

    def log_likelihood(module: nn.Module, image: Tensor) -> Tensor:
        log_probabilities = module(image.to(device))[1].log_softmax(dim=-1)[0]
        drawn = torch.multinomial(log_probabilities.detach().exp(), 1)
        return log_probabilities[drawn].squeeze()

    def information(values: Weights) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        classifier.load_state_dict(values)
        return weights.fisher_information(classifier.eval(), log_likelihood, images)

    return information


@dataclass(frozen=True)
class AlphaChoice:
    """The weight of the new model, where it comes from and why.

    how: as `holdfast.results.AlphaResult` has it. proxy: what `auto` measured without real images,
    for each alpha.
    """

    alpha: float
    how: AlphaSource
    why: str
    proxy: Mapping[float, float] = field(default_factory=dict)


def choose_alpha(logits: Mapping[float, Tensor], labels: Tensor) -> AlphaChoice:
    """The alpha that fits held-out generated images best, without any real one.

    The generator is believed as far as zero-shot confirms it: with the share s of images that
    zero-shot recognises as what was asked for, an image's target is s·(its label) + (1 - s)·(what
    zero-shot says of it), and the alpha with the smallest cross-entropy to these targets is taken.
    Cross-entropy and not accuracy, because fine-tuning makes a model too sure on images unlike
    its own. Of equals, the smallest.

    logits: {alpha: (n, classes)}, with alpha 0; labels: (n,).
    """
    original = logits[0.0].float()
    confirmed = (original.argmax(dim=-1) == labels).float().mean()
    asked = torch.nn.functional.one_hot(labels, original.shape[1])
    targets = confirmed * asked + (1 - confirmed) * original.softmax(dim=-1)
    fit = {a: losses.cross_entropy(x.float(), targets).item() for a, x in sorted(logits.items())}
    chosen = min(fit, key=lambda alpha: fit[alpha])
    why = (
        f"the best fit to {len(labels)} held-out images, of which zero-shot confirms "
        f"{confirmed.item():.0%}"
    )
    return AlphaChoice(chosen, "auto", why, fit)
