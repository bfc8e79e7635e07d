"""The models of the world of drawings load through plain open_clip, diffusers and timm."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from holdfast.pocket import icons

clip = pytest.mark.skipif(not (icons.WEIGHTS / "clip").exists(), reason="not trained yet")
diffusion = pytest.mark.skipif(
    not (icons.WEIGHTS / "diffusion/unet/diffusion_pytorch_model.safetensors").exists(),
    reason="not trained yet",
)


@pytest.fixture(scope="module")
def judge():
    from world.measure import Judge

    return Judge(icons.path("clip"))


@clip
def test_plain_open_clip_loads_it_and_it_has_no_running_statistics(judge):
    picture = Image.new("RGB", (128, 100), "red")
    tokens = judge.tokenizer(["a photo of a cat.", "a Schnauzer, naïve & 3,5 % 猫"])
    with torch.inference_mode():
        image = judge.model.encode_image(judge.preprocess(picture)[None])
        assert image.shape == (1, 128)
        assert judge.model.encode_text(tokens).shape == (2, 128)
    assert not [name for name, _ in judge.model.named_buffers() if "running" in name]


@clip
def test_its_logit_scale_is_that_of_a_real_clip(judge):
    assert 50 <= judge.model.logit_scale.exp().item() <= 100


@clip
def test_it_names_everyday_things_that_unseen_teams_drew(judge):
    accuracy = judge.accuracy(icons.pictures("nouns"), icons.NOUNS)
    assert 50 < accuracy < 85


@clip
@pytest.mark.parametrize("task", ["flags", "logos", "coins", "faces"])
def test_it_knows_little_of_what_streams_teach(task, judge):
    assert judge.accuracy(icons.pictures(task), icons.class_names(task)) < 45


@clip
def test_our_padding_free_reading_gives_open_clips_embeddings(judge):
    from world.clip import prepared, read

    names = ["an icon of a cat.", "a pixel icon of a shopping cart."]
    tokens = judge.tokenizer(names)
    with torch.inference_mode():
        theirs = judge.model.encode_text(tokens, normalize=True)
        assert torch.allclose(read(judge.model, tokens), theirs, atol=1e-5)
    ours = np.stack([part[0] for part in icons.pictures("nouns")[:8]])
    x = prepared(torch.from_numpy(ours).permute(0, 3, 1, 2).float() / 255, 48)
    plain = torch.stack([judge.preprocess(Image.fromarray(p)) for p in ours])
    assert (x - plain).abs().mean() < 0.01  # PIL rounds to bytes, after each of two passes


@clip
@diffusion
def test_the_pipelines_text_encoder_is_the_clips_text_tower(judge):
    from holdfast.pocket.diffusion import load_pipeline

    pipeline = load_pipeline(icons.path("diffusion"))
    tokens = judge.tokenizer(["an icon of a boat.", "a flag of italy"])
    with torch.inference_mode():
        pooled = pipeline.text_encoder(tokens).pooler_output
        ours, theirs = judge.model.encode_text(tokens), pooled @ judge.model.text_projection
    assert torch.allclose(ours, theirs, atol=2e-3)


@clip
@diffusion
def test_the_pipeline_draws_what_is_asked_for(judge):
    from world.measure import recognised

    share, drawn, _ = recognised(judge, icons.path("diffusion"), icons.NOUNS[:12], 2)
    assert drawn.shape == (12, 2, 32, 32, 3)
    assert share > 25


@pytest.mark.parametrize("student", icons.STUDENTS.values())
def test_students_load_through_timm(student):
    import timm

    if not (icons.WEIGHTS / student).exists():
        pytest.skip("not trained yet")
    model = timm.create_model(f"local-dir:{icons.path(student)}", pretrained=True).eval()
    config = json.loads((icons.path(student) / "config.json").read_text())
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, config["num_classes"])
