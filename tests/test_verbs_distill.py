"""`holdfast distill`, run as a user would, on small pictures of the embedded world."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from tests.test_cli import error_of
from tests.worlds import THINGS, domain_tree, small_settings, small_world

import holdfast
from holdfast.averaging import WeightTracker
from holdfast.cli import main
from holdfast.data.domains import Domains, scan_domains
from holdfast.data.folders import LabelledImages, scan
from holdfast.harness import Fold
from holdfast.names import from_names
from holdfast.settings import DistillSettings
from holdfast.teachers import LocalTeacher, write_embeddings
from holdfast.teachers.store import EmbeddingStore
from holdfast.verbs.distill.trials import plan_trials, training_images, trainings
from holdfast.verbs.distill.verdict import interval


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return domain_tree(tmp_path_factory.mktemp("domains") / "data")


@pytest.fixture(scope="module")
def answers(tmp_path_factory, tree):
    """A store that holds what most tests ask; they copy it where they count queries."""
    folder = tmp_path_factory.mktemp("answers")
    arguments = [str(tree), *options(), "--out", str(folder / "run"), "--store", str(folder / "a")]
    assert main(["distill", *arguments, "--advice_only", "true"]) == 0
    return folder / "a"


def test_should_i_distil(tree, tmp_path, capsys):
    """The sample that the advice rests on is paid once: it is part of what training asks."""
    assert distill(tree, tmp_path, "--sample", "40", "--advice_only", "true") == 0
    printed = capsys.readouterr().out
    advice = json.loads((tmp_path / "run" / "advice.json").read_text())
    assert advice["text"] in printed and "advice.json" in printed
    assert advice["images"] == 40 == sum(row["n"] for row in advice["domains"].values())
    assert set(advice["classes"]) == set(THINGS)
    assert ledger(tmp_path / "answers") == (40, 3)
    assert not (tmp_path / "run" / "result.json").exists()
    assert distill(tree, tmp_path) == 0  # goes on from there, in the same folder
    assert ledger(tmp_path / "answers") == (144, 3)


def options():
    """Options of a run that takes seconds."""
    stage = {"steps": 4, "per_domain": 3, "validate_every": 2, "learning_rate": 1e-3}
    return [
        *("--teacher", "pocket", "--student", "pocket", "--views", "2", "--view.size", "32"),
        *(f"--{name}.{key}={value}" for name in ("align", "train") for key, value in stage.items()),
        *("--workers", "0", "--device", "cpu"),
    ]


def distill(tree, tmp_path, *more, store=None):
    where = ["--out", str(tmp_path / "run"), "--store", str(store or tmp_path / "answers")]
    return main(["distill", str(tree), *options(), *where, *map(str, more)])


def result_of(tmp_path):
    return json.loads((tmp_path / "run" / "result.json").read_text())


def ledger(store):
    """(images asked, texts asked)"""
    lines = [json.loads(t) for f in store.rglob("ledger.jsonl") for t in f.read_text().splitlines()]
    asked = [line for line in lines if "images" in line]
    return sum(a["images"] for a in asked), sum(a["texts"] for a in asked)


def test_each_domain_left_out_in_turn(tree, tmp_path, capsys):
    assert distill(tree, tmp_path, "--held_out", "all") == 0
    printed = capsys.readouterr().out
    result = result_of(tmp_path)
    assert result["kind"] == "distill"
    assert "Domain by domain" in (tmp_path / "run" / "report.html").read_text()
    assert f"Verdict: {result['verdict']['headline']}" in printed
    assert [t["held_out"] for t in result["trials"]] == ["neon", "photo", "sketch"]
    # 24 of 30 images of each of 3 domains, 2 views, for all folds and both stages; 3 prompts.
    assert ledger(tmp_path / "answers") == (144, 3)
    assert result["queries"]["asked_by_this_run"] == 147
    assert result["queries"]["needed_without_store"] == {"images": 144, "texts": 3}
    assert result["advice"]["text"] in printed
    assert result["advice"]["images"] == 72
    assert set(result["advice"]["classes"]) == set(THINGS)

    trial = result["trials"][0]
    assert list(trial["stages"]) == ["align", "distill"]
    scores = trial["scores"]
    assert scores["neon"]["full"]["n"] == 30 and scores["neon"]["domainbed"]["n"] == 24
    assert "validation" not in scores["neon"] and scores["photo"]["validation"]["n"] == 6
    # The teacher is measured, without a query of its own, where it was asked: DomainBed's part.
    assert scores["neon"]["teacher"]["n"] == scores["neon"]["gap"]["n"] == 24
    gap = scores["neon"]["domainbed"]["top1"] - scores["neon"]["teacher"]["top1"]
    assert scores["neon"]["gap"]["difference"] == pytest.approx(gap)
    held_out = result["summary"]["held_out"]["full"]
    values = [t["scores"][t["held_out"]]["full"]["top1"] for t in result["trials"]]
    assert held_out["average"]["mean"] == pytest.approx(sum(values) / 3)
    assert held_out["worst"]["mean"] == min(values)
    assert held_out["average"]["deviation"] is None
    assert result["student"]["parameters"] < result["teacher"]["parameters"]
    assert result["student"]["milliseconds_per_image"] > 0

    # The saved classifier is the one that was scored.
    model = tmp_path / "run" / trial["classifier"]
    classifier = holdfast.load_classifier(model, "cpu")
    domains = scan_domains(tree)
    neon = [domains.images.paths[i] for i in domains.indices(0)]
    names, _ = classifier.predict(neon)
    right = [name == path.parent.name for name, path in zip(names, neon, strict=True)]
    assert sum(right) / 30 == scores["neon"]["full"]["top1"]
    assert timm.create_model(f"local-dir:{model}", pretrained=True).num_features == 152


def test_deployment_trains_on_all_domains_and_the_classifier_serves_the_other_verbs(
    tree, answers, tmp_path, capsys
):
    assert distill(tree, tmp_path, store=answers) == 0
    run, result = tmp_path / "run", result_of(tmp_path)
    (trial,) = result["trials"]
    assert trial["held_out"] is None and trial["sources"] == ["neon", "photo", "sketch"]
    assert "held_out" not in result["summary"] and "gap" not in result["summary"]
    assert set(result["summary"]["in_domain"]["domains"]) == {"neon", "photo", "sketch"}
    capsys.readouterr()
    assert main(["evaluate", str(run), str(tree / "neon"), "--device", "cpu"]) == 0
    assert "30 images" in capsys.readouterr().out
    file = next((tree / "neon").rglob("*.png"))
    assert main(["predict", str(run), str(file), "--top", "3"]) == 0
    printed = capsys.readouterr().out.split("\t")
    assert printed[0] == str(file) and set(printed[1::2]) == set(THINGS)


def test_the_settings_file_reproduces_the_run(tree, answers, tmp_path):
    assert distill(tree, tmp_path / "a", "--held_out", "neon", store=answers) == 0
    settings = tmp_path / "a" / "run" / "settings.json"
    assert main(["distill", "--config", str(settings), "--out", str(tmp_path / "b")]) == 0
    models = [p / "without-neon" / "model" for p in (tmp_path / "a" / "run", tmp_path / "b")]
    for name in ("model.safetensors", "projection.safetensors", "head.safetensors"):
        assert (models[0] / name).read_bytes() == (models[1] / name).read_bytes()


def test_a_finished_run_computes_and_asks_nothing_again(tree, answers, tmp_path, monkeypatch):
    assert distill(tree, tmp_path, "--held_out", "photo", store=answers) == 0
    before = result_of(tmp_path)
    monkeypatch.setattr(WeightTracker, "after_step", lambda *_: 1 / 0)
    monkeypatch.setattr(LocalTeacher, "embed_images", lambda *_: 1 / 0)
    assert distill(tree, tmp_path, "--held_out", "photo", store=answers) == 0
    after = result_of(tmp_path)
    assert after["trials"] == before["trials"] and after["summary"] == before["summary"]


class KilledError(BaseException):
    pass


def killed_after(monkeypatch, kind, name, calls):
    """Let the method of a class end the process's work after so many calls."""
    method, counted = getattr(kind, name), []

    def until(self, *arguments, **keywords):
        found = method(self, *arguments, **keywords)
        counted.append(1)
        if len(counted) == calls:
            raise KilledError
        return found

    monkeypatch.setattr(kind, name, until)


