import pytest
import torch
from torch import nn
from torchvision.transforms.functional import pil_to_tensor

from holdfast.data.domains import DomainBatches
from holdfast.data.teacher_batches import (
    CachedFeatures,
    FeatureBatches,
    ViewBatches,
    numbered,
    rounds,
)
from holdfast.data.views import Renderer, Views
from holdfast.settings import ViewSettings

TEXT = torch.eye(3)


def prepare(picture):
    return pil_to_tensor(picture.resize((32, 32))).float()


@pytest.fixture(scope="module")
def views(pictures):
    return Views(sorted(pictures.rglob("*.png")), ViewSettings(size=32), 0)


LABELS = torch.arange(3).repeat_interleave(10)
GROUPS = [list(range(0, 30, 2)), list(range(1, 30, 2))]


def answer(seen):
    """A teacher that knows pictures by their key."""
    rows = [[int(view.key[place : place + 4], 16) for place in range(0, 16, 4)] for view in seen]
    return torch.tensor(rows, dtype=torch.float32)


def batches(views, number, ask=answer, steps=4):
    draws = DomainBatches(GROUPS, 3, steps, number, seed=1)
    return ViewBatches(draws, views, Renderer(prepare), ask, TEXT, LABELS)


def test_the_first_view_is_the_picture_itself(views):
    (first, second) = rounds(views, [4, 7], 2)
    assert [v.parameters for v in first] == [None, None]
    assert [v.digest for v in first] == [v.digest for v in second]
    assert all(v.parameters is not None for v in second)
    assert numbered(views, 7, 1).key == second[1].key == views.view(7, 1).key


def test_images_answers_and_labels_belong_together(views):
    source = batches(views, 2)
    for batch, draw in zip(source(0), source.draws(0), strict=True):
        seen = [
            numbered(views, i, n)
            for i, n in zip(draw.indices.tolist(), draw.numbers.tolist(), strict=True)
        ]
        assert torch.equal(batch.images, torch.stack([prepare(v.image()) for v in seen]))
        assert torch.equal(batch.teacher_images, answer(seen))
        assert torch.equal(batch.labels, LABELS[draw.indices])
        assert torch.equal(batch.indices, draw.indices)
        assert torch.equal(batch.teacher_text, TEXT[batch.labels])


def test_without_stored_views_each_draw_has_its_own_and_is_asked_for_when_it_is_used(views):
    asked = []

    def ask(seen):
        asked.extend(seen)
        return answer(seen)

    source = iter(batches(views, 0, ask)(0))
    next(source)
    assert len(asked) == 6  # not what is prepared ahead
    list(source)
    assert len({view.key for view in asked}) == 24
    assert all(view.parameters is not None for view in asked)


@pytest.mark.parametrize("number", [0, 2])
def test_a_resumed_run_sees_the_same(views, number):
    whole = list(batches(views, number)(0))[2:]
    for a, b in zip(whole, batches(views, number)(2), strict=True):
        assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
        assert torch.equal(a.teacher_images, b.teacher_images)


def test_a_method_that_does_not_ask_gets_no_answers(views):
    batch = next(iter(batches(views, 2, ask=None)(0)))
    assert batch.teacher_images is None


def test_features_known_before_are_those_of_the_same_draws(views):
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5)).requires_grad_(False)
    known = []
    for group in GROUPS:
        seen = rounds(views, group, 2)
        images = [torch.stack([prepare(v.image()) for v in one]) for one in seen]
        features = torch.stack([backbone(x) for x in images])
        known.append(
            CachedFeatures(torch.tensor(group), features, torch.stack([answer(v) for v in seen]))
        )
    pixels = batches(views, 2)
    features = FeatureBatches(pixels.draws, known, TEXT, LABELS)
    assert len(features) == len(pixels) == 4
    for a, b in zip(pixels(1), features(1), strict=True):
        torch.testing.assert_close(backbone(a.images), b.images)
        assert torch.equal(a.teacher_images, b.teacher_images)
        assert torch.equal(a.teacher_text, b.teacher_text)
        assert torch.equal(a.labels, b.labels)
