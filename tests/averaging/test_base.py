import pytest
import torch
from tests.averaging.walks import Losses, trained, walk
from torch import nn

from holdfast.averaging import (
    BestTracker,
    PeriodicAverage,
    RunningAverage,
    SWADTracker,
    Validation,
    evaluating,
)


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


def test_a_tracker_that_has_seen_nothing_can_be_kept():
    tensors, values = BestTracker(Losses([]), 1, 1).state()
    assert (tensors, values) == ({}, {"best": {}, "validations": []})


def test_what_is_kept_does_not_change_with_the_module():
    """Weights are handed out as they were, though later steps change the module in place."""
    for kind in (BestTracker, RunningAverage, SWADTracker):
        tracker = kind(Losses([1.0] * 9), every=1, steps=99)
        module = walk(tracker, 3)
        kept = {name: t.clone() for name, t in tracker.result().items()}
        with torch.no_grad():
            module.weight.fill_(1e6)
        assert torch.equal(tracker.result()["weight"], kept["weight"])


@pytest.mark.parametrize("kind", [BestTracker, SWADTracker, "accumulating", RunningAverage])
@pytest.mark.parametrize("stop", [0, 1, 4, 6, 9, 14, 20])
def test_a_resumed_training_ends_with_the_same_average(kind, stop):
    """To the bit: what is kept goes through a checkpoint's file and JSON."""
    torch.manual_seed(0)
    whole = trained(kind)
    torch.manual_seed(0)
    again = trained(kind, stop)
    assert again.validations == whole.validations
    assert again.finished == whole.finished == (kind in (SWADTracker, "accumulating"))
    assert again.kept() == whole.kept()
    assert all(torch.equal(again.result()[k], v) for k, v in whole.result().items())


def test_validating_leaves_the_modes_as_they_were():
    module = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(), nn.Linear(2, 2))
    module.train()
    module[0].eval()
    with evaluating(module):
        assert not any(part.training for part in module.modules())
        assert not module(torch.zeros(1, 2)).requires_grad
    assert [part.training for part in module] == [False, True, True]
