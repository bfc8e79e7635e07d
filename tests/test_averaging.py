import json
import math

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from holdfast import averaging
from holdfast.averaging import (
    BestTracker,
    PeriodicAverage,
    RunningAverage,
    SWADTracker,
    ValidatedAverage,
    Validation,
    evaluating,
)


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
    assert best.kept()["step"] == 4


def test_of_equals_the_first_stays_and_the_smaller_loss_wins():
    class Found(Losses):
        def __call__(self):
            self.found += 1
            return Validation(*self.losses[self.found - 1])

    best = BestTracker(Found([(0.5, 1.0), (0.5, 1.0), (0.5, 0.9), (0.4, 0.1)]), every=1, steps=4)
    walk(best, 4)
    assert best.kept() == {"average": "none", "step": 2}
    assert best.validations[2] == {"step": 2, "accuracy": 0.5, "loss": 0.9}
    same = BestTracker(Found([(0.5, 1.0)] * 3), every=1, steps=3)
    walk(same, 3)
    assert same.kept()["step"] == 0
    assert same.result()["weight"].tolist() == [[0, 0]]
    assert not same.finished


def test_what_does_not_learn_is_not_kept():
    module = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    module[0].bias.requires_grad_(False)
    names = ["0.weight", "1.weight", "1.bias"]
    for kind in (BestTracker, RunningAverage, SWADTracker):
        tracker = kind(Losses([1.0]), every=1, steps=1)
        tracker.after_step(0, module)
        assert list(tracker.result()) == names
    assert list(PeriodicAverage(module, 1, 1).result()) == names


def test_validations_measure_the_module_in_evaluation_mode():
    module = nn.Linear(2, 1)
    module.train()
    seen = []

    def validate():
        seen.append((module.training, torch.is_grad_enabled()))
        return Validation(1.0, 0.0)

    BestTracker(validate, every=2, steps=9).after_step(1, module)
    assert seen == []
    BestTracker(validate, every=2, steps=9).after_step(2, module)
    assert seen == [(False, False)] and module.training


def test_the_mean_every_so_many_steps_by_hand():
    module = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[-4.0, 100.0]]))
    mean = PeriodicAverage(module, every=3, steps=9)
    assert mean.result()["weight"].tolist() == [[-4, 100]]
    for step in range(9):
        with torch.no_grad():
            module.weight.copy_(torch.tensor([[step, step**2]]))
        mean.after_step(step, module)
    # Before the task, after steps 0, 3 and 6, and the last, 8.
    expected = [(-4 + 0 + 3 + 6 + 8) / 5, (100 + 0 + 9 + 36 + 64) / 5]
    torch.testing.assert_close(mean.result()["weight"], torch.tensor([expected]))
    assert not mean.finished
    assert mean.state()[1] == {"last": 8, "count": 5}


def test_a_resumed_mean_every_so_many_steps_goes_on():
    module = nn.Linear(2, 1, bias=False)
    whole, again = (PeriodicAverage(module, 2, 7) for _ in range(2))
    for step in range(7):
        with torch.no_grad():
            module.weight.copy_(torch.randn(1, 2, generator=torch.Generator().manual_seed(step)))
        whole.after_step(step, module)
        again.after_step(step, module)
        tensors, values = again.state()
        again = PeriodicAverage(nn.Linear(2, 1, bias=False), 2, 7)
        again.restore({name: t.clone() for name, t in tensors.items()}, values)
    assert torch.equal(again.result()["weight"], whole.result()["weight"])
    assert again.mean.first == whole.mean.first == -1


def test_another_average_is_validated_along_the_training_and_resumed():
    def tracker(found=0):
        mean = PeriodicAverage(nn.Linear(2, 1, bias=False), 3, 7)
        return ValidatedAverage(mean, Losses([1.0, 0.5, 0.1, 0.2], found), 4, 7)

    torch.manual_seed(0)
    whole = tracker()
    walk(whole, 7)
    torch.manual_seed(0)
    stopped = tracker()
    walk(stopped, 5)
    again = tracker(found=2)
    again.restore(*stopped.state())
    module = nn.Linear(2, 1, bias=False)
    for step in (5, 6):
        with torch.no_grad():
            module.weight.copy_(torch.tensor([[step, step**2]]))
        again.after_step(step, module)
    assert [v["step"] for v in again.validations] == [0, 4, 6]
    assert torch.equal(again.result()["weight"], whole.result()["weight"])
    assert torch.equal(whole.result()["weight"], whole.average.result()["weight"])
    assert not whole.finished
    about = whole.about()
    assert about == again.about()
    assert about["kept"] == whole.average.about()["kept"] | {"accuracy": 0.8, "loss": 0.2}
    assert about["kept"]["average"] == "iterates" and about["kept"]["last_step"] == 6
    whole.average.finished, whole.every = True, 99
    whole.after_step(7, module)
    assert whole.finished


def test_what_there_is_to_say_of_the_kept_weights():
    """Their own accuracy and loss, which no validation along the training measured."""
    running = RunningAverage(Losses([1.0, 0.5, 0.1]), every=6, steps=7, start=4)
    walk(running, 7)
    assert running.about() == {
        "kept": running.kept() | {"accuracy": 0.9, "loss": 0.1},
        "validations": running.validations,
    }
    assert len(running.validations) == 2
    mean = PeriodicAverage(nn.Linear(2, 1, bias=False), 3, 9)
    kept = {"average": "iterates", "first_step": 0, "last_step": -1}
    assert mean.about() == {"kept": kept, "validations": []}
    walk(mean, 6)
    assert mean.about()["kept"]["last_step"] == 3


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
    assert running.kept() == {"average": "running", "first_step": 4, "last_step": 6}
    assert [v["loss"] for v in running.validations] == [1.0, 1.0]
    assert not running.finished


