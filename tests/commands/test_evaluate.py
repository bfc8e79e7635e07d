"""`holdfast evaluate` as users run it."""

import json
import shutil

import pytest
import torch
from tests.commands.streams import THINGS as NAMES
from tests.test_cli import error_of

import holdfast
from holdfast.cli import main
from holdfast.data.folders import scan
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
    (run / "prompts.json").write_text(json.dumps([["a"], "b"]))
    (run / "settings.json").write_text("{}")
    code, line = error_of(capsys, "evaluate", run, pictures, "--device", "cpu")
    assert code in (1, 2), line
    settings = {"model": f"local-dir:{saved}", "pretrained": ""}
    (run / "settings.json").write_text(json.dumps(settings))
    code, line = error_of(capsys, "evaluate", run, pictures, "--device", "cpu")
    assert code == 1 and "prompts.json is not as it should be at [1]" in line
