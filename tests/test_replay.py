"""Replayed images: what is drawn, what the old model makes of them, and what rests on them."""

from dataclasses import replace

import pytest
import torch

from holdfast.data.folders import read_image, scan
from holdfast.errors import UsageError
from holdfast.memory import build_replay_set, replay_fisher
from holdfast.models.clip import load_clip
from holdfast.models.text import encode_text
from holdfast.replay import base_names, chosen_pairs, count
from holdfast.settings import ReplaySettings


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


def test_names_that_stand_for_pre_training(tmp_path):
    assert len(base_names("imagenet")) == 998  # "missile" and "sunglasses" are there twice
    assert len(base_names("pocket")) > 10
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    assert base_names(str(tmp_path / "names.txt")) == ("ant", "bee")
    with pytest.raises(UsageError, match="nothing"):
        base_names("nothing")


def test_some_of_the_users_pairs_in_their_order(tmp_path, pictures):
    for n, path in enumerate(sorted(pictures.rglob("*.png"))[:9]):
        (tmp_path / f"{n}.png").write_bytes(path.read_bytes())
        (tmp_path / f"{n}.txt").write_text(f"caption {n}")
    settings = ReplaySettings(folder=tmp_path, images=5)
    assert count(settings) == 5 and count(replace(settings, images=20)) == 9
    chosen = [text for _, text in chosen_pairs(settings, seed=0)]
    assert chosen == sorted(chosen) and len(set(chosen)) == 5
    assert chosen != [text for _, text in chosen_pairs(settings, seed=1)]
    assert len(chosen_pairs(replace(settings, images=20), seed=0)) == 9
