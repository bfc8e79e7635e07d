"""`holdfast evaluate` as users run it."""

import shutil
import socket

import pytest
import torch
from huggingface_hub import constants
from tests.commands.streams import THINGS as NAMES
from tests.test_cli import error_of

import holdfast
from holdfast.cli import main
from holdfast.data.folders import scan
from holdfast.files import write_sealed
from holdfast.results import Evaluation, read_result


def test_scores_are_those_of_the_classifier_by_hand(saved, pictures, tmp_path, capsys):
    file = tmp_path / "scores.json"
    words = ["evaluate", saved, pictures, "--out", file, "--workers", 0, "--batch_size", 7]
    assert main([*map(str, words), "--device", "cpu"]) == 0
    found = read_result(file)
    assert isinstance(found, Evaluation) and found.zero_shot is None and found.verdict is None
    data = scan(pictures, NAMES)
    names, probabilities = holdfast.load_classifier(saved, "cpu").predict(data.paths)
    right = [name == NAMES.names[label] for name, label in zip(names, data.labels, strict=True)]
    assert found.scores.n == 30 and found.scores.top1 == sum(right) / 30
    loss = -probabilities.log()[torch.arange(30), data.labels].mean().item()
    assert found.scores.nll == pytest.approx(loss, rel=1e-4)
    assert found.command.startswith(f"holdfast evaluate {saved} {pictures} --out")
    assert f"top-1 {found.scores.top1:6.1%}" in capsys.readouterr().out
    assert main(["report", str(file), "--out", str(tmp_path / "page.html")]) == 0
    assert "classifier" in (tmp_path / "page.html").read_text().lower()


def test_python_gives_the_same_scores(saved, pictures):
    found = holdfast.evaluate(str(saved), pictures, workers=0, device="cpu")
    again = holdfast.evaluate(saved, str(pictures), workers=0, device="cpu", batch_size=30)
    assert found.scores.confusion == again.scores.confusion
    assert found.command == f"holdfast evaluate {saved} {pictures}"


def test_what_could_not_be_measured_is_said(saved, pictures, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    shutil.rmtree(data / "green thing")
    (data / "red thing" / "0.png").write_bytes(b"no picture")
    assert main(["evaluate", str(saved), str(data), "--workers", "0", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert f"{data / 'red thing' / '0.png'} could not be read" in printed
    assert "for want of real images: green thing." in printed and "19 images" in printed


def test_what_is_wrong_is_one_sentence(saved, pictures, tmp_path, capsys):
    for words, code, sentence in (
        (["evaluate", tmp_path, pictures], 2, "holds no classifier"),
        (["evaluate", saved, tmp_path / "none"], 2, "does not exist"),
        (["evaluate", saved, pictures, "--out", tmp_path], 2, "is a folder; give a file"),
    ):
        found, line = error_of(capsys, *words)
        assert found == code and sentence in line, line
    other = tmp_path / "other"
    shutil.copytree(pictures, other)
    (other / "blue thing").rename(other / "blue thingy")
    code, line = error_of(capsys, "evaluate", saved, other)
    assert code == 2 and "'blue thingy' (did you mean blue thing" in line


def test_a_broken_run_folder_is_one_sentence(saved, pictures, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(saved, run)
    for prompts, text, sentence in (
        ([["a"], "b"], "{}", "settings.json has no checksum"),
        ([["a"], "b"], None, "prompts.json is not as it should be at [...][1]"),
        ([["a"]], None, "prompts.json is not of this run's 3 classes"),
    ):
        write_sealed(run / "prompts.json", {"prompts": prompts})
        write_sealed(run / "settings.json", {"model": f"local-dir:{saved}", "pretrained": ""})
        if text:
            (run / "settings.json").write_text(text)
        code, line = error_of(capsys, "evaluate", run, pictures, "--device", "cpu")
        assert code == 1 and sentence in line, line


def test_a_strangers_run_fetches_nothing(saved, pictures, tmp_path, capsys, caplog, monkeypatch):
    """The model that its settings name is taken from this machine, or not at all."""
    asked = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, place: asked.append(place))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    run = tmp_path / "run"
    shutil.copytree(saved, run)
    write_sealed(run / "prompts.json", {"prompts": [["a"], ["b"], ["c"]]})
    for model, tag in (("hf-hub:some/one", ""), ("ViT-B-32", "laion2b_s34b_b79k")):
        write_sealed(run / "settings.json", {"model": model, "pretrained": tag})
        found = main(["evaluate", str(run), str(pictures), "--device", "cpu", "--workers", "0"])
        assert found == 0 and "zero-shot model was not compared" in caplog.text
        caplog.clear()
    assert not asked and not constants.HF_HUB_OFFLINE


def test_of_splits_the_test_images_are_scored_and_the_wrong_level_is_refused(
    saved, pictures, tmp_path, capsys, caplog
):
    caplog.set_level("INFO", "holdfast")
    data = tmp_path / "data"
    for split in ("train", "Testing"):
        shutil.copytree(pictures, data / split)
    shutil.rmtree(data / "Testing" / "red thing")
    (data / "Testing" / "blue thing" / "x.heic").write_bytes(b"x")
    assert main(["evaluate", str(saved), str(data), "--workers", "0", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "20 images" in printed and "files .heic (read where pillow-heif" in printed
    assert f"{data}: splits, test 20 images, 3 classes; not used: train." in caplog.text
    (data / "Testing").rename(data / "twitter")
    (data / "train").rename(data / "google")
    code, line = error_of(capsys, "evaluate", saved, data)
    assert code == 2 and "'google' and 'twitter' hold the same folders" in line
    words = ["evaluate", saved, data / "google", "--classes", "red thing,blue thing"]
    assert main([*map(str, words), "--workers", "0", "--device", "cpu"]) == 0
    assert "20 images" in capsys.readouterr().out
