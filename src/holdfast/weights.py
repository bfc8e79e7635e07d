"""Operations on weights: pure functions of {name: tensor}, paired by name.

Names are those of a module's `state_dict`. No function changes what it is given, unless it says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

Weights = Mapping[str, Tensor]


def check_same_names(*weights: Weights) -> None:
    """Raise ValueError unless all `weights` have the same names, and each name the same shape."""
    first = weights[0]
    for other in weights[1:]:
        if first.keys() != other.keys():
            raise ValueError(f"weights differ in names: {sorted(first.keys() ^ other.keys())[:5]}")
        for name, tensor in first.items():
            if tensor.shape != other[name].shape:
                raise ValueError(
                    f"{name} has shape {tuple(tensor.shape)} and {tuple(other[name].shape)}"
                )


def digest(weights: Weights) -> str:
    """SHA-256, in hexadecimal, of the names and values of `weights`, whatever their order.

    weights: {name: tensor} of any shape and type, on any device.
    """
    found = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        # As bytes: NumPy has no bfloat16.
        values = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        found.update(name.encode() + values.numpy().tobytes())
    return found.hexdigest()


def interpolate(original: Weights, tuned: Weights, alpha: float) -> dict[str, Tensor]:
    """Weight-space ensemble (1 - alpha)·original + alpha·tuned (WiSE-FT, arXiv 2109.01903, Eq. 1).

    The ends are exact: alpha 0 is `original`, alpha 1 is `tuned`, bit for bit. In between, tensors
    of integers (counters) are taken from `tuned`.

    original: {name: tensor} before training.
    tuned: {name: tensor} after it, of the same names and shapes.
    alpha: share of `tuned`, in [0, 1].

    Raises ValueError where names or shapes differ.
    """
    check_same_names(original, tuned)
    if alpha in (0, 1):
        return {name: tensor.clone() for name, tensor in (tuned if alpha else original).items()}
    return {
        name: torch.lerp(tensor, tuned[name], alpha)
        if tensor.is_floating_point()
        else tuned[name].clone()
        for name, tensor in original.items()
    }


def fisher_merge(
    original: Weights,
    tuned: Weights,
    original_fisher: Weights,
    tuned_fisher: Weights,
    alpha: float,
    floor: float = 1e-3,
) -> dict[str, Tensor]:
    """Fisher-weighted ensemble (Matena and Raffel, arXiv 2111.09832, Eq. 3).

    ((1 - alpha)·F0·original + alpha·F1·tuned) / ((1 - alpha)·F0 + alpha·F1). Each Fisher tensor is
    scaled to mean one, so that a model does not outweigh the other by the size of its gradients,
    and raised by `floor`, so that a weight neither model depends on is interpolated linearly.
    The ends are exact, as those of `interpolate`.

    original: {name: tensor} before training.
    tuned: {name: tensor} after it, of the same names and shapes.
    original_fisher: {name: F0}, not negative, of the tensors to weigh; others are interpolated.
    tuned_fisher: {name: F1}, of the same names and shapes.
    alpha: share of `tuned`, in [0, 1].
    floor: added to the Fisher information, whose mean is one.

    Raises ValueError where the names or shapes of the weights differ.
    """
    merged = interpolate(original, tuned, alpha)
    if alpha in (0, 1):
        return merged
    for name in original_fisher:
        f0 = (1 - alpha) * (mean_normalised(original_fisher[name]) + floor)
        f1 = alpha * (mean_normalised(tuned_fisher[name]) + floor)
        merged[name] = (f0 * original[name] + f1 * tuned[name]) / (f0 + f1)
    return merged


def mean_normalised(importance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`importance` divided by its mean; a tensor without any importance stays zero.

    importance: any shape, no negative entries.
    """
    mean = importance.mean()
    return importance / mean if mean > 0 else torch.zeros_like(importance)


