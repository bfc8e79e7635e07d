"""Verdicts by hand: what they decide, what they say beside it, and intervals of mean changes."""

from __future__ import annotations

import json

import pytest
import torch

from holdfast import verdicts
from holdfast.errors import HoldfastError
from holdfast.results import Comparison, Verdict
from holdfast.settings.base import to_jsonable
from holdfast.verdicts import change_since_learnt, decide, mean_change


def bools(ones: int, n: int) -> torch.Tensor:
    return torch.arange(n) < ones


def of_one_class(before: int, after: int, n: int) -> Verdict:
    return decide(bools(before, n), bools(after, n), torch.zeros(n, dtype=torch.long), ["cat"])


def of_classes(**counts: tuple[int, int, int]) -> Verdict:
    """Of (images, right before, right after) of each class."""
    before = torch.cat([bools(old, n) for n, old, _ in counts.values()])
    after = torch.cat([bools(new, n) for n, _, new in counts.values()])
    sizes = torch.tensor([n for n, *_ in counts.values()])
    return decide(before, after, torch.arange(len(counts)).repeat_interleave(sizes), list(counts))


def test_decision_in_words() -> None:
    better = of_one_class(500, 600, 1000)
    assert better.decision == "use"
    assert better.text == (
        "better than zero-shot by 10.0 points (95 % interval 8.1 to 11.9) on 1,000 images, "
        "60.0 % right against 50.0 %: use the adapted model"
    )
    worse = of_one_class(600, 500, 1000)
    assert worse.decision == "keep"
    assert worse.text == (
        "worse than zero-shot by 10.0 points (95 % interval 8.1 to 11.9) on 1,000 images, "
        "50.0 % right against 60.0 %: keep the zero-shot model"
    )
    unclear = of_one_class(50, 51, 100)
    assert unclear.decision == "keep"
    assert unclear.text == (
        "not measurably better than zero-shot (difference +1.0 points, 95 % interval -2.3 to +4.3, "
        "on 100 images, 51.0 % right against 50.0 %): keep the zero-shot model"
    )
    assert "on 1 image, 100.0 % right against 0.0 %)" in of_one_class(0, 1, 1).text
    assert json.loads(json.dumps(to_jsonable(worse))) == to_jsonable(worse)


def test_the_interval_decides_not_the_difference() -> None:
    """One image gained of three could be chance; three of three could not be a loss."""
    few = of_one_class(1, 2, 3)
    assert few.difference == pytest.approx(1 / 3)
    assert few.low < 0 < few.high and few.decision == "keep"
    # 9 gained and none lost of 20: cells 10/22 and 1/22.
    many = of_one_class(0, 9, 20)
    centre, spread = 9 / 22, 11 / 22
    assert many.low == pytest.approx(centre - 1.959964 * ((spread - centre**2) / 22) ** 0.5)
    assert many.low > 0 and many.decision == "use"


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.2), (-0.2, 0.0)])
def test_an_interval_that_ends_at_zero_holds_it(
    monkeypatch: pytest.MonkeyPatch, low: float, high: float
) -> None:
    found = Comparison(difference=(low + high) / 2, low=low, high=high, n=50, gained=10, lost=5)
    monkeypatch.setattr(verdicts, "compare", lambda *_: found)
    judged = of_one_class(1, 2, 2)
    assert judged.decision == "keep"
    assert judged.text.startswith("not measurably better")
    assert (judged.low, judged.high, judged.n, judged.gained, judged.lost) == (low, high, 50, 10, 5)


def test_a_good_gain_has_nothing_to_add() -> None:
    assert of_classes(cat=(200, 100, 150), dog=(200, 100, 150), fox=(9, 9, 9)).details == []


def test_what_a_gain_hides_stands_beside_it() -> None:
    found = of_classes(
        cat=(100, 10, 60), dog=(50, 20, 5), ox=(50, 20, 15), bee=(10, 1, 0), ant=(20, 0, 0)
    )
    assert found.decision == "use"
    assert found.details == [
        "It is still wrong more often than right.",
        "The adapted model names at most 10% of their images right: ant (0 % of 20), "
        "bee (0 % of 10), dog (10 % of 50).",
        "Classes that fell most: dog 40 % to 10 % (of 50), ox 40 % to 30 % (of 50), "
        "bee 10 % to 0 % (of 10).",
        "The gain rests on one class: without cat the difference is -16.2 points (95 % interval "
        "-22.5 to -9.3).",
    ]


