"""The gate of a task."""

import shutil

import pytest
import torch
from tests.commands.streams import (
    read,
    weights,
)
from tests.test_cli import error_of

from holdfast import task_history
from holdfast.cli import main
from holdfast.commands import continual_gate
from holdfast.results import TaskScores
from holdfast.weights import interpolate


@pytest.fixture
def gated(tasks, options, model, tmp_path):
    """A command with a gate on another task."""
    held_out = ("--held_out", tasks / "colours", "--out", tmp_path / "out")
    command = ("continual", "add", model, "--task", tasks / "shades", *options, *held_out)
    return [str(word) for word in command]


def staged(before, task_gain=0.2):
    """Scores that fall by 0.5 on what was known, and rise on the task, on the way to new weights.

    They stand for `evaluate_clip`, since tiny untrained models lose nothing that one could rely on.
    """
    farthest = []

    def measure(clip, sets, vocabulary, workers):
        distance = (clip.model.state_dict()["visual.proj"] - before).norm().item()
        if distance:
            farthest.append(distance)
        way = distance / farthest[0] if farthest else 0.0  # the new weights come first
        scores = {"val": 0.9 - 0.5 * way, "replay": 0.9 - 0.5 * way}

        def of(each):
            top1 = 0.5 + task_gain * way if each.name == "shades" else scores[each.split]
            return TaskScores(
                split=each.split, images=len(each.data), top1=top1, mean_per_class=0, ece=0
            )

        return {each.name: of(each) for each in sets}

    return measure


def test_what_passes_the_gate_is_left_as_it_was_trained(gated, tmp_path):
    assert main([*gated, "--max_drop", "1"]) == 0
    result = read(tmp_path / "out" / "result.json")
    gate = result["step"]["gate"]
    assert gate["alpha"] == 1 and len(gate["sweep"]) == 1
    assert set(gate["before"]) == {"colours"}  # twelve replay images are too few
    assert "The gate left out 'pre-training': fewer than 20" in result["notes"][0]
    assert main([*gated[:-1], str(tmp_path / "free")]) == 0
    free, passed = (weights(tmp_path / out / "model") for out in ("free", "out"))
    assert all(torch.equal(free[name], passed[name]) for name in free)


def test_the_gate_takes_the_best_average_that_passes(gated, clip_folder, tmp_path, monkeypatch):
    more = ["--replay.images", "40"]
    assert main([*gated[:-1], str(tmp_path / "free"), *more]) == 0
    before, tuned = weights(clip_folder), weights(tmp_path / "free" / "model")
    monkeypatch.setattr(continual_gate, "evaluate_clip", staged(before["visual.proj"]))
    assert main([*gated, "--max_drop", "0.11", *more]) == 0
    result = read(tmp_path / "out" / "result.json")
    verdict = result["step"]["gate"]
    assert set(verdict["before"]) == {"replay of pre-training", "colours"}
    assert [row["alpha"] for row in verdict["sweep"]] == [1.0, *(n / 10 for n in range(9, 0, -1))]
    assert [row["passes"] for row in verdict["sweep"]] == [False] * 8 + [True] * 2
    assert verdict["alpha"] == 0.2  # 0.1 passes too, and is worse on the task
    [note] = result["notes"]
    assert "weight of 0.2" in note
    saved = weights(tmp_path / "out" / "model")
    expected = interpolate(before, tuned, 0.2)
    assert all(torch.equal(saved[name], tensor) for name, tensor in expected.items())


def test_without_validation_images_the_gate_takes_the_largest_weight(
    gated, tasks, clip_folder, tmp_path, monkeypatch
):
    alone = tmp_path / "shades"
    shutil.copytree(tasks / "shades" / "train", alone / "train")
    gated[gated.index("--task") + 1] = str(alone)
    # On the task it would be worse and worse, but nobody can know.
    fake = staged(weights(clip_folder)["visual.proj"], task_gain=-0.2)
    monkeypatch.setattr(continual_gate, "evaluate_clip", fake)
    assert main([*gated, "--max_drop", "0.26"]) == 0
    assert read(tmp_path / "out" / "step.json")["gate"]["alpha"] == 0.5


def test_a_refused_model_is_not_written_and_nothing_is_trained_again(
    gated, clip_folder, tmp_path, monkeypatch, capsys
):
    fake = staged(weights(clip_folder)["visual.proj"])
    monkeypatch.setattr(continual_gate, "evaluate_clip", fake)
    code, line = error_of(capsys, *gated, "--max_drop", "0.01")
    assert code == 1 and "costs 5.0 points on colours even with a weight of 0.1" in line
    out = tmp_path / "out"
    assert not (out / "model").exists()
    records = (out / "train.jsonl").read_bytes()
    assert main([*gated, "--max_drop", "0.06"]) == 0
    assert (out / "train.jsonl").read_bytes() == records
    assert read(out / "step.json")["gate"]["alpha"] == 0.1
    assert sorted(p.name for p in out.glob("*.safetensors")) == []
    # Once there is a model, it has passed any gate that asks for less, and no other.
    code, line = error_of(capsys, *gated, "--max_drop", "0.05")
    assert code == 2 and "max_drop (0.06 there, 0.05 now)" in line
    kept = (out / "model" / task_history.WEIGHTS).read_bytes()
    assert main([*gated, "--max_drop", "0.5"]) == 0
    assert (out / "model" / task_history.WEIGHTS).read_bytes() == kept
    assert read(out / "settings.json")["max_drop"] == 0.06


def test_a_stream_goes_on_behind_a_looser_gate(tasks, options, model, tmp_path, capsys):
    """After a refusal only a gate that asks for less can help, and earlier tasks passed that too.

    What is held out has test images only.
    """
    held_out = tmp_path / "held-out"
    shutil.copytree(tasks / "colours" / "test", held_out / "test")
    stream = ("continual", "run", tasks / "stream.yaml", "--model", model, *options)
    command = [str(word) for word in (*stream, "--out", tmp_path / "out")]
    gated = [*command, "--held_out", str(held_out), "--max_drop"]
    assert main([*gated, "0.9"]) == 0
    second = tmp_path / "out" / "tasks" / "02-shades"
    shutil.rmtree(second)
    code, line = error_of(capsys, *gated, "0.5")
    assert code == 2 and "max_drop (0.9 there, 0.5 now)" in line
    assert main([*gated, "1"]) == 0
    assert read(second / "step.json")["gate"]["max_drop"] == 1
