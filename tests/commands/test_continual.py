"""Continual learning as a user runs it, on tiny untrained models."""

import csv
import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests import tiny
from tests.test_cli import error_of

import holdfast
from holdfast import builtin, evaluation, names, task_history
from holdfast.cli import main
from holdfast.commands import continual_results
from holdfast.data.batches import sequential_batches
from holdfast.data.captions import read_pairs
from holdfast.data.streams import TaskSource, find_stream, open_source, open_task
from holdfast.metrics import score, stream_metrics
from holdfast.models.classifier import Classifier, text_head
from holdfast.models.clip import load_clip
from holdfast.pocket.world import CLASSES
from holdfast.results import TaskScores
from holdfast.stages import Stage
from holdfast.weights import interpolate

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}
SHADES = {"dark": (0.2, 0.2, 0.2), "bright": (1, 1, 1), "red": (1, 0, 0)}


def paint(root, classes, count, seed):
    """Class folders of noisy 32 px pictures."""
    noise = np.random.default_rng(seed)
    for name, colour in classes.items():
        (root / name).mkdir(parents=True)
        for n in range(count):
            pixels = noise.integers(0, 120, (32, 32, 3)) + 130 * np.array(colour)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{n}.png")


@pytest.fixture(scope="session")
def tasks(tmp_path_factory):
    """Two tasks of three classes with all splits, a stream of them, names for pre-training."""
    root = tmp_path_factory.mktemp("tasks")
    for name, classes in (("colours", COLOURS), ("shades", SHADES)):
        for seed, split in enumerate(("train", "val", "test")):
            paint(root / name / split, classes, 6, seed)
    (root / "names.txt").write_text("ant\nbee\ncow\n")
    (root / "stream.yaml").write_text("- colours\n- {folder: shades, learning_rate: 2e-3}\n")
    return root


def quick(tasks, diffusion_folder):
    """Options of tasks that take a second each."""
    return [
        *("--generator", diffusion_folder, "--replay.base", tasks / "names.txt"),
        *("--replay.images", 12, "--replay.steps", 2, "--replay.batch_size", 12),
        *("--train.steps", 4, "--train.batch_size", 4, "--train.replay_batch_size", 6),
        *("--train.learning_rate", 1e-3, "--train.workers", 0, "--device", "cpu"),
    ]


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Replay images that the tests share, which saves most of their time."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def options(tasks, diffusion_folder, cache):
    return [*quick(tasks, diffusion_folder), "--replay.cache", cache]


@pytest.fixture
def model(clip_folder):
    return f"local-dir:{clip_folder}"


def run(*arguments):
    return main(["continual", "run", *map(str, arguments)])


def add(*arguments):
    return main(["continual", "add", *map(str, arguments)])


def weights(folder):
    return load_file(folder / task_history.WEIGHTS)


