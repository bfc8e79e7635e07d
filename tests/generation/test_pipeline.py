import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from holdfast.errors import HoldfastError, UsageError
from holdfast.generation import pipeline
from holdfast.generation.sources import find_pipelines
from holdfast.settings import ImageSettings


def test_flaws():
    noise = np.random.default_rng(0).random((32, 32, 3))
    assert pipeline.flaw(noise) is None
    assert pipeline.flaw(noise * 0.05) is None
    assert pipeline.flaw(np.zeros_like(noise)) == "black"
    assert pipeline.flaw(np.ones_like(noise) * (0.2, 0.5, 0.9)) == "flat"
    noise[3, 3, 0] = np.nan
    assert pipeline.flaw(noise) == "not a number"


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
    [source] = find_pipelines(str(diffusion))
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
