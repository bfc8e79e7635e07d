import math

import pytest
import torch
from torch import nn

from holdfast.anchors.weight_ensemble import (
    CANDIDATES,
    SWEEP,
    WeightEnsemble,
    choose_alpha,
    label_information,
)


class Tiny(nn.Module):
    """As much of a classifier as the information needs: images -> features, logits."""

    def __init__(self):
        super().__init__()
        self.visual, self.head = nn.Linear(12, 4), nn.Linear(4, 5)

    def forward(self, images):
        features = self.visual(images.flatten(1))
        return features, self.head(features)


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return Tiny()


IMAGES = list(torch.randn(4, 1, 3, 2, 2, generator=torch.Generator().manual_seed(1)))


def weights_of(classifier):
    return {name: t.clone() for name, t in classifier.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], tensor) for name, tensor in other.items())


def test_the_seed_alone_draws_the_labels(classifier):
    values = weights_of(classifier)
    information = label_information(classifier, IMAGES, seed=3)
    first = information(values)
    torch.manual_seed(99)
    assert same(information(values), first), "not what was drawn before, by whomever"
    assert same(label_information(classifier, IMAGES, seed=3)(values), first)
    others = [label_information(classifier, IMAGES, seed=seed)(values) for seed in range(4, 8)]
    assert not any(same(other, first) for other in others)


def test_the_information_is_of_the_weights_it_is_given(classifier):
    values = weights_of(classifier)
    information = label_information(classifier, IMAGES, seed=0)
    first = information(values)
    moved = {name: t + 0.1 for name, t in values.items()}
    assert not same(information(moved), first)
    assert same(information(values), first)


def test_the_labels_are_drawn_from_the_model_not_taken_from_it(classifier):
    """By hand: the head's bias gets the squares of (drawn - probability), a mean over images."""
    information = label_information(classifier, IMAGES, seed=0)(weights_of(classifier))
    torch.manual_seed(0)
    expected = torch.zeros(5)
    for image in IMAGES:
        probabilities = classifier(image)[1].softmax(dim=1)[0].detach()
        drawn = nn.functional.one_hot(torch.multinomial(probabilities, 1), 5)[0]
        expected += (drawn - probabilities).square() / len(IMAGES)
    torch.testing.assert_close(information["head.bias"], expected)


def test_a_model_that_is_sure_has_no_information_and_a_frozen_tower_has_some(classifier):
    classifier.visual.requires_grad_(False)
    values = weights_of(classifier)
    assert label_information(classifier, IMAGES, 0)(values)["visual.weight"].any()
    sure = values | {"head.bias": torch.tensor([1e4, 0.0, 0.0, 0.0, 0.0])}
    found = label_information(classifier, IMAGES, 0)(sure)
    assert not any(tensor.any() for tensor in found.values())


def moved_from(values):
    torch.manual_seed(5)
    return {name: t + 0.3 * torch.randn_like(t) for name, t in values.items()}


def test_a_linear_merge_is_the_mean_of_the_weights(classifier):
    original = weights_of(classifier)
    tuned = moved_from(original)
    merge = WeightEnsemble().merging(original, tuned)
    assert same(merge(0.0), original) and same(merge(1.0), tuned)
    for name, value in merge(0.3).items():
        torch.testing.assert_close(value, 0.7 * original[name] + 0.3 * tuned[name])


def test_a_fisher_merge_has_the_same_ends_and_weighs_in_between(classifier):
    original = weights_of(classifier)
    tuned = moved_from(original)
    information = label_information(classifier, IMAGES, 0)
    merge = WeightEnsemble(merge="fisher").merging(original, tuned, information)
    assert same(merge(0.0), original) and same(merge(1.0), tuned)
    middle = merge(0.5)
    for name, value in middle.items():
        a, b = original[name], tuned[name]
        low, high = torch.minimum(a, b), torch.maximum(a, b)
        assert (value >= low - 1e-5).all() and (value <= high + 1e-5).all()
    linear = WeightEnsemble().merging(original, tuned)(0.5)
    assert not torch.equal(middle["head.weight"], linear["head.weight"])


def test_alpha_follows_the_generator_where_zero_shot_confirms_it():
    labels = torch.tensor([0, 0, 0, 1])
    right = 2 * torch.nn.functional.one_hot(labels, 2).float()
    one_wrong = right.clone()
    one_wrong[3] = torch.tensor([2.0, 0.0])
    found = {1.0: 9 * one_wrong, 0.5: 2 * right, 0.0: right, 0.3: 2 * right}
    choice = choose_alpha(found, labels)
    assert (choice.alpha, choice.how) == (0.3, "auto")  # of two equals the smaller
    assert choice.proxy[0.0] == pytest.approx(math.log(1 + math.exp(-2)))
    assert "4 held-out" in choice.why and "100%" in choice.why


def test_alpha_stays_with_zero_shot_as_far_as_it_contradicts_the_generator():
    labels = torch.tensor([0, 0])
    original = torch.tensor([[1.0, 0.0], [0.0, 3.0]])  # confirms one of two
    obeys = torch.tensor([[5.0, 0.0], [5.0, 0.0]])
    choice = choose_alpha({0.0: original, 1.0: obeys}, labels)
    sure, second = original.softmax(-1)[0, 0].item(), original.softmax(-1)[1, 0].item()
    targets = (0.5 + 0.5 * sure, 0.5 + 0.5 * second)  # of class 0

    def cross_entropy(logits):
        rows = logits.log_softmax(-1).tolist()
        return -sum(t * r[0] + (1 - t) * r[1] for t, r in zip(targets, rows, strict=True)) / 2

    assert choice.proxy == pytest.approx({0.0: cross_entropy(original), 1.0: cross_entropy(obeys)})
    assert choice.alpha == 0
    nothing = torch.tensor([[0.0, 1.0], [0.0, 1.0]])  # confirms none: its own opinion is kept
    assert choose_alpha({0.0: nothing, 1.0: obeys}, labels).alpha == 0


def test_what_becomes_too_sure_keeps_the_original():
    labels = torch.tensor([0, 1])
    unsure, sure = torch.tensor([[0.2, 0], [0.1, 0]]), torch.tensor([[9.0, 0], [9.0, 0]])
    assert choose_alpha({0.0: unsure, 1.0: sure}, labels).alpha == 0


def test_held_out_images_may_only_call_for_less_than_the_papers_half():
    assert tuple(i / 10 for i in range(11)) == SWEEP
    assert tuple(i / 10 for i in range(6)) == CANDIDATES
    assert WeightEnsemble() == WeightEnsemble(0.5, "linear")
