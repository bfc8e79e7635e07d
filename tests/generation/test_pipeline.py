import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.tiny import COMMIT

from holdfast.errors import HoldfastError, UsageError
from holdfast.generation import pipeline
from holdfast.settings import ImageSettings


def test_flaws():
    noise = np.random.default_rng(0).random((32, 32, 3))
    assert pipeline.flaw(noise) is None
    assert pipeline.flaw(noise * 0.05) is None
    assert pipeline.flaw(np.zeros_like(noise)) == "black"
    assert pipeline.flaw(np.ones_like(noise) * (0.2, 0.5, 0.9)) == "flat"
    noise[3, 3, 0] = np.nan
    assert pipeline.flaw(noise) == "not a number"


def test_folder_hash_tells_weights_apart(diffusion, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(diffusion, copy)
    assert pipeline.folder_hash(copy) == pipeline.folder_hash(diffusion)
    (copy / ".git").write_text("")
    assert pipeline.folder_hash(copy) == pipeline.folder_hash(diffusion)
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert pipeline.folder_hash(copy) != pipeline.folder_hash(diffusion)


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
        pipeline.find_pipelines(generator)


def test_several_pipelines_and_a_comma_in_a_folder(diffusion, tmp_path):
    copy = tmp_path / "one, two"
    shutil.copytree(diffusion, copy)
    assert [source.name for source in pipeline.find_pipelines(str(copy))] == ["one, two"]
    assert len(pipeline.find_pipelines(f"{diffusion}, {diffusion}")) == 2


def test_a_folder_without_a_pipeline(tmp_path):
    with pytest.raises(UsageError, match=r"lacks a model_index\.json"):
        pipeline.find_pipelines(str(tmp_path))
    (tmp_path / "model_index.json").write_text('{"_class_name": "StrangePipeline"}')
    [source] = pipeline.find_pipelines(str(tmp_path))
    cpu = torch.device("cpu")
    with (
        pytest.raises(HoldfastError, match="cannot be loaded"),
        pipeline.loaded(source, cpu, "fp32"),
    ):
        pass


def test_hub_weights_are_pinned_to_their_commit(hub):
    [source] = pipeline.find_pipelines("owner/tiny")
    assert source == pipeline.PipelineSource("owner/tiny", "owner/tiny", COMMIT)
    assert pipeline.find_pipelines(f"owner/tiny@{COMMIT}") == [source]
    with pipeline.loaded(source, torch.device("cpu"), "fp32") as pipe:
        assert pipe.scheduler == "DDIMScheduler"
        [picture] = pipe.draw(["a cat"], [1], ImageSettings(steps=1))
    assert picture.shape == (32, 32, 3)
    assert pipe.run is None


def test_missing_hub_weights_name_the_command(hub):
    with pytest.raises(HoldfastError, match=r"download\('owner/none', revision='v1'\)"):
        pipeline.find_pipelines("owner/none@v1")
    (hub / "models--owner--tiny" / "snapshots" / COMMIT / "unet" / "config.json").unlink()
    [source] = pipeline.find_pipelines("owner/tiny")
    with (
        pytest.raises(HoldfastError, match="owner/tiny"),
        pipeline.loaded(source, torch.device("cpu"), "fp32"),
    ):
        pass


def test_a_prompt_is_cut_where_no_encoder_reads_its_end(diffusion):
    """As in Stable Diffusion 3: CLIP reads 77 tokens, T5 as many as an argument says."""

    class T5Tokenizer:
        model_max_length = 512

        def __call__(self, prompts, verbose):
            return SimpleNamespace(input_ids=[range(len(prompt)) for prompt in prompts])

    class CLIPTokenizer(T5Tokenizer):
        model_max_length = 77

    class Run:
        tokenizer, tokenizer_2, tokenizer_3 = CLIPTokenizer(), None, T5Tokenizer()

        def __call__(self, prompt, max_sequence_length=256):
            raise NotImplementedError

    assert [limit for _, limit in pipeline._token_limits(Run())] == [77, 256]


def test_size_and_refused_settings(diffusion):
    [source] = pipeline.find_pipelines(str(diffusion))
    with pipeline.loaded(source, torch.device("cpu"), "bf16") as pipe:
        [picture] = pipe.draw(["a cat"], [1], ImageSettings(steps=1, size=16))
        assert picture.shape == (16, 16, 3)
        with pytest.raises(
            HoldfastError, match=r"tiny-diffusion refuses the settings: .*divisible"
        ):
            pipe.draw(["a cat"], [1], ImageSettings(steps=1, size=17))


def test_device_and_precision():
    assert pipeline.pick("cpu", "auto") == (torch.device("cpu"), "fp32")
    assert pipeline.pick("cpu", "bf16")[1] == "bf16"
    with pytest.raises(UsageError, match="needs a GPU"):
        pipeline.pick("cpu", "fp16")
    with pytest.raises(UsageError, match="'nonsense' cannot be used"):
        pipeline.pick("nonsense", "auto")


def test_the_manifest_imports_nothing_heavy():
    code = (
        "import sys, holdfast.generation;"
        "assert not {'torch', 'diffusers', 'transformers', 'numpy', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
