"""Weights as people keep them: each file loads rightly, or is refused in a sentence."""

import argparse
import json
import pickle
import shutil

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from holdfast.errors import HoldfastError, UsageError
from holdfast.models.checkpoint import (
    Checkpoint,
    check_sibling,
    file_facts,
    published_facts,
    put_weights,
    read_checkpoint,
)
from holdfast.models.clip import load_clip

NAME = "tiny-ViT"


@pytest.fixture(scope="module", autouse=True)
def architecture(clip_folder, tmp_path_factory):
    """The tiny model as an architecture that open_clip knows by name, and has no weights of."""
    folder = tmp_path_factory.mktemp("configs")
    config = json.loads((clip_folder / "open_clip_config.json").read_text())["model_cfg"]
    (folder / f"{NAME}.json").write_text(json.dumps(config))
    paths = open_clip.factory._MODEL_CONFIG_PATHS
    open_clip.add_model_config(folder)
    yield config
    paths.remove(folder)
    open_clip.factory._MODEL_CONFIGS.pop(NAME)


@pytest.fixture(scope="module")
def weights(clip_folder):
    return load_file(clip_folder / "open_clip_model.safetensors")


def prefixed(weights, prefix):
    return {f"{prefix}{key}": tensor for key, tensor in weights.items()}


def noise(weights):
    return {key: tensor + 1 for key, tensor in weights.items()}


def averaged(weights):
    module = nn.Module()
    for key, tensor in weights.items():
        *path, last = key.split(".")
        place = module
        for part in path:
            if not hasattr(place, part):
                place.add_module(part, nn.Module())
            place = getattr(place, part)
        place.register_parameter(last, nn.Parameter(tensor.clone()))
    return AveragedModel(module).state_dict()


FORMS = {
    "plain": lambda w: w,
    "ddp": lambda w: prefixed(w, "module."),
    "compiled ddp": lambda w: prefixed(w, "_orig_mod.module."),
    "open_clip's training": lambda w: {
        "epoch": 3,
        "name": "run",
        "state_dict": prefixed(w, "module."),
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-3}]},
        "scaler": {"scale": 2.0},
    },
    "lightning": lambda w: {"state_dict": prefixed(w, "model."), "global_step": 3},
    "ema beside": lambda w: {"state_dict": noise(w), "state_dict_ema": w},
    "ema of a module": lambda w: {"model": noise(w), "ema": {"module": prefixed(w, "module.")}},
    "averaged model": averaged,
    "scale of one dimension": lambda w: {**w, "logit_scale": w["logit_scale"].reshape(1)},
}


@pytest.mark.parametrize("form", FORMS)
def test_what_trainings_leave_loads(form, weights, tmp_path, caplog):
    path = tmp_path / "weights.pt"
    torch.save(FORMS[form](weights), path)
    model = load_clip(NAME, str(path), device="cpu").model
    assert all(torch.equal(tensor, weights[key]) for key, tensor in model.state_dict().items())
    said = [message for message in caplog.messages if "averaged" in message]
    assert len(said) == ("ema" in form and form != "averaged model")


def test_safetensors_and_half_precision_load_in_full_precision(weights, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({key: tensor.half() for key, tensor in weights.items()}, path)
    model = load_clip(NAME, str(path), device="cpu").model
    for key, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, weights[key].half().float())


