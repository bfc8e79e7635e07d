import math

import pytest
import torch
from tests.test_train import SETTINGS, KilledError, Steps, model, squares
from torch import nn

from holdfast.averaging import BestTracker, RunningAverage, SWADTracker, Validation, evaluating
from holdfast.train import fit


class Losses:
    """Validations that find the recorded losses, one after the other, wherever they start."""

    def __init__(self, losses, found=0):
        self.losses, self.found = losses, found

    def __call__(self):
        self.found += 1
        loss = self.losses[self.found - 1]
        return Validation(round(math.exp(-loss), 1), loss)


def walk(following, steps):
    """The weights at step t are [t, t^2]."""
    module = nn.Linear(2, 1, bias=False)
    for step in range(steps):
        with torch.no_grad():
            module.weight.copy_(torch.tensor([[step, step**2]]))
        following.after_step(step, module)
        if following.finished:
            break
    return module


def test_the_best_weights_are_those_of_the_best_accuracy_then_the_smallest_loss():
    best = BestTracker(Losses([0.9, 0.35, 0.31, 0.33, 2.0]), every=2, steps=9)
    walk(best, 9)
    assert [v["step"] for v in best.validations] == [0, 2, 4, 6, 8]
    assert [v["accuracy"] for v in best.validations] == [0.4, 0.7, 0.7, 0.7, 0.1]
    assert best.result()["weight"].tolist() == [[4, 16]]
    assert best.about()["step"] == 4


def test_the_last_step_is_validated_too():
    best = BestTracker(Losses([1.0, 0.5, 0.1]), every=4, steps=7)
    walk(best, 7)
    assert [v["step"] for v in best.validations] == [0, 4, 6]
    assert best.result()["weight"].tolist() == [[6, 36]]


def test_the_running_average_by_hand():
    running = RunningAverage(Losses([1.0, 1.0]), every=6, steps=7, start=4)
    walk(running, 7)
    expected = [[(4 + 5 + 6) / 3, (16 + 25 + 36) / 3]]
    torch.testing.assert_close(running.result()["weight"], torch.tensor(expected))
    assert running.about() == {"average": "running", "first_step": 4, "last_step": 6}


def test_the_valley_averages_means_between_validations_and_ends_the_training():
    losses = [3.0, 1.0, 1.1, 1.2, 1.1, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0]
    valley = SWADTracker(Losses(losses), every=3, steps=37, converge=3, tolerance=3)
    module = walk(valley, 37)
    assert valley.finished and module.weight[0, 0] < 36
    about = valley.about()
    # The loss of 1.0 at step 3 starts it, and what ends there only holds the place; the segments
    # that end at steps 6, 9 and 12 are averaged; three losses above 1.43 end it at step 21.
    assert about["converged"] and about["ended"] and about["last_step"] == 12
    assert module.weight[0, 0] == 21
    segments = [(end - 2 + end - 1 + end) / 3 for end in (6, 9, 12)]
    assert valley.result()["weight"][0, 0] == pytest.approx(sum(segments) / 3)


def test_a_valley_that_never_converged_gives_the_last_segment():
    valley = SWADTracker(Losses([5.0, 4.0, 3.0, 2.0]), every=2, steps=7)
    walk(valley, 7)
    assert valley.result()["weight"][0, 0] == (5 + 6) / 2
    assert not valley.about()["converged"]


VALIDATIONS = [2.0, 0.7, 0.8, 0.9, 0.75, 0.8, 0.8, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]


def following(kind, found=0):
    losses = Losses(VALIDATIONS, found)
    if kind is SWADTracker:
        return SWADTracker(losses, 2, 29, converge=2, tolerance=3)
    return kind(losses, 2, 29, **({"start": 5} if kind is RunningAverage else {}))


@pytest.mark.parametrize("kind", [BestTracker, SWADTracker, RunningAverage])
@pytest.mark.parametrize("after", [0, 1, 6, 9, 20])
def test_a_killed_training_ends_with_the_same_average(tmp_path, kind, after):
    """To the bit, on one thread: the average's state is in the checkpoint with the weights."""
    whole = following(kind)
    fit(model(), Steps(29), squares, SETTINGS, seed=5, callback=whole)
    ended = whole.validations[-1]["step"]

    def kill(step, _):
        if step == after:
            raise KilledError

    checkpoint = tmp_path / "checkpoint.safetensors"
    work = {"seed": 5, "checkpoint": checkpoint, "checkpoint_minutes": 0}
    first = following(kind)
    if after <= ended:
        with pytest.raises(KilledError):
            fit(model(), Steps(29), squares, SETTINGS, callback=first, after_step=kill, **work)
    else:
        fit(model(), Steps(29), squares, SETTINGS, callback=first, after_step=kill, **work)
    again = following(kind, found=len(first.validations))
    fit(model(), Steps(29), squares, SETTINGS, callback=again, **work)
    assert again.validations == whole.validations
    assert again.about() == whole.about()
    assert all(torch.equal(again.result()[k], v) for k, v in whole.result().items())


def test_validating_leaves_the_modes_as_they_were():
    module = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(), nn.Linear(2, 2))
    module.train()
    module[0].eval()
    with evaluating(module):
        assert not any(part.training for part in module.modules())
        assert not module(torch.zeros(1, 2)).requires_grad
    assert [part.training for part in module] == [False, True, True]