def test_a_verdict_to_keep_tells_of_the_zero_shot_model() -> None:
    found = of_classes(cat=(100, 90, 50), dog=(100, 5, 60), fox=(100, 50, 0), empty=(0, 0, 0))
    assert found.decision == "keep"
    assert found.details == [
        "The zero-shot model names at most 10% of their images right: dog (5 % of 100).",
        "Classes that fell most: fox 50 % to 0 % (of 100), cat 90 % to 50 % (of 100).",
    ]


def test_a_gain_that_several_classes_share_rests_on_none() -> None:
    """Without either of two the rest is too small to be measured, but each has half of it."""
    found = of_classes(cat=(8, 1, 6), dog=(8, 1, 6))
    assert found.decision == "use"
    alone = of_classes(cat=(8, 1, 6))
    assert alone.decision == "use", "and of one class alone nothing is left"
    assert [detail for detail in found.details + alone.details if "one class" in detail] == []


def test_of_many_classes_three_are_named() -> None:
    found = of_classes(cat=(900, 0, 800), **{f"c{n}": (10, n, 0) for n in range(1, 7)})
    [few] = [detail for detail in found.details if "at most" in detail]
    assert few.endswith("c1 (0 % of 10), c2 (0 % of 10), c3 (0 % of 10) and 3 more.")
    [fell] = [detail for detail in found.details if "fell" in detail]
    assert "c6 60 % to 0 % (of 10), c5 50 % to 0 % (of 10), c4" in fell


def test_nothing_to_compare() -> None:
    with pytest.raises(HoldfastError, match="no images to compare on"):
        of_one_class(0, 0, 0)


def test_mean_change_by_hand() -> None:
    """Two sets of 98 images: 0.5 to 0.7 and 0.5 to 0.5, each with one right and one wrong added."""
    mean, low, high = mean_change([0.5, 0.5], [0.7, 0.5], [98, 98])
    assert mean == pytest.approx(0.1)
    after = (0.7 * 98 + 1) / 100
    variance = (3 * 0.25 + after * (1 - after)) / 100 / 4
    centre = (after - 0.5) / 2
    assert low == pytest.approx(centre - 1.959964 * variance**0.5)
    assert high == pytest.approx(centre + 1.959964 * variance**0.5)


def test_nothing_changed_is_known_only_so_far() -> None:
    mean, low, high = mean_change([1.0], [1.0], [10])
    assert mean == 0.0
    assert low == pytest.approx(-high) and 0.1 < high < 0.4


def test_a_mean_change_covers_the_truth() -> None:
    generator = torch.Generator().manual_seed(0)
    n, inside, runs = 60, 0, 400
    for _ in range(runs):
        before = (torch.rand(3, n, generator=generator) < 0.6).double().mean(dim=1).tolist()
        after = (torch.rand(3, n, generator=generator) < 0.45).double().mean(dim=1).tolist()
        _, low, high = mean_change(before, after, [n] * 3)
        inside += low <= -0.15 <= high
    assert 0.93 <= inside / runs <= 0.98


def test_a_task_counts_from_right_after_it_was_learnt() -> None:
    learnt = [[0.9, 0.2, 0.1], [0.8, 0.7, 0.1], [0.6, 0.8, 0.9]]
    expected = mean_change([0.9, 0.7], [0.6, 0.8], [50, 60])
    assert change_since_learnt(learnt, [50, 60, 70]) == expected
    assert expected[0] == pytest.approx(-0.1)
    assert change_since_learnt([[0.9]], [50]) is None
    assert change_since_learnt(learnt[-1:], [50, 60, 70]) is None, "all tasks at once"
    assert change_since_learnt([[None, 0.2], [0.8, 0.7]], [50, 60]) is None