@pytest.mark.parametrize("views", ["2", "0"])
def test_killed_anywhere_it_ends_with_the_same_weights_and_pays_nothing_twice(
    tree, tmp_path, monkeypatch, views
):
    more = ["--views", views, "--held_out", "neon", "--batch", "20", "--checkpoint_minutes", "0"]
    assert distill(tree, tmp_path / "whole", *more) == 0
    paid = ledger(tmp_path / "whole" / "answers")
    # Within the store, in the first stage, and twice in the second.
    for kind, name, calls in (
        (EmbeddingStore, "_append", 2),
        (WeightTracker, "after_step", 3),
        (WeightTracker, "after_step", 3),
        (WeightTracker, "after_step", 2),
    ):
        with monkeypatch.context() as patch, pytest.raises(KilledError):
            killed_after(patch, kind, name, calls)
            distill(tree, tmp_path, *more)
    assert distill(tree, tmp_path, *more) == 0
    assert ledger(tmp_path / "answers") == paid
    models = [p / "run" / "without-neon" / "model" for p in (tmp_path / "whole", tmp_path)]
    for file in ("model.safetensors", "projection.safetensors"):
        assert (models[0] / file).read_bytes() == (models[1] / file).read_bytes()
    whole, resumed = (result_of(p)["trials"][0] for p in (tmp_path / "whole", tmp_path))
    assert whole["scores"] == resumed["scores"]
    for stage in whole["stages"]:
        assert whole["stages"][stage]["validations"] == resumed["stages"][stage]["validations"]


