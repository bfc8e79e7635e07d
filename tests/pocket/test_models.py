"""The shipped weights load through plain open_clip, diffusers and timm, and do their work."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from holdfast import pocket
from holdfast.errors import HoldfastError, UsageError


@pytest.fixture(scope="module")
def judge():
    from world.measure import Judge

    return Judge(pocket.path("clip"))


def test_plain_open_clip_loads_it_and_it_has_no_running_statistics(judge):
    picture = Image.new("RGB", (128, 100), "red")
    tokens = judge.tokenizer(["a photo of a cat.", "a Schnauzer, naïve & 3,5 % 猫"])
    with torch.inference_mode():
        image = judge.model.encode_image(judge.preprocess(picture)[None])
        assert image.shape == (1, 128)
        assert judge.model.encode_text(tokens).shape == (2, 128)
    assert not [name for name, _ in judge.model.named_buffers() if "running" in name]


def test_its_logit_scale_is_that_of_a_real_clip(judge):
    assert 50 <= judge.model.logit_scale.exp().item() <= 100


def test_it_names_everyday_things_that_unseen_teams_drew(judge):
    accuracy = judge.accuracy(pocket.pictures("nouns"), pocket.NOUNS)
    assert 50 < accuracy < 85


@pytest.mark.parametrize("task", ["flags", "logos", "coins", "faces"])
def test_it_knows_little_of_what_streams_teach(task, judge):
    assert judge.accuracy(pocket.pictures(task), pocket.class_names(task)) < 45


def test_our_padding_free_reading_gives_open_clips_embeddings(judge):
    from world.clip import prepared, read

    names = ["an icon of a cat.", "a pixel icon of a shopping cart."]
    tokens = judge.tokenizer(names)
    with torch.inference_mode():
        theirs = judge.model.encode_text(tokens, normalize=True)
        assert torch.allclose(read(judge.model, tokens), theirs, atol=1e-5)
    ours = np.stack([part[0] for part in pocket.pictures("nouns")[:8]])
    x = prepared(torch.from_numpy(ours).permute(0, 3, 1, 2).float() / 255, 48)
    plain = torch.stack([judge.preprocess(Image.fromarray(p)) for p in ours])
    assert (x - plain).abs().mean() < 0.01  # PIL rounds to bytes, after each of two passes


def test_the_pipelines_text_encoder_is_the_clips_text_tower(judge):
    from world.diffusion import load_pipeline

    pipeline = load_pipeline(pocket.path("diffusion"))
    tokens = judge.tokenizer(["an icon of a boat.", "a flag of italy"])
    with torch.inference_mode():
        pooled = pipeline.text_encoder(tokens).pooler_output
        ours, theirs = judge.model.encode_text(tokens), pooled @ judge.model.text_projection
    assert torch.allclose(ours, theirs, atol=2e-3)


def test_the_pipeline_draws_what_is_asked_for(judge):
    from world.measure import recognised

    share, drawn, _ = recognised(judge, pocket.path("diffusion"), pocket.NOUNS[:12], 2)
    assert drawn.shape == (12, 2, 32, 32, 3)
    assert share > 40


@pytest.mark.parametrize("student", pocket.STUDENTS.values())
def test_students_load_through_timm(student):
    import timm

    model = timm.create_model(f"local-dir:{pocket.path(student)}", pretrained=True).eval()
    config = json.loads((pocket.path(student) / "config.json").read_text())
    assert sum(p.numel() for p in model.parameters()) <= 700_000
    assert len(config["label_names"]) == config["num_classes"]
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, config["num_classes"])


def test_students_have_not_learnt_what_tasks_teach():
    for student in pocket.STUDENTS.values():
        labels = json.loads((pocket.path(student) / "config.json").read_text())["label_names"]
        assert len(set(labels)) >= 100 and not set(labels) & set(pocket.NOUNS)


def test_one_student_crops_its_pictures():
    shares = [
        json.loads((pocket.path(student) / "config.json").read_text())["pretrained_cfg"]["crop_pct"]
        for student in pocket.STUDENTS.values()
    ]
    assert min(shares) < 1 == max(shares)


def test_all_weights_together_are_small():
    files = list(pocket.WEIGHTS_FOLDER.rglob("*.safetensors"))
    assert len(files) == 6
    assert sum(f.stat().st_size for f in files) <= 16 * 2**20


def test_the_card_tells_of_the_shipped_files():
    from world.measure import inventory

    text = (pocket.WEIGHTS_FOLDER.parent / "CARD.md").read_text()
    assert inventory() in text


def test_missing_models_are_explained(tmp_path):
    with pytest.raises(HoldfastError, match=r"'clip' is missing from .*reinstall holdfast"):
        pocket.path("clip", tmp_path)
    with pytest.raises(UsageError, match="student"):
        pocket.path("teacher")
