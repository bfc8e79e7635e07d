"""Models under training, as methods see them."""

import pytest
import torch
import torch.nn.functional as F
from tests.gradients import assert_same_step, step_gradients
from torch import nn

from holdfast.anchors.base import Memory, ReplaySet
from holdfast.data.batches import Batch
from holdfast.learners import (
    FROZEN,
    HeadLearner,
    TwoTowerLearner,
    in_parts,
    set_checkpointing,
)
from holdfast.methods import Family, Method, compose
from holdfast.models.classifier import Head
from holdfast.models.clip import load_clip
from holdfast.models.text import encode_text, image_features
from holdfast.train import objective

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


def test_parts_are_computed_without_a_graph_and_again_for_their_gradients():
    linear = nn.Linear(3, 2)
    rows, sizes = torch.randn(7, 3), []

    def encode(part):
        sizes.append(len(part))
        return linear(part)

    weights = torch.randn(7, 7)
    whole = linear(rows)
    (whole @ whole.T * weights).sum().backward()
    expected = linear.weight.grad.clone()
    linear.zero_grad()
    z = in_parts(encode, rows, 3)
    assert sizes == [3, 2, 2]
    torch.testing.assert_close(z, whole)
    (z @ z.T * weights).sum().backward()
    assert sorted(sizes[3:]) == [2, 2, 3]
    torch.testing.assert_close(linear.weight.grad, expected)


@pytest.mark.parametrize(("rows", "parts", "sizes"), [(2, 5, [1, 1]), (1, 5, [1]), (4, 1, [4])])
def test_there_are_no_more_parts_than_rows(rows, parts, sizes):
    seen = []
    in_parts(lambda part: seen.append(len(part)) or part, torch.randn(rows, 2), parts)
    assert seen == sizes
    seen.clear()
    with torch.no_grad():
        in_parts(lambda part: seen.append(len(part)) or part, torch.randn(rows, 2), parts)
    assert seen == [rows], "without gradients there is nothing to save"


def replay_set(clip, images, labels):
    prompts = ["a photo of an ant.", "a bee", "a photo of one large cow."]
    with torch.no_grad():
        seen = image_features(clip.model, images) + 0.1 * torch.randn(len(images), 16)
    text = encode_text(clip, prompts) + 0.1 * torch.randn(3, 16)
    return ReplaySet(
        paths=[None] * len(images),
        labels=labels.tolist(),
        prompts=prompts,
        tokens=clip.tokenizer(prompts),
        teacher_images=F.normalize(seen, dim=1),
        teacher_text=F.normalize(text, dim=1),
    )


@pytest.mark.parametrize("checkpoints", [False, True])
@pytest.mark.parametrize("method", ["gift", "zscl", "regft", "finetune", "vl2v", "kd"])
def test_a_step_in_parts_is_the_step_on_the_whole_batch(clip, method, checkpoints):
    """Contrastive, variance-covariance and alignment losses compare all of the batch."""
    torch.manual_seed(0)
    given, memory, family = batch(7), Memory(), Family.TRANSFER
    text = encode_text(clip, PROMPTS)
    learner: HeadLearner | TwoTowerLearner
    if method in ("gift", "zscl"):
        learner, family = TwoTowerLearner(clip, clip.tokenizer(PROMPTS)), Family.CONTINUAL
        replayed = torch.randn(8, 3, 32, 32)
        labels = torch.arange(8) % 3
        memory = Memory(replay=replay_set(clip, replayed, labels), initial=clip.model.state_dict)
        given.replay = Batch(replayed, labels, torch.arange(8))
    else:
        head = Head(16, 3)
        learner = HeadLearner(clip.visual, head, 10.0, text)
        if method in ("vl2v", "kd"):
            family = Family.DISTILL
            given.teacher_images = F.normalize(torch.randn(7, 16), dim=1)
            given.teacher_text = text[given.labels]
    composition = compose(Method.from_value(method, "method"), [], family)
    step = objective(composition, learner, memory)
    whole = step_gradients(learner, step, given)
    seen = []
    clip.model.visual.register_forward_pre_hook(lambda _, images: seen.append(len(images[0])))
    set_checkpointing(learner, checkpoints)
    for parts in (2, 3, 100):
        learner.parts = parts
        seen.clear()
        assert_same_step(whole, step_gradients(learner, step, given))
        assert max(seen) == max(1, -(-8 // parts) if given.replay else -(-7 // parts))
    learner.parts = 1
    assert_same_step(whole, step_gradients(learner, step, given))


def test_checkpointing_computes_layers_twice_and_is_turned_off_again(clip):
    learner = TwoTowerLearner(clip, clip.tokenizer(PROMPTS))
    calls = []
    for tower in (clip.model.visual, clip.model):
        layer = tower.transformer.resblocks[0]
        layer.register_forward_pre_hook(lambda layer, _: calls.append(layer))
    for on, times in ((True, 2), (False, 1)):
        calls.clear()
        set_checkpointing(learner, on)
        learner.answers(batch()).logits.sum().backward()
        assert [calls.count(layer) for layer in set(calls)] == [times] * 2


def test_a_model_that_cannot_is_said(caplog):
    class Plain(nn.Module):
        def set_grad_checkpointing(self, enable):
            assert not enable, "gradient checkpointing not supported"

    for visual in (nn.Linear(3, 2), Plain()):
        caplog.clear()
        set_checkpointing(HeadLearner(visual, Head(2, 2), 1.0), True)
        assert caplog.messages == [
            "The model knows no gradient checkpointing; it is trained without."
        ]
        set_checkpointing(HeadLearner(visual, Head(2, 2), 1.0), False)
        assert len(caplog.messages) == 1