def test_kill_9_while_distilling(tree, answers, tmp_path):
    """With the loss-valley average, whose segments must survive too."""
    more = ["--held_out", "neon", "--checkpoint_minutes", "0", "--train.steps", "12"]
    more += ["--average.converge", "2", "--average.tolerance", "3"]
    assert distill(tree, tmp_path / "whole", *more, store=answers) == 0
    command = ["distill", str(tree), *options(), "--out", str(tmp_path / "run"), *more]
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast", *command, "--store", str(answers)],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    checkpoint = tmp_path / "run" / "without-neon" / "training" / "distill.checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert checkpoint.exists()
    assert distill(tree, tmp_path, *more, store=answers) == 0
    models = [p / "run" / "without-neon" / "model" for p in (tmp_path / "whole", tmp_path)]
    weights = [load_file(model / "model.safetensors") for model in models]
    assert all(torch.equal(weights[0][name], t) for name, t in weights[1].items())


def test_a_budget_stops_clearly_and_what_was_paid_is_used(tree, tmp_path, capsys):
    assert distill(tree, tmp_path, "--max_queries", "74") == 2
    error = capsys.readouterr().err
    assert "too small" in error and "need 75 more" in error and "--max_queries 75" in error
    assert ledger(tmp_path / "answers") == (0, 0)
    # One view of each image, not two.
    assert distill(tree, tmp_path, "--max_queries", "75") == 1
    assert "--views 1" in capsys.readouterr().err
    assert ledger(tmp_path / "answers") == (72, 3)
    # In the same folder, since nothing was trained yet.
    assert distill(tree, tmp_path, "--max_queries", "75", "--views", "1") == 0
    assert ledger(tmp_path / "answers") == (72, 3)
    assert result_of(tmp_path)["queries"]["asked_by_this_run"] == 75
    assert distill(tree, tmp_path, "--views", "2") == 2  # now something was


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--method", "zero-shot"], "the images to test on and the prompts need 21 more"),
        (["--views", "0", "--sample", "9"], "the sample of images and the prompts need 12 more"),
    ],
)
def test_a_budget_too_small_says_for_what(tree, tmp_path, capsys, more, message):
    assert distill(tree, tmp_path, *more, "--max_queries", "5") == 2
    assert message in capsys.readouterr().err
    assert ledger(tmp_path / "answers") == (0, 0)


