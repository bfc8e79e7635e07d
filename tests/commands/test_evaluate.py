"""`holdfast evaluate` and `holdfast predict` as users run them."""

import json
import shutil

import pytest
import torch
from tests.test_cli import error_of

import holdfast
from holdfast.cli import main
from holdfast.data.folders import scan
from holdfast.models.classifier import Classifier, text_head
from holdfast.models.clip import load_clip
from holdfast.names import from_names
from holdfast.results import Evaluation, read_result

NAMES = from_names(["red thing", "green thing", "blue thing"])


@pytest.fixture(scope="module")
def saved(clip_folder, tmp_path_factory):
    """The folder of a zero-shot classifier."""
    clip = load_clip(f"local-dir:{clip_folder}", device="cpu")
    prompts = [[f"a photo of a {name}."] for name in NAMES.names]
    folder = tmp_path_factory.mktemp("classifier")
    Classifier(clip, text_head(clip, prompts), NAMES).save(folder)
    return folder


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


def test_names_of_images_with_their_probabilities(saved, pictures, capsys):
    files = sorted(pictures.rglob("*.png"))[:3]
    words = ["predict", saved, *files, "--top", "2", "--batch_size", "2", "--device", "cpu"]
    assert main(list(map(str, words))) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == [str(file) for file in files]
    assert all({line[1], line[3]} < set(NAMES.names) for line in lines)
    assert all(float(line[2]) >= float(line[4]) for line in lines)
    found = holdfast.predict(saved, files, top=9, device="cpu")  # there are three
    for (path, names), line in zip(found, lines, strict=True):
        assert (str(path), names[0][0]) == (line[0], line[1])
        assert sum(share for _, share in names) == pytest.approx(1)
    twice = holdfast.predict(saved, [files[0], files[1], files[0]], top=9, device="cpu")
    assert [path for path, _ in twice] == [files[0], files[1], files[0]] and twice[0] == twice[2]
    [(path, _)] = holdfast.predict(str(saved), str(files[0]), device="cpu")
    assert path == files[0]


def test_images_that_cannot_be_read_are_left_out_and_named(saved, pictures, tmp_path, caplog):
    good, bad = next(pictures.rglob("*.png")), tmp_path / "bad.png"
    bad.write_bytes(good.read_bytes()[:60])
    assert [path for path, _ in holdfast.predict(saved, [bad, good], device="cpu")] == [good]
    assert str(bad) in caplog.text
    with pytest.raises(holdfast.HoldfastError, match="None of the images could be read"):
        holdfast.predict(saved, bad, device="cpu")


def test_what_is_wrong_is_one_sentence(saved, pictures, tmp_path, capsys):
    for words, code, sentence in (
        (["evaluate", tmp_path, pictures], 2, "holds no classifier"),
        (["evaluate", saved, tmp_path / "none"], 2, "does not exist"),
        (["evaluate", saved, pictures, "--out", tmp_path], 2, "is a folder; give a file"),
        (["predict", saved, tmp_path / "none.png"], 2, "no image file or folder"),
        (["predict", saved, tmp_path], 1, "There are no image files"),
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
