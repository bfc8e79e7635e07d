import json

from tests.averaging.walks import Losses, walk
from torch import nn

from holdfast.averaging import BestTracker, Validation
from holdfast.swad import SWAD


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


def test_the_best_weights_of_a_training_that_ends_where_its_valley_does():
    """As VL2V-ADiP's code aligns: nothing is averaged, and what comes after the end is not seen."""
    losses = [3.0, 1.0, 1.1, 1.2, 1.1, 9.0, 9.0, 9.0, 0.1, 0.1]
    best = BestTracker(Losses(losses), every=3, steps=28, valley=SWAD(3, 3))
    module = walk(best, 28)
    assert best.finished and module.weight[0, 0] == 21
    assert best.kept() == {"average": "none", "step": 3}
    assert best.result()["weight"].tolist() == [[3, 9]]
    # Without a valley the last validations count, which are better.
    free = BestTracker(Losses(losses), every=3, steps=28)
    walk(free, 28)
    assert not free.finished and free.kept()["step"] == 24


def test_a_resumed_training_ends_where_its_valley_would_have():
    losses = [3.0, 1.0, 1.1, 1.2, 1.1, 9.0, 9.0, 9.0, 0.1, 0.1]
    first = BestTracker(Losses(losses), every=1, steps=10, valley=SWAD(3, 3))
    walk(first, 5)
    tensors, values = first.state()
    again = BestTracker(Losses(losses, found=5), every=1, steps=10, valley=SWAD(3, 3))
    again.restore(tensors, json.loads(json.dumps(values)))
    module = nn.Linear(2, 1, bias=False)
    steps = 0
    while not again.finished:
        again.after_step(5 + steps, module)
        steps += 1
    assert steps == 3 and again.kept()["step"] == 1
