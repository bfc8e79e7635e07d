import pytest
import torch
from torch import nn
from torchvision.transforms.functional import pil_to_tensor

from holdfast.data.domains import DomainBatches
from holdfast.data.teacher_batches import (
    CachedFeatures,
    FeatureBatches,
    TaughtImages,
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
        assert torch.equal(a.indices, b.indices)


def test_features_without_a_teacher_have_no_answers(views):
    known = [
        CachedFeatures(torch.tensor(group), torch.randn(2, len(group), 5), None) for group in GROUPS
    ]
    draws = DomainBatches(GROUPS, 3, 2, 2, seed=1)
    for batch in FeatureBatches(draws, known, TEXT, LABELS)():
        assert batch.teacher_images is None and batch.images.shape == (6, 5)


def taught(views, ask=answer):
    return TaughtImages(views, LABELS, ask, TEXT, Renderer(prepare))


def test_images_come_in_their_order_in_batches_of_a_fixed_size(views, monkeypatch):
    monkeypatch.setattr("holdfast.data.teacher_batches.CHUNK", 4)
    places = [7, 3, 28, 0, 11, 3]
    found = list(taught(views).images(places))
    assert [batch.indices.tolist() for batch in found] == [[7, 3, 28, 0], [11, 3]]
    assert torch.equal(torch.cat([batch.labels for batch in found]), LABELS[places])
    whole = torch.stack([prepare(views.whole(i).image()) for i in places])
    assert torch.equal(torch.cat([batch.images for batch in found]), whole)
    second = torch.cat([batch.images for batch in taught(views).images(places, 1)])
    expected = torch.stack([prepare(views.view(i, 1).image()) for i in places])
    assert torch.equal(second, expected) and not torch.equal(second, whole)


@pytest.mark.parametrize("asks", [True, False])
def test_features_of_the_stored_views_by_hand(views, asks):
    seen = []

    def encode(batches, total, label):
        seen.append((total, label))
        return torch.cat([batch.images.mean(dim=(2, 3)) for batch in batches])

    def ask(asked):
        return answer(asked) / 2**16

    found = taught(views, ask).features([4, 9], 3, encode, asks, "photo")
    assert seen == [(2, f"features of photo, view {n} of 3") for n in (1, 2, 3)]
    assert found.indices.tolist() == [4, 9] and found.features.shape == (3, 2, 3)
    for number, row in enumerate(rounds(views, [4, 9], 3)):
        pixels = torch.stack([prepare(view.image()) for view in row])
        torch.testing.assert_close(found.features[number], pixels.mean(dim=(2, 3)))
        if asks:
            torch.testing.assert_close(found.answers[number], ask(row).half())
    assert (found.answers is None) is not asks


def test_batches_ask_the_teacher_only_where_it_is_wanted(views):
    draws = DomainBatches(GROUPS, 3, 2, 2, seed=1)
    asked = next(taught(views).batches(draws, True)(0))
    silent = next(taught(views).batches(draws, False)(0))
    assert asked.teacher_images is not None and silent.teacher_images is None
    assert torch.equal(asked.images, silent.images)
