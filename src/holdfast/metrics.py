"""Logits and labels -> records: scores, a verdict with its interval, diagnostics of features.

Pure functions of tensors. Shapes: n images, C classes, d feature dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_confusion_matrix,
)

from holdfast.errors import HoldfastError

CALIBRATION_BINS = 15
Z_95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


@dataclass(frozen=True)
class Scores:
    """What one model did on one labelled set. All shares lie in [0, 1].

    top1: share of images whose largest logit is the label's.
    mean_per_class: mean of `per_class` over the classes that have images.
    per_class: accuracy of each class, in the order of `classes`; None where it has no images.
    count: images of each class.
    ece: expected calibration error, 15 equal bins of confidence (Guo et al. 2017, eq. 3).
    nll: mean negative log-likelihood of the label, in nats.
    confusion: the cells that are not zero, as (true class, predicted class, images). A list of
        cells, because a thousand classes would otherwise write a million numbers.
    """

    n: int
    top1: float
    mean_per_class: float
    ece: float
    nll: float
    classes: tuple[str, ...]
    per_class: tuple[float | None, ...]
    count: tuple[int, ...]
    confusion: tuple[tuple[int, int, int], ...]

    def to_record(self) -> dict[str, Any]:
        """The fields as JSON types."""
        record = asdict(self)
        for name in ("classes", "per_class", "count"):
            record[name] = list(record[name])
        record["confusion"] = [list(cell) for cell in self.confusion]
        return record


def score(logits: Tensor, labels: Tensor, classes: Sequence[str]) -> Scores:
    """Scores of logits (n, C), scaled as they enter the softmax, against labels (n,) in [0, C).

    Ties go to the first class. Raises HoldfastError for no images and for logits that are not
    finite, ValueError for shapes and labels that do not fit.
    """
    _check(logits, labels, len(classes))
    log_probabilities = logits.detach().cpu().double().log_softmax(dim=1)
    labels = labels.detach().cpu().long()
    # torchmetrics takes a value above 1 for a logit, so rounding must not leave one
    probabilities = log_probabilities.exp().clamp(max=1.0)
    matrix = multiclass_confusion_matrix(logits.detach().cpu().argmax(dim=1), labels, len(classes))
    count, right = matrix.sum(dim=1), matrix.diagonal()
    per_class = tuple(
        int(hits) / int(images) if images else None
        for hits, images in zip(right, count, strict=True)
    )
    present = [accuracy for accuracy in per_class if accuracy is not None]
    ece = multiclass_calibration_error(probabilities, labels, len(classes), CALIBRATION_BINS)
    return Scores(
        n=len(labels),
        top1=int(right.sum()) / len(labels),
        mean_per_class=sum(present) / len(present),
        ece=float(ece),
        nll=float(-log_probabilities.gather(1, labels[:, None]).mean()),
        classes=tuple(classes),
        per_class=per_class,
        count=tuple(count.tolist()),
        confusion=tuple(
            (true, predicted, int(matrix[true, predicted]))
            for true, predicted in matrix.nonzero().tolist()
        ),
    )


def _check(logits: Tensor, labels: Tensor, classes: int) -> None:
    if logits.ndim != 2 or logits.shape[1] != classes or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)} do not fit "
            f"(n, {classes}) and (n,)"
        )
    if len(labels) == 0:
        raise HoldfastError("There are no images to score. Check the folder to evaluate on.")
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise ValueError(f"labels must lie in [0, {classes})")
    check_finite(logits)


def check_finite(logits: Tensor) -> None:
    """Raise HoldfastError for logits, or what was made of them, that are not finite."""
    if not bool(logits.isfinite().all()):
        raise HoldfastError(
            "The model gives logits that are not finite. Evaluate it in fp32, or train it again "
            "with a lower learning rate."
        )


def is_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether the largest logit is the label's: logits (n, C), labels (n,) -> bool (n,)."""
    return logits.argmax(dim=1) == labels


@dataclass(frozen=True)
class Comparison:
    """Accuracy of b minus accuracy of a on the same images, with a 95 % interval; all in [-1, 1].

    gained: images that only b gets right; lost: images that only a gets right.
    """

    difference: float
    low: float
    high: float
    n: int
    gained: int
    lost: int


def compare(correct_a: Tensor, correct_b: Tensor) -> Comparison:
    """How much more accurate b is than a: correct_a, correct_b (n,) bool on the same images.

    The interval is the adjusted Wald interval for paired proportions of Bonett and Price (2012,
    "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data"): one imagined image is added to either kind of disagreement before the Wald formula.
    It uses the pairing, which makes it much narrower than two separate intervals; the plain Wald
    interval has width zero where no images or all images disagree, this one does not. Simulated
    for 5 to 1,000 images it covers 93 % at worst, and with few images it errs on the wide side.
    The difference itself is not adjusted.
    Images are taken as independent draws: near-duplicates make the interval too narrow.
    """
    if correct_a.shape != correct_b.shape or correct_a.ndim != 1:
        raise ValueError(
            f"shapes differ: {tuple(correct_a.shape)} and {tuple(correct_b.shape)}, expected (n,)"
        )
    n = len(correct_a)
    if n == 0:
        raise HoldfastError("There are no images to compare on. Check the folder to evaluate on.")
    correct_a, correct_b = correct_a.bool(), correct_b.bool()
    gained, lost = int((correct_b & ~correct_a).sum()), int((correct_a & ~correct_b).sum())
    p_gained, p_lost = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    centre = p_gained - p_lost
    half_width = Z_95 * ((p_gained + p_lost - centre**2) / (n + 2)) ** 0.5
    return Comparison(
        difference=(gained - lost) / n,
        low=max(-1.0, centre - half_width),
        high=min(1.0, centre + half_width),
        n=n,
        gained=gained,
        lost=lost,
    )


