import json
import math
import random

import pytest
import torch
from tests.reference.swad import average

from holdfast.swad import SWAD, Segment, extend, started


def segment(k, loss=math.nan):
    """Segment k of steps 5k - 4 to 5k, whose weights are unlike any mean of others."""
    generator = torch.Generator().manual_seed(k)
    weights = {"w": torch.randn(3, dtype=torch.float64, generator=generator)}
    return Segment(weights, max(0, 5 * k - 4), 5 * k, 5 if k else 1, loss)


def averaged(losses, **settings):
    swad = SWAD(**settings)
    for k, loss in enumerate(losses):
        swad.validate(segment(k, loss))
    return swad


def assert_is_mean(found, segments):
    """The average has these segments, some perhaps twice, in this order."""
    taken = [segment(k) for k in segments]
    place = (found.first, found.last, found.count)
    assert place == (taken[0].first, taken[-1].last, len(taken))
    expected = torch.stack([s.weights["w"] for s in taken]).mean(dim=0)
    torch.testing.assert_close(found.weights["w"], expected)


def assert_same(found, expected):
    """To the bit."""
    places = [(s.first, s.last, s.count, repr(s.loss)) for s in (found, expected)]
    assert places[0] == places[1]
    assert torch.equal(found.weights["w"], expected.weights["w"])


def test_a_mean_of_weights_by_hand():
    mean = Segment({"w": torch.tensor([1.0]), "v": torch.tensor([0.0])}, 3, 3)
    mean.add({"v": torch.tensor([4.0]), "w": torch.tensor([3.0])}, 4)
    mean.add({"v": torch.tensor([8.0]), "w": torch.tensor([8.0])}, 7)
    assert (mean.first, mean.last, mean.count) == (3, 7, 3)
    assert {name: t.item() for name, t in mean.weights.items()} == {"w": 4.0, "v": 4.0}


def test_a_mean_is_of_the_same_weights():
    start = {"w": torch.zeros(2)}
    for other in ({"v": torch.zeros(2)}, {"w": torch.zeros(3)}):
        with pytest.raises(ValueError, match="w"):
            Segment(dict(start), 0, 0).add(other, 1)


def test_the_valley_by_hand():
    # Falls until 2, stays, then rises for good: 2 begins it, and it ends once three are high.
    losses = [5, 4, 1, 1.1, 1.2, 1.1, 9, 9, 9]
    assert not averaged(losses[:-1], tolerance=3).left_valley
    swad = averaged(losses, tolerance=3)
    assert swad.left_valley
    # Segment 2 holds the place; what counts are 3, 4 and 5, as in SWAD's code.
    assert_is_mean(swad.result(), [3, 4, 5])
    swad.validate(segment(9, 1.0))
    assert_is_mean(swad.result(), [3, 4, 5])


def test_the_papers_settings_are_the_defaults():
    swad = SWAD()
    assert (swad.converge, swad.tolerance, swad.ratio) == (3, 6, 0.3)
    assert (swad.threshold, swad.left_valley, swad.average) == (math.inf, False, None)


def test_only_losses_above_the_threshold_end_the_valley():
    # The mean of 2, 2, 2 by half: 3 is not above it.
    assert averaged([2, 2, 2], converge=3, tolerance=3, ratio=0.5).threshold == 3
    assert not averaged([2, 2, 2, 3, 3, 3, 3], tolerance=3, ratio=0.5).left_valley
    assert averaged([2, 2, 2, 3.01, 3.01, 3.01], tolerance=3, ratio=0.5).left_valley


def test_before_a_valley_begins_the_result_is_the_latest_segment():
    swad = averaged([3, 2, 1])
    assert swad.average is None
    assert_same(swad.result(), segment(2, 1))


def test_an_average_of_nothing_is_the_segment_that_begins_it():
    swad = averaged([0.1, 1.0, 1.0])
    found = swad.result()
    assert (found.first, found.last, found.count) == (0, 0, 0)
    assert torch.equal(found.weights["w"], segment(0).weights["w"])


def test_asking_for_the_average_does_not_change_it():
    swad = averaged([1, 1, 1, 1, 1, 1, 1, 1])
    first = swad.result()
    again = swad.result()
    assert (again.first, again.last, again.count) == (first.first, first.last, first.count)
    assert torch.equal(again.weights["w"], first.weights["w"])
    assert swad.average.count < first.count


