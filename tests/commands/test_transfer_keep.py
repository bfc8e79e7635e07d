"""Keeping the zero-shot model of a name-only transfer: the command that a verdict gives does it."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from holdfast.cli import main
from holdfast.commands.settings import TransferSettings
from holdfast.commands.transfer_keep import way_to_keep, with_way_to_keep
from holdfast.names import from_arguments
from holdfast.results import Verdict

WORDS = ["red thing", "green thing", "blue thing"]


def verdict_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text())["verdict"]


@pytest.mark.parametrize("method", ["regft", "wise-ft"])
def test_the_command_of_a_verdict_saves_the_zero_shot_model(
    clip_folder: Path,
    pictures: Path,
    tmp_path: Path,
    method: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    wrong = tmp_path / "wrong"
    for name, other in zip(WORDS, [*WORDS[1:], WORDS[0]], strict=True):
        shutil.copytree(pictures / name, wrong / other)
    options = ["--model", f"local-dir:{clip_folder}", "--folder", wrong, "--evaluate", pictures]
    options += ["--method", method, "--train.epochs", "3", "--train.workers", "0"]
    options += ["--train.learning_rate", "1e-2", "--alpha", "0.9", "--out", run]
    assert main(["transfer", *WORDS, *map(str, options)]) == 0
    printed = capsys.readouterr().out
    assert "alpha 0.9 (set by the user)" in printed
    found = verdict_of(run)
    assert found["decision"] == "keep", "it learned wrong names"
    way = found["details"][-1]
    assert way in printed
    assert way in " ".join((run / "report.html").read_text().replace("&#39;", "'").split())
    holdfast, *arguments = shlex.split(way.partition(": ")[2])
    assert holdfast == "holdfast"
    assert main(arguments) == 0
    saved = load_file(run / "model" / "open_clip_model.safetensors")
    original = load_file(clip_folder / "open_clip_model.safetensors")
    visual = {name: tensor for name, tensor in saved.items() if name.startswith("visual.")}
    assert all((original[name] == tensor).all() for name, tensor in visual.items()) and visual
    assert verdict_of(run)["details"][-1] == (
        "That is what this run's classifier is: its alpha is 0."
    )
    assert "alpha 0 (set by the user)" in capsys.readouterr().out


def test_without_an_ensemble_the_model_is_used_without_the_run() -> None:
    for more in ({}, {"anchors": "weight-ensemble:alpha=0.3"}):
        settings = TransferSettings(WORDS, method="finetune", pretrained="laion2b", **more)
        way = way_to_keep(settings, Path("runs/a b"))
        assert way == (
            "To use it, without this run: holdfast predict ViT-B-16 PHOTOS --names "
            "'runs/a b/model/classes.json' --pretrained laion2b"
        )
    assert "--pretrained" not in way_to_keep(TransferSettings(WORDS, method="l2"), Path("runs/a"))


def test_names_are_read_from_what_a_run_saves(tmp_path: Path) -> None:
    from_arguments(WORDS).write(tmp_path)
    assert from_arguments([str(tmp_path / "classes.json")]) == from_arguments(WORDS)


def test_a_verdict_to_use_the_new_model_has_no_way_back() -> None:
    numbers = {"difference": 0.2, "low": 0.1, "high": 0.3, "n": 9, "gained": 3, "lost": 1}
    use = Verdict(**numbers, decision="use", text="", details=["one"])
    assert with_way_to_keep(use, TransferSettings(WORDS), Path("run")) == use
    keep = Verdict(**numbers, decision="keep", text="", details=["one"])
    first, way = with_way_to_keep(keep, TransferSettings(WORDS), Path("run")).details
    assert first == "one"
    assert way.endswith("--config run/settings.json --out run --method.ensemble.alpha 0")
