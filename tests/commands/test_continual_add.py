"""One more task for a model, as a user adds it."""

import shutil

import torch
from tests import tiny
from tests.commands.streams import (
    add,
    read,
    weights,
)
from tests.test_cli import error_of

from holdfast import task_history
from holdfast.cli import main
from holdfast.data.captions import read_pairs
from holdfast.weights import interpolate


def test_tasks_added_by_hand_equal_the_stream_bit_for_bit(
    streamed, tasks, options, model, tmp_path, capsys
):
    one, two = tmp_path / "one", tmp_path / "two"
    assert add(model, "--task", tasks / "colours", *options, "--out", one) == 0
    model_alone = tmp_path / "months later"
    shutil.move(one / "model", model_alone)  # nothing but the model's folder is left
    shutil.rmtree(one)
    before = {path.name: path.read_bytes() for path in model_alone.iterdir()}
    rate = ("--train.learning_rate", 2e-3)
    assert add(model_alone, "--task", tasks / "shades", *options, *rate, "--out", two) == 0
    assert "shades" in capsys.readouterr().out
    for ours, theirs in ((model_alone, "01-colours"), (two / "model", "02-shades")):
        its = streamed / "tasks" / theirs / "model"
        assert (ours / task_history.WEIGHTS).read_bytes() == (
            its / task_history.WEIGHTS
        ).read_bytes()
    assert {path.name: path.read_bytes() for path in model_alone.iterdir()} == before
    result = read(two / "result.json")
    matrix = read(streamed / "result.json")["matrix"]
    assert result["before"]["shades"]["task_aware_top1"] == matrix["task_aware"][1][1]
    assert result["after"]["shades"]["task_aware_top1"] == matrix["task_aware"][2][1]
    assert result["after"]["shades"]["task_agnostic_top1"] == matrix["task_agnostic"][2][1]


def test_a_model_made_from_another_one_is_not_passed_on(tasks, options, model, tmp_path, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    assert add(model, "--task", tasks / "colours", *options, "--out", one) == 0
    command = ("continual", "add", one, "--task", tasks / "shades", *options, "--out", two)
    assert main([str(word) for word in command]) == 0
    shutil.rmtree(one)
    assert add(model, "--task", tasks / "colours", *options, "--seed", 1, "--out", one) == 0
    capsys.readouterr()
    code, line = error_of(capsys, *command)
    assert code == 1 and "was made from another model" in line
    other = ("continual", "add", model, "--task", tasks / "shades", *options, "--out", two)
    code, line = error_of(capsys, *other)
    assert code == 1 and "was made from another model" in line
    # The same of a task that was not finished.
    shutil.rmtree(two / "model")
    code, line = error_of(capsys, *command)
    assert code == 2 and "other previous model" in line


def test_a_finished_task_is_checked_against_its_base_model(
    tasks, options, clip_folder, tmp_path, capsys
):
    base, one = tmp_path / "base", tmp_path / "one"
    shutil.copytree(clip_folder, base)
    model = f"local-dir:{base}"
    command = ("continual", "add", model, "--task", tasks / "colours", *options, "--out", one)
    assert main([str(word) for word in command]) == 0
    # A kill between writing the model and tidying up.
    (one / "train.safetensors").write_bytes(b"")
    assert main([str(word) for word in command]) == 0
    assert not (one / "train.safetensors").exists()
    tiny.clip_folder(base, seed=1)  # another model in the same place
    capsys.readouterr()
    code, line = error_of(capsys, *command)
    assert code == 1 and "was made from another model" in line


def test_wise_ft_is_fine_tuning_averaged_with_the_weights_before(
    tasks, options, clip_folder, model, tmp_path
):
    for method, out in ((["finetune"], "tuned"), (["wise-ft", "--alpha", 0.3], "merged")):
        command = (model, "--task", tasks / "colours", *options, "--method", *method)
        assert add(*command, "--out", tmp_path / out) == 0
    expected = interpolate(weights(clip_folder), weights(tmp_path / "tuned" / "model"), 0.3)
    merged = weights(tmp_path / "merged" / "model")
    assert all(torch.equal(merged[name], tensor) for name, tensor in expected.items())


def test_without_replay_images_it_is_plain_l2(tasks, options, model, tmp_path):
    for name, more in (("none", ("--replay.images", 0)), ("l2", ("--method", "l2"))):
        command = (model, "--task", tasks / "colours", *options, *more)
        assert add(*command, "--out", tmp_path / name) == 0
    none, l2 = (weights(tmp_path / name / "model") for name in ("none", "l2"))
    assert all(torch.equal(none[name], l2[name]) for name in l2)
    assert "plain L2" in read(tmp_path / "none" / "result.json")["notes"][0]


def test_a_folder_of_pairs_is_as_good_as_generated_images(
    streamed, tasks, options, model, tmp_path
):
    out = tmp_path / "out"
    replay = streamed / "tasks" / "01-colours" / "replay"
    command = (model, "--task", tasks / "colours", *options, "--replay.folder", replay)
    assert add(*command, "--out", out) == 0
    assert not (out / "replay").exists()
    # It is the same images in the same order, so the same model.
    theirs = streamed / "tasks" / "01-colours" / "model" / task_history.WEIGHTS
    assert (out / "model" / task_history.WEIGHTS).read_bytes() == theirs.read_bytes()
    assert len(read_pairs(replay)) == 12
    few = tmp_path / "few"
    assert add(*command, "--replay.images", 7, "--out", few) == 0
    assert read(few / "result.json")["step"]["replay"]["images"] == 7


def test_runs_can_share_their_replay_images(tasks, options, model, tmp_path):
    cache = tmp_path / "cache"
    command = (model, "--task", tasks / "colours", *options, "--replay.cache", cache)
    assert add(*command, "--out", tmp_path / "one") == 0
    drawn = {path: path.stat().st_mtime_ns for path in cache.rglob("*.png")}
    assert len(drawn) == 12
    assert add(*command, "--out", tmp_path / "two", "--method", "ewc") == 0
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.png")} == drawn
    assert add(*command, "--out", tmp_path / "three", "--seed", 1) == 0
    assert len(list(cache.rglob("*.png"))) == 24
    for out in ("one", "two", "three"):
        assert not (tmp_path / out / "replay").exists()


def test_a_model_whose_weights_changed_is_refused(streamed, tasks, options, tmp_path, capsys):
    broken = tmp_path / "model"
    shutil.copytree(streamed / "tasks" / "01-colours" / "model", broken)
    shutil.copy(
        streamed / "tasks" / "02-shades" / "model" / task_history.WEIGHTS,
        broken / task_history.WEIGHTS,
    )
    command = ("continual", "add", broken, "--task", tasks / "shades", *options)
    code, line = error_of(capsys, *command, "--out", tmp_path / "out")
    assert code == 1 and "open_clip_model.safetensors is damaged" in line
    assert not (tmp_path / "out").exists()
