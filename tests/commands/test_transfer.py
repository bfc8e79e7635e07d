"""Name-only transfer as users run it, on tiny untrained models."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tests.test_cli import error_of

import holdfast
from holdfast import stages
from holdfast.cli import main

WORDS = ["red thing", "green thing", "blue thing"]


@pytest.fixture
def options(clip_folder, diffusion_folder):
    """Options of a transfer run that takes seconds."""
    return [
        *("--model", f"local-dir:{clip_folder}", "--generator", str(diffusion_folder)),
        *("--images.steps", "2", "--images.per_class", "4", "--images.batch_size", "6"),
        *("--train.epochs", "2", "--train.batch_size", "5", "--train.workers", "0"),
        *("--train.learning_rate", "1e-3", "--device", "cpu"),
    ]


def transfer(options, *more):
    return main(["transfer", *WORDS, *options, *map(str, more)])


def test_from_names_to_a_verdict(options, pictures, tmp_path, capsys):
    run = tmp_path / "run"
    assert transfer(options, "--evaluate", pictures, "--out", run) == 0
    printed = capsys.readouterr().out
    result = json.loads((run / "result.json").read_text())
    assert result["scores"]["zero-shot"]["n"] == 30
    assert result["verdict"]["text"] in printed
    assert [row["alpha"] for row in result["alpha"]["sweep"]] == [i / 10 for i in range(11)]
    assert result["alpha"]["sweep"][0]["real_top1"] == result["scores"]["zero-shot"]["top1"]
    assert result["images"] == {
        "requested": 12,
        "generated": 12,
        "filtered": 0,
        "redrawn": 0,
        "unreadable": [],
        "missing": 0,
    }
    assert len(result["training"]) == 6  # 12 images in batches of 5, twice
    assert set(result["training"][0]["losses"]) == {"cross_entropy", "variance", "covariance"}
    assert len((run / "generated" / "manifest.jsonl").read_text().splitlines()) == 12
    page = (run / "report.html").read_text()
    assert "green thing" in page and "data:image" in page
    assert not list(run.glob("*checkpoint*"))

    # The saved classifier is the ensemble that was scored.
    assert main(["evaluate", str(run), str(pictures), "--out", str(tmp_path / "s.json")]) == 0
    scores = json.loads((tmp_path / "s.json").read_text())
    for found, earlier in (("scores", "ensemble"), ("zero_shot", "zero-shot")):
        again, before = scores[found], result["scores"][earlier]
        for key in ("nll", "ece"):  # sums in batches of another size
            assert again.pop(key) == pytest.approx(before.pop(key), rel=1e-5)
        bins = [np.array(each.pop("reliability")) for each in (again, before)]
        assert bins[0] == pytest.approx(bins[1], rel=1e-5)
        assert again == before
    assert scores["verdict"] == result["verdict"]
    assert result["verdict"]["text"] in capsys.readouterr().out
    assert main(["evaluate", str(run / "model"), str(pictures)]) == 0
    assert "Verdict" not in capsys.readouterr().out  # a classifier alone knows no other model

    files = sorted(pictures.rglob("*.png"))[:3]
    assert main(["predict", str(run), *map(str, files), "--top", "2"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == [str(f) for f in files]
    assert all({line[1], line[3]} <= set(WORDS) for line in lines)
    assert all(float(line[2]) >= float(line[4]) for line in lines)


def test_the_papers_recipe_takes_the_template_for_images_and_descriptions_for_the_head(
    options, tmp_path
):
    """`docs/transfer.md` has it for full-size models; pictures are stored at the model's size."""
    described = tmp_path / "cupl.json"
    described.write_text(json.dumps({name: [f"{name} is round.", f"a {name}"] for name in WORDS}))
    recipe = [
        *("--prompts.templates", "a photo of a {}.", "--head_prompts.descriptions", described),
        *("--images.size", "32", "--images.resize", "16", "--images.per_class", "2"),
        *("--train.batch_statistics", "learn", "--train.precision", "fp32", "--alpha", "0.5"),
    ]
    run = tmp_path / "run"
    assert transfer(options, *recipe, "--out", run) == 0
    lines = (run / "generated" / "manifest.jsonl").read_text().splitlines()
    drawn = [json.loads(line) for line in lines]
    assert {d["prompt"] for d in drawn} == {f"a photo of a {name}." for name in WORDS}
    assert {(d["width"], d["height"]) for d in drawn} == {(16, 16)}
    head = json.loads((run / "prompts.json").read_text())["prompts"]
    assert head == [[f"{name} is round.", f"a {name}"] for name in WORDS]