def test_a_training_that_ends_before_the_running_average_begins_has_its_last_weights():
    running = RunningAverage(Losses([1.0, 1.0]), every=6, steps=7)
    assert running.start == 100, "the paper's"
    walk(running, 7)
    assert running.result()["weight"].tolist() == [[6, 36]]
    assert running.kept() == {"average": "running", "first_step": 6, "last_step": 6}


def test_a_running_average_that_begins_late_begins_where_it_is():
    running = RunningAverage(Losses([1.0]), every=99, steps=99, start=3)
    module = nn.Linear(2, 1, bias=False)
    for step in (7, 8):
        nn.init.constant_(module.weight, step)
        running.after_step(step, module)
    assert running.result()["weight"].tolist() == [[7.5, 7.5]]
    assert running.kept() == {"average": "running", "first_step": 7, "last_step": 8}


def test_a_tracker_that_has_seen_nothing_can_be_kept():
    tensors, values = BestTracker(Losses([]), 1, 1).state()
    assert (tensors, values) == ({}, {"best": {}, "validations": []})


def test_the_segments_that_wait_are_on_the_cpu(monkeypatch):
    moved = []
    monkeypatch.setattr(averaging, "on_cpu", lambda weights: moved.append(weights) or weights)
    walk(SWADTracker(Losses([1.0] * 3), every=2, steps=5), 5)
    assert [set(weights) for weights in moved] == [{"weight"}] * 3


def test_what_is_kept_does_not_change_with_the_module():
    """Weights are handed out as they were, though later steps change the module in place."""
    for kind in (BestTracker, RunningAverage, SWADTracker):
        tracker = kind(Losses([1.0] * 9), every=1, steps=99)
        module = walk(tracker, 3)
        kept = {name: t.clone() for name, t in tracker.result().items()}
        with torch.no_grad():
            module.weight.fill_(1e6)
        assert torch.equal(tracker.result()["weight"], kept["weight"])


def test_the_valley_averages_means_between_validations_and_ends_the_training():
    losses = [3.0, 1.0, 1.1, 1.2, 1.1, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0]
    valley = SWADTracker(Losses(losses), every=3, steps=37, converge=3, tolerance=3)
    module = walk(valley, 37)
    assert valley.finished and module.weight[0, 0] < 36
    about = valley.kept()
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
    assert valley.kept() == {
        "average": "valley",
        "first_step": 5,
        "last_step": 6,
        "segments": 2,
        "converged": False,
        "ended": False,
    }
    assert not valley.finished


def test_the_valley_has_the_papers_settings_and_takes_others():
    given = SWADTracker(Losses([]), 1, 1, 4, 5, 0.6).swad
    assert (given.converge, given.tolerance, given.ratio) == (4, 5, 0.6)
    given = SWADTracker(Losses([]), 1, 1).swad
    assert (given.converge, given.tolerance, given.ratio) == (3, 6, 0.3)


def test_an_average_that_holds_its_place_only_is_of_one_segment():
    """The training ends where the valley begins, and the losses after it are high."""
    valley = SWADTracker(Losses([0.1, 1.0, 1.0]), every=1, steps=3)
    walk(valley, 3)
    about = valley.kept()
    assert (about["converged"], about["segments"]) == (True, 1)
    assert (about["first_step"], about["last_step"]) == (0, 0)


VALIDATIONS = [2.0, 0.7, 0.8, 0.9, 0.75, 0.8, 0.8, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]


def following(kind, found=0):
    losses = Losses(VALIDATIONS, found)
    if kind is SWADTracker:
        return SWADTracker(losses, 2, 29, converge=2, tolerance=3)
    return kind(losses, 2, 29, **({"start": 5} if kind is RunningAverage else {}))


def trained(kind, stop=None):
    """A tracker that followed a training of 29 steps, stopped and resumed after the step `stop`."""
    generator = torch.Generator().manual_seed(5)
    module, tracker = nn.Linear(3, 2), following(kind)
    for step in range(29):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) / (step + 1))
        tracker.after_step(step, module)
        if step == stop:
            tensors, values = tracker.state()
            # One file cannot hold a tensor twice, nor one that is not contiguous.
            tensors, values = load(save(tensors)), json.loads(json.dumps(values, allow_nan=False))
            tracker = following(kind, found=len(tracker.validations))
            tracker.restore(tensors, values)
        if tracker.finished:
            break
    return tracker


@pytest.mark.parametrize("kind", [BestTracker, SWADTracker, RunningAverage])
@pytest.mark.parametrize("stop", [0, 1, 4, 6, 9, 14, 20])
def test_a_resumed_training_ends_with_the_same_average(kind, stop):
    """To the bit: what is kept goes through a checkpoint's file and JSON."""
    torch.manual_seed(0)
    whole = trained(kind)
    torch.manual_seed(0)
    again = trained(kind, stop)
    assert again.validations == whole.validations
    assert again.finished == whole.finished == (kind is SWADTracker)
    assert again.kept() == whole.kept()
    assert all(torch.equal(again.result()[k], v) for k, v in whole.result().items())


def test_a_valley_that_has_ended_is_still_over_after_a_restart():
    whole = trained(SWADTracker)
    again = following(SWADTracker)
    again.restore(*whole.state())
    assert again.finished and again.segment is None


def test_validating_leaves_the_modes_as_they_were():
    module = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(), nn.Linear(2, 2))
    module.train()
    module[0].eval()
    with evaluating(module):
        assert not any(part.training for part in module.modules())
        assert not module(torch.zeros(1, 2)).requires_grad
    assert [part.training for part in module] == [False, True, True]
