"""Logits and labels -> records: scores, a comparison with its interval, numbers of a stream.

Pure functions of tensors on any device. Shapes: n images, C classes, d feature dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_confusion_matrix,
)

from holdfast.errors import HoldfastError
from holdfast.results import Comparison, Scores

CALIBRATION_BINS = 15
Z_95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


def score(
    logits: Float[Tensor, "n C"], labels: Int[Tensor, " n"], classes: Sequence[str]
) -> Scores:
    """What one model did on one labelled set.

    logits: (n, C), scaled as they enter the softmax. Of equal ones, the first class counts.
    labels: (n,) the true classes, in [0, C).
    classes: the C names, in the order of the columns.

    Raises HoldfastError for no images and for logits that are not finite, ValueError for shapes
    and labels that do not fit.
    """
    _check(logits, labels, len(classes))
    log_probabilities = logits.detach().cpu().double().log_softmax(dim=1)
    labels = labels.detach().cpu().long()
    # torchmetrics takes a value above 1 for a logit, so rounding must not leave one
    probabilities = log_probabilities.exp().clamp(max=1.0)
    matrix = multiclass_confusion_matrix(logits.detach().cpu().argmax(dim=1), labels, len(classes))
    count, right = matrix.sum(dim=1), matrix.diagonal()
    sure, guess = probabilities.max(dim=1)
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
        reliability=reliability(sure, guess == labels),
    )


def reliability(
    confidence: Float[Tensor, " n"], correct: Bool[Tensor, " n"]
) -> tuple[tuple[int, float, float], ...]:
    """How sure a model is against how often it is right, as `Scores.reliability` has it.

    confidence: (n,) the probabilities of what it said, in [0, 1]; correct: (n,) whether it was so.
    """
    bins = (confidence * CALIBRATION_BINS).ceil().long().sub(1).clamp(min=0)
    found = []
    for place in bins.unique().tolist():
        here = bins == place
        means = confidence[here].double().mean().item(), correct[here].double().mean().item()
        found.append((int(here.sum()), *means))
    return tuple(found)


def surest_mistakes(
    logits: Float[Tensor, "n C"], labels: Int[Tensor, " n"], most: int, per_class: int
) -> list[tuple[int, int, float]]:
    """Images that a model was surest of and wrong about: (position, what it said, confidence).

    logits: (n, C), scaled as they enter the softmax.
    labels: (n,) the true classes, in [0, C).
    most: how many in all; per_class: how many of one true class.
    """
    sure, guess = logits.detach().cpu().double().softmax(dim=1).max(dim=1)
    found: list[tuple[int, int, float]] = []
    taken: dict[int, int] = {}
    for place in sure.argsort(descending=True, stable=True).tolist():
        true = int(labels[place])
        if int(guess[place]) == true or taken.get(true, 0) == per_class:
            continue
        taken[true] = taken.get(true, 0) + 1
        found.append((place, int(guess[place]), float(sure[place])))
        if len(found) == most:
            break
    return found


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


def check_finite(logits: Float[Tensor, "*shape"]) -> None:
    """Raise HoldfastError unless `logits`, or what was made of them, are finite; any shape."""
    if not bool(logits.isfinite().all()):
        raise HoldfastError(
            "The model gives logits that are not finite. Evaluate it in fp32, or train it again "
            "with a lower learning rate."
        )


def is_correct(logits: Float[Tensor, "n C"], labels: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Whether the largest logit is the label's; of equal ones, the first class counts.

    logits: (n, C) on any scale.
    labels: (n,) the true classes, in [0, C).
    """
    return logits.argmax(dim=1) == labels


def compare(correct_a: Bool[Tensor, " n"], correct_b: Bool[Tensor, " n"]) -> Comparison:
    """How much more accurate b is than a on the same images.

    The interval is the adjusted Wald interval for paired proportions of Bonett and Price (2012,
    "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data"): one imagined image is added to either kind of disagreement before the Wald formula.
    It uses the pairing, which makes it much narrower than two separate intervals; the plain Wald
    interval has width zero where no images or all images disagree, this one does not. Simulated
    for 5 to 1,000 images it covers 93 % at worst, and with few images it errs on the wide side.
    The difference itself is not adjusted.
    Images are taken as independent draws: near-duplicates make the interval too narrow.

    correct_a: (n,) which images a gets right.
    correct_b: (n,) which b gets right, in the same order.

    Raises HoldfastError for no images, ValueError for different shapes.
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


def stream_metrics(matrix: Sequence[Sequence[float]]) -> dict[str, float | None]:
    """One number each for how a stream of T tasks went, from its accuracy matrix.

    matrix: (T, T); matrix[i][j] is the accuracy on task j after task i was learnt, in any unit,
        which the numbers then have. The row of the model before any task is not part of it.

    Returns these, of which those over two tasks or more are None for a single one:

    transfer: mean over tasks j >= 1 of the mean over i < j of matrix[i][j], what tasks still to
        come could expect, column by column (ZSCL, arXiv 2303.06628; GIFT, arXiv 2503.04229).
    transfer_by_stage: mean over i < T - 1 of the mean over j > i of matrix[i][j]. The same entries,
        averaged row by row first as other libraries do, so that late tasks weigh more; the two
        must not be compared with each other.
    average: mean of the whole matrix; last: mean of its last row.
    forget: sum over tasks of the last row minus the diagonal, divided by T - 1 (GIFT's code):
        negative where tasks were forgotten.

    Raises ValueError unless the matrix is square.
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
