"""Other people's model files are looked at before they are read: none of them runs code."""

import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from holdfast.errors import HoldfastError, UsageError
from holdfast.foreign import (
    check_config,
    check_model_folder,
    check_weights_file,
    without_network,
)
from holdfast.models.clip import load_clip
from holdfast.models.student import load_student


class Payload:
    """What a hostile pickle does when it is read: it leaves a file."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return (open, (self.canary, "w"))


def module(folder, canary):
    """A Python file that leaves the canary when it is imported."""
    (folder / "evil.py").write_text(f"open({str(canary)!r}, 'w')\nclass Tokenizer: pass\n")


def change(path, **values):
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | values))


@pytest.fixture
def answers_yes(monkeypatch):
    """Whoever asks on standard input is told yes, and named."""

    def asked(*words):
        raise AssertionError(f"it was asked: {words}")

    monkeypatch.setattr("builtins.input", asked)


@pytest.fixture
def folder(clip_folder, tmp_path):
    import shutil

    copy = tmp_path / "model"
    shutil.copytree(clip_folder, copy)
    return copy


AUTO = {"AutoTokenizer": ["evil.Tokenizer", None]}


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("tokenizer_config.json", {"auto_map": AUTO}),
        ("config.json", {"auto_map": {"AutoModel": "evil.Tokenizer"}}),
        ("open_clip_config.json", {"trust_remote_code": True}),
        ("preprocessor_config.json", {"a": [{"custom_pipeline": "evil"}]}),
        ("inner/config.json", {"auto_map": AUTO}),
    ],
)
def test_a_folder_that_names_code_is_refused(folder, canary, answers_yes, file, values):
    module(folder, canary)
    (folder / file).parent.mkdir(exist_ok=True)
    change(folder / file, **values)
    with pytest.raises(UsageError, match=f"{file} sets .*that is never done"):
        load_clip(f"local-dir:{folder}", device="cpu")


def test_code_may_be_declined_in_words():
    check_config({"trust_remote_code": False, "auto_map": {}, "text_cfg": {"layers": 2}}, "x")
    with pytest.raises(UsageError, match="x sets trust_remote_code"):
        check_config({"text_cfg": {"tokenizer_kwargs": {"trust_remote_code": True}}}, "x")


def test_a_model_from_the_hub_that_names_code_is_refused(monkeypatch, answers_yes):
    import open_clip

    config = {"embed_dim": 4, "text_cfg": {"tokenizer_kwargs": {"trust_remote_code": True}}}
    monkeypatch.setattr(open_clip, "get_model_config", lambda _: config)
    with pytest.raises(UsageError, match=r"hf-hub:some/one sets trust_remote_code"):
        load_clip("hf-hub:some/one", device="cpu")


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "a.pt", "a.pth"])
def test_a_bare_pickle_is_refused(folder, canary, name):
    for path in folder.glob("*.safetensors"):  # with those, nothing else would be read
        path.unlink()
    (folder / name).write_bytes(pickle.dumps(Payload(canary)))
    with pytest.raises(HoldfastError, match=f"{name} are not read: .*bare pickle can run code"):
        load_clip(f"local-dir:{folder}", device="cpu")


def test_weights_files_of_every_kind(tmp_path, canary):
    good = tmp_path / "good.pt"
    torch.save(nn.Linear(2, 2).state_dict(), good)
    check_weights_file(good)
    check_weights_file(tmp_path / "any.safetensors")  # the format holds no code
    script = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), script)
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"0" * 10**6)
    outside = tmp_path / "outside.pt"
    with zipfile.ZipFile(outside, "w") as archive:
        archive.writestr("a/data.pkl", b"")
        archive.writestr("../../evil", b"")
    legacy = tmp_path / "legacy.pt"
    torch.save({"a": torch.ones(1)}, legacy, _use_new_zipfile_serialization=False)
    for path, reason in (
        (script, "TorchScript program"),
        (packed, "archive that torch.save does not write"),
        (outside, "archive that torch.save does not write"),
        (legacy, "bare pickle"),
        (tmp_path / "none.pt", "no archive"),
    ):
        with pytest.raises(HoldfastError, match=reason):
            check_weights_file(path)


def test_a_pickle_in_torchs_archive_is_read_as_plain_weights_only(tmp_path, canary):
    path = tmp_path / "a.pt"
    torch.save({"a": Payload(canary)}, path)
    check_weights_file(path)  # it looks like any other
    with pytest.raises(HoldfastError, match="holds other Python objects"):
        load_clip("ViT-B-32", str(path), device="cpu")


def test_a_student_with_a_pickle_is_refused(tmp_path, canary):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet"}))
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(canary)))
    with pytest.raises(HoldfastError, match="bare pickle can run code"):
        load_student(f"local-dir:{tmp_path}", None, device="cpu")


def test_the_network_is_back_after_the_block():
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    with pytest.raises(ZeroDivisionError), without_network():
        assert constants.HF_HUB_OFFLINE
        raise ZeroDivisionError
    assert before == constants.HF_HUB_OFFLINE


def test_configurations_that_are_too_large_or_deep_are_one_sentence(tmp_path):
    for text in ("[" * 10**5, "{", " " * (2**24 + 1)):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(HoldfastError, match=r"config\.json cannot be read"):
            check_model_folder(Path(tmp_path))