def curves():
    """Flat, falling, rising and jumping losses, many of them equal or at the threshold."""
    chance = random.Random(0)
    for _ in range(300):
        length, low = chance.randint(1, 22), chance.randint(0, 12)
        slope, noise = chance.choice([0, 0, 0.25, 2]), chance.choice([0, 1, 4])
        whole = [round(slope * abs(k - low) + noise * chance.random()) for k in range(length)]
        yield [loss + 1.0 for loss in whole]


SETTINGS = [(3, 6, 0.3), (3, 6, 0.5), (2, 3, 1.0), (2, 2, 0.0), (4, 2, 0.25), (1, 3, 1.0)]
SETTINGS += [(4, 1, 0.5), (1, 1, 0.0), (5, 7, 0.0)]


@pytest.mark.parametrize(("converge", "tolerance", "ratio"), SETTINGS)
def test_any_curve_is_averaged_as_written_out(converge, tolerance, ratio):
    """Each curve, after each validation, against the paper's algorithm in tests/reference/swad."""
    for losses in curves():
        swad = SWAD(converge, tolerance, ratio)
        for k, loss in enumerate(losses):
            swad.validate(segment(k, loss))
            expected = average(losses[: k + 1], converge, tolerance, ratio)
            assert swad.left_valley == (expected is not None and expected.left_at is not None)
            found = swad.result()
            if expected is None:
                assert_same(found, segment(k, loss))
            elif expected.taken:
                assert_is_mean(found, expected.taken)
            else:
                place = segment(expected.start)
                assert (found.first, found.last, found.count) == (place.first, place.last, 0)
                assert torch.equal(found.weights["w"], place.weights["w"])


def restored(swad):
    """The same from what a checkpoint keeps: tensors in a file of their own, values as JSON."""
    tensors, values = swad.state()
    memory = [t.data_ptr() for t in tensors.values()]
    assert len(set(memory)) == len(memory), "a safetensors file cannot hold one tensor twice"
    again = SWAD(swad.converge, swad.tolerance, swad.ratio)
    values = json.loads(json.dumps(values, allow_nan=False))
    again.restore({name: t.clone() for name, t in tensors.items()}, values)
    return again


@pytest.mark.parametrize(("converge", "tolerance", "ratio"), SETTINGS)
def test_a_restored_average_goes_on_as_if_it_had_never_stopped(converge, tolerance, ratio):
    for number, losses in enumerate(curves()):
        whole, stopped = (SWAD(converge, tolerance, ratio) for _ in range(2))
        for k, loss in enumerate(losses):
            if k == number % len(losses):
                stopped = restored(stopped)
            for swad in (whole, stopped):
                swad.validate(segment(k, loss))
        assert_same(stopped.result(), whole.result())
        for name in ("left_valley", "start", "threshold"):
            assert getattr(stopped, name) == getattr(whole, name)


def test_a_restored_average_does_not_take_what_lies_before_its_start():
    # 3 begins it; the memory of six still holds 0, 1 and 2, whose losses are high.
    losses = [9, 8, 7, 1, 1.1, 1.2]
    swad = restored(averaged(losses))
    assert swad.start == 15
    swad.validate(segment(6, 1.0))
    assert swad.average.count == 0
    assert_is_mean(swad.result(), [2, 3, 4, 5, 6])


def test_names_of_weights_may_hold_a_slash():
    """A checkpoint's keys hold them too."""
    swad = SWAD(converge=1)
    swad.validate(Segment({"a/b": torch.ones(1), "b": torch.zeros(1)}, 0, 0, loss=1.0))
    assert set(restored(swad).recent[0].weights) == {"a/b", "b"}
    assert set(restored(swad).result().weights) == {"a/b", "b"}


def test_a_segment_without_a_loss_comes_back_without_one():
    swad = averaged([math.nan, 1.0])
    again = restored(swad)
    assert math.isnan(again.recent[0].loss) and again.recent[1].loss == 1.0
    assert [s.count for s in again.recent] == [1, 5]


def test_a_segment_starts_with_a_copy_and_takes_step_after_step():
    weights = {"w": torch.tensor([2.0])}
    mean = started(weights, 4)
    assert (mean.first, mean.last, mean.count) == (4, 4, 1)
    weights["w"] += 4
    extend(mean, weights, 5)
    assert (mean.first, mean.last, mean.count) == (4, 5, 2)
    assert mean.weights["w"].item() == 4


def test_a_mean_from_a_checkpoint_goes_where_the_weights_are():
    mean = started({"w": torch.zeros(2)}, 0)
    extend(mean, {"w": torch.zeros(2, device="meta")}, 1)
    assert mean.weights["w"].device.type == "meta"
