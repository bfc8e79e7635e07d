"""Streams of tasks as a user runs them, on tiny untrained models."""

import csv
import json
import multiprocessing
import os
import shutil
import signal

import pytest
import torch
from tests.commands.streams import (
    read,
    run,
)
from tests.test_cli import error_of
from tests.tiny import embed

import holdfast
from holdfast import builtin, evaluation, names, task_history, train
from holdfast.data.batches import sequential_batches
from holdfast.data.streams import TaskSource, open_source, open_task
from holdfast.metrics import score, stream_metrics
from holdfast.models.classifier import Classifier, text_head
from holdfast.models.clip import load_clip
from holdfast.stages import Stage


def test_a_stream_ends_in_a_matrix_and_its_numbers(streamed):
    result = read(streamed / "result.json")
    matrix = result["matrix"]
    assert (result["kind"], matrix["split"]) == ("continual", "test")
    assert "Accuracy matrix" in (streamed / "report.html").read_text()
    assert matrix["rows"] == ["zero-shot", "colours", "shades"]
    assert matrix["columns"] == ["colours", "shades"] and matrix["images"] == [18, 18]
    for kind in ("task_aware", "task_agnostic"):
        interval = result[kind].pop("forget_interval")
        assert result[kind] == stream_metrics(matrix[kind][1:])
        assert interval[0] <= result[kind]["forget"] <= interval[1]
        # Among the classes of both tasks there is more to be wrong about.
        assert all(
            agnostic <= aware
            for rows in zip(matrix["task_agnostic"], matrix["task_aware"], strict=True)
            for agnostic, aware in zip(*rows, strict=True)
        )
    for kind in ("task_aware", "task_agnostic", "class_incremental"):
        # Whether the task is known is part of the name.
        file = streamed / f"matrix-{kind.replace('_', '-')}.csv"
        table = list(csv.reader(file.read_text().splitlines()))
        assert table[0] == ["after", "colours", "shades"]
        assert [row[0] for row in table[1:]] == matrix["rows"]
        written = [[float(value) if value else None for value in row[1:]] for row in table[1:]]
        for row, expected in zip(written, matrix[kind], strict=True):
            assert row == [e if e is None else pytest.approx(e, abs=1e-6) for e in expected]


def test_class_incremental_accuracy_knows_the_classes_learnt_so_far_alone(streamed):
    result = read(streamed / "result.json")
    matrix, found = result["matrix"], result["class_incremental"]
    first, colours, shades = matrix["class_incremental"]
    assert first == [None, None] and colours[1] is None
    # After the first task there are its classes alone, after the last those of all.
    assert colours[0] == matrix["task_aware"][1][0]
    assert shades == matrix["task_agnostic"][2]
    assert found["by_stage"] == pytest.approx([colours[0], sum(shades) / 2])
    assert found["last"] == found["by_stage"][-1]
    assert found["average"] == pytest.approx(sum(found["by_stage"]) / 2)
    page = (streamed / "report.html").read_text()
    assert "Class-incremental accuracy, stage by stage" in page


def test_a_stream_reports_held_out_tasks_without_a_gate(tasks, options, model, tmp_path, capsys):
    out = tmp_path / "run"
    alone = tmp_path / "others"
    shutil.copytree(tasks / "shades" / "test", alone / "test")
    stream = tmp_path / "stream.yaml"
    stream.write_text(f"- {tasks / 'colours'}\n")
    command = (stream, "--model", model, *options, "--method", "finetune", "--out", out)
    assert run(*command, "--held_out", alone) == 0
    result = read(out / "result.json")
    found = result["held_out"]
    assert (found["rows"], found["columns"]) == (["zero-shot", "colours"], ["others"])
    assert found["images"] == [18] and len(found["task_aware"]) == 2
    assert result["steps"][0]["gate"] is None
    lines = (out / "held-out-task-aware.csv").read_text().splitlines()
    assert lines[0] == "after,others" and len(lines) == 3
    assert "held out, task-aware: others" in capsys.readouterr().out
    assert "Held-out tasks: task-aware accuracy" in (out / "report.html").read_text()
    # Others may be given afterwards: nothing is trained again for them.
    records = (out / "tasks" / "01-colours" / "train.jsonl").read_bytes()
    assert run(*command, "--held_out", tasks / "shades") == 0
    assert read(out / "result.json")["held_out"]["columns"] == ["shades"]
    assert (out / "tasks" / "01-colours" / "train.jsonl").read_bytes() == records
    zero = ("--method", "zero-shot", "--out", tmp_path / "zero")
    assert run(stream, "--model", model, *options, *zero, "--held_out", alone) == 0
    held = read(tmp_path / "zero" / "result.json")["held_out"]
    assert held["task_aware"] == [found["task_aware"][0]] * 2


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
    known = [noted[name]["task_aware_top1"] for name in matrix["columns"]]
    assert known == matrix["task_aware"][2]
    assert [noted[name]["task_agnostic_top1"] for name in matrix["columns"]] == matrix[
        "task_agnostic"
    ][2]


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
    [zero] = streamed.glob("scores-*-val-0.json")
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


