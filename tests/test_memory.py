"""What a CLIP is trained with: the old model's answers, and Fisher information."""

from dataclasses import replace

import pytest
import torch

from holdfast.data.folders import scan
from holdfast.data.pictures import read_image
from holdfast.memory import build_replay_set, replay_fisher, weights_of, with_prefix
from holdfast.models.clip import load_clip
from holdfast.models.text import encode_text


@pytest.fixture
def clip(clip_folder):
    return load_clip(f"local-dir:{clip_folder}", device="cpu")


@pytest.fixture
def paths(pictures):
    return scan(pictures).paths


@pytest.fixture
def replay(clip, paths):
    prompts = [("a colour", "a light", "a dark")[i % 3] for i in range(len(paths))]
    return build_replay_set(clip, paths, prompts, batch_size=6)


def test_weights_are_copied(clip):
    copy = weights_of(clip)
    with torch.no_grad():
        clip.model.visual.proj.add_(1)
    assert not torch.equal(copy["visual.proj"], clip.model.visual.proj)
    assert set(with_prefix(copy, "model.")) == {f"model.{name}" for name in copy}


def test_each_image_and_each_prompt_is_asked_once(clip, paths):
    given = ["b", "a", "b", "b"]
    found = build_replay_set(clip, paths[:4], given, batch_size=3, among=["c", "a"])
    assert (found.prompts, found.labels) == (["b", "a", "c"], [0, 1, 0, 0])
    images = torch.stack([clip.preprocess(read_image(path)) for path in paths[:4]])
    with torch.no_grad():
        wanted = clip.model.encode_image(images, normalize=True)
    torch.testing.assert_close(found.teacher_images, wanted)
    torch.testing.assert_close(found.teacher_text, encode_text(clip, ["b", "a", "c"]))
    assert torch.equal(found.tokens, clip.tokenizer(["b", "a", "c"]))
    # They are computed with, so they may be part of a graph.
    assert not found.teacher_images.is_inference()


def fisher(clip, replay, seed=0, size=6, over_all=False):
    return replay_fisher(clip, replay, over_all=over_all, batch_size=size, workers=0, seed=seed)


def test_fisher_information(clip, replay):
    found = fisher(clip, replay)
    assert set(found) == {n for n, _ in clip.model.named_parameters()} - {"logit_scale"}
    for name, tensor in found.items():
        assert (tensor >= 0).all()
        torch.testing.assert_close(tensor.mean(), torch.tensor(1.0), msg=name)
    again = fisher(clip, replay)
    assert all(torch.equal(tensor, again[name]) for name, tensor in found.items())
    assert not torch.equal(fisher(clip, replay, seed=1)["visual.proj"], found["visual.proj"])


def test_fisher_information_in_parts_is_the_same(clip, replay):
    whole = fisher(clip, replay)
    parts = replay_fisher(clip, replay, over_all=False, batch_size=6, workers=0, seed=0, parts=4)
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_fisher_information_takes_the_logit_scale_itself(clip, replay):
    """And not its logarithm, under which all prompts would be nearly as likely."""
    scale = clip.model.logit_scale
    with torch.no_grad():
        scale.fill_(4.0)
    sure = fisher(clip, replay)
    seen = []
    softmax = torch.Tensor.log_softmax

    def watched(logits, *given, **options):
        seen.append(logits.abs().max().item())
        return softmax(logits, *given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "log_softmax", watched)
        again = fisher(clip, replay)
    assert torch.equal(sure["visual.proj"], again["visual.proj"])
    images = torch.stack([clip.preprocess(read_image(path)) for path in replay.paths])
    with torch.no_grad():
        cosines = clip.model.encode_image(images, normalize=True) @ replay.teacher_text.T
    assert max(seen) == pytest.approx(scale.exp().item() * cosines.abs().max().item(), rel=1e-3)


def test_fisher_information_tells_many_prompts_apart_though_images_lie_sorted(clip, replay):
    """Drawn images come prompt by prompt; where a batch has only one, nothing is told apart."""
    order = sorted(range(len(replay)), key=lambda i: replay.labels[i])
    lying = replace(
        replay,
        paths=[replay.paths[i] for i in order],
        labels=[replay.labels[i] for i in order],
    )
    seen = []
    tokenized = lying.tokens

    class Watched:
        def __getitem__(self, rows):
            seen.append(len(rows))
            return tokenized[rows]

    fisher(clip, replace(lying, tokens=Watched()), size=10)
    assert seen == [3, 3, 3]
