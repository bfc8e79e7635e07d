"""GIFT's alignment against the sum written out, and what it is indifferent to."""

import pytest
import torch
from tests.anchors.towers import LABELS, Towers, seen, similarities

from holdfast.anchors.alignment import Alignment


def by_hand(logits, smoothing):
    """Mean over rows of -sum target·log softmax; equal prompts share the target."""
    total = 0.0
    for row in range(4):
        equal = [column for column in range(4) if LABELS[column] == LABELS[row]]
        log_p = logits[row].log_softmax(dim=0)
        for column in range(4):
            target = (1 / len(equal)) if column in equal else 0.0
            total -= ((1 - smoothing) * target + smoothing / 4) * log_p[column]
    return total / 4


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("towers", ["both", "image", "text"])
def test_the_loss_by_hand(towers, smoothing):
    learner = Towers()
    logits, _ = similarities(learner, towers != "text", towers != "image")
    terms = Alignment(0.7, smoothing, towers).replay_losses(seen(learner))
    assert list(terms) == ["alignment_image", "alignment_text"]
    torch.testing.assert_close(terms["alignment_image"], 0.7 * by_hand(logits, smoothing))
    torch.testing.assert_close(terms["alignment_text"], 0.7 * by_hand(logits.T, smoothing))


def test_the_order_of_the_images_does_not_matter():
    learner = Towers()
    first = Alignment().replay_losses(seen(learner))
    second = Alignment().replay_losses(seen(learner, order=(3, 1, 0, 2)))
    for name, term in first.items():
        torch.testing.assert_close(second[name], term)


@pytest.mark.parametrize(
    ("towers", "learns"), [("both", {"image", "text"}), ("image", {"image"}), ("text", {"text"})]
)
def test_only_the_towers_that_are_named_learn(towers, learns):
    learner = Towers()
    terms = Alignment(train_towers=towers).replay_losses(seen(learner))
    assert learner.learns(sum(terms.values())) == learns


def test_the_papers_values_and_no_weight():
    assert (Alignment().weight, Alignment().label_smoothing) == (0.25, 0.2)
    assert Alignment().active and not Alignment(0).active
