"""Features of images -> diagnostics: the gap between domains, and how much features vary.

Pure functions of tensors on any device. Shapes: n, m images, d feature dimensions.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from holdfast.errors import HoldfastError


def frechet_distance(features_a: Float[Tensor, "n d"], features_b: Float[Tensor, "m d"]) -> float:
    """Squared Fréchet distance of Gaussians fitted to two sets of features.

    |mean_a - mean_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2) with covariances A, B (divided by
    n - 1), as FID computes it (Heusel et al. 2017, eq. 6). With A = R_a^T R_a from the QR
    factors of the centred features, the last trace is the sum of the singular values of
    R_a R_b^T. So no covariance is formed and no root is taken of a matrix that is singular when
    n < d; only its trace matters. Computed in float64; in squared units of the features.

    features_a: (n, d), n >= 2.
    features_b: (m, d), m >= 2.

    Raises HoldfastError for fewer than two rows, ValueError for shapes that do not fit.
    """
    features_a, features_b = features_a.detach().cpu().double(), features_b.detach().cpu().double()
    if features_a.shape[1:] != features_b.shape[1:] or features_a.ndim != 2:
        raise ValueError(f"shapes {tuple(features_a.shape)} and {tuple(features_b.shape)} differ")
    if min(len(features_a), len(features_b)) < 2:
        raise HoldfastError("A distance between image sets needs two images in each.")
    root_a, root_b = _covariance_root(features_a), _covariance_root(features_b)
    shift = (features_a.mean(dim=0) - features_b.mean(dim=0)).square().sum()
    cross = torch.linalg.svdvals(root_a @ root_b.T).sum()
    distance = shift + root_a.square().sum() + root_b.square().sum() - 2 * cross
    return max(0.0, float(distance))  # rounding can leave -1e-13 for equal sets


def _covariance_root(features: Tensor) -> Tensor:
    """R (min(n, d), d) with R^T R the covariance of features (n, d)."""
    centred = (features - features.mean(dim=0)) / (len(features) - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r").R


def domain_gap(
    real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"], seed: int
) -> dict[str, float]:
    """Fréchet distances between and within domains, {"real/real", ...}, in squared units.

    The distance is biased upwards by small samples, so all sets compared have one size, half
    of the smaller domain, and the distances between two random halves of one domain say what no
    gap at all looks like at that size. The gap between the domains, which RegFT sets out to
    overcome, is the mean over both pairs of halves. It also holds differences in how often each
    class occurs: hand in balanced classes to see the look of the images alone.

    real: (n, d) features of real images, n >= 4.
    generated: (m, d) features of generated ones, m >= 4.
    seed: of the random halves.

    Raises HoldfastError for fewer than four rows.
    """
    half = min(len(real), len(generated)) // 2
    if half < 2:
        raise HoldfastError("The gap between domains needs four images or more of each.")
    generator = torch.Generator().manual_seed(seed)
    real = real[torch.randperm(len(real), generator=generator)]
    generated = generated[torch.randperm(len(generated), generator=generator)]
    real_halves = real[:half], real[half : 2 * half]
    generated_halves = generated[:half], generated[half : 2 * half]
    between = [frechet_distance(a, b) for a, b in zip(real_halves, generated_halves, strict=True)]
    return {
        "real/real": frechet_distance(*real_halves),
        "generated/generated": frechet_distance(*generated_halves),
        "real/generated": sum(between) / 2,
    }


def feature_diversity(
    features: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
) -> dict[str, float | None]:
    """How much features vary in length and in direction.

    RegFT relates accuracy on real images to the diversity of features in magnitude and in
    direction. The measures here are our own, not the paper's formulas, and free of scale, so
    that they compare a model before and after fine-tuning:

    magnitude: standard deviation of the features' norms (n - 1), divided by their mean.
    direction: mean of 1 - cosine over all pairs of different images; 0 where all point one way,
        1 where they are orthogonal on average.
    direction_within_class: the same over pairs of one class, averaged over the classes that
        have two images or more; None where none has.

    features: (n, d), n >= 2, not normalised. A row of zeros has no direction and counts as
        orthogonal to all.
    labels: (n,) their classes.

    Raises ValueError for shapes that do not fit and for fewer than two rows.
    """
    if len(features) < 2 or labels.shape != features.shape[:1]:
        raise ValueError(
            f"features {tuple(features.shape)} and labels {tuple(labels.shape)} do not fit "
            "(n, d) and (n,) with n >= 2"
        )
    features = features.detach().cpu().double()
    labels = labels.detach().cpu()
    norms = features.norm(dim=1)
    directions = features / norms.clamp(min=torch.finfo(torch.float64).tiny)[:, None]
    classes = [directions[labels == label] for label in labels.unique()]
    within = [_mean_cosine_distance(rows) for rows in classes if len(rows) > 1]
    return {
        "magnitude": float(norms.std() / norms.mean()),
        "direction": _mean_cosine_distance(directions),
        "direction_within_class": sum(within) / len(within) if within else None,
    }


def _mean_cosine_distance(directions: Float[Tensor, "n d"]) -> float:
    """Mean of 1 - cosine over pairs of different rows of unit length or zero, without the pairs.

    The squared length of the sum of all rows is the sum over all ordered pairs, each row with
    itself included: one for each that is not zero.
    """
    n = len(directions)
    pairs = float(directions.sum(dim=0).square().sum()) - int(directions.any(dim=1).sum())
    return 1.0 - pairs / (n * (n - 1))