@dataclass(frozen=True)
class Verdict(Comparison):
    """A comparison of the zero-shot model (a) with the adapted one (b), and what to do about it."""

    decision: Literal["use", "keep"]
    text: str

    def to_record(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self)


def decide(zero_shot_correct: Tensor, adapted_correct: Tensor) -> Verdict:
    """Use the adapted model only where it is measurably better: both (n,) bool, same images.

    Where the interval holds zero the zero-shot model stays: it is the one that was not tuned, and
    it still knows everything else.
    """
    result = compare(zero_shot_correct, adapted_correct)
    points, low, high = (100 * value for value in (result.difference, result.low, result.high))
    images = f"{result.n:,} image{'' if result.n == 1 else 's'}"
    keep = "keep the zero-shot model"
    if result.low > 0:
        text = (
            f"better than zero-shot by {points:.1f} points "
            f"(95 % interval {low:.1f} to {high:.1f}) on {images}: use the adapted model"
        )
    elif result.high < 0:
        text = (
            f"worse than zero-shot by {-points:.1f} points "
            f"(95 % interval {-high:.1f} to {-low:.1f}) on {images}: {keep}"
        )
    else:
        text = (
            f"not measurably better than zero-shot (difference {points:+.1f} points, "
            f"95 % interval {low:+.1f} to {high:+.1f}, on {images}): {keep}"
        )
    return Verdict(**asdict(result), decision="use" if result.low > 0 else "keep", text=text)


def frechet_distance(features_a: Tensor, features_b: Tensor) -> float:
    """Squared Fréchet distance of Gaussians fitted to features (n, d) and (m, d), n and m >= 2.

    |mean_a - mean_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2) with covariances A, B (divided by
    n - 1), as FID computes it (Heusel et al. 2017, eq. 6). With A = R_a^T R_a from the QR
    factors of the centred features, the last trace is the sum of the singular values of
    R_a R_b^T. So no covariance is formed and no root is taken of a matrix that is singular when
    n < d; only its trace matters. Computed in float64; in squared units of the features.
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


def domain_gap(real: Tensor, generated: Tensor, seed: int) -> dict[str, float]:
    """Fréchet distances between and within domains, from features (n, d) and (m, d).

    The distance is biased upwards by small samples, so all sets compared have one size, half
    of the smaller domain, and the distances between two random halves of one domain say what no
    gap at all looks like at that size. The gap between the domains, which RegFT sets out to
    overcome, is the mean over both pairs of halves. It also holds differences in how often each
    class occurs: hand in balanced classes to see the look of the images alone.
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


def feature_diversity(features: Tensor, labels: Tensor) -> dict[str, float | None]:
    """How much features (n, d) vary in length and in direction; labels (n,) name their classes.

    RegFT relates accuracy on real images to the diversity of features in magnitude and in
    direction. The measures here are our own, not the paper's formulas, and free of scale, so
    that they compare a model before and after fine-tuning:

    magnitude: standard deviation of the features' norms (n - 1), divided by their mean.
    direction: mean of 1 - cosine over all pairs of different images; 0 where all point one way,
        1 where they are orthogonal on average.
    direction_within_class: the same over pairs of one class, averaged over the classes that
        have two images or more; None where none has.
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


def _mean_cosine_distance(directions: Tensor) -> float:
    """Mean of 1 - cosine over pairs of different rows of unit length (n, d), without the pairs.

    The squared length of the sum of all rows is the sum over all ordered pairs, each with itself
    (n of them, cosine 1) included.
    """
    n = len(directions)
    pairs = float(directions.sum(dim=0).square().sum()) - n
    return 1.0 - pairs / (n * (n - 1))


def stream_metrics(matrix: Sequence[Sequence[float]]) -> dict[str, float | None]:
    """One number each for how a stream of T tasks went, from its accuracy matrix.

    matrix[i][j]: accuracy on task j after task i was learnt, (T, T); the row of the model before
    any task is not part of it.

    transfer: mean over tasks j >= 1 of the mean over i < j of matrix[i][j], what tasks still to
        come could expect, column by column (ZSCL, arXiv 2303.06628; GIFT, arXiv 2503.04229).
    transfer_by_stage: mean over i < T - 1 of the mean over j > i of matrix[i][j]. The same entries,
        averaged row by row first as other libraries do, so that late tasks weigh more; the two
        must not be compared with each other.
    average: mean of the whole matrix; last: mean of its last row.
    forget: sum over tasks of the last row minus the diagonal, divided by T - 1 (GIFT's code):
        negative where tasks were forgotten.

    Those over two tasks or more are None for a single one. Raises ValueError unless square.
    """
    count = len(matrix)
    if count == 0 or any(len(row) != count for row in matrix):
        raise ValueError(f"{[len(row) for row in matrix]} are no rows of a square matrix")
    values = torch.tensor([list(row) for row in matrix], dtype=torch.float64)
    found: dict[str, float | None] = {
        "transfer": None,
        "transfer_by_stage": None,
        "average": float(values.mean()),
        "last": float(values[-1].mean()),
        "forget": None,
    }
    if count > 1:
        columns = [values[:j, j].mean() for j in range(1, count)]
        stages = [values[i, i + 1 :].mean() for i in range(count - 1)]
        found["transfer"] = float(torch.stack(columns).mean())
        found["transfer_by_stage"] = float(torch.stack(stages).mean())
        found["forget"] = float((values[-1] - values.diagonal()).sum() / (count - 1))
    return found
