"""`holdfast predict` as users run it: what may be given, and where the names go."""

import csv
import io
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tests.commands.streams import THINGS as NAMES
from tests.test_cli import error_of

import holdfast
from holdfast.cli import main


def predicted(capsys, *words):
    """The lines that `holdfast predict` prints, as cells."""
    assert main(["predict", *map(str, words), "--device", "cpu"]) == 0
    return [line.split("\t") for line in capsys.readouterr().out.splitlines()]


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


def test_what_is_wrong_is_one_sentence(saved, tmp_path, capsys):
    for words, code, sentence in (
        ([saved, tmp_path / "none.png"], 2, "no image file or folder"),
        ([saved, tmp_path], 1, "There are no image files"),
        ([saved], 2, "No images are given"),
        ([saved, tmp_path / "*.png"], 2, "No file is called like"),
        ([saved, "--files", tmp_path / "none.txt"], 2, "none.txt cannot be read: No such file"),
        ([saved, tmp_path, "--out", tmp_path / "a.txt"], 2, "ends in .csv or .jsonl"),
        ([saved, tmp_path, "--out", tmp_path], 2, "is no table"),
    ):
        found, line = error_of(capsys, "predict", *words)
        assert found == code and sentence in line, line


def test_a_table_of_a_folder(saved, pictures, tmp_path, capsys):
    out = tmp_path / "new" / "names.csv"
    said = predicted(capsys, saved, pictures, "--top", "2", "--out", out)
    assert said == [[f"Names of 30 images: {out}"]]
    with out.open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["file", "name", "probability", "name_2", "probability_2"]
    expected = predicted(capsys, saved, pictures, "--top", "2")
    assert [[row[0], row[1], f"{float(row[2]):.4f}"] for row in rows] == [x[:3] for x in expected]
    out = tmp_path / "names.jsonl"
    predicted(capsys, saved, pictures, "--out", out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["file"] for line in lines] == [row[0] for row in rows]
    assert [line["names"][0]["name"] for line in lines] == [row[1] for row in rows]


def test_names_and_paths_with_commas_quotes_and_lines_come_back_from_the_table(
    saved, pictures, tmp_path, capsys
):
    odd = tmp_path / 'a, "b" 犬.png'
    odd.write_bytes(next(pictures.rglob("*.png")).read_bytes())
    predicted(capsys, saved, odd, "--out", tmp_path / "a.csv")
    rows = list(csv.DictReader((tmp_path / "a.csv").open(encoding="utf-8", newline="")))
    assert [row["file"] for row in rows] == [str(odd)]


def test_patterns_lists_and_standard_input(saved, pictures, tmp_path, capsys, monkeypatch):
    files = sorted(pictures.glob("*/3.png"))
    assert [row[0] for row in predicted(capsys, saved, pictures / "*" / "3.png")] == [
        str(file) for file in files
    ]
    assert len(predicted(capsys, saved, pictures / "**" / "*.png")) == 30
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*map(str, files), ""]).encode())
    assert [row[0] for row in predicted(capsys, saved, "--files", listed)] == list(map(str, files))
    for words, joint in (([saved, "-"], b"\n"), ([saved, "--files", "-"], b"\0")):
        given = joint.join(str(file).encode() for file in files)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        assert [row[0] for row in predicted(capsys, *words)] == list(map(str, files))


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(saved, pictures, tmp_path, capsys):
    odd = tmp_path / "[a]*.png"
    odd.write_bytes(next(pictures.rglob("*.png")).read_bytes())
    assert [row[0] for row in predicted(capsys, saved, odd)] == [str(odd)]
    [(path, _)] = holdfast.predict(saved, str(odd), device="cpu")
    assert path == odd


def test_pictures_in_memory_get_the_names_of_their_files(saved, pictures):
    files = sorted(pictures.rglob("*.png"))[:4]
    expected = [names for _, names in holdfast.predict(saved, files, device="cpu")]
    opened = [Image.open(file).convert("RGB") for file in files]
    arrays = [np.asarray(picture) for picture in opened]
    tensors = [torch.tensor(array).permute(2, 0, 1) for array in arrays]
    for given in (
        opened,
        arrays,
        np.stack(arrays),
        torch.stack(tensors),
        [tensor / 255 for tensor in tensors],
        (picture for picture in opened),
        [files[0], opened[1], arrays[2], tensors[3]],
    ):
        found = holdfast.predict(saved, given, device="cpu")
        assert [names for _, names in found] == expected
    assert [place for place, _ in found] == [files[0], 1, 2, 3]
    [(place, names)] = holdfast.predict(saved, arrays[2], device="cpu")
    assert place == 0 and [name for name, _ in names] == [name for name, _ in expected[2]]
    with pytest.raises(holdfast.UsageError, match="images holds 3; give paths"):
        holdfast.predict(saved, [3], device="cpu")


def test_json_on_standard_output_is_nothing_but_json(saved, pictures, capsys):
    file = next(pictures.rglob("*.png"))
    words = ["--json", "predict", str(saved), str(file), "--top", "2", "--device", "cpu"]
    assert main(words) == 0
    [found] = json.loads(capsys.readouterr().out)
    assert found["file"] == str(file) and len(found["names"]) == 2
    assert {each["name"] for each in found["names"]} < set(NAMES.names)


def test_a_loaded_classifier_is_as_good_as_its_folder(saved, pictures):
    files = sorted(pictures.rglob("*.png"))[:3]
    loaded = holdfast.load_classifier(saved, device="cpu")
    assert holdfast.predict(loaded, files) == holdfast.predict(saved, files, device="cpu")
    with pytest.raises(holdfast.UsageError, match="A loaded classifier has its names"):
        holdfast.predict(loaded, files, names=["a", "b"])
