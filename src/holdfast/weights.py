"""Operations on weights: pure functions of dict[str, Tensor], paired by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Weights = Mapping[str, Tensor]


def check_same_names(*weights: Weights) -> None:
    """Raise ValueError unless all have the same names and shapes."""
    first = weights[0]
    for other in weights[1:]:
        if first.keys() != other.keys():
            raise ValueError(f"weights differ in names: {sorted(first.keys() ^ other.keys())[:5]}")
        for name, tensor in first.items():
            if tensor.shape != other[name].shape:
                raise ValueError(
                    f"{name} has shape {tuple(tensor.shape)} and {tuple(other[name].shape)}"
                )


def interpolate(original: Weights, tuned: Weights, alpha: float) -> dict[str, Tensor]:
    """Weight-space ensemble (1 - alpha)·original + alpha·tuned (WiSE-FT, arXiv 2109.01903, Eq. 1).

    The ends are exact: alpha 0 is `original`, alpha 1 is `tuned`, bit for bit. Tensors of integers
    (counters) are taken from `tuned`.
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
    """
    check_same_names(original, tuned)
    merged = interpolate(original, tuned, alpha)
    if alpha in (0, 1):
        return merged
    for name in original_fisher:
        f0 = (1 - alpha) * (relative(original_fisher[name]) + floor)
        f1 = alpha * (relative(tuned_fisher[name]) + floor)
        merged[name] = (f0 * original[name] + f1 * tuned[name]) / (f0 + f1)
    return merged


def relative(importance: Tensor) -> Tensor:
    """`importance` divided by its mean; a tensor without any importance stays zero."""
    mean = importance.mean()
    return importance / mean if mean > 0 else torch.zeros_like(importance)


def fisher_information(
    module: nn.Module,
    log_likelihoods: Callable[[nn.Module, Any], Tensor],
    samples: Iterable[Any],
) -> dict[str, Tensor]:
    """Diagonal Fisher information: the mean over samples of the squared gradient.

    log_likelihoods(module, sample): log p(y | x), a scalar, with y drawn from the model itself.
    Covers the parameters that require gradients.
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


def distance(a: Weights, b: Weights) -> float:
    """Euclidean distance between two sets of weights."""
    check_same_names(a, b)
    squares = [(a[name].double() - b[name].double()).square().sum() for name in a]
    return torch.stack(squares).sum().sqrt().item()
