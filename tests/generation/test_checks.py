"""A pipeline of other people takes its parts from diffusers and transformers, and runs no code."""

import json
import sys

import pytest
from tests.test_foreign import module

from holdfast.errors import HoldfastError, UsageError
from holdfast.generation.checks import check_pipeline_folder
from holdfast.generation.sources import find_pipelines


@pytest.fixture
def pipeline(tmp_path):
    (tmp_path / "pipe" / "unet").mkdir(parents=True)
    return tmp_path / "pipe"


def index(pipeline, **parts):
    (pipeline / "model_index.json").write_text(
        json.dumps({"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "X"]} | parts)
    )


@pytest.mark.parametrize(
    "library", ["antigravity", "os.path", "evil", "", 3, None, ["a"], "diffusers.evil"]
)
def test_a_part_of_a_pipeline_is_from_no_other_library(pipeline, canary, monkeypatch, library):
    module(pipeline, canary)
    monkeypatch.syspath_prepend(pipeline)
    before = set(sys.modules)
    index(pipeline, unet=[library, "X"] if library is not None else [[], "X"])
    with pytest.raises(UsageError, match="takes its unet from"):
        find_pipelines(str(pipeline))
    assert not {"antigravity", "evil"} & (set(sys.modules) - before)


def test_code_beside_a_part_of_a_pipeline_is_refused(pipeline, canary):
    index(pipeline, unet=["transformers", "X"], safety_checker=[None, None])
    check_pipeline_folder(pipeline)
    (pipeline / "unet" / "transformers.py").write_text(f"open({str(canary)!r}, 'w')")
    with pytest.raises(UsageError, match="holds code of its own"):
        find_pipelines(str(pipeline))


@pytest.mark.parametrize("text", ["[]", "{}", '{"_class_name": ["evil", "X"]}', "{", "[" * 10**5])
def test_what_describes_no_pipeline_is_one_sentence(pipeline, text):
    (pipeline / "model_index.json").write_text(text)
    with pytest.raises(HoldfastError, match=r"^[^\n]*model_index\.json[^\n]*$"):
        find_pipelines(str(pipeline))


def test_a_module_of_a_pipeline_is_a_part_of_diffusers(pipeline):
    index(pipeline, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    check_pipeline_folder(pipeline)
