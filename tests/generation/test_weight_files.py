import shutil

import numpy as np
import pytest
import torch
from tests.tiny import COMMIT

from holdfast.generation import pipeline
from holdfast.generation.sources import find_pipelines
from holdfast.generation.weight_files import lacks_weights, only_variant
from holdfast.settings import ImageSettings


@pytest.mark.parametrize("parts", [("unet",), ("unet", "vae", "text_encoder")])
def test_weights_that_are_there_in_half_precision_only(diffusion, tmp_path, parts):
    half = tmp_path / "half"
    shutil.copytree(diffusion, half)
    assert only_variant(half) is None
    for part in parts:
        [weights] = (half / part).glob("*.safetensors")
        weights.rename(weights.with_suffix(".fp16.safetensors"))
    assert only_variant(half) == "fp16"
    pictures = []
    for folder in (diffusion, half):
        [source] = find_pipelines(str(folder))
        with pipeline.loaded(source, torch.device("cpu"), "fp32") as pipe:
            pictures += pipe.draw(["a cat"], [1], ImageSettings(steps=1))
    assert np.array_equal(*pictures)


def test_a_hub_pipeline_with_half_precision_only(hub, diffusion):
    unet = hub / "models--owner--tiny" / "snapshots" / COMMIT / "unet"
    [weights] = unet.glob("*.safetensors")
    weights.rename(weights.with_suffix(".fp16.safetensors"))
    [source] = find_pipelines("owner/tiny")
    with pipeline.loaded(source, torch.device("cpu"), "fp32") as pipe:
        assert len(pipe.draw(["a cat"], [1], ImageSettings(steps=1))) == 1


@pytest.mark.parametrize("plain", ["fails", "leaves them out"])
def test_half_precision_is_fetched_where_there_is_nothing_else(
    plain, hub, diffusion, tmp_path, monkeypatch
):
    asked, bare = [], tmp_path / "bare"
    shutil.copytree(diffusion, bare)
    for weights in bare.rglob("*.safetensors"):
        weights.unlink()

    def download(place, revision, variant=None):
        asked.append(variant)
        if variant is None and plain == "fails":
            raise ValueError("no such files")
        return str(diffusion if variant else bare)

    monkeypatch.setattr("diffusers.DiffusionPipeline.download", download)
    [source] = find_pipelines("owner/tiny")
    with pipeline.loaded(source, torch.device("cpu"), "fp32") as pipe:
        assert pipe.scheduler == "DDIMScheduler"
    assert asked == [None, "fp16"]


def test_both_kinds_of_weights_are_no_variant(diffusion, tmp_path):
    both = tmp_path / "both"
    shutil.copytree(diffusion, both)
    [weights] = (both / "unet").glob("*.safetensors")
    shutil.copy(weights, weights.with_suffix(".fp16.safetensors"))
    assert only_variant(both) is None


def test_parts_without_weights_are_seen(diffusion, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(diffusion, copy)
    assert not lacks_weights(copy)
    [weights] = (copy / "vae").glob("*.safetensors")
    weights.rename(weights.with_suffix(".bin"))
    assert not lacks_weights(copy)
    weights.with_suffix(".bin").unlink()
    assert lacks_weights(copy)
