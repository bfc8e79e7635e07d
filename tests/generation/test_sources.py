import shutil
import sys

import pytest
import torch
from tests.tiny import COMMIT

from holdfast.errors import HoldfastError, UsageError
from holdfast.generation import pipeline, sources
from holdfast.settings import ImageSettings


def test_folder_hash_tells_weights_apart(diffusion, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(diffusion, copy)
    assert sources.folder_hash(copy) == sources.folder_hash(diffusion)
    (copy / ".git").write_text("")
    assert sources.folder_hash(copy) == sources.folder_hash(diffusion)
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert sources.folder_hash(copy) != sources.folder_hash(diffusion)


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (" , ", "No generator is named"),
        ("./nowhere", "no folder here and no hub id"),
        ("/no/where/at/all", "no folder here and no hub id"),
        ("a b", "no folder here and no hub id"),
    ],
)
def test_what_names_no_pipeline_is_refused(generator, message):
    with pytest.raises(UsageError, match=message):
        sources.find_pipelines(generator)


def test_several_pipelines_and_a_comma_in_a_folder(diffusion, tmp_path):
    copy = tmp_path / "one, two"
    shutil.copytree(diffusion, copy)
    assert [source.name for source in sources.find_pipelines(str(copy))] == ["one, two"]
    assert len(sources.find_pipelines(f"{diffusion}, {diffusion}")) == 2


def test_a_folder_without_a_pipeline(tmp_path):
    with pytest.raises(UsageError, match=r"lacks a model_index\.json"):
        sources.find_pipelines(str(tmp_path))
    (tmp_path / "model_index.json").write_text('{"_class_name": "StrangePipeline"}')
    [source] = sources.find_pipelines(str(tmp_path))
    cpu = torch.device("cpu")
    with (
        pytest.raises(HoldfastError, match="cannot be loaded"),
        pipeline.loaded(source, cpu, "fp32"),
    ):
        pass


def test_hub_weights_are_pinned_to_their_commit(hub):
    [source] = sources.find_pipelines("owner/tiny")
    assert source == sources.PipelineSource("owner/tiny", "owner/tiny", COMMIT)
    assert sources.find_pipelines(f"owner/tiny@{COMMIT}") == [source]
    with pipeline.loaded(source, torch.device("cpu"), "fp32") as pipe:
        assert pipe.scheduler == "DDIMScheduler"
        [picture] = pipe.draw(["a cat"], [1], ImageSettings(steps=1))
    assert picture.shape == (32, 32, 3)
    assert pipe.run is None


def test_missing_hub_weights_name_the_command(hub):
    with pytest.raises(HoldfastError, match=r"download\('owner/none', revision='v1'\)"):
        sources.find_pipelines("owner/none@v1")
    (hub / "models--owner--tiny" / "snapshots" / COMMIT / "unet" / "config.json").unlink()
    [source] = sources.find_pipelines("owner/tiny")
    with (
        pytest.raises(HoldfastError, match="owner/tiny"),
        pipeline.loaded(source, torch.device("cpu"), "fp32"),
    ):
        pass


def test_without_diffusers_the_command_that_installs_it_is_named(diffusion, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(HoldfastError, match=r"pip install 'holdfast\[generate\]'"):
        sources.find_pipelines(str(diffusion))
