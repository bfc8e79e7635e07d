"""Scores and intervals against hand arithmetic, invariances and simulation."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from holdfast.errors import HoldfastError
from holdfast.metrics import (
    check_finite,
    compare,
    is_correct,
    reliability,
    score,
    surest_mistakes,
)
from holdfast.settings.base import to_jsonable

CLASSES = ["cat", "dog", "fox"]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def logits_of(predictions: list[int], sharpness: float = 50.0, classes: int = 3) -> torch.Tensor:
    return sharpness * torch.nn.functional.one_hot(torch.tensor(predictions), classes).float()


def bools(ones: int, n: int) -> torch.Tensor:
    return torch.arange(n) < ones


# --- score


def test_score_by_hand() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1])
    scores = score(logits_of([0, 0, 0, 1, 0]), labels, CLASSES)
    assert scores.n == 5
    assert scores.top1 == 3 / 5
    assert scores.per_class == (0.75, 0.0, None)
    assert scores.mean_per_class == 0.375
    assert scores.count == (4, 1, 0)
    assert scores.confusion == ((0, 0, 3), (0, 1, 1), (1, 0, 1))
    # certain everywhere and right on 3 of 5: off by 0.4; two images pay 50 nats each
    assert scores.ece == pytest.approx(0.4, abs=1e-6)
    assert scores.nll == pytest.approx(2 * 50 / 5)


def test_calibration_error_by_hand() -> None:
    """Two bins: confidence 0.9 right once in two, confidence 0.6 right always."""
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    scores = score(probabilities.log(), torch.tensor([0, 1, 1, 1]), ["a", "b"])
    assert scores.ece == pytest.approx(0.5 * (0.9 - 0.5) + 0.5 * (1 - 0.6))
    (two, sure, right), (more, surer, less) = scores.reliability
    assert (two, right, more, less) == (2, 1.0, 2, 0.5)
    assert (sure, surer) == (pytest.approx(0.6), pytest.approx(0.9))
    assert scores.nll == pytest.approx(-np.log([0.9, 0.1, 0.6, 0.6]).mean())


def test_the_calibration_error_is_that_of_its_bins() -> None:
    logits, labels = 2 * torch.randn(500, 4), torch.randint(4, (500,))
    found = score(logits, labels, list("abcd"))
    assert sum(n for n, *_ in found.reliability) == 500
    assert len(found.reliability) > 5
    sure = [confidence for _, confidence, _ in found.reliability]
    assert sure == sorted(sure)
    error = sum(n * abs(sure - right) for n, sure, right in found.reliability) / 500
    assert found.ece == pytest.approx(error, abs=1e-6)


def test_the_first_and_the_last_bin_have_their_ends() -> None:
    found = reliability(torch.tensor([0.0, 1.0, 1.0]), torch.tensor([False, True, False]))
    assert found == ((1, 0.0, 0.0), (2, 1.0, 0.5))


def test_the_surest_mistakes_come_first_and_no_class_has_all() -> None:
    sure = torch.tensor([0.9, 0.99, 0.8, 0.95, 0.7])
    logits = torch.stack([1 - sure, sure], dim=1).log()  # all say the second class
    labels = torch.tensor([0, 1, 0, 0, 0])
    found = surest_mistakes(logits, labels, most=2, per_class=3)
    assert [place for place, *_ in found] == [3, 0]
    assert found[0][1:] == (1, pytest.approx(0.95))
    assert [place for place, *_ in surest_mistakes(logits, labels, 9, 3)] == [3, 0, 2]
    assert surest_mistakes(logits, torch.ones(5).long(), 9, 9) == []


def test_certain_and_right_is_perfectly_calibrated() -> None:
    labels = torch.tensor([0, 1, 2])
    scores = score(logits_of([0, 1, 2], sharpness=1e4), labels, CLASSES)
    assert (scores.top1, scores.mean_per_class, scores.ece, scores.nll) == (1.0, 1.0, 0.0, 0.0)


def test_order_of_images_does_not_matter() -> None:
    logits, labels = torch.randn(40, 5), torch.randint(5, (40,))
    names = list("abcde")
    order = torch.randperm(40)
    first, second = score(logits, labels, names), score(logits[order], labels[order], names)
    assert first.confusion == second.confusion
    assert first.per_class == second.per_class
    assert first.ece == pytest.approx(second.ece)
    assert first.nll == pytest.approx(second.nll)


def test_order_of_classes_only_reorders() -> None:
    logits, labels = torch.randn(40, 5), torch.randint(5, (40,))
    order = torch.tensor([3, 1, 4, 0, 2])  # new column i is old column order[i]
    moved = score(logits[:, order], order.argsort()[labels], [f"c{i}" for i in order.tolist()])
    plain = score(logits, labels, [f"c{i}" for i in range(5)])
    assert moved.per_class == tuple(plain.per_class[i] for i in order.tolist())
    assert (moved.top1, moved.n) == (plain.top1, plain.n)
    assert moved.mean_per_class == pytest.approx(plain.mean_per_class)
    assert moved.ece == pytest.approx(plain.ece)
    named = {(plain.classes[t], plain.classes[p], k) for t, p, k in plain.confusion}
    assert {(moved.classes[t], moved.classes[p], k) for t, p, k in moved.confusion} == named


def test_record_is_json_and_round_trips() -> None:
    record = to_jsonable(score(logits_of([0, 1]), torch.tensor([0, 2]), CLASSES))
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["per_class"] == [1.0, None, 0.0]


def test_half_precision_logits_score_like_float() -> None:
    logits, labels = torch.randn(30, 3).bfloat16(), torch.randint(3, (30,))
    assert score(logits, labels, CLASSES) == score(logits.float(), labels, CLASSES)


NOT_FINITE = (
    "The model gives logits that are not finite. Evaluate it in fp32, or train it again with a "
    "lower learning rate."
)


def message(error: pytest.ExceptionInfo) -> str:
    return str(error.value)


def test_bad_input_is_refused() -> None:
    with pytest.raises(HoldfastError) as error:
        score(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), CLASSES)
    assert message(error) == "There are no images to score. Check the folder to evaluate on."
    for bad in ("nan", "inf", "-inf"):
        with pytest.raises(HoldfastError) as error:
            score(torch.tensor([[1.0, float(bad), 0.0]]), torch.tensor([0]), CLASSES)
        assert message(error) == NOT_FINITE
    for label in (3, -1):
        with pytest.raises(ValueError, match=r"^labels must lie in \[0, 3\)$"):
            score(torch.zeros(2, 3), torch.tensor([0, label]), CLASSES)


@pytest.mark.parametrize(
    ("logits", "labels"), [((2, 4), (2,)), ((2, 3), (3,)), ((3,), (3,)), ((2, 3), (2, 3))]
)
@pytest.mark.usefixtures("unchecked")
def test_shapes_that_do_not_fit_are_refused(logits: tuple, labels: tuple) -> None:
    fit = f"logits {logits} and labels {labels} do not fit (n, 3) and (n,)"
    with pytest.raises(ValueError) as error:
        score(torch.zeros(logits), torch.zeros(labels, dtype=torch.long), CLASSES)
    assert message(error) == fit


def test_finite_numbers_of_any_shape_pass() -> None:
    check_finite(torch.zeros(2, 3, 4))
    check_finite(torch.tensor(1.0))
    with pytest.raises(HoldfastError) as error:
        check_finite(torch.tensor([[0.0], [float("nan")]]))
    assert message(error) == NOT_FINITE


def test_of_equal_logits_the_first_class_counts() -> None:
    logits, labels = torch.zeros(2, 3), torch.tensor([0, 1])
    scores = score(logits, labels, CLASSES)
    assert (scores.top1, scores.confusion) == (0.5, ((0, 0, 1), (1, 0, 1)))
    assert is_correct(logits, labels).tolist() == [True, False]
    # Even confidence of a third, right half the time; a third of the probability on the label.
    assert scores.ece == pytest.approx(0.5 - 1 / 3)
    assert scores.nll == pytest.approx(math.log(3))


def test_fifteen_bins_of_confidence() -> None:
    """0.68 and 0.72 fall into the bins (10/15, 11/15]; 0.66 is in the one below."""
    for confidence, together in ((0.72, True), (0.66, False)):
        sure = torch.tensor([0.68, confidence])
        scores = score(torch.stack([sure, 1 - sure], dim=1).log(), torch.tensor([0, 1]), ["a", "b"])
        apart = ((1 - 0.68) + confidence) / 2
        expected = abs((0.68 + confidence) / 2 - 0.5) if together else apart
        assert scores.ece == pytest.approx(expected, abs=1e-6)


def test_is_correct() -> None:
    assert is_correct(logits_of([0, 1, 2]), torch.tensor([0, 2, 2])).tolist() == [True, False, True]


# --- compare


def test_compare_by_hand() -> None:
    """n = 98, 20 gained and 10 lost: cells (21/100, 11/100), variance (0.32 - 0.01) / 100."""
    a = torch.cat([bools(10, 30), torch.ones(68)]).bool()
    b = torch.cat([~bools(10, 30), torch.ones(68, dtype=torch.bool)])
    result = compare(a, b)
    half = 1.959964 * math.sqrt(0.31 / 100)
    assert (result.n, result.gained, result.lost) == (98, 20, 10)
    assert result.difference == pytest.approx(10 / 98)
    assert (result.low, result.high) == pytest.approx((0.1 - half, 0.1 + half), abs=1e-6)


def test_compare_swaps_sign_with_the_models() -> None:
    a, b = torch.rand(50) < 0.6, torch.rand(50) < 0.7
    forth, back = compare(a, b), compare(b, a)
    assert forth.difference == -back.difference
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))


@pytest.mark.parametrize("n", [1, 2, 5, 50, 5000])
def test_interval_behaves_at_the_edges(n: int) -> None:
    right, wrong = torch.ones(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)
    same = compare(right, right)
    assert same.difference == 0
    assert same.low < 0 < same.high, "no disagreement is not certainty"
    assert same.low == pytest.approx(-same.high)
    opposite = compare(wrong, right)
    assert opposite.difference == 1
    assert -1 <= opposite.low < 1 == opposite.high
    assert compare(right, wrong).low == -1, "and no lower"


def test_interval_narrows_with_more_images() -> None:
    widths = [
        (result := compare(bools(n // 2, n), bools(n * 6 // 10, n))).high - result.low
        for n in (10, 100, 1000)
    ]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize(
    ("n", "gain", "loss"),
    [(20, 0.1, 0.05), (50, 0.15, 0.15), (200, 0.08, 0.02), (1000, 0.05, 0.04)],
)
def test_interval_covers(n: int, gain: float, loss: float) -> None:
    """The interval holds the true difference in 95 % of simulated test sets, or more if few."""
    generator = torch.Generator().manual_seed(n)
    draws = torch.rand(2000, n, generator=generator)
    only_b, only_a = draws < gain, (draws >= gain) & (draws < gain + loss)
    results = [compare(a, b) for a, b in zip(only_a, only_b, strict=True)]
    covered = sum(r.low <= gain - loss <= r.high for r in results) / len(results)
    assert covered >= 0.94
    assert covered <= 0.97 or n < 100, "too wide"


def test_nothing_to_compare() -> None:
    with pytest.raises(HoldfastError) as error:
        compare(bools(0, 0), bools(0, 0))
    assert message(error) == "There are no images to compare on. Check the folder to evaluate on."


@pytest.mark.usefixtures("unchecked")
def test_only_two_vectors_of_one_length_compare() -> None:
    for a, b in ((3,), (4,)), ((2, 2), (2, 2)):
        with pytest.raises(ValueError) as error:
            compare(torch.zeros(a).bool(), torch.zeros(b).bool())
        assert message(error) == f"shapes differ: {a} and {b}, expected (n,)"


@pytest.mark.usefixtures("unchecked")
def test_ones_and_zeros_compare_like_true_and_false() -> None:
    assert compare(torch.tensor([0, 1, 1]), torch.tensor([1, 1, 0])) == compare(
        torch.tensor([False, True, True]), torch.tensor([True, True, False])
    )