def test_a_failed_task_passes_nothing_on(tasks, options, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "learning_rate", lambda *_: 1e30)
    stream = tmp_path / "stream.yaml"
    stream.write_text(f"- {tasks / 'colours'}\n- {tasks / 'shades'}\n")
    out = tmp_path / "run"
    code, line = error_of(
        capsys, "continual", "run", stream, "--model", model, *options, "--out", out
    )
    assert code == 1 and "not finite" in line
    assert not (out / "tasks" / "01-colours" / "model").exists()
    assert not (out / "tasks" / "02-shades").exists()


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
        drift = {name.replace("distillation", "drift") for name in losses if "distil" in name}
        measured = [record["measures"] for record in step["training"]]
        assert all(set(found) == drift for found in measured)
        if method == "gift":  # at first both are one model, and then they move apart
            first, last = (found["drift_image"] for found in (measured[0], measured[-1]))
            assert first == pytest.approx(0, abs=1e-6) and last > first
        assert (step["replay"] is not None) == (method in ("gift", "ewc", "zscl"))
    if method == "zscl":  # reference images know nothing of the tasks
        [row] = result["steps"][1]["replay"]["coverage"]
        assert row["source"] == "pre-training" and row["images"] == 12


def test_zero_shot_is_the_model_as_it_is(streamed, tasks, options, model, tmp_path):
    out = tmp_path / "run"
    command = (tasks / "stream.yaml", "--model", model, *options, "--method", "zero-shot")
    assert run(*command, "--out", out) == 0
    matrix = read(out / "result.json")["matrix"]
    assert matrix["task_aware"] == [read(streamed / "result.json")["matrix"]["task_aware"][0]] * 3
    assert not (out / "tasks").exists()


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
    code, line = problem(f"- {tasks / 'colours'}", "--held_out", tasks / "nowhere")
    assert code == 2 and "nowhere" in line
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
    assert matrix["images"] == [40] and 0.05 < matrix["task_aware"][0][0] < 0.9
    lines = (out / "tasks" / "01-digits" / "replay" / "manifest.jsonl").read_text().splitlines()
    shown = {json.loads(line)["prompt"].removeprefix("a photo of a ") for line in lines}
    assert shown <= {f"{noun}." for noun in builtin.pretraining_names("pocket")}


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
    features = evaluation.image_features

    def counted(model, images):
        seen.append(len(images))
        return features(model, images)

    monkeypatch.setattr(evaluation, "image_features", counted)
    monkeypatch.setattr(evaluation, "BLOCK", 7)
    embedded = evaluation.embed_sets(clip, sets, words)
    found = embedded.scores()
    assert sum(seen) == 36

    every = [name for name, _ in words]
    assert every == ["blue", "green", "red", "bright", "dark", "red"]
    for each in sets:
        batches = list(sequential_batches(each.data, clip.preprocess, 7))
        own = Classifier(clip, text_head(clip, each.prompts), names.from_names(each.classes))
        _, logits, labels, _ = embed(own.eval(), batches)
        wanted = score(logits, labels, each.classes)
        scores = found[each.name]
        assert scores.task_aware_top1 == wanted.top1
        assert scores.task_aware_mean_per_class == pytest.approx(wanted.mean_per_class)
        assert scores.task_aware_ece == pytest.approx(wanted.ece, abs=1e-5)
        assert embedded.right()[each.name].equal(logits.argmax(dim=1) == labels)
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
    # Of the first task learnt: among its own names; of both: among those of both.
    one, both = embedded.scores(1), embedded.scores(2)
    assert one["colours"].class_incremental_top1 == found["colours"].task_aware_top1
    assert one["shades"].class_incremental_top1 is None
    for name in ("colours", "shades"):
        assert both[name].class_incremental_top1 == found[name].task_agnostic_top1


def test_names_outside_the_vocabulary_have_no_score_among_all_classes(tasks, clip_folder):
    clip = load_clip(f"local-dir:{clip_folder}", device="cpu")
    colours = evaluation.eval_set(open_task("colours", tasks / "colours"), "test")
    for words in ([], [("red", ["a red."]), ("blue", ["a blue."])]):
        found = evaluation.embed_sets(clip, [colours], words).scores()
        assert found["colours"].task_agnostic_top1 is None and found["colours"].images == 18
