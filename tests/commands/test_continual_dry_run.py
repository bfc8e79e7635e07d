"""Dry runs of `holdfast continual`, as users ask for them."""

import json

from tests.commands.streams import add, run

import holdfast
from holdfast.cli import main


def parts_of(capsys, *words):
    """{part: its number of units}, and the drawing, of a dry run that `--json` prints."""
    assert main([*map(str, words), "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(each["seconds_each"] > 0 for each in found["work"])
    return {each["what"]: each["count"] for each in found["work"]}, found["drawing"]


def test_a_stream(tasks, model, options, tmp_path, capsys):
    words = ["continual", "run", tasks / "stream.yaml", "--model", model, *options]
    parts, drawing = parts_of(capsys, *words, "--out", tmp_path / "run")
    # Two tasks of 4 steps and 12 replayed images; three models on 18 + 18 test images.
    assert parts == {"training": 8, "asking the previous model": 24, "evaluation": 3 * 36}
    assert drawing["images"] == 24
    for method, expected in (
        ("finetune", {"training": 8, "evaluation": 108}),
        ("joint", {"training": 8, "evaluation": 108}),
        ("zero-shot", {"evaluation": 36}),
    ):
        parts, drawing = parts_of(capsys, *words, "--method", method)
        assert parts == expected and drawing is None
    assert not (tmp_path / "run").exists()


def test_one_more_task(tasks, model, options, tmp_path, capsys):
    words = ["continual", "add", model, "--task", tasks / "colours", *options]
    out = ["--out", tmp_path / "run"]
    parts, drawing = parts_of(capsys, *words, *out)
    assert parts == {"training": 4, "asking the previous model": 12, "evaluation": 36}
    assert drawing["images"] == 12
    gate = ["--max_drop", "0.1", "--held_out", tasks / "shades"]
    parts, _ = parts_of(capsys, *words, *out, *gate)
    assert parts["the gate"] == 2 * (18 + 18 + 12) and parts["evaluation"] == 2 * 36
    parts, drawing = parts_of(capsys, *words, *out, "--method", "lwf")
    assert parts == {"training": 4, "evaluation": 36} and drawing is None
    assert not (tmp_path / "run").exists()
    assert add(*words[2:], *out, "--dry_run") == 0
    assert "All together about" in capsys.readouterr().out


def test_what_is_wrong_is_said_before_anything_is_measured(tasks, model, capsys):
    assert run(tasks / "none.yaml", "--model", model, "--dry_run") == 2
    assert "none.yaml" in capsys.readouterr().err


def test_python_gives_the_same(tasks, model, tmp_path):
    quick = {
        "method": "finetune",
        "train": {"workers": 0, "batch_size": 4, "steps": 7},
        "device": "cpu",
        "dry_run": True,
        "out": tmp_path / "out",
    }
    stream = holdfast.continual_run(tasks / "stream.yaml", model=model, **quick)
    one = holdfast.continual_add(model, str(tasks / "colours"), **quick)
    for found, steps in ((stream, 14), (one, 7)):
        assert {each.what: each.count for each in found.work}["training"] == steps
    assert not (tmp_path / "out").exists()
