from tests.averaging.walks import Losses, walk

from holdfast.averaging import (
    BestTracker,
    Validation,
)


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
