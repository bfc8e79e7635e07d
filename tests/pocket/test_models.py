"""The shipped weights load through plain open_clip, diffusers and timm, and do their work."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import holdfast.pocket as pocket
from holdfast.errors import HoldfastError, UsageError
from holdfast.pocket.diffusion import draw_pictures, load_pipeline
from holdfast.pocket.measure import ZeroShotJudge, prompts, task_pictures
from holdfast.pocket.world import CLASSES


@pytest.fixture(scope="module")
def judge():
    from holdfast.pocket.clip import read_clip
    from holdfast.pocket.tokenizer import load_tokenizer

    folder = pocket.path("clip")
    return ZeroShotJudge(read_clip(folder), load_tokenizer(folder))


@pytest.fixture(scope="module")
def pipeline():
    return load_pipeline(pocket.path("diffusion"))


def test_all_weights_together_are_small():
    files = list(pocket.WEIGHTS.rglob("*.safetensors"))
    assert len(files) == 6
    assert sum(f.stat().st_size for f in files) <= 12 * 2**20


def test_plain_open_clip_loads_model_preprocessing_and_tokenizer(judge):
    import open_clip

    name = f"local-dir:{pocket.path('clip')}"
    model, preprocess = open_clip.create_model_from_pretrained(name)
    tokens = open_clip.get_tokenizer(name)(["a photo of a cat.", "a Schnauzer, naïve & 3,5 % 猫"])
    assert tokens.argmax(dim=1).tolist() == [(row == tokens.max()).nonzero()[0] for row in tokens]
    picture = Image.new("RGB", (48, 40), "red")
    with torch.inference_mode():
        assert model.eval().encode_image(preprocess(picture)[None]).shape == (1, 128)
        assert model.encode_text(tokens).shape == (2, 128)
    ours = task_pictures("shapes", 1)[:, 0]
    theirs = torch.stack([preprocess(Image.fromarray(pixels)) for pixels in ours])
    from holdfast.pocket.clip import scaled_pixels

    assert torch.allclose(theirs, scaled_pixels(ours), atol=1e-5)


@pytest.mark.parametrize("task", ["digits", "textures", "letters", "shapes", "things"])
def test_zero_shot_is_above_chance_and_below_saturation(task, judge):
    chance = 100 / len(CLASSES[task])
    accuracy = judge.accuracy(task_pictures(task, 12), prompts(task))
    assert max(2 * chance, 25) < accuracy < 92


def test_the_pipelines_text_encoder_is_the_clips_text_tower(judge, pipeline):
    from holdfast.pocket.tokenizer import encode

    tokens = torch.from_numpy(encode(judge.tokenizer, ["a photo of a boat.", "the letter Q"]))
    assert torch.equal(
        tokens, torch.tensor(encode(pipeline.tokenizer, ["a photo of a boat.", "the letter Q"]))
    )
    with torch.inference_mode():
        pooled = pipeline.text_encoder(tokens).pooler_output
        ours, theirs = judge.model.encode_text(tokens), pooled @ judge.model.text_projection
    assert torch.allclose(ours, theirs, atol=2e-3)


def test_the_pipeline_draws_what_is_asked_for(judge, pipeline):
    drawn = draw_pictures(pipeline, prompts("digits")[:4], 3)
    assert drawn.shape == (4, 3, 32, 32, 3)
    assert drawn.std() > 10
    assert judge.accuracy(drawn, prompts("digits")[:4]) > 50


@pytest.mark.parametrize("student", pocket.STUDENTS.values())
def test_the_students_load_through_timm(student):
    import timm

    model = timm.create_model(f"local-dir:{pocket.path(student)}", pretrained=True).eval()
    assert sum(p.numel() for p in model.parameters()) <= 700_000
    assert tuple(timm.data.resolve_model_data_config(model)["input_size"]) == (3, 32, 32)
    with torch.inference_mode():
        assert np.isfinite(model(torch.zeros(2, 3, 32, 32)).numpy()).all()


def test_the_card_tells_of_the_shipped_files():
    from holdfast.pocket.measure import inventory

    card = json.loads((pocket.WEIGHTS / "card.json").read_text())
    assert card["files"] == inventory(pocket.WEIGHTS)


def test_missing_models_are_explained(tmp_path):
    with pytest.raises(HoldfastError, match=r"pocket\.train all"):
        pocket.path("clip", tmp_path)
    with pytest.raises(HoldfastError, match=r"make world$"):
        pocket.path("clip", tmp_path, "make world")
    with pytest.raises(UsageError, match="student"):
        pocket.path("teacher")
