"""The gate of a task."""

import shutil

import pytest
import torch
from tests.commands.streams import COLOURS, paint, read, weights
from tests.test_cli import error_of

from holdfast import task_history
from holdfast.cli import main
from holdfast.commands import continual_gate
from holdfast.metrics import compare
from holdfast.results import GateResult, GateTrial, TaskScores
from holdfast.weights import interpolate


@pytest.fixture
def gated(tasks, options, model, tmp_path):
    """A command with a gate on another task, of as many images as a gate wants."""
    paint(tmp_path / "colours" / "val", COLOURS, 7, 1)
    held_out = ("--held_out", tmp_path / "colours", "--out", tmp_path / "out")
    command = ("continual", "add", model, "--task", tasks / "shades", *options, *held_out)
    return [str(word) for word in command]


def staged(before, task_gain=0.2):
    """Scores that fall by 0.5 on what was known, and rise on the task, on the way to new weights.

    They stand for `embed_sets`, since tiny untrained models lose nothing that one could rely on.
    """
    farthest = []

    def measure(clip, sets, *_):
        distance = (clip.model.state_dict()["visual.proj"] - before).norm().item()
        if distance:
            farthest.append(distance)
        way = distance / farthest[0] if farthest else 0.0  # the new weights come first
        scores = {"val": 0.9 - 0.5 * way, "replay": 0.9 - 0.5 * way}

        def share(each):
            return 0.5 + task_gain * way if each.name == "shades" else scores[each.split]

        class Found:
            def scores(self):
                return {
                    each.name: TaskScores(
                        split=each.split,
                        images=1000,
                        task_aware_top1=share(each),
                        task_aware_mean_per_class=0,
                        task_aware_ece=0,
                    )
                    for each in sets
                }

            def right(self):
                return {each.name: torch.arange(1000) < 1000 * share(each) for each in sets}

        return Found()

    return measure


def test_what_passes_the_gate_is_left_as_it_was_trained(gated, tmp_path):
    assert main([*gated, "--max_drop", "1"]) == 0
    result = read(tmp_path / "out" / "result.json")
    gate = result["step"]["gate"]
    assert gate["alpha"] == 1 and len(gate["sweep"]) == 1
    assert set(gate["before"]) == {"colours"}  # twelve replay images are too few
    assert gate["cannot_tell"] == {"replay of pre-training": 12}
    said, unsure = result["notes"]
    assert "for 'replay of pre-training' (12 images): fewer than 20 images" in unsure
    # What it stands on: the images, the interval, and what they do not rule out.
    change = gate["sweep"][0]["changes"]["colours"]
    assert change["n"] == gate["before"]["colours"]["images"] == 21
    assert change["low"] < change["difference"] < change["high"]
    ends = f"{100 * change['low']:+.1f} to {100 * change['high']:+.1f}"
    assert f"on 21 images (95 % interval {ends}), and 100 may be lost" in said
    assert main([*gated[:-1], str(tmp_path / "free")]) == 0
    free, passed = (weights(tmp_path / out / "model") for out in ("free", "out"))
    assert all(torch.equal(free[name], passed[name]) for name in free)


def test_the_gate_takes_the_best_average_that_passes(gated, clip_folder, tmp_path, monkeypatch):
    more = ["--replay.images", "40"]
    assert main([*gated[:-1], str(tmp_path / "free"), *more]) == 0
    before, tuned = weights(clip_folder), weights(tmp_path / "free" / "model")
    monkeypatch.setattr(continual_gate, "embed_sets", staged(before["visual.proj"]))
    assert main([*gated, "--max_drop", "0.11", *more]) == 0
    result = read(tmp_path / "out" / "result.json")
    verdict = result["step"]["gate"]
    assert set(verdict["before"]) == {"replay of pre-training", "colours"}
    assert [row["alpha"] for row in verdict["sweep"]] == [1.0, *(n / 10 for n in range(9, 0, -1))]
    assert [row["passes"] for row in verdict["sweep"]] == [False] * 8 + [True] * 2
    assert verdict["alpha"] == 0.2  # 0.1 passes too, and is worse on the task
    said, note = result["notes"]
    assert "weight of 0.2" in note and "The gate measured 2,000 images of 2 sets" in said
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
    monkeypatch.setattr(continual_gate, "embed_sets", fake)
    assert main([*gated, "--max_drop", "0.26"]) == 0
    assert read(tmp_path / "out" / "step.json")["gate"]["alpha"] == 0.5


def test_a_refused_model_is_not_written_and_nothing_is_trained_again(
    gated, clip_folder, tmp_path, monkeypatch, capsys
):
    fake = staged(weights(clip_folder)["visual.proj"])
    monkeypatch.setattr(continual_gate, "embed_sets", fake)
    code, line = error_of(capsys, *gated, "--max_drop", "0.01")
    assert (
        code == 1 and "costs 5.0 points on colours (1,000 images) even with a weight of 0.1" in line
    )
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
    paint(held_out / "test", COLOURS, 7, 2)
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


def test_a_held_out_task_of_a_few_images_decides_nothing(tasks, options, model, tmp_path, capsys):
    """11 images once let a model pass that lost 9 points on 11 others."""
    few = tmp_path / "few"
    paint(few / "val", {"red": COLOURS["red"], "blue": COLOURS["blue"]}, 5, 1)
    command = ("continual", "add", model, "--task", tasks / "shades", *options, "--max_drop", 0)
    command = [str(word) for word in (*command, "--out", tmp_path / "out", "--held_out", few)]
    code, line = error_of(capsys, *command)
    assert code == 2 and "nor a held-out task has 20 images" in line
    more = [*command, "--replay.images", "40", "--max_drop", "1"]
    assert main(more) == 0
    gate = read(tmp_path / "out" / "result.json")["step"]["gate"]
    assert set(gate["before"]) == {"replay of pre-training"} and gate["cannot_tell"] == {"few": 10}
    assert "The gate cannot tell for 'few' (10 images)" in capsys.readouterr().out


def test_few_images_do_not_rule_out_that_more_was_lost():
    def said(n, lost):
        right = torch.arange(n) < n // 2
        changes = {"pets": compare(right, right & (torch.arange(n) >= lost))}
        trial = GateTrial(alpha=1.0, task_aware_top1=None, changes=changes, passes=True)
        return continual_gate.said_of_gate(
            GateResult(alpha=1.0, max_drop=0.02, before={}, sweep=[trial])
        )

    assert "pets fared worst: -1.0 points on 100 images" in said(100, 1)
    assert "do not rule out" in said(100, 1)
    assert "do not rule out" not in said(100_000, 100)
