"""The mean of the weights along a training."""

import pytest
import torch
from tests.anchors.towers import Towers

from holdfast.anchors.iterate_average import IterateAverage


def averaged(anchor, steps):
    """The steps whose weights are in the mean: step n sets each weight to 2^n, the start is 0."""
    learner = Towers()
    for parameter in learner.parameters():
        parameter.data.zero_()
    tracker = anchor.tracker(learner, steps)
    for step in range(steps):
        for parameter in learner.parameters():
            parameter.data.fill_(2.0**step)
        tracker.after_step(step, learner)
    mean = tracker.result()
    assert set(mean) == {name for name, _ in learner.named_parameters()}
    values = {tensor.flatten()[0].item() for tensor in mean.values()}
    assert len(values) == 1 and not tracker.finished
    count = tracker.mean.count
    total = round(values.pop() * count)
    taken = [step for step in range(steps) if total >> step & 1]
    assert count == len(taken) + 1  # and the start
    return taken


@pytest.mark.parametrize(
    ("every", "steps", "taken"),
    [
        (1, 4, [0, 1, 2, 3]),
        (2, 6, [0, 2, 4, 5]),
        (3, 7, [0, 3, 6]),
        (100, 5, [0, 4]),
        (0, 20, [*range(0, 20, 2), 19]),  # a tenth of all
        (0, 21, [*range(0, 21, 3), 20]),  # rounded up
        (0, 4, [0, 1, 2, 3]),
    ],
)
def test_the_weights_that_are_averaged(every, steps, taken):
    assert averaged(IterateAverage(every), steps) == taken


def test_what_does_not_learn_is_not_averaged():
    learner = Towers()
    learner.text.requires_grad_(False)
    tracker = IterateAverage(1).tracker(learner, 2)
    assert set(tracker.result()) == {"image.weight", "image.bias"}
    torch.testing.assert_close(tracker.result()["image.bias"], learner.image.bias.detach())