def test_a_budget_that_ends_online_says_how_to_know_the_whole(tree, tmp_path, capsys):
    online = ("--views", 0, "--held_out", "neon", "--sample", 0)
    assert distill(tree, tmp_path, *online, "--max_queries", 12) == 1
    assert "(--dry_run says what the whole run takes at most)" in capsys.readouterr().err


def test_the_first_image_may_be_unreadable(tree, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(tree, data)
    scan_domains(data).images.paths[0].write_bytes(b"no picture")
    assert distill(data, tmp_path, "--method", "erm") == 0
    result = result_of(tmp_path)
    assert [d["images"] for d in result["domains"]] == [29, 30, 30]
    assert result["teacher"]["milliseconds_per_image"] > 0


def test_a_dry_run_says_what_it_would_ask_and_leaves_nothing(tree, tmp_path, capsys):
    more = ["--held_out", "all", "--dry_run"]
    assert distill(tree, tmp_path, *more) == 0
    assert "asks the teacher for 144 images and 3 texts" in capsys.readouterr().out
    # Online: 3 folds of 2 domains, 3 images, 4 steps, 2 stages; and the sample of 72.
    assert distill(tree, tmp_path, *more, "--views", "0") == 0
    assert f"at most {3 * 2 * 3 * 4 * 2 + 72} images" in capsys.readouterr().out
    # To select one of three weights each fold trains as often.
    assert distill(tree, tmp_path, *more, "--views", "0", "--image_weight", "[0,0.5,1]") == 0
    assert "Trainings: 9." in capsys.readouterr().out
    everything = ["--teacher_scores", "all", "--trials", "2"]
    assert distill(tree, tmp_path, *more, *everything) == 0
    # All 90 images once as they are; of the second views, those of either split.
    splits = scan_domains(tree)
    seen = {i for s in (0, 1) for d in range(3) for i in splits.split(d, s)[1]}
    assert f"for {90 + len(seen)} images" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_sizes_of_office_home(tmp_path):
    """The public code asks 3,840,768 times for one trial; ours 124,720 times for ten views."""
    sizes = {"Art": 2427, "Clipart": 4365, "Product": 4439, "Real World": 4357}
    starts = [sum([*sizes.values()][:n]) for n in range(5)]
    images = LabelledImages(
        [tmp_path] * starts[-1], [0] * starts[-1], from_names(["a", "b"]), tmp_path
    )
    domains = Domains(tuple(sizes), images, tuple(starts))
    settings = DistillSettings(data=tmp_path, held_out="all")
    trials = plan_trials(settings, domains)
    assert settings.views * len(training_images(domains, trials)) == 124_720
    steps = settings.align.steps + settings.train.steps
    folds = [sources for trial in trials for sources in trainings(settings, trial)]
    assert sum(steps * settings.train.per_domain * len(f) for f in folds) == 3_840_768


@pytest.mark.parametrize(
    ("method", "student", "asked"),
    [
        ("zero-shot", "pocket", (48, 3)),
        ("erm", "pocket", (0, 3)),
        ("logits", "pocket", (96, 3)),
        ("wise-ft", "teacher", (0, 3)),
        ("distill", "teacher", (96, 3)),
    ],
)
def test_methods_to_compare_with(tree, tmp_path, method, student, asked):
    more = ["--method", method, "--student", student, "--held_out", "neon"]
    assert distill(tree, tmp_path, *more) == 0
    result = result_of(tmp_path)
    # zero-shot: all of one domain and 6 images of two; others 2 views of 24 of two domains.
    expected = (42, 3) if method == "zero-shot" else asked
    assert ledger(tmp_path / "answers") == expected
    assert (result["advice"] is None) == (method not in ("distill", "logits"))
    scores = result["trials"][0]["scores"]["neon"]
    assert scores["full"]["n"] == 30
    model = tmp_path / "run" / "without-neon" / "model"
    assert model.exists() == (method != "zero-shot")
    assert (result["student"]["name"] is None) == (method == "zero-shot")
    if student == "teacher":  # an open_clip folder, with both towers
        assert (model / "open_clip_model.safetensors").exists()
    if model.exists():
        classifier = holdfast.load_classifier(model, "cpu")
        data = scan(tree / "neon", classifier.classes)
        names, _ = classifier.predict(data.paths)
        right = [n == p.parent.name for n, p in zip(names, data.paths, strict=True)]
        assert sum(right) / 30 == pytest.approx(scores["full"]["top1"], abs=0.04)


@pytest.mark.parametrize("selection", ["validation", "source"])
def test_the_image_weight_is_selected_without_the_held_out_domain(
    tree, answers, tmp_path, selection, monkeypatch
):
    seen = set()
    original = Fold.__init__

    def watched(self, world, seed, sources, folder):
        seen.add(tuple(sources))
        original(self, world, seed, sources, folder)

    monkeypatch.setattr(Fold, "__init__", watched)
    more = ["--held_out", "neon", "--image_weight", "[0.1,0.9]", "--selection", selection]
    assert distill(tree, tmp_path, *more, store=answers) == 0
    (trial,) = result_of(tmp_path)["trials"]
    best = max(trial["candidates"], key=lambda c: c["accuracy"])
    assert trial["image_weight"] == best["image_weight"]
    assert seen == ({(1, 2)} if selection == "validation" else {(1, 2), (1,), (2,)})


def test_a_black_box_behind_http(tree, tmp_path, capsys):
    """A service teaches what its model would teach here, for as many queries; then it ends."""
    assert distill(tree, tmp_path / "local", "--held_out", "neon") == 0
    command = [sys.executable, "-m", "holdfast", "serve", "pocket", "--port", "0"]
    with subprocess.Popen(
        [*command, "--device", "cpu"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as service:
        try:
            address = service.stdout.readline().split()[-1]
            more = ["--teacher", address, "--held_out", "neon", "--retries", "0"]
            assert distill(tree, tmp_path / "http", *more, "--views", "1") == 0
        finally:
            service.terminate()
    paid = [ledger(tmp_path / kind / "answers") for kind in ("local", "http")]
    assert paid == [(96, 3), (48, 3)]
    shutil.rmtree(tmp_path / "http" / "run")
    capsys.readouterr()
    # What was paid for is kept, but a second view is not in it.
    assert distill(tree, tmp_path / "http", *more, "--views", "2") == 1
    assert "does not answer" in capsys.readouterr().err
    assert ledger(tmp_path / "http" / "answers")[0] <= 48 + 32


def test_a_verdict_rests_on_an_interval():
    """Of the images where there is one seed, of domains together if several; else of the seeds."""
    gap = {"difference": 0.1, "low": 0.0, "high": 0.2}
    assert interval([{"gap": gap}], [0.1]) == (0.0, 0.2)
    both = interval([{"gap": gap}, {"gap": gap | {"difference": 0.3}}], [0.2])
    assert both == pytest.approx((0.2 - 0.1 / 2**0.5, 0.2 + 0.1 / 2**0.5))
    seeds = interval([{"gap": gap}] * 2, [0.03, -0.01])  # t of one degree of freedom: 12.706
    assert seeds == pytest.approx((0.01 - 12.706 * 0.02, 0.01 + 12.706 * 0.02), abs=1e-4)


def test_seeds_have_their_own_splits_and_give_a_deviation(tree, tmp_path):
    assert distill(tree, tmp_path, "--held_out", "neon", "--trials", "2") == 0
    result = result_of(tmp_path)
    assert [t["seed"] for t in result["trials"]] == [0, 1]
    average = result["summary"]["held_out"]["full"]["average"]
    values = torch.tensor(average["values"])
    assert average["deviation"] == pytest.approx(values.std().item(), abs=1e-6)
    assert (tmp_path / "run" / "without-neon" / "seed-1" / "model").is_dir()


def test_answers_that_are_new_are_not_checked(tree, tmp_path):
    assert distill(tree, tmp_path, "--spot_check", "5", "--views", "1") == 0
    assert result_of(tmp_path)["spot_check"] is None
    assert ledger(tmp_path / "answers") == (72, 3)


def test_a_spot_check_finds_a_teacher_that_changed(tree, tmp_path, caplog, capsys):
    store = tmp_path / "answers"
    assert distill(tree, tmp_path, "--advice_only", "true") == 0
    assert distill(tree, tmp_path, "--spot_check", "5", "--dry_run") == 0
    assert "asks the teacher for 77 images and 0 texts" in capsys.readouterr().out
    short = ["--spot_check", "5", "--max_queries"]
    assert distill(tree, tmp_path, *short, "79") == 2
    assert "a spot check of 5 answers" in capsys.readouterr().err
    # It comes before anything new is paid: a round of 72 views is more than is left then.
    assert distill(tree, tmp_path, *short, "80", "--views", "3") == 1
    assert ledger(store) == (72 + 5, 3)
    shutil.rmtree(tmp_path / "run")
    assert distill(tree, tmp_path, "--spot_check", "5") == 0
    assert result_of(tmp_path)["spot_check"]["drifted"] is False
    assert ledger(store) == (144 + 10, 3)
    shutil.rmtree(tmp_path / "run")
    (rows,) = store.rglob("embeddings.f16")
    turned = torch.frombuffer(bytearray(rows.read_bytes()), dtype=torch.float16).flip(0)
    rows.write_bytes(turned.numpy().tobytes())
    assert distill(tree, tmp_path, "--spot_check", "5") == 0
    assert result_of(tmp_path)["spot_check"]["drifted"] is True
    assert "has changed" in caplog.text


def test_wrong_requests_get_one_sentence(tree, tmp_path, capsys):
    def error(*more, data=tree, code=2):
        where = ["--out", tmp_path / "run", "--store", tmp_path / "answers"]
        found, line = error_of(capsys, "distill", data, *options(), *where, *more)
        assert found == code
        return line

    assert "did you mean neon" in error("--held_out", "neo")
    assert "did you mean resnet18" in error("--student", "resnt18")
    assert "give --student teacher" in error("--method", "wise-ft")
    assert "needs the teacher's weights" in error(
        "--student", "teacher", "--teacher", "http://127.0.0.1:9/v1"
    )
    assert "no image weight" in error("--method", "erm", "--image_weight", "[0.1,0.5]")
    assert "several values" in error("--selection", "source")
    assert "from 0 to 1" in error("--image_weight", "[0.1,1.5]")
    assert "an empty list" in error("--image_weight", "[]")
    assert "hf download" in error("--student", "resnet18", code=1)
    one = tmp_path / "one"
    shutil.copytree(tree / "neon", one / "neon")
    assert "only the domain 'neon'" in error(data=one)
    lacking = tmp_path / "lacking"
    shutil.copytree(tree, lacking)
    shutil.rmtree(lacking / "photo" / "bird")
    assert "'photo'" in (message := error(data=lacking)) and "'bird'" in message
    small = domain_tree(tmp_path / "small", count=1)
    assert "too few to hold a fifth out" in error(data=small)
    assert not (tmp_path / "run").exists() and not (tmp_path / "answers").exists()


def test_nothing_is_asked_of_the_students_weights_where_none_is_trained(tree, tmp_path, capsys):
    for more in (["--method", "zero-shot"], ["--advice_only", "true"], ["--dry_run"]):
        capsys.readouterr()
        assert distill(tree, tmp_path / more[-1], "--student", "resnet18", *more) == 0
        assert "hf download" not in capsys.readouterr().err
    code, line = error_of(capsys, "distill", tree, *options(), "--method=erm", "--advice_only=true")
    assert code == 2 and "would ask about none" in line


def test_advice_on_one_teacher_may_be_followed_by_another(tree, tmp_path, clip_folder, capsys):
    more = ("--sample", 20, "--advice_only", "true")
    assert distill(tree, tmp_path, *more) == 0
    other = tmp_path / "other"
    shutil.copytree(clip_folder, other)
    assert distill(tree, tmp_path, *more, "--teacher", f"local-dir:{other}") == 0
    assert distill(tree, tmp_path, "--teacher", f"local-dir:{other}", "--held_out", "neon") == 0
    other.rename(tmp_path / "moved")  # the same teacher in another place
    moved = ("--teacher", f"local-dir:{tmp_path / 'moved'}", "--held_out", "neon")
    assert distill(tree, tmp_path, *moved) == 0
    capsys.readouterr()
    assert distill(tree, tmp_path, "--held_out", "neon") == 2
    assert "a run with other teacher" in capsys.readouterr().err


def test_other_prompts_are_not_mixed_into_a_run(tree, tmp_path, capsys):
    sentences = tmp_path / "sentences.json"
    sentences.write_text(json.dumps({name: [f"a {name}"] for name in THINGS}))
    more = ("--held_out", "neon", "--prompts.descriptions", sentences)
    assert distill(tree, tmp_path, *more) == 0
    sentences.write_text(json.dumps({name: [f"no {name}"] for name in THINGS}))
    capsys.readouterr()
    assert distill(tree, tmp_path, *more) == 2
    assert "a run with other prompts" in capsys.readouterr().err


def test_a_file_name_that_is_no_text(tree, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(tree, data)
    first, second = sorted((data / "photo" / "bird").iterdir())[:2]
    try:
        first.rename(os.fsdecode(os.fsencode(first.parent) + b"/caf\xe9.png"))
    except OSError:
        pytest.skip("this file system has text names only")
    broken = os.fsencode(second.parent) + b"/0\xff.png"
    second.rename(os.fsdecode(broken))
    Path(os.fsdecode(broken)).write_bytes(b"no picture")
    assert distill(data, tmp_path, "--held_out", "neon") == 0
    [unreadable] = result_of(tmp_path)["unreadable"]
    assert os.fsencode(unreadable) == broken
    assert "Domain by domain" in (tmp_path / "run" / "report.html").read_text()


def test_a_run_with_other_settings_or_images_is_not_continued(tree, answers, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(tree, data)
    assert distill(data, tmp_path, "--held_out", "neon", store=answers) == 0
    capsys.readouterr()
    assert distill(data, tmp_path, "--held_out", "photo", store=answers) == 2
    assert "held_out ('neon' there, 'photo' now)" in capsys.readouterr().err
    first, second = sorted((data / "photo" / "bird").iterdir())[:2]
    shutil.copy(first, second)
    assert distill(data, tmp_path, "--held_out", "neon", store=answers) == 2
    assert "other images" in capsys.readouterr().err


def test_as_a_library(tree, answers, tmp_path):
    settings = small_settings(tree)
    chosen = {
        key: getattr(settings, key)
        for key in ("teacher", "student", "views", "view", "align", "train", "workers", "device")
    }
    found = holdfast.distill(tree, tmp_path / "run", store=answers, **chosen)
    assert found["trials"][0]["classifier"] == "model"
    plan = holdfast.distill(tree, tmp_path / "no", store=answers, dry_run=True, **chosen)
    assert (plan.trainings, plan.texts) == (1, 0)
    assert not (tmp_path / "no").exists()


def test_a_file_of_embeddings_can_teach_and_costs_nothing(tree, tmp_path):
    """It knows whole images only, so one view."""
    world, _ = small_world(tree, tmp_path / "others", views=1)
    everything = range(len(world.views))
    prompts = [f"a photo of a {name}." for name in THINGS]
    answers = world.ask([world.views.whole(i) for i in everything])
    path = tmp_path / "embeddings.safetensors"
    write_embeddings(path, world.views.digests, answers, prompts, world.text, "somebody", 12.5)
    more = ["--teacher", f"file:{path}", "--held_out", "neon"]
    assert distill(tree, tmp_path, *more, "--views", "1", "--max_queries", "0") == 0
    result = result_of(tmp_path)
    assert result["queries"]["asked_by_this_run"] == 0
    assert result["teacher"]["logit_scale"] == 12.5
    assert distill(tree, tmp_path / "two", *more, "--views", "2") == 1