class Bomb:
    """An object whose reading leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_nothing_in_a_file_is_run(weights, tmp_path):
    for save in (torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))):
        save({"state_dict": weights, "extra": Bomb(tmp_path / "ran")}, tmp_path / "bomb.pt")
        with pytest.raises(HoldfastError, match="other Python objects"):
            read_checkpoint(tmp_path / "bomb.pt")
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"state_dict": {}, "args": argparse.Namespace(lr=1)}, r"objects \(argparse\.Namespace\)"),
        ({"epoch": 3, "best": 0.5}, r"holds no weights by their names \(epoch, best\)"),
        ([torch.zeros(3)], "holds a list and no weights"),
    ],
)
def test_files_without_weights_are_one_sentence(value, message, tmp_path):
    torch.save(value, tmp_path / "odd.pt")
    with pytest.raises(HoldfastError, match=message):
        load_clip(NAME, str(tmp_path / "odd.pt"), device="cpu")


def test_files_that_are_broken_or_torchscript_are_one_sentence(tmp_path):
    for name in ("half.pt", "half.safetensors"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 half of a file")
        with pytest.raises(HoldfastError, match=f"{name} (cannot be read|holds other)"):
            load_clip(NAME, str(tmp_path / name), device="cpu")
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "jit.pt")
    with pytest.raises(HoldfastError, match=r"TorchScript archive.*torch\.jit\.load\('"):
        load_clip(NAME, str(tmp_path / "jit.pt"), device="cpu")
    for name in ("nowhere.pt", str(tmp_path)):
        with pytest.raises(UsageError, match=r"are (no file|a folder); give a file of weights"):
            load_clip(NAME, name, device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: {k: w[k] for k in w if k.startswith("vis")},
            r"18 of 50 are missing \(.*; .*, ",
        ),
        (lambda w: {**w, "visual.proj": torch.zeros(32, 3)}, r"proj \(32, 3\), not \(32, 16\)"),
        (lambda w: {**w, "head.bias": torch.zeros(3)}, r"1 are unknown \(head\.bias\); give"),
        (lambda w: prefixed(w, "vision_model."), "names of transformers' own CLIP"),
        (lambda w: {**w, "visual.lora_A": torch.zeros(3)}, "merge its LoRA adapters"),
    ],
)
def test_weights_of_another_model_say_what_does_not_fit(change, message, weights, tmp_path):
    changed = {key: tensor.contiguous() for key, tensor in change(weights).items()}
    save_file(changed, tmp_path / "other.safetensors")
    with pytest.raises(HoldfastError, match=f"does not hold the weights of {NAME}: .*{message}"):
        load_clip(NAME, str(tmp_path / "other.safetensors"), device="cpu")


def test_positions_of_another_image_size_are_interpolated_and_said(weights, tmp_path, caplog):
    positions = weights["visual.positional_embedding"]  # a class token and 4 x 4 patches
    larger = torch.cat([positions[:1], positions[1:].repeat_interleave(4, dim=0)])
    torch.save({**weights, "visual.positional_embedding": larger}, tmp_path / "large.pt")
    load_clip(NAME, str(tmp_path / "large.pt"), device="cpu")
    assert any("has 65 positions in visual.positional_embedding and the model 17" in m
               for m in caplog.messages)  # fmt: skip


def test_a_siglip_without_a_bias_gets_none(tmp_path):
    from tests.tiny import siglip_folder

    model = load_clip(f"local-dir:{siglip_folder(tmp_path / 'siglip')}", device="cpu").model
    weights = {k: v.clone() for k, v in model.state_dict().items() if k != "logit_bias"}
    put_weights(model, Checkpoint(tmp_path / "w.pt", weights), "siglip")
    assert model.logit_bias.item() == 0


def test_text_weights_of_the_newer_names_fit_the_older_model(weights, tmp_path):
    text = ("positional", "token_embedding", "transformer", "ln_final", "text_projection")
    newer = {f"text.{k}" if k.startswith(text) else k: tensor for k, tensor in weights.items()}
    assert "text.ln_final.bias" in newer
    save_file(newer, tmp_path / "newer.safetensors")
    model = load_clip(NAME, str(tmp_path / "newer.safetensors"), device="cpu").model
    assert all(torch.equal(tensor, weights[key]) for key, tensor in model.state_dict().items())


def test_a_file_goes_with_an_architecture(weights, clip_folder, tmp_path):
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"brings its own weights; the file .* needs an arch"):
        load_clip(f"local-dir:{clip_folder}", str(tmp_path / "w.safetensors"), device="cpu")


def test_facts_are_what_all_published_weights_agree_in():
    facts, unknown = published_facts("ViT-B-16-SigLIP")
    assert facts["mean"] == facts["std"] == (0.5, 0.5, 0.5)
    assert (facts["resize_mode"], facts["interpolation"], unknown) == ("squash", "bicubic", [])
    assert published_facts("MobileCLIP-S1")[0]["std"] == (1.0, 1.0, 1.0)
    facts, unknown = published_facts("ViT-L-14-336")  # only OpenAI's
    assert facts["quick_gelu"] is True and not unknown
    assert published_facts("ViT-B-16")[1] == ["quick_gelu"]
    assert published_facts("ViT-L-14")[1] == ["quick_gelu", "mean", "std"]
    facts, unknown = published_facts("ViT-B-32-quickgelu")
    assert facts["quick_gelu"] is True and not unknown
    assert published_facts("coca_base") == ({}, [])


def shown(tmp_path, name="w.pt", dtypes=(torch.float32, torch.float32), **notes):
    first, norm = (torch.zeros(1, dtype=dtype) for dtype in dtypes)
    return Checkpoint(
        tmp_path / name, {"visual.conv1.weight": first, "ln_final.weight": norm}, notes
    )


def test_openais_weights_are_recognised_and_others_warned_of(tmp_path, caplog):
    sizes = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    for known in (
        shown(tmp_path, **sizes),
        shown(tmp_path, dtypes=(torch.float16, torch.float32)),
        shown(tmp_path, name="2024-model_ViT-B-16-quickgelu-lr_1e-5"),
        shown(tmp_path, "openai-b16.pt"),
    ):
        assert known.quick_gelu or known.notes.get("name")
        assert file_facts("ViT-B-16", known)["quick_gelu"] is True
    assert not caplog.messages
    plain = shown(tmp_path, name="2024-model_ViT-B-16-lr_1e-5")
    assert not plain.quick_gelu
    assert "quick_gelu" not in file_facts("ViT-B-16", plain)
    [warning] = caplog.messages
    assert "does not say their activation" in warning
    assert "--model ViT-B-16-quickgelu" in warning and "open_clip_config.json" in warning
    caplog.clear()
    file_facts("ViT-L-14", plain)
    assert "their activation and mean and deviation of pictures" in caplog.messages[0]
    caplog.clear()
    file_facts("ViT-B-16-SigLIP", plain)
    assert not caplog.messages


def test_openais_sizes_are_no_weights(weights, tmp_path):
    sizes = {key: torch.tensor(7) for key in ("input_resolution", "context_length", "vocab_size")}
    torch.save({**weights, **sizes}, tmp_path / "clip.pt")
    found = read_checkpoint(tmp_path / "clip.pt")
    assert found.quick_gelu and set(found.weights) == set(weights)


def test_what_the_published_weights_agree_in_is_built(weights, tmp_path, monkeypatch):
    """As for SigLIP's mean, and ViT-L-14-336's QuickGELU."""
    tag = {"mean": (0.1, 0.2, 0.3), "resize_mode": "squash", "quick_gelu": True}
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda name: ["only"])
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag_: tag)
    torch.save(weights, tmp_path / "w.pt")
    clip = load_clip(NAME, str(tmp_path / "w.pt"), device="cpu")
    assert clip.config["model_cfg"]["quick_gelu"] is True
    assert clip.config["preprocess_cfg"]["mean"] == (0.1, 0.2, 0.3)
    assert clip.config["preprocess_cfg"]["resize_mode"] == "squash"
    assert "QuickGELU" in repr(clip.model)


@pytest.fixture
def beside(clip_folder, weights, tmp_path):
    """A training's weights, with QuickGELU and another mean in the configuration beside them."""
    config = json.loads((clip_folder / "open_clip_config.json").read_text())
    config["model_cfg"]["quick_gelu"] = True
    config["preprocess_cfg"]["mean"] = [0.4, 0.4, 0.4]
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    torch.save({"state_dict": prefixed(weights, "module.")}, tmp_path / "epoch_3.pt")
    return tmp_path


def test_the_configuration_beside_a_file_counts(beside, clip_folder, caplog):
    clip = load_clip(NAME, str(beside / "epoch_3.pt"), device="cpu")
    shutil.copy(clip_folder / "open_clip_model.safetensors", beside)
    whole = load_clip(f"local-dir:{beside}", device="cpu")
    assert clip.config == whole.config and not caplog.messages
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(clip.visual(images), whole.visual(images))
        plain = load_clip(f"local-dir:{clip_folder}", device="cpu")
        assert not torch.equal(clip.visual(images), plain.visual(images))


def test_a_configuration_beside_a_file_that_is_another_is_said(beside, caplog):
    load_clip("ViT-B-16", str(beside / "epoch_3.pt"), device="cpu")
    [warning] = caplog.messages
    assert "describes another model than ViT-B-16 (vision_cfg.layers 2, not 12; " in warning
    (beside / "open_clip_config.json").write_text("{}")
    with pytest.raises(HoldfastError, match="is no configuration of open_clip"):
        check_sibling(beside, NAME)
