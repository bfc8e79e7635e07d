import pytest
import torch
from torch import nn

from holdfast.anchors.weight_ensemble import label_information


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
