"""Models under training, as methods see them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from holdfast.data.batches import Batch
from holdfast.learners import FROZEN, HeadLearner, TwoTowerLearner
from holdfast.models.classifier import Head
from holdfast.models.clip import load_clip
from holdfast.models.text import encode_text

PROMPTS = ["a red thing.", "one green thing.", "something blue."]


@pytest.fixture
def clip(clip_folder):
    return load_clip(f"local-dir:{clip_folder}", device="cpu")


def batch(size=4, classes=3):
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(size, 3, 32, 32, generator=draw)
    return Batch(images, torch.arange(size) % classes, torch.arange(size))


def test_a_tower_with_a_head():
    visual = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))
    head = Head(5, 3)
    text = F.normalize(torch.randn(3, 5), dim=1)
    learner = HeadLearner(visual, head, 10.0, text)
    given = batch()
    answers = learner.answers(given)
    z = visual(given.images)
    assert torch.equal(answers.features, z)
    torch.testing.assert_close(answers.logits, F.normalize(z, dim=1) @ head.weight.T + head.bias)
    assert torch.equal(answers.labels, given.labels)
    torch.testing.assert_close(learner.image_features(given.images), F.normalize(z, dim=1))
    taught = F.normalize(torch.randn(4, 5), dim=1)
    given.teacher_images = taught
    torch.testing.assert_close(learner.teacher_logits(given), 10 * taught @ text.T)
    assert not learner.trains_text
    head.requires_grad_(False)
    assert set(learner.learning()) == {"visual.1.weight", "visual.1.bias"}


def test_the_gradients_of_several_losses_are_added_in_full_precision():
    """In bfloat16 the features would take each loss's gradient rounded, and their sum again."""
    learner = HeadLearner(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5)), Head(5, 3), 10.0)
    with torch.autocast("cpu", torch.bfloat16):
        features = learner.answers(batch()).features
        assert features.dtype == torch.float32
        assert learner.visual(batch().images).dtype == torch.bfloat16
    seen = []
    features.register_hook(seen.append)
    (features.sum() / 3 + features.sum() / 1000).backward()
    torch.testing.assert_close(seen[0], torch.full_like(features, 1 / 3 + 1 / 1000))


def test_both_towers_of_clip(clip):
    learner = TwoTowerLearner(clip, clip.tokenizer(PROMPTS))
    given = batch()
    answers = learner.answers(given)
    z = clip.model.encode_image(given.images)
    torch.testing.assert_close(answers.features, z)
    text = encode_text(clip, PROMPTS)
    torch.testing.assert_close(answers.logits, clip.logit_scale * F.normalize(z, dim=1) @ text.T)
    answers.logits.sum().backward()
    towers = {name.split(".")[1] for name, p in learner.named_parameters() if p.grad is not None}
    assert {"visual", "text_projection"} <= towers


def test_all_of_clip_learns_but_its_logit_scale(clip):
    learner = TwoTowerLearner(clip, clip.tokenizer(PROMPTS))
    frozen = {name for name, p in learner.named_parameters() if not p.requires_grad}
    assert frozen == {"model.logit_scale"} and "logit_scale" in FROZEN
    assert set(learner.learning()) == {n for n, _ in learner.named_parameters()} - frozen


def test_negatives_of_the_batch(clip):
    learner = TwoTowerLearner(clip, clip.tokenizer(PROMPTS), "batch")
    given = batch(2)
    given.labels = torch.tensor([2, 0])
    answers = learner.answers(given)
    assert answers.logits.shape == (2, 2) and answers.labels.tolist() == [1, 0]
    whole = TwoTowerLearner(clip, clip.tokenizer(PROMPTS)).answers(given).logits
    torch.testing.assert_close(answers.logits, whole[:, [0, 2]])