def fisher_information(
    module: nn.Module,
    log_likelihoods: Callable[[nn.Module, Any], Float[Tensor, ""]],
    samples: Iterable[Any],
) -> dict[str, Tensor]:
    """Diagonal Fisher information: the mean over samples of the squared gradient.

    As in EWC (arXiv 1612.00796) and Matena and Raffel (arXiv 2111.09832).

    module: the model. Its parameters that require gradients are covered; those that the
        likelihood does not depend on get zero.
    log_likelihoods: (module, sample) -> log p(y | x), a scalar in nats, with y drawn from the
        model itself.
    samples: what `log_likelihoods` takes, one at a time; none give zero.

    Returns {name of the parameter: tensor of its shape}.
    """
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    count = 0
    for sample in samples:
        gradients = torch.autograd.grad(
            log_likelihoods(module, sample), list(parameters.values()), allow_unused=True
        )
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                total[name] += gradient.square()
        count += 1
    return {name: tensor / max(1, count) for name, tensor in total.items()}


UNSEEN_IMPORTANCE = 1e-6  # importance of a weight that the replay losses say nothing about
Importance = Callable[[str, Tensor | None], Tensor | float]


def adaptive_importance(
    name: str, gradient: Float[Tensor, "*shape"] | None
) -> Float[Tensor, "*shape"] | float:
    """Squared gradient divided by its mean over the tensor (adaptive weight consolidation).

    GIFT (arXiv 2503.04229) takes it as the Fisher information of the replay losses of one step. A
    tensor without gradient, or with none but zeros, gets UNSEEN_IMPORTANCE everywhere.

    name: of the parameter; not used.
    gradient: of the replay losses, in the parameter's shape.
    """
    if gradient is None:
        return UNSEEN_IMPORTANCE
    square = gradient.square()
    mean = square.mean()
    seen = mean > 0
    # No branch on the value: that would wait for the accelerator once per tensor.
    return square.div_(torch.where(seen, mean, 1.0)).add_(torch.where(seen, 0.0, UNSEEN_IMPORTANCE))


def uniform_importance(name: str, gradient: Tensor | None) -> float:
    """One for every weight, which makes the consolidation plain L2.

    name, gradient: as in `adaptive_importance`; not used.
    """
    return 1.0


@torch.no_grad()
def add_consolidation_grad(
    anchor: Weights, parameters: Mapping[str, Tensor], strength: float, importance: Importance
) -> Float[Tensor, ""]:
    """Add the gradient of strength·sum F (theta - theta')^2 to each parameter's `.grad`.

    In closed form, 2·strength·F·(theta - theta'), one tensor at a time and without a graph. It is
    the penalty of EWC (arXiv 1612.00796, Eq. 3; lambda is twice the strength) and of GIFT's
    adaptive weight consolidation (arXiv 2503.04229).

    anchor: theta', {name: tensor}, of all parameters.
    parameters: theta, {name: parameter}; their `.grad` changes in place.
    strength: factor of the penalty, at least 0.
    importance: (name, gradient so far or None) -> F, in the parameter's shape or one number.

    Returns the penalty, a scalar without a graph.
    """
    penalties = []
    for name, parameter in parameters.items():
        pull = parameter - anchor[name]
        away = pull.flatten()
        weighted = importance(name, parameter.grad) * pull
        penalties.append(strength * torch.dot(weighted.flatten(), away))
        if parameter.grad is None:
            parameter.grad = weighted.mul_(2 * strength)
        else:
            parameter.grad.add_(weighted, alpha=2 * strength)
    return torch.stack(penalties).sum()


def learning(module: nn.Module) -> dict[str, Tensor]:
    """The parameters of a module that learn, as tensors that share its memory."""
    return {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}


def on_cpu(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights on the CPU."""
    return {name: t.to("cpu") for name, t in weights.items()}


def copied(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A copy of the weights on the CPU, which later steps do not change."""
    return {name: t.to("cpu", copy=True) for name, t in weights.items()}