def read(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def streamed(tasks, clip_folder, diffusion_folder, tmp_path_factory):
    """A run of the stream, for tests that only look at it."""
    out = tmp_path_factory.mktemp("streamed") / "run"
    model = ("--model", f"local-dir:{clip_folder}")
    assert run(tasks / "stream.yaml", *model, *quick(tasks, diffusion_folder), "--out", out) == 0
    return out


def test_a_stream_ends_in_a_matrix_and_its_numbers(streamed):
    result = read(streamed / "result.json")
    matrix = result["matrix"]
    assert (result["kind"], matrix["split"]) == ("continual", "test")
    assert "Accuracy matrix" in (streamed / "report.html").read_text()
    assert matrix["rows"] == ["zero-shot", "colours", "shades"]
    assert matrix["columns"] == ["colours", "shades"] and matrix["images"] == [18, 18]
    for kind in ("task_aware", "task_agnostic"):
        assert result[kind] == stream_metrics(matrix[kind][1:])
        # Among the classes of both tasks there is more to be wrong about.
        assert all(
            agnostic <= aware
            for rows in zip(matrix["task_agnostic"], matrix["task_aware"], strict=True)
            for agnostic, aware in zip(*rows, strict=True)
        )
    table = list(csv.reader((streamed / "matrix.csv").read_text().splitlines()))
    assert table[0] == ["after", "colours", "shades"]
    assert [row[0] for row in table[1:]] == matrix["rows"]
    written = [[float(value) for value in row[1:]] for row in table[1:]]
    assert np.allclose(written, matrix["task_aware"], atol=1e-6)


def test_each_task_has_its_coverage_settings_and_costs(streamed):
    first, second = read(streamed / "result.json")["steps"]
    assert [row["source"] for row in first["replay"]["coverage"]] == ["pre-training"]
    rows = second["replay"]["coverage"]
    assert [row["source"] for row in rows] == ["pre-training", "colours"]
    assert sum(row["images"] for row in rows) == second["replay"]["images"] == 12
    assert [row["names"] for row in rows] == [3, 3]
    assert (first["train"]["learning_rate"], second["train"]["learning_rate"]) == (1e-3, 2e-3)
    assert [record["step"] for record in second["training"]] == [0, 1, 2, 3]
    assert second["costs"]["training_seconds"] > 0
    assert second["notes"] == ["'red' is also among the classes of 'colours'."]
    manifest = (streamed / "tasks" / "02-shades" / "replay" / "manifest.jsonl").read_text()
    prompts = [json.loads(line)["prompt"] for line in manifest.splitlines()]
    assert len(prompts) == 12 and {p.split()[-1] for p in prompts} <= {
        *("ant.", "bee.", "cow.", "red.", "green.", "blue."),
    }


def test_the_models_remember_their_tasks(streamed):
    first = task_history.read_history(streamed / "tasks" / "01-colours" / "model")
    second = task_history.read_history(streamed / "tasks" / "02-shades" / "model")
    assert [task.name for task in second.tasks] == ["colours", "shades"]
    assert second.tasks[0].weights == first.tasks[0].weights
    assert second.tasks[1].classes == ("bright", "dark", "red")
    assert second.tasks[1].data["train"]["images"] == 18
    matrix = read(streamed / "result.json")["matrix"]
    noted = second.tasks[1].scores["test"]
    assert [noted[name]["top1"] for name in matrix["columns"]] == matrix["task_aware"][2]
    assert [noted[name]["task_agnostic_top1"] for name in matrix["columns"]] == matrix[
        "task_agnostic"
    ][2]


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
    assert result["before"]["shades"]["top1"] == matrix["task_aware"][1][1]
    assert result["after"]["shades"]["top1"] == matrix["task_aware"][2][1]
    assert result["after"]["shades"]["task_agnostic_top1"] == matrix["task_agnostic"][2][1]


def test_running_again_computes_nothing_again(streamed, tasks, options, model):
    files = [p for p in streamed.rglob("*") if p.suffix in (".safetensors", ".png", ".jsonl")]
    before = {path: path.stat().st_mtime_ns for path in files}
    expected = read(streamed / "result.json")
    command = (tasks / "stream.yaml", "--model", model, *options, "--out", streamed)
    assert run(*command) == 0
    assert {path: path.stat().st_mtime_ns for path in files} == before
    again = read(streamed / "result.json")
    assert again["matrix"] == expected["matrix"] and again["steps"] == expected["steps"]


def test_validation_images_are_for_choices(streamed, tasks, options, model):
    kept = (streamed / "result.json").read_bytes()
    command = (tasks / "stream.yaml", "--model", model, *options, "--out", streamed)
    assert run(*command, "--split", "val") == 0
    result = read(streamed / "result.json")
    assert result["matrix"]["split"] == "val"
    [zero] = streamed.glob("scores-*-val.json")
    assert read(zero)["colours"]["split"] == "val"
    (streamed / "result.json").write_bytes(kept)


def test_a_kill_in_the_middle_of_a_task_changes_nothing(streamed, tasks, options, model, tmp_path):
    out = tmp_path / "run"
    arguments = [tasks / "stream.yaml", "--model", model, *options, "--out", out]
    arguments += ["--train.checkpoint_minutes", 0]
    checkpoint = out / "tasks" / "02-shades" / "train.checkpoint.safetensors"
    save = Stage.save

    def save_and_die(stage, step, *rest):
        save(stage, step, *rest)
        if stage.checkpoint == checkpoint and step == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    def killed():
        Stage.save = save_and_die
        run(*arguments)

    process = multiprocessing.get_context("fork").Process(target=killed)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert checkpoint.exists() and (out / "tasks" / "01-colours" / "model").is_dir()
    assert not (out / "tasks" / "02-shades" / "model").exists()
    assert run(*arguments) == 0
    for task in ("01-colours", "02-shades"):
        ours, theirs = (each / "tasks" / task / "model" for each in (out, streamed))
        assert (ours / task_history.WEIGHTS).read_bytes() == (
            theirs / task_history.WEIGHTS
        ).read_bytes()
    steps = (out / "tasks" / "02-shades" / "train.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in steps] == [0, 1, 2, 3]
    assert not checkpoint.exists()


def test_a_failed_task_passes_nothing_on(tasks, options, model, tmp_path, capsys):
    stream = tmp_path / "stream.yaml"
    stream.write_text(
        f"- {{folder: {tasks / 'colours'}, learning_rate: 1e30}}\n- {tasks / 'shades'}\n"
    )
    out = tmp_path / "run"
    code, line = error_of(
        capsys, "continual", "run", stream, "--model", model, *options, "--out", out
    )
    assert code == 1 and "not finite" in line
    assert not (out / "tasks" / "01-colours" / "model").exists()
    assert not (out / "tasks" / "02-shades").exists()


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


LOSSES = {
    "gift": {"distillation_image", "distillation_text", "alignment_image", "alignment_text"},
    "finetune": set(),
    "l2": set(),
    "ewc": set(),
    "lwf": {"distillation_image"},
    "wise-ft": set(),
    "zscl": {"distillation_image", "distillation_text"},
}
PULLED = {"gift", "l2", "ewc", "zscl"}


@pytest.mark.parametrize("method", LOSSES)
def test_methods_in_the_same_harness(method, tasks, options, model, tmp_path):
    out = tmp_path / "run"
    command = (tasks / "stream.yaml", "--model", model, *options, "--method", method)
    assert run(*command, "--out", out) == 0
    result = read(out / "result.json")
    assert len(result["matrix"]["task_aware"]) == 3
    for step in result["steps"]:
        losses = set(step["training"][0]["losses"]) - {"cross_entropy"}
        assert losses == LOSSES[method] | ({"consolidation"} if method in PULLED else set())
        assert (step["replay"] is not None) == (method in ("gift", "ewc", "zscl"))
    if method == "zscl":  # reference images know nothing of the tasks
        [row] = result["steps"][1]["replay"]["coverage"]
        assert row["source"] == "pre-training" and row["images"] == 12


def test_wise_ft_is_fine_tuning_averaged_with_the_weights_before(
    tasks, options, clip_folder, model, tmp_path
):
    for method, out in ((["finetune"], "tuned"), (["wise-ft", "--alpha", 0.3], "merged")):
        command = (model, "--task", tasks / "colours", *options, "--method", *method)
        assert add(*command, "--out", tmp_path / out) == 0
    expected = interpolate(weights(clip_folder), weights(tmp_path / "tuned" / "model"), 0.3)
    merged = weights(tmp_path / "merged" / "model")
    assert all(torch.equal(merged[name], tensor) for name, tensor in expected.items())


def test_zero_shot_is_the_model_as_it_is(streamed, tasks, options, model, tmp_path):
    out = tmp_path / "run"
    command = (tasks / "stream.yaml", "--model", model, *options, "--method", "zero-shot")
    assert run(*command, "--out", out) == 0
    matrix = read(out / "result.json")["matrix"]
    assert matrix["task_aware"] == [read(streamed / "result.json")["matrix"]["task_aware"][0]] * 3
    assert not (out / "tasks").exists()


def test_joint_learns_all_tasks_at_once(tasks, options, model, tmp_path):
    out = tmp_path / "run"
    command = (tasks / "stream.yaml", "--model", model, *options, "--method", "joint")
    assert run(*command, "--out", out) == 0
    result = read(out / "result.json")
    assert result["matrix"]["rows"] == ["zero-shot", "joint"]
    numbers = result["task_aware"]
    assert numbers["last"] == pytest.approx(np.mean(result["matrix"]["task_aware"][1]))
    assert numbers["transfer"] is None
    [step] = result["steps"]
    assert len(step["training"]) == step["train"]["steps"] == 8  # those of both tasks
    assert step["classes"] == 5 and step["images"] == {"train": 36}  # red is in both
    assert result["costs"]["training_seconds"] > 0
    [note] = step["notes"]
    assert "what single ones set was not used: ['learning_rate']" in note
    known = task_history.read_history(out / "tasks" / "joint" / "model")
    assert [task.name for task in known.tasks] == ["colours", "shades"]


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


def test_captions_are_a_task_too(tasks, options, model, tmp_path):
    root = tmp_path / "stories"
    for split in ("train", "test"):
        (root / split).mkdir(parents=True)
        for n, path in enumerate(sorted((tasks / "colours" / split).rglob("*.png"))):
            shutil.copy(path, root / split / f"{n}.png")
            (root / split / f"{n}.txt").write_text(f"story {n % 7} of {path.parent.name}")
    stream = tmp_path / "stream.yaml"
    stream.write_text(f"- {tasks / 'colours'}\n- {root}\n- {tasks / 'shades'}\n")
    out = tmp_path / "run"
    assert run(stream, "--model", model, *options, "--out", out) == 0
    result = read(out / "result.json")
    assert result["tasks"][1]["captions"]
    assert result["steps"][1]["train"]["negatives"] == "batch"
    assert (
        result["matrix"]["task_agnostic"][0][1] is None
        and result["matrix"]["task_agnostic"][0][2] is not None
    )
    assert result["task_aware"]["transfer"] is not None
    assert result["task_agnostic"]["last"] is None
    assert (out / "matrix-task-agnostic.csv").read_text().splitlines()[1].split(",")[2] == ""
    third = task_history.read_history(out / "tasks" / "03-shades" / "model")
    prompts = third.tasks[1].training_prompts()
    assert len(prompts) == len(set(prompts)) == 18 and "story 0 of blue" in prompts
    rows = result["steps"][2]["replay"]["coverage"]
    assert rows[2]["source"] == "stories" and rows[2]["names"] == 18


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
    monkeypatch.setattr(continual_results, "evaluate_clip", staged(before["visual.proj"]))
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
    monkeypatch.setattr(continual_results, "evaluate_clip", fake)
    assert main([*gated, "--max_drop", "0.26"]) == 0
    assert read(tmp_path / "out" / "step.json")["gate"]["alpha"] == 0.5


def test_a_refused_model_is_not_written_and_nothing_is_trained_again(
    gated, clip_folder, tmp_path, monkeypatch, capsys
):
    fake = staged(weights(clip_folder)["visual.proj"])
    monkeypatch.setattr(continual_results, "evaluate_clip", fake)
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


def test_a_generator_that_is_not_there_is_found_before_anything_is_made(
    tasks, options, model, diffusion_folder, tmp_path, capsys
):
    given = (*options, "--generator", "no/such/generator")
    command = ("continual", "run", tasks / "stream.yaml", "--model", model, *given)
    code, line = error_of(capsys, *command, "--out", tmp_path / "stream")
    assert code == 2 and "no/such/generator" in line
    assert not (tmp_path / "stream").exists()
    task = ("continual", "add", model, "--task", tasks / "colours")
    code, line = error_of(capsys, *task, *given, "--out", tmp_path / "one")
    assert code == 2 and not (tmp_path / "one").exists()


def test_names_of_pre_training_are_part_of_what_a_task_was_made_from(
    tasks, options, model, tmp_path, capsys
):
    names_file = tmp_path / "names.txt"
    names_file.write_text("ant\nbee\n")
    task = ("continual", "add", model, "--task", tasks / "colours", *options)
    command = [str(w) for w in (*task, "--replay.base", names_file, "--out", tmp_path / "out")]
    assert main(command) == 0
    shutil.rmtree(tmp_path / "out" / "model")
    names_file.write_text("ant\nfox\n")
    code, line = error_of(capsys, *command)
    assert code == 2 and "other names of pre-training" in line


def test_bad_tasks_and_models(tasks, options, model, streamed, tmp_path, capsys):
    out = ("--out", tmp_path / "out")

    def problem(start, task, *more):
        return error_of(capsys, "continual", "add", start, "--task", task, *options, *out, *more)

    done = streamed / "tasks" / "01-colours"
    code, line = problem(done, tasks / "colours")
    assert code == 2 and "learnt a task called 'colours' already" in line
    code, line = problem(f"local-dir:{done / 'model'}", tasks / "colours")
    assert code == 2 and "learnt a task called 'colours' already" in line
    unweighed = ("--method.distillation.weight", 0, "--method.alignment.weight", 0)
    code, line = problem(model, tasks / "colours", *unweighed)
    assert code == 2 and "adaptive importance" in line
    code, line = problem(model, "pocket:digts")
    assert code == 2 and "'pocket:digts' (did you mean pocket:digits" in line
    code, line = problem(model, tmp_path / "nowhere")
    assert code == 2 and "nowhere' does not exist" in line
    (tmp_path / "empty").mkdir()
    code, line = problem(model, tmp_path / "empty")
    assert code == 1 and "no class folders" in line
    code, line = problem(model, tasks / "colours", "--replay.images", 5)
    assert code == 2 and "5 replayed images, fewer than the 6 of a step" in line
    code, line = problem(model, tasks / "colours", "--replay.folder", tasks / "colours")
    assert code == 2 and "has no captions" in line
    code, line = problem(model, tasks / "colours", "--replay.base", "nothing")
    assert code == 2 and "nothing' are no file" in line
    code, line = problem(model, tasks / "colours", "--per_class", 3)
    assert code == 2 and "per_class is for data sets" in line
    code, line = problem(model, tasks / "colours", "--held_out", tasks / "nowhere")
    assert code == 2 and "does not exist" in line
    code, line = problem(model, tasks / "colours", "--held_out", tasks / "colours")
    assert code == 2 and "held out too" in line
    code, line = problem(model, tasks / "colours", "--method", "l2", "--max_drop", 0.1)
    assert code == 2 and "max_drop has nothing to be measured on" in line
    assert not (tmp_path / "out").exists()


def test_a_model_whose_weights_changed_is_refused(streamed, tasks, options, tmp_path, capsys):
    broken = tmp_path / "model"
    shutil.copytree(streamed / "tasks" / "01-colours" / "model", broken)
    shutil.copy(
        streamed / "tasks" / "02-shades" / "model" / task_history.WEIGHTS,
        broken / task_history.WEIGHTS,
    )
    command = ("continual", "add", broken, "--task", tasks / "shades", *options)
    code, line = error_of(capsys, *command, "--out", tmp_path / "out")
    assert code == 1 and "are not those that its tasks.json describes" in line
    assert not (tmp_path / "out").exists()


def test_bad_streams(tasks, options, model, streamed, tmp_path, capsys):
    out = ("--out", tmp_path / "out")

    def problem(text, *more):
        (tmp_path / "bad.yaml").write_text(text)
        command = ("continual", "run", tmp_path / "bad.yaml", "--model", model)
        return error_of(capsys, *command, *options, *out, *more)

    code, line = problem("- pocket:digts")
    assert code == 2 and "task 1: There is no data set 'pocket:digts'" in line
    code, line = problem(f"- {tasks / 'colours'}\n- {tasks / 'nowhere'}")
    assert code == 2 and "task 2: The task's folder" in line
    code, line = problem(f"- {tasks / 'colours' / 'train'}")
    assert code == 2 and "'train' has no split 'test'" in line
    code, line = problem(f"- {{folder: {tasks / 'colours'}, replay_batch_size: 50}}")
    assert code == 2 and "12 replayed images, fewer than the 50 of a step" in line
    code, line = problem(f"- {tasks / 'colours'}", "--method", "joint", "--max_drop", 0.1)
    assert code == 2 and "no gate for joint" in line
    code, line = problem(f"- {{folder: {tasks / 'colours'}, name: Joint}}")
    assert code == 2 and "cannot be called 'Joint'" in line
    code, line = problem(f"- {{folder: {tasks / 'colours'}, name: Pre-Training}}")
    assert code == 2 and "cannot be called 'Pre-Training'" in line
    code, line = problem(f"- {{folder: {tasks / 'colours'}, name: ''}}")
    assert code == 2 and "name is empty" in line
    mute = {"loss": "features", "train_towers": "text", "directions": "image"}
    code, line = problem(
        f"- {tasks / 'colours'}",
        *(f"--method.distillation.{key}={value}" for key, value in mute.items()),
    )
    assert code == 2 and "teaches the text tower nothing" in line
    known = ("--model", streamed / "tasks" / "01-colours")
    code, line = problem(f"- {tasks / 'colours'}", "--method", "joint", *known)
    assert code == 2 and "learnt a task called 'colours' already" in line
    code, line = problem(f"- {tasks / 'colours'}", "--held_out", tasks / "shades")
    assert code == 2 and "held_out tasks are for max_drop" in line
    code, line = error_of(capsys, "continual", "run", tmp_path / "none.yaml", *options, *out)
    assert code == 2 and "cannot be read" in line
    assert not (tmp_path / "out").exists()


def test_a_run_is_not_continued_with_another_stream(streamed, tasks, options, model, capsys):
    stream = tasks / "stream.yaml"
    kept = stream.read_text()
    stream.write_text("- shades\n- colours\n")
    command = ("continual", "run", stream, "--model", model, *options, "--out", streamed)
    code, line = error_of(capsys, *command)
    stream.write_text(kept)
    assert code == 2 and "with other tasks" in line


def test_the_streams_of_the_embedded_world():
    for name in builtin.STREAMS:
        sources = find_stream(Path(name))
        assert sorted(s.place for s in sources) == [
            f"pocket:{task}" for task in ("digits", "letters", "shapes", "textures", "things")
        ]
    assert (
        len({tuple(order) for order in builtin.STREAMS.values()})
        == len(builtin.STREAMS)
        >= 2
    )


def test_data_sets_are_drawn_once_and_digits_have_validation_images(tmp_path):
    source = TaskSource("digits", "pocket:digits", per_class=8)
    task = open_source(source, tmp_path)
    assert [len(split) for split in (task.train, task.val, task.test)] == [60, 20, 80]
    assert {path.name for path in task.val.paths} == {"0003.png", "0007.png"}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    open_source(source, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} == before


def test_pocket_learns_pocket_tasks(tmp_path):
    stream = tmp_path / "stream.yaml"
    stream.write_text("- {dataset: 'pocket:digits', per_class: 4}\n")
    out = tmp_path / "out"
    command = (stream, "--model", "pocket", "--generator", "pocket", "--replay.base", "pocket")
    more = ("--replay.images", 8, "--replay.steps", 2, "--train.steps", 2, "--train.workers", 0)
    small = ("--train.batch_size", 8, "--train.replay_batch_size", 8, "--device", "cpu")
    assert run(*command, *more, *small, "--out", out) == 0
    matrix = read(out / "result.json")["matrix"]
    assert matrix["images"] == [40] and 0.2 < matrix["task_aware"][0][0] < 0.9
    lines = (out / "tasks" / "01-digits" / "replay" / "manifest.jsonl").read_text().splitlines()
    shown = {json.loads(line)["prompt"].removeprefix("a photo of a ") for line in lines}
    assert shown <= {f"{thing}." for thing in CLASSES["things"]}


def test_three_lines_of_python(tasks, clip_folder, diffusion_folder, tmp_path):
    result = holdfast.continual_add(
        f"local-dir:{clip_folder}",
        tasks / "colours",
        tmp_path / "out",
        method="finetune",
        train={"steps": 1, "batch_size": 4, "workers": 0},
    )
    assert set(result.after) == {"colours"}
    stream = holdfast.continual_run(
        tasks / "stream.yaml",
        tmp_path / "run",
        model=f"local-dir:{clip_folder}",
        method="zero-shot",
    )
    assert stream.matrix.rows[0] == "zero-shot"


def test_both_scores_come_from_one_pass_of_the_image_tower(tasks, clip_folder, monkeypatch):
    clip = load_clip(f"local-dir:{clip_folder}", device="cpu")
    # Different enough embeddings for an untrained model to have opinions.
    with torch.no_grad():
        clip.model.visual.proj.mul_(100)
        clip.model.text_projection.mul_(100)
    templates = ["a {}.", "the {}."]
    opened = [open_task(name, tasks / name, templates) for name in ("colours", "shades")]
    sets = [evaluation.eval_set(task, "test") for task in opened]
    words = [pair for each in sets for pair in zip(each.classes, each.prompts, strict=True)]
    seen = []
    embed = evaluation.image_features

    def counted(model, images):
        seen.append(len(images))
        return embed(model, images)

    monkeypatch.setattr(evaluation, "image_features", counted)
    monkeypatch.setattr(evaluation, "BLOCK", 7)
    found = evaluation.evaluate_clip(clip, sets, words)
    assert sum(seen) == 36

    every = [name for name, _ in words]
    assert every == ["blue", "green", "red", "bright", "dark", "red"]
    for each in sets:
        batches = list(sequential_batches(each.data, clip.preprocess, 7))
        own = Classifier(clip, text_head(clip, each.prompts), names.from_names(each.classes))
        _, logits, labels, _ = own.eval().embed(batches)
        wanted = score(logits, labels, each.classes)
        assert found[each.name].top1 == wanted.top1
        assert found[each.name].mean_per_class == pytest.approx(wanted.mean_per_class)
        assert found[each.name].ece == pytest.approx(wanted.ece, abs=1e-5)
        head = text_head(clip, [prompts for _, prompts in words])
        images = torch.cat([batch.images for batch in batches])
        with torch.no_grad():
            answers = head(clip.model.encode_image(images)).argmax(dim=1).tolist()
        # A red thing may be called red by either task.
        right = [
            every[answer] == each.classes[label]
            for answer, label in zip(answers, labels.tolist(), strict=True)
        ]
        assert found[each.name].task_agnostic_top1 == pytest.approx(sum(right) / len(right))
    assert 0 < found["shades"].task_agnostic_top1 < 1


def test_names_outside_the_vocabulary_have_no_score_among_all_classes(tasks, clip_folder):
    clip = load_clip(f"local-dir:{clip_folder}", device="cpu")
    colours = evaluation.eval_set(open_task("colours", tasks / "colours"), "test")
    for words in ([], [("red", ["a red."]), ("blue", ["a blue."])]):
        found = evaluation.evaluate_clip(clip, [colours], words)
        assert found["colours"].task_agnostic_top1 is None and found["colours"].images == 18
