import json
import shutil
import subprocess
import sys

import huggingface_hub.constants
import pytest
import torch
from tests.tiny import cached_on_hub

from holdfast.errors import HoldfastError, UsageError
from holdfast.models.clip import load_clip, try_text


def test_unknown_models_and_tags_get_near_matches():
    with pytest.raises(UsageError, match=r"did you mean ViT-B-16"):
        load_clip("ViT-B16", "openai")
    with pytest.raises(UsageError, match=r"no pre-trained weights 'opnai'.*openai"):
        load_clip("ViT-B-16", "opnai")
    with pytest.raises(UsageError, match="no pre-trained weights ''"):
        load_clip("ViT-B-16")


def test_weights_that_cannot_be_fetched_get_the_command_that_fetches_them():
    with pytest.raises(HoldfastError, match=r"hf download timm/vit_base_patch16_clip_224\.openai"):
        load_clip("ViT-B-16", "openai")
    with pytest.raises(HoldfastError, match="hf download nobody/nothing"):
        load_clip("hf-hub:nobody/nothing")


def test_the_sentence_on_missing_weights_is_all_that_is_printed():
    """open_clip logs the same by the root logger, and would bury it."""
    script = "from holdfast.cli import main; main(['serve', 'ViT-B-16', '--port', '0'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(
        "holdfast: The weights of ViT-B-16 openai are not on this machine"
    )


def test_a_folder_in_the_place_of_a_name_is_told_from_one_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UsageError, match="There is no folder 'animals', and open_clip knows no model"
    ):
        load_clip("animals", "openai")
    (tmp_path / "animals").mkdir()
    with pytest.raises(UsageError, match="animals is a folder; write local-dir:animals"):
        load_clip("animals", "openai")


@pytest.mark.parametrize("name", ["runs/animals", "./animals", "/nowhere/animals"])
def test_the_path_of_a_folder_is_no_model_of_open_clip(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"There is no folder '{name}', and open_clip knows no"):
        load_clip(name, "openai")
    (tmp_path / "runs" / "animals").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"is a path; write local-dir:runs/animals"):
        load_clip("runs/animals", "openai")
    with pytest.raises(UsageError, match=r"The weights w/x.pt are no file"):
        load_clip("ViT-B/16", "w/x.pt")


def test_folders_that_hold_no_model(tmp_path, clip_folder):
    with pytest.raises(UsageError, match="no open_clip folder"):
        load_clip(f"local-dir:{tmp_path}")
    broken = tmp_path / "broken"
    shutil.copytree(clip_folder, broken)
    weights = broken / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(HoldfastError, match="could not be loaded"):
        load_clip(f"local-dir:{broken}")
    weights.unlink()
    with pytest.raises(HoldfastError, match="could not be loaded"):
        load_clip(f"local-dir:{broken}")


@pytest.mark.parametrize("name", ["hf-hub:timm/tiny", "timm/tiny", "hf-hub:owner/tiny"])
def test_models_of_the_hub(name, tmp_path, clip_folder, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    cached_on_hub(tmp_path, name.removeprefix("hf-hub:"), clip_folder)
    clip, local = (load_clip(each, device="cpu") for each in (name, f"local-dir:{clip_folder}"))
    assert clip.name == name and clip.config == local.config
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(clip.visual(images), local.visual(images))
    clip.save(tmp_path / "saved")
    assert load_clip(f"local-dir:{tmp_path / 'saved'}", device="cpu").config == local.config


def test_a_name_with_an_owner_is_asked_for_with_its_prefix(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"no folder 'laion/some'.*did you mean hf-hub:laion/some"):
        load_clip("laion/some")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "animals").mkdir(parents=True)
    with pytest.raises(UsageError, match="runs/animals is a path; write local-dir:runs/animals"):
        load_clip("runs/animals")
    with pytest.raises(UsageError, match=r"no folder 'ViT-B/15'.*did you mean ViT-B-16"):
        load_clip("ViT-B/15")


def test_quickgelu_follows_the_weights(tmp_path, clip_folder):
    """A folder saved from QuickGELU weights says so, or its embeddings would drift."""
    config = json.loads((clip_folder / "open_clip_config.json").read_text())
    config["model_cfg"]["quick_gelu"] = True
    quick = tmp_path / "quick"
    shutil.copytree(clip_folder, quick)
    (quick / "open_clip_config.json").write_text(json.dumps(config))
    clip = load_clip(f"local-dir:{quick}", device="cpu")
    clip.save(tmp_path / "again")
    again = load_clip(f"local-dir:{tmp_path / 'again'}", device="cpu")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(clip.model.visual(images), again.model.visual(images))


def test_weights_that_are_not_finite_and_towers_of_two_widths_are_refused_at_once(
    tmp_path, clip_folder
):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "nan"
    shutil.copytree(clip_folder, folder)
    weights = load_file(folder / "open_clip_model.safetensors")
    weights["visual.conv1.weight"][0] = float("nan")
    save_file(weights, folder / "open_clip_model.safetensors")
    with pytest.raises(HoldfastError, match="not finite for a plain picture"):
        load_clip(f"local-dir:{folder}", device="cpu")
    clip = load_clip(f"local-dir:{clip_folder}", device="cpu")
    with pytest.raises(HoldfastError, match="images 12 numbers and text 16"):
        try_text(clip, 12)
    clip.tokenizer = None
    with pytest.raises(HoldfastError, match="cannot read a prompt"):
        try_text(clip, 16)