def test_names_of_a_papers_data_set_keep_their_folders(options, tmp_path):
    run = tmp_path / "run"
    few = ["--images.per_class", "1", "--train.epochs", "1", "--images.steps", "1"]
    assert main(["transfer", "names:eurosat", *options, *few, "--out", str(run)]) == 0
    assert json.loads((run / "settings.json").read_text())["names"] == ["names:eurosat"]
    names = json.loads((run / "model" / "classes.json").read_text())
    assert names["SeaLake"] == "lake or sea" and len(names) == 10
    again = ["transfer", "--config", str(run / "settings.json"), "--out", str(run)]
    assert main(again) == 0


def test_the_settings_file_reproduces_the_run(options, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert transfer(options, "--out", first) == 0
    assert main(["transfer", "--config", str(first / "settings.json"), "--out", str(second)]) == 0
    for name in ("model/open_clip_model.safetensors", "model/head.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_running_again_computes_nothing_again(options, pictures, tmp_path, capsys):
    run = tmp_path / "run"
    transfer(options, "--out", run)
    tuned = run / "train.safetensors"
    images = sorted((run / "generated" / "images").rglob("*.png"))
    before = [p.stat().st_mtime_ns for p in (tuned, *images)]
    # Measuring and averaging come after training: they may change without doing it again.
    assert transfer(options, "--out", run, "--evaluate", pictures, "--alpha", "0.2") == 0
    assert [p.stat().st_mtime_ns for p in (tuned, *images)] == before
    assert json.loads((run / "result.json").read_text())["alpha"]["chosen"] == 0.2
    assert len((run / "train.jsonl").read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("more", "check"),
    [
        (["--alpha", "0"], "original"),
        (["--alpha", "auto"], "auto"),
        (["--merge", "fisher"], "merged"),
        (["--train.trainable", "head"], "head"),
        (["--images.clip_filter", "0.5"], "filter"),
        (["--prompts.templates", "simple", "--head_prompts.templates", "a {}"], "prompts"),
        (["--train.precision", "bf16"], "bf16"),
    ],
)
def test_variants_are_one_setting_each(options, clip_folder, tmp_path, more, check):
    run = tmp_path / "run"
    assert transfer(options, "--out", run, *more) == 0
    result = json.loads((run / "result.json").read_text())
    weights = load_file(run / "model" / "open_clip_model.safetensors")
    original = load_file(clip_folder / "open_clip_model.safetensors")
    tower = [k for k in weights if k.startswith("visual.")]
    untouched = all((weights[k] == original[k]).all() for k in tower)
    assert untouched == (check == "head" or result["alpha"]["chosen"] == 0)
    if check == "auto":
        assert result["alpha"]["how"] == "auto"
        assert len({row["proxy"] for row in result["alpha"]["sweep"]}) > 1
    if check == "filter":
        assert result["images"]["filtered"] == 6
    if check == "prompts":
        lines = (run / "generated" / "manifest.jsonl").read_text().splitlines()
        assert len({json.loads(line)["prompt"] for line in lines}) == 12


def test_your_own_folder_is_as_good(options, pictures, tmp_path):
    run = tmp_path / "run"
    assert transfer(options, "--folder", pictures, "--alpha", "auto", "--out", run) == 0
    result = json.loads((run / "result.json").read_text())
    assert result["images"]["generated"] == 24  # a fifth is held out to choose alpha with
    assert not (run / "generated").exists()


def test_three_lines_of_python(clip_folder, pictures, tmp_path):
    classifier = holdfast.transfer(
        WORDS,
        tmp_path / "run",
        model=f"local-dir:{clip_folder}",
        folder=pictures,
        train={"epochs": 1, "workers": 0},
        device="cpu",
    )
    file = next(pictures.rglob("*.png"))
    names, probabilities = classifier.predict([file])
    assert names[0] in WORDS and probabilities.shape == (1, 3)
    again = holdfast.load_classifier(tmp_path / "run", "cpu")
    assert again.predict([file])[0] == names
    ((path, ((name, share),)),) = holdfast.predict(str(tmp_path / "run"), str(file), device="cpu")
    assert (path, name) == (file, names[0]) and share == pytest.approx(probabilities.max().item())


def test_text_is_as_good_as_a_path_or_a_list(clip_folder, pictures, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(WORDS))
    holdfast.transfer(
        str(tmp_path / "names.txt"),
        str(tmp_path / "run"),
        model=f"local-dir:{clip_folder}",
        folder=str(pictures),
        evaluate=str(pictures),
        train=holdfast.settings.TrainSettings(epochs=1, workers=0),
        device="cpu",
    )
    found = holdfast.evaluate(str(tmp_path / "run"), str(pictures), workers=0, device="cpu")
    assert found.scores.n == 30 and found.verdict is not None
    with pytest.raises(holdfast.UsageError, match=r"method.ensemble.alpha is 'maybe'"):
        holdfast.transfer(WORDS, tmp_path / "other", method={"ensemble": {"alpha": "maybe"}})


def test_a_dry_run_says_what_it_would_cost_and_leaves_nothing(options, tmp_path, capsys):
    out = tmp_path / "run"
    assert transfer(options, "--out", out, "--dry_run") == 0
    printed = capsys.readouterr().out
    assert "Drawing: 12 images would take" in printed and "Training: 6 steps of " in printed
    assert printed.splitlines()[-1].startswith("All together about ")
    assert not out.exists()


def test_a_killed_run_ends_with_the_same_weights(options, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    more = ["--train.epochs", "30", "--train.checkpoint_minutes", "0"]
    assert transfer(options, "--out", whole, *more) == 0
    command = [sys.executable, "-m", "holdfast", "transfer", *WORDS, *options, *more]
    command += ["--out", str(killed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    checkpoint = killed / "train.checkpoint.safetensors"
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists() and not (killed / "model").exists()
    assert transfer(options, "--out", killed, *more) == 0
    ours, theirs = (load_file(r / "model" / "open_clip_model.safetensors") for r in (whole, killed))
    for name in ours:
        # One thread and several differ in the last bits; the kill must not add to that.
        assert (ours[name] - theirs[name]).abs().max() < 1e-5, name
    records = json.loads((killed / "result.json").read_text())["training"]
    assert [r["step"] for r in records] == list(range(90))


def test_bad_names(capsys, tmp_path):
    out = ("--out", tmp_path / "run")
    for words, expected in (
        ([], "no class name"),
        (["cat"], "only 'cat'"),
        (["cat", "dog", "Cat "], "given again as 'Cat'"),
        (["cat", ""], "2 of 2 is empty"),
        (["names.txt"], "does not exist"),
    ):
        code, line = error_of(capsys, "transfer", *words, *out)
        assert code == 2 and expected in line
    assert not (tmp_path / "run").exists()


def test_bad_models(capsys, options, tmp_path):
    out = ("--out", tmp_path / "run")
    code, line = error_of(capsys, "transfer", *WORDS, "--model", "ViT-B-61", *out)
    assert code == 2 and "did you mean ViT-B-16" in line
    code, line = error_of(capsys, "transfer", *WORDS, "--model", "ViT-B-32", *out)
    assert code == 1 and "hf download" in line
    code, line = error_of(
        capsys, "transfer", *WORDS, *options, "--generator", "nobody/no-pipeline", *out
    )
    assert code == 1 and "DiffusionPipeline.download" in line


def test_bad_folders(capsys, options, pictures, tmp_path):
    out = ("--out", tmp_path / "run")
    empty = tmp_path / "empty"
    empty.mkdir()
    code, line = error_of(capsys, "transfer", *WORDS, *options, "--folder", empty, *out)
    assert code == 1 and "no class folders" in line and str(empty) in line
    code, line = error_of(capsys, "transfer", *WORDS, *options, "--evaluate", "nowhere", *out)
    assert code == 2 and "'nowhere' does not exist" in line
    (empty / "red thing").mkdir()
    code, line = error_of(capsys, "transfer", *WORDS, *options, "--folder", empty, *out)
    assert code == 1 and "no image files" in line
    other = tmp_path / "other"
    shutil.copytree(pictures, other)
    (other / "blue thing").rename(other / "blue thingy")
    code, line = error_of(capsys, "transfer", *WORDS, *options, "--evaluate", other, *out)
    assert code == 2 and "'blue thingy' (did you mean blue thing" in line
    assert not (tmp_path / "run").exists()


def test_corrupt_images_are_named_counted_and_skipped(options, pictures, tmp_path, caplog, capsys):
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    bad = data / "red thing" / "3.png"
    bad.write_bytes(bad.read_bytes()[:80])
    run = tmp_path / "run"
    assert transfer(options, "--folder", data, "--evaluate", data, "--out", run) == 0
    result = json.loads((run / "result.json").read_text())
    assert result["scores"]["ensemble"]["n"] == 29
    assert result["images"]["unreadable"] == [f"{bad}: image file is truncated"]
    # ... also when the finished run is opened again.
    assert transfer(options, "--folder", data, "--evaluate", data, "--out", run) == 0
    again = json.loads((run / "result.json").read_text())
    assert again["images"]["unreadable"] == [f"{bad}: image file is truncated"]
    capsys.readouterr()
    assert main(["predict", str(run), str(data)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 29
    assert any(str(bad) in note for note in result["notes"])
    assert str(bad) in caplog.text
    for image in data.rglob("*.png"):
        image.write_bytes(b"no picture")
    assert transfer(options, "--folder", data, "--out", tmp_path / "none") == 2
    assert not (tmp_path / "none").exists()


def test_a_run_folder_with_other_settings_is_left_alone(capsys, options, tmp_path):
    run = tmp_path / "run"
    assert transfer(options, "--out", run) == 0
    capsys.readouterr()
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    code, line = error_of(
        capsys, "transfer", *WORDS, *options, "--out", run, "--train.epochs", 3, "--seed", 8
    )
    assert code == 2 and "seed (0 there, 8 now); train.epochs (2 there, 3 now)" in line
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before
    # What costs only time may change.
    assert transfer(options, "--out", run, "--train.workers", 1, "--images.batch_size", 6) == 0
    capsys.readouterr()
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    (stranger / "thesis.txt").write_text("mine")
    code, line = error_of(capsys, "transfer", *WORDS, *options, "--out", stranger)
    assert code == 2 and "not empty" in line


def test_values_out_of_range(capsys, options, tmp_path):
    out = ("--out", tmp_path / "run")
    for option, value in (
        ("--alpha", 1.5),
        ("--images.clip_filter", 1),
        ("--train.epochs", 0),
        ("--device", "cuda:97"),
        ("--prompts.templates", "no place for the name"),
    ):
        code, _ = error_of(capsys, "transfer", *WORDS, *options, option, value, *out)
        assert code == 2
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_continued_with_other_data_under_the_same_names(
    capsys, options, pictures, clip_folder, tmp_path
):
    """The settings only name these files; what they hold must be the same too."""
    words, data, model = tmp_path / "names.txt", tmp_path / "data", tmp_path / "clip"
    words.write_text("\n".join(WORDS))
    shutil.copytree(pictures, data)
    shutil.copytree(clip_folder, model)
    command = ["transfer", words, *options, "--model", f"local-dir:{model}", "--folder", data]
    command += ["--out", tmp_path / "run"]
    assert main([str(word) for word in command]) == 0
    capsys.readouterr()

    words.write_text("\n".join(reversed(WORDS)))
    code, line = error_of(capsys, *command)
    assert code == 2 and "other settings: names" in line
    words.write_text("\n".join(WORDS))

    moved = next(data.rglob("*.png"))
    moved.rename(tmp_path / "away.png")
    code, line = error_of(capsys, *command)
    assert code == 2 and "with other training images" in line
    (tmp_path / "away.png").rename(moved)

    diffs = load_file(model / "open_clip_model.safetensors")
    diffs["visual.proj"] = diffs["visual.proj"] + 1
    save_file(diffs, model / "open_clip_model.safetensors")
    code, line = error_of(capsys, *command)
    assert code == 2 and "original weights" in line


def test_a_failed_start_does_not_block_the_folder(capsys, options, tmp_path):
    run = tmp_path / "run"
    code, _ = error_of(
        capsys, "transfer", *WORDS, *options, "--generator", "no/where", "--out", run
    )
    assert code == 1 and not run.exists()
    run.mkdir()
    (run / ".settings.json.1.holdfast-tmp").write_text("{")  # killed while writing its first file
    assert transfer(options, "--out", run) == 0


def test_training_needs_images_of_every_class(capsys, options, pictures, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    shutil.rmtree(data / "green thing")
    out = ("--out", tmp_path / "run")
    code, line = error_of(capsys, "transfer", *WORDS, *options, "--folder", data, *out)
    assert code == 2 and "no readable image of 'green thing'" in line
    assert transfer(options, "--evaluate", data, *out) == 0
    notes = json.loads((tmp_path / "run" / "result.json").read_text())["notes"]
    assert notes == ["Not measured, for want of real images: green thing."]


def test_measuring_on_training_images_is_said(options, pictures, tmp_path):
    run = tmp_path / "run"
    assert transfer(options, "--folder", pictures, "--evaluate", pictures, "--out", run) == 0
    assert any("too high" in n for n in json.loads((run / "result.json").read_text())["notes"])


def test_one_real_image_is_enough_to_run(options, pictures, tmp_path):
    data = tmp_path / "data" / "red thing"
    data.mkdir(parents=True)
    shutil.copy(next(pictures.rglob("*.png")), data)
    assert transfer(options, "--evaluate", data.parent, "--out", tmp_path / "run") == 0


def test_settings_of_a_run_hold_from_anywhere(
    options, clip_folder, diffusion_folder, pictures, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("\n".join(WORDS))
    for folder, name in ((pictures, "pictures"), (clip_folder, "clip"), (diffusion_folder, "draw")):
        shutil.copytree(folder, tmp_path / name)
    relative = ["--model", "local-dir:clip", "--generator", "draw", "--folder", "pictures"]
    assert main(["transfer", "names.txt", *options, *relative, "--out", "run"]) == 0
    kept = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert kept["generator"] == str(tmp_path / "draw")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert main(["transfer", "--config", "../run/settings.json", "--out", "again"]) == 0
    assert json.loads(Path("again/settings.json").read_text())["names"] == WORDS


def test_broken_files_of_a_run_are_one_sentence(capsys, options, tmp_path):
    run = tmp_path / "run"
    assert transfer(options, "--out", run) == 0
    capsys.readouterr()
    for name in ("train.safetensors", "generated/generation.json", "settings.json"):
        kept = (run / name).read_bytes()
        (run / name).write_text("{")
        code, line = error_of(capsys, "transfer", *WORDS, *options, "--out", run)
        assert code == 1 and name in line
        (run / name).write_bytes(kept)
    (run / "generated" / "manifest.jsonl").write_bytes(b"\xff\xfe")
    assert transfer(options, "--out", run) == 0  # all images are drawn again, to the same bits


def test_the_images_of_a_dry_run_include_those_to_choose_alpha_with(options, tmp_path, capsys):
    assert transfer(options, "--out", tmp_path / "x", "--dry_run", "--alpha", "auto") == 0
    assert "36 images" in capsys.readouterr().out  # 3 classes, 4 to train on and 8 held out


def test_pocket_is_chosen_by_name(tmp_path):
    run = tmp_path / "run"
    command = ["transfer", "zero", "one", "--model", "pocket", "--generator", "pocket"]
    command += ["--images.per_class", "2", "--images.steps", "2", "--train.epochs", "1"]
    command += ["--train.workers", "0", "--device", "cpu", "--out", str(run)]
    assert main(command) == 0
    assert json.loads((run / "result.json").read_text())["model"]["name"] == "pocket"
    lines = (run / "generated" / "manifest.jsonl").read_text().splitlines()
    assert {json.loads(line)["generator"] for line in lines} == {"diffusion"}
    assert {json.loads(line)["width"] for line in lines} == {32}


# Methods and anchors


def result_of(run):
    return json.loads((run / "result.json").read_text())


def tower_of(run):
    weights = load_file(run / "model" / "open_clip_model.safetensors")
    return {name: tensor for name, tensor in weights.items() if name.startswith("visual.")}


def far(one, other):
    """How far two sets of weights lie apart."""
    return sum((one[name] - other[name]).square().sum().item() for name in one) ** 0.5


@pytest.fixture
def replay(tmp_path):
    """Options of replayed images that take a second to draw."""
    names = tmp_path / "base.txt"
    names.write_text("cat\ndog\nhorse\n")
    return [
        *("--replay.base", str(names), "--replay.images", "8", "--replay.steps", "2"),
        *("--replay.batch_size", "8", "--train.replay_batch_size", "5"),
    ]


def test_a_method_without_ensemble_ends_with_the_fine_tuned_weights(options, pictures, tmp_path):
    plain = tmp_path / "plain"
    assert transfer(options, "--method", "finetune", "--evaluate", pictures, "--out", plain) == 0
    result = result_of(plain)
    assert result["alpha"]["chosen"] == 1 and "no weight ensemble" in result["alpha"]["why"]
    assert set(result["scores"]) == {"zero-shot", "fine-tuned"}
    assert set(result["training"][0]["losses"]) == {"cross_entropy"}
    assert (result["method"], result["method_title"]) == ("finetune", "Fine-tuning")
    kept, saved = load_file(plain / "train.safetensors"), tower_of(plain)
    assert all((kept[name] == tensor).all() for name, tensor in saved.items())


def test_wise_ft_is_plain_fine_tuning_with_an_ensemble(options, tmp_path):
    """... whose alpha may change without training again."""
    wise, added = tmp_path / "wise", tmp_path / "added"
    assert transfer(options, "--method", "wise-ft", "--out", wise) == 0
    more = ["--method", "finetune", "--anchors", "weight-ensemble:alpha=0.5", "--out", added]
    assert transfer(options, *more) == 0
    assert far(tower_of(wise), tower_of(added)) == 0
    before = (wise / "train.safetensors").stat().st_mtime_ns
    assert transfer(options, "--method", "wise-ft", "--alpha", "0.2", "--out", wise) == 0
    assert (wise / "train.safetensors").stat().st_mtime_ns == before
    assert result_of(wise)["alpha"]["chosen"] == 0.2
    assert far(tower_of(wise), tower_of(added)) > 0


def test_l2_stays_closer_to_the_original_than_plain_fine_tuning(options, clip_folder, tmp_path):
    original = load_file(clip_folder / "open_clip_model.safetensors")
    distance = {}
    for method in ("finetune", "l2"):
        more = ["--strength", "50"] if method == "l2" else []
        assert transfer(options, "--method", method, *more, "--out", tmp_path / method) == 0
        distance[method] = far(tower_of(tmp_path / method), original)
    assert 0 < distance["l2"] < 0.9 * distance["finetune"]
    losses = result_of(tmp_path / "l2")["training"][-1]["losses"]
    assert set(losses) == {"consolidation", "cross_entropy"} and losses["consolidation"] > 0


@pytest.mark.parametrize(
    ("anchors", "losses"),
    [
        ("consolidation:importance=uniform", {"consolidation"}),
        ("alignment", {"alignment_image", "alignment_text"}),
        ("replay-distillation", {"distillation_image", "distillation_text"}),
        ("replay-distillation:directions=image:loss=features", {"distillation_image"}),
        (
            "replay-distillation,consolidation",
            {"distillation_image", "distillation_text", "consolidation"},
        ),
        (
            "alignment,consolidation:importance=static:toward=initial",
            {"alignment_image", "alignment_text", "consolidation"},
        ),
        (
            "replay-distillation:over=all:directions=image:images=task,alignment:weight=0",
            {"distillation_image"},
        ),
        ("iterate-average:every=2", set()),
    ],
)
def test_any_anchor_joins_the_method(anchors, losses, options, replay, tmp_path):
    run, plain = tmp_path / "run", tmp_path / "plain"
    assert transfer([*options, *replay], "--anchors", anchors, "--out", run) == 0
    found = result_of(run)["training"]
    own = {"cross_entropy", "variance", "covariance"}
    assert all(set(step["losses"]) == own | losses for step in found)
    drawn = bool(losses - {"consolidation"}) and "images=task" not in anchors
    assert (run / "replay").exists() == drawn
    if drawn:
        lines = (run / "replay" / "manifest.jsonl").read_text().splitlines()
        assert len(lines) == 8 and any("a photo of a cat." in line for line in lines)
    assert transfer(options, "--out", plain) == 0
    assert far(tower_of(run), tower_of(plain)) > 0


def test_an_anchor_without_weight_changes_nothing(options, tmp_path):
    run, plain = tmp_path / "run", tmp_path / "plain"
    assert transfer(options, "--anchors", "alignment:weight=0", "--out", run) == 0
    assert transfer(options, "--out", plain) == 0
    assert far(tower_of(run), tower_of(plain)) == 0 and not (run / "replay").exists()


def test_an_average_of_iterates_lies_between_its_ends(options, clip_folder, tmp_path):
    """Of the weights before the training, after each of the six steps, and the last."""
    more = ["--method", "finetune", "--anchors", "iterate-average:every=1"]
    assert transfer(options, *more, "--out", tmp_path / "mean") == 0
    assert transfer(options, "--method", "finetune", "--out", tmp_path / "last") == 0
    original = load_file(clip_folder / "open_clip_model.safetensors")
    last, mean = (tower_of(tmp_path / name) for name in ("last", "mean"))
    assert 0.2 * far(last, original) < far(mean, original) < 0.9 * far(last, original)


def test_replayed_images_may_be_the_users_own(options, pictures, tmp_path, capsys):
    folder, run = tmp_path / "pairs", tmp_path / "run"
    folder.mkdir()
    for number, file in enumerate(sorted(pictures.rglob("*.png"))[::3]):
        shutil.copy(file, folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"picture {number % 4}")
    more = ["--anchors", "replay-distillation", "--replay.folder", folder, "--out", run]
    assert transfer(options, *more) == 0
    assert not (run / "replay").exists()
    capsys.readouterr()
    (folder / "0.txt").write_text("another picture")
    code, line = error_of(capsys, "transfer", *WORDS, *options, *more)
    assert code == 2 and "with other replayed images" in line


def test_a_run_with_replay_goes_on_where_it_stopped(options, replay, tmp_path, monkeypatch):
    more = [*replay, "--anchors", "replay-distillation,consolidation"]
    more += ["--train.checkpoint_minutes", "0"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert transfer(options, *more, "--out", whole) == 0
    save = stages.Stage.save

    def interrupted(stage, step, *rest):
        save(stage, step, *rest)
        if step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages.Stage, "save", interrupted)
        assert transfer(options, *more, "--out", stopped) == 130
    images = sorted((stopped / "replay").rglob("*.png"))
    before = [path.stat().st_mtime_ns for path in images]
    assert transfer(options, *more, "--out", stopped) == 0
    assert far(tower_of(whole), tower_of(stopped)) == 0
    assert [path.stat().st_mtime_ns for path in images] == before and len(images) == 8
    assert result_of(whole)["training"] == result_of(stopped)["training"]


def test_the_fisher_information_leaves_what_learns_as_it_was(options, replay, tmp_path):
    """Measuring it needs gradients of all weights; the text tower must not learn afterwards."""
    more = ["--anchors", "consolidation:importance=static", "--method", "finetune"]
    assert transfer([*options, *replay], *more, "--out", tmp_path / "run") == 0
    kept = load_file(tmp_path / "run" / "train.safetensors")
    assert all(name.startswith(("visual.", "head.")) for name in kept)
    losses = [step["losses"] for step in result_of(tmp_path / "run")["training"]]
    assert losses[0]["consolidation"] == 0 < losses[-1]["consolidation"]


def test_anchors_that_cannot_be_met_are_one_sentence(capsys, options, tmp_path):
    for words, sentence in (
        (["--anchors", "teacher-embeddings"], "needs a teacher's embeddings of the images, which"),
        (["--anchors", "consolidation"], "adaptive importance"),
        (["--anchors", "alignment", "--train.trainable", "head"], "leave one of them out"),
        (["--method", "gift"], "'gift' is not for transfer; give one of finetune, l2, regft"),
    ):
        code, line = error_of(
            capsys, "transfer", *WORDS, *options, *words, "--out", tmp_path / "run"
        )
        assert code == 2 and sentence in line, line
    assert not (tmp_path / "run").exists()


def test_a_training_in_parts_ends_with_the_same_weights(options, pictures, tmp_path, capsys):
    own = [*options, "--folder", str(pictures)]
    less = ["--train.accumulation", "2", "--train.grad_checkpointing"]
    for name, more in (("whole", []), ("parts", less)):
        assert transfer(own, *more, "--out", tmp_path / name) == 0
    # Adam makes noise of the bias of keys, which has no gradient: losses are compared.
    curves = [result_of(tmp_path / name)["training"] for name in ("whole", "parts")]
    losses = [[loss for step in curve for loss in step["losses"].values()] for curve in curves]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    code, line = error_of(
        capsys, "transfer", *WORDS, *own, *less, "--train.batch_statistics", "learn"
    )
    assert code == 2 and "would see each picture twice" in line


def test_images_that_cannot_be_drawn_are_missing_and_the_report_says_so(
    options, tmp_path, monkeypatch
):
    from holdfast.generation import pipeline

    flaw = pipeline.flaw
    black = iter([None, "black"] * 6)  # of 12 images, drawn once each
    monkeypatch.setattr(pipeline, "flaw", lambda picture: flaw(picture) or next(black))
    run = tmp_path / "run"
    assert transfer(options, "--images.redraws", 0, "--out", run) == 0
    result = result_of(run)
    assert (result["images"]["generated"], result["images"]["missing"]) == (6, 6)
    [note] = result["notes"]
    assert note.startswith("6 of 12 images could not be drawn and are missing: ")
    page = (run / "report.html").read_text()
    assert "could not be drawn and are missing" in page and "6 of 12" in page


def test_a_last_batch_of_one_image_trains(options, tmp_path):
    """12 images in batches of 11: one image has no variance."""
    assert transfer(options, "--train.batch_size", "11", "--out", tmp_path / "run") == 0
    steps = [step["losses"] for step in result_of(tmp_path / "run")["training"]]
    assert [losses["variance"] > 0 for losses in steps] == [True, False, True, False]


def test_training_learns_and_is_a_function_of_the_seed(options, pictures, tmp_path):
    more = ["--folder", pictures, "--train.epochs", "8", "--train.batch_size", "8"]
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert transfer(options, *more, "--seed", seed, "--out", tmp_path / name) == 0
    losses = [s["losses"]["cross_entropy"] for s in result_of(tmp_path / "a")["training"]]
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])
    first, same, other = (tower_of(tmp_path / name) for name in "abc")
    assert far(first, same) == 0 < far(first, other)
    rates = [step["learning_rate"] for step in result_of(tmp_path / "a")["training"]]
    assert rates.index(max(rates)) == 32 // 5 - 1  # the warmup is at most a fifth of the steps
