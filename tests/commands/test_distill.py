"""`holdfast distill` on small pictures of the embedded world, through the function."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import open_clip
import pytest
import timm
import torch
from safetensors.torch import load_file
from tests.tiny import clip_folder, framed, student_folder
from tests.worlds import THINGS, domain_tree, small_experiment, small_settings

from holdfast.averaging import WeightTracker
from holdfast.commands import distill as module
from holdfast.data.domains import scan_domains
from holdfast.data.folders import scan
from holdfast.errors import HoldfastError, UsageError
from holdfast.files import read_json, read_sealed, read_typed
from holdfast.models.classifier import load_classifier
from holdfast.results import Advice, DistillResult, TrialResult, read_result
from holdfast.settings.base import to_jsonable
from holdfast.teachers import LocalTeacher, write_embeddings
from holdfast.teachers.rows import ENTRY_BYTES, key_entry
from holdfast.teachers.store import EmbeddingStore


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return domain_tree(tmp_path_factory.mktemp("domains") / "data")


@pytest.fixture(scope="module")
def answers(tmp_path_factory, tree):
    """A store that holds what most tests ask; those that count queries have one of their own."""
    folder = tmp_path_factory.mktemp("answers")
    distill(tree, folder, sample=1, advice_only=True)
    _, store = small_experiment(tree, folder / "answers")
    return store.folder.parent


def distill(tree, tmp_path, store=None, **changes):
    """A run in `tmp_path / "run"`; changes: settings."""
    where = {"out": tmp_path / "run", "store": store or tmp_path / "answers"}
    return module.distill(small_settings(tree, **(where | changes)))


def refused(tree, tmp_path, kind=UsageError, **changes):
    """The sentence that a run is refused with."""
    with pytest.raises(kind) as caught:
        distill(tree, tmp_path, **changes)
    assert type(caught.value) is kind
    return str(caught.value)


def ledger(store):
    """(images asked, texts asked)"""
    lines = [json.loads(t) for f in store.rglob("ledger.jsonl") for t in f.read_text().splitlines()]
    asked = [line for line in lines if "images" in line]
    return sum(a["images"] for a in asked), sum(a["texts"] for a in asked)


def share_right(model, paths):
    """Of the images whose folder has the name that a saved classifier gives them."""
    names, _ = load_classifier(model, "cpu").predict(paths)
    return sum(n == p.parent.name for n, p in zip(names, paths, strict=True)) / len(paths)


# -- what is asked


def test_should_i_distil(tree, tmp_path, capsys):
    """The sample that the advice rests on is paid once: it is part of what training asks."""
    advice = distill(tree, tmp_path, sample=40, advice_only=True)
    assert advice == read_typed(tmp_path / "run" / "advice.json", Advice)
    assert advice.text in capsys.readouterr().out
    assert advice.images == 40 == sum(row.n for row in advice.domains.values())
    assert set(advice.classes) == set(THINGS)
    assert ledger(tmp_path / "answers") == (40, 3)
    assert not (tmp_path / "run" / "result.json").exists()
    distill(tree, tmp_path)  # goes on from there, in the same folder
    assert ledger(tmp_path / "answers") == (144, 3)
    again = distill(tree, tmp_path, sample=40, advice_only=True)  # which may be asked at any time
    assert again == advice and (tmp_path / "run" / "result.json").exists()


def test_a_budget_stops_clearly_and_what_was_paid_is_used(tree, tmp_path):
    error = refused(tree, tmp_path, max_queries=74)
    assert "too small" in error and "need 75 more" in error and "--max_queries 75" in error
    assert ledger(tmp_path / "answers") == (0, 0)
    # One view of each image, not two.
    with pytest.raises(HoldfastError, match="--views 1"):
        distill(tree, tmp_path, max_queries=75)
    assert ledger(tmp_path / "answers") == (72, 3)
    # In the same folder, since nothing was trained yet.
    result = distill(tree, tmp_path, max_queries=75, views=1)
    assert ledger(tmp_path / "answers") == (72, 3)
    assert result.queries.asked_by_this_run == 75
    assert "views (1 there, 2 now)" in refused(tree, tmp_path, views=2)  # now something was


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "zero-shot"}, "the images to test on and the prompts need 21 more"),
        ({"views": 0, "sample": 9}, "the sample of images and the prompts need 12 more"),
    ],
)
def test_a_budget_too_small_says_for_what(tree, tmp_path, changes, message):
    assert message in refused(tree, tmp_path, max_queries=5, **changes)
    assert ledger(tmp_path / "answers") == (0, 0)


def test_a_budget_that_ends_online_says_how_to_know_the_whole(tree, tmp_path):
    online = {"views": 0, "held_out": "colour", "sample": 0}
    with pytest.raises(HoldfastError, match=r"\(--dry_run says what the whole run takes at most\)"):
        distill(tree, tmp_path, max_queries=12, **online)


def test_a_dry_run_says_what_it_would_ask_and_leaves_nothing(tree, tmp_path):
    dry = {"held_out": "all", "dry_run": True}
    text = str(distill(tree, tmp_path, **dry))
    assert "asks the teacher for 144 images and 3 texts" in text
    # Online: 3 trials of 2 domains, 3 images, 4 steps, 2 phases; and the sample of 72.
    plan = distill(tree, tmp_path, **dry, views=0)
    assert f"at most {3 * 2 * 3 * 4 * 2 + 72} images" in str(plan)
    # The teacher's own tower needs no alignment; kd has one phase.
    for one_phase in ({"student": "teacher"}, {"method": "kd"}):
        assert distill(tree, tmp_path, **dry, views=0, **one_phase).images == 3 * 2 * 3 * 4 + 72
    # To select one of three weights each trial trains as often; by domain, more often.
    weights = {"name": "vl2v", "image_weight": [0, 0.5, 1]}
    assert distill(tree, tmp_path, **dry, views=0, method=weights).trainings == 9
    by_source = distill(tree, tmp_path, **dry, method=weights, selection="source")
    assert by_source.trainings == 3 * (3 * 2 + 1)
    everything = distill(tree, tmp_path, **dry, teacher_scores="all", trials=2)
    # All 90 images once as they are; of the second views, those of either split.
    splits = scan_domains(tree)
    seen = {i for s in (0, 1) for d in range(3) for i in splits.split(d, s)[1]}
    assert everything.images == 90 + len(seen)
    assert not list(tmp_path.iterdir())


def test_answers_that_are_new_are_not_checked(tree, tmp_path):
    assert distill(tree, tmp_path, spot_check=5, views=1).spot_check is None
    assert ledger(tmp_path / "answers") == (72, 3)


def test_a_spot_check_finds_a_teacher_that_changed(tree, tmp_path, caplog):
    store = tmp_path / "answers"
    distill(tree, tmp_path, advice_only=True)
    plan = distill(tree, tmp_path, spot_check=5, dry_run=True)
    assert "asks the teacher for 77 images and 0 texts" in str(plan)
    error = refused(tree, tmp_path, spot_check=5, max_queries=79)
    assert "a spot check of 5 answers" in error
    # It comes before anything new is paid: a round of 72 views is more than is left then.
    with pytest.raises(HoldfastError, match="--max_queries"):
        distill(tree, tmp_path, spot_check=5, max_queries=80, views=3)
    assert ledger(store) == (72 + 5, 3)
    shutil.rmtree(tmp_path / "run")
    assert distill(tree, tmp_path, spot_check=5).spot_check.drifted is False
    assert ledger(store) == (144 + 10, 3)
    shutil.rmtree(tmp_path / "run")
    (rows,) = store.rglob("embeddings.f16")
    turned = torch.frombuffer(bytearray(rows.read_bytes()), dtype=torch.float16).flip(0)
    rows.write_bytes(turned.numpy().tobytes())
    keys = rows.with_name("keys").read_bytes()
    each = [row.tobytes() for row in turned.numpy().reshape(len(keys) // ENTRY_BYTES, -1)]
    known = [keys[n * ENTRY_BYTES :][:32] for n in range(len(each))]
    rows.with_name("keys").write_bytes(b"".join(map(key_entry, known, each)))
    assert distill(tree, tmp_path, spot_check=5).spot_check.drifted is True
    assert "has changed" in caplog.text


def test_a_black_box_behind_http(tree, tmp_path):
    """A service teaches what its model would teach here, for as many queries; then it ends."""
    distill(tree, tmp_path / "local", held_out="colour")
    serve = (
        "from holdfast.models.clip import load_clip\n"
        "from holdfast.settings import ServeSettings\n"
        "from holdfast.teachers import LocalTeacher\n"
        "from holdfast.teachers.server import application, listen, run\n"
        "with listen('127.0.0.1', 0) as at:\n"
        "    teacher = LocalTeacher(load_clip('pocket', device='cpu'))\n"
        "    print(f'http://127.0.0.1:{at.getsockname()[1]}/v1', flush=True)\n"
        "    run(application(teacher, 'pocket', ServeSettings(model='pocket'), ''), at)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", serve], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as service:
        try:
            address = service.stdout.readline().strip()
            more = {"teacher": address, "held_out": "colour", "retries": 0}
            distill(tree, tmp_path / "http", **more, views=1)
        finally:
            service.terminate()
    paid = [ledger(tmp_path / kind / "answers") for kind in ("local", "http")]
    assert paid == [(96, 3), (48, 3)]
    shutil.rmtree(tmp_path / "http" / "run")
    # What was paid for is kept, but a second view is not in it.
    with pytest.raises(HoldfastError, match="does not answer"):
        distill(tree, tmp_path / "http", **more, views=2)
    assert ledger(tmp_path / "http" / "answers")[0] <= 48 + 32


def test_a_file_of_embeddings_can_teach_and_costs_nothing(tree, tmp_path):
    """It knows whole images only, so one view."""
    experiment, _ = small_experiment(tree, tmp_path / "others", views=1)
    views, text = experiment.taught.views, experiment.taught.text
    prompts = [f"a photo of a {name}" for name in THINGS]
    known = experiment.taught.ask([views.whole(i) for i in range(len(views))])
    path = tmp_path / "embeddings.safetensors"
    write_embeddings(path, views.digests, known, prompts, text, "somebody", 12.5)
    more = {"teacher": f"file:{path}", "held_out": "colour"}
    result = distill(tree, tmp_path, **more, views=1, max_queries=0)
    assert result.queries.asked_by_this_run == 0
    assert result.teacher.logit_scale == 12.5 and result.teacher.tower is None
    with pytest.raises(HoldfastError):
        distill(tree, tmp_path / "two", **more, views=2)


# -- what is seen


@pytest.mark.parametrize("views", [2, 0])
def test_the_student_sees_all_of_what_the_teacher_is_asked_about(tmp_path, monkeypatch, views):
    """Aligning, distilling, validating, testing and predicting: nothing is cut off a view."""
    for domain in ("line", "solid"):
        for number, name in enumerate(THINGS[:2]):
            folder = tmp_path / "data" / domain / name
            folder.mkdir(parents=True)
            for n in range(6):
                framed((48 + 16 * number, 48 + n)).save(folder / f"{n}.png")
    seen = {timm.models.VisionTransformer: [], open_clip.transformer.VisionTransformer: []}
    for kind, images in seen.items():

        def watched(self, x, forward=kind.forward, images=images, **more):
            images.extend(x.detach())
            return forward(self, x, **more)

        monkeypatch.setattr(kind, "forward", watched)
    student = f"local-dir:{student_folder(tmp_path / 'tiny', crop_pct=0.5)}"
    plain = {"crop": 1, "jitter": 0, "hue": 0, "grayscale": 0, "size": 32}
    teacher = f"local-dir:{clip_folder(tmp_path / 'clip')}"
    changes = {"student": student, "teacher": teacher, "views": views, "view": plain}
    result = distill(tmp_path / "data", tmp_path, **changes, held_out="solid")
    load_classifier(tmp_path / "run" / result.trials[0].classifier, "cpu").predict(
        sorted((tmp_path / "data").rglob("*.png"))
    )
    for images in seen.values():
        real = [image for image in images if image.any()]  # the width is found with zeros
        assert len(real) > 20
        for image in real:
            for edge in (image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]):
                assert edge.min() > -0.5, "a side of the frame is missing"


# -- what is measured


def test_each_domain_left_out_in_turn(tree, tmp_path, capsys):
    result = distill(tree, tmp_path, held_out="all")
    run = tmp_path / "run"
    assert result == read_result(run / "result.json")
    assert result.kind == "distill" and (run / "report.html").exists()
    assert (result.method, result.paper) == ("vl2v", "arXiv 2310.08255")
    assert [t.held_out for t in result.trials] == ["colour", "line", "solid"]
    # 24 of 30 images of each of 3 domains, 2 views, for all trials and both phases; 3 prompts.
    assert ledger(tmp_path / "answers") == (144, 3)
    queries = result.queries
    assert queries.asked_by_this_run == 147
    assert (queries.needed_images, queries.needed_texts) == (144, 3)
    assert (queries.images_in_all, queries.texts_in_all, queries.limit) == (144, 3, None)
    assert result.advice.text in capsys.readouterr().out
    assert result.advice.images == 72 and set(result.advice.classes) == set(THINGS)
    assert [d.images for d in result.domains] == [30, 30, 30]
    assert all(len(paths) == 4 for paths in result.samples.values())

    trial = result.trials[0]
    assert trial == read_typed(run / "without-colour" / "trial.json", TrialResult)
    assert list(trial.stages) == ["align", "distill"]
    assert trial.training_seconds == sum(s.seconds for s in trial.stages.values()) > 0
    assert result.costs.training_seconds == sum(t.training_seconds for t in result.trials)
    assert result.costs.evaluation_seconds > 0 and result.costs.peak_memory_bytes > 0
    colour, line = trial.scores["colour"], trial.scores["line"]
    assert colour.role == "held-out" and line.role == "source"
    assert colour.full.n == 30 and colour.domainbed.n == 24
    assert colour.validation is None and line.validation.n == 6 and line.full is None
    # The teacher is measured, without a query of its own, where it was asked: DomainBed's part.
    assert colour.teacher.n == colour.gap.n == 24
    assert colour.gap.difference == pytest.approx(colour.domainbed.top1 - colour.teacher.top1)
    held_out = result.summary.held_out["full"]
    values = [t.scores[t.held_out].full.top1 for t in result.trials]
    assert held_out.average.mean == pytest.approx(sum(values) / 3)
    assert held_out.worst.mean == min(values)
    assert held_out.average.deviation is None
    assert result.student.parameters < result.teacher.tower.parameters
    assert result.student.milliseconds_per_image > 0
    assert result.student.name == "pocket"

    # The saved classifier is the one that was scored.
    model, domains = run / trial.classifier, scan_domains(tree)
    assert (
        share_right(model, [domains.images.paths[i] for i in domains.indices(0)])
        == colour.full.top1
    )
    assert timm.create_model(f"local-dir:{model}", pretrained=True).num_features == 112


def test_deployment_trains_on_all_domains_and_lies_at_the_top(tree, answers, tmp_path):
    result = distill(tree, tmp_path, store=answers)
    [trial] = result.trials
    assert trial.held_out is None and trial.sources == ["colour", "line", "solid"]
    assert trial.classifier == "model"
    assert not result.summary.held_out and result.summary.gap is None
    assert set(result.summary.in_domain.domains) == {"colour", "line", "solid"}
    classifier = load_classifier(tmp_path / "run", "cpu")
    assert set(classifier.classes.names) == set(THINGS)


@pytest.mark.parametrize(
    ("method", "student", "asked"),
    [
        # zero-shot: all of one domain and 6 images of two; others 2 views of 24 of two domains.
        ("zero-shot", "pocket", (42, 3)),
        ("erm", "pocket", (0, 3)),
        ("kd", "pocket", (96, 3)),
        ("wise-ft", "teacher", (0, 3)),
        ("vl2v", "teacher", (96, 3)),
    ],
)
def test_methods_to_compare_with(tree, tmp_path, method, student, asked):
    result = distill(tree, tmp_path, method=method, student=student, held_out="colour")
    assert ledger(tmp_path / "answers") == asked
    assert (result.advice is None) == (method not in ("vl2v", "kd"))
    assert result.trials[0].image_weight == (0.5 if method in ("vl2v", "kd") else None)
    scores = result.trials[0].scores["colour"]
    assert scores.full.n == 30
    model = tmp_path / "run" / "without-colour" / "model"
    assert model.exists() == (method != "zero-shot")
    assert (result.student.name is None) == (method == "zero-shot")
    if student == "teacher":  # an open_clip folder, with both towers
        assert (model / "open_clip_model.safetensors").exists()
    if model.exists():
        data = scan(tree / "colour", load_classifier(model, "cpu").classes)
        assert share_right(model, data.paths) == pytest.approx(scores.full.top1, abs=0.04)


def test_anchors_are_part_of_the_settings_and_of_what_is_trained(tree, answers, tmp_path):
    anchors = "variance-covariance:variance=0.3,consolidation:importance=uniform,iterate-average"
    more = {"held_out": "colour", "anchors": anchors}
    result = distill(tree, tmp_path, store=answers, **more)
    [trial] = result.trials
    assert {s.kept.average for s in trial.stages.values()} == {"iterates"}
    assert result == read_result(tmp_path / "run" / "result.json")
    known = read_json(tmp_path / "run" / "settings.json")["anchors"]
    assert [anchor["name"] for anchor in known] == [
        "variance-covariance", "consolidation", "iterate-average"
    ]  # fmt: skip
    error = refused(tree, tmp_path, store=answers, held_out="colour")
    assert "a run with other settings: anchors" in error
    other = {"name": "vl2v", "image_weight": 0.5}
    distill(tree, tmp_path / "ensemble", store=answers, method=other, anchors="weight-ensemble")
    error = refused(tree, tmp_path / "ensemble", store=answers, anchors="weight-ensemble:alpha=0.7")
    assert "anchors" in error


def test_another_alpha_of_a_methods_ensemble_is_another_run(tree, answers, tmp_path):
    """Unlike in name-only transfer: what is scored and kept depends on it."""

    def method(alpha):
        return {"name": "regft", "ensemble": {"alpha": alpha}}

    common = {"student": "teacher", "held_out": "colour", "store": answers}
    distill(tree, tmp_path, method=method(0.5), **common)
    error = refused(tree, tmp_path, method=method(0.4), **common)
    assert "method.ensemble.alpha (0.5 there, 0.4 now)" in error


# -- runs go on


def test_the_settings_file_reproduces_the_run(tree, answers, tmp_path):
    distill(tree, tmp_path / "a", store=answers, held_out="colour")
    settings = read_sealed(tmp_path / "a" / "run" / "settings.json")
    distill(tree, tmp_path / "b", **{k: v for k, v in settings.items() if k not in ("data", "out")})
    models = [tmp_path / name / "run" / "without-colour" / "model" for name in "ab"]
    for name in ("model.safetensors", "projection.safetensors", "head.safetensors"):
        assert (models[0] / name).read_bytes() == (models[1] / name).read_bytes()


def test_a_finished_run_computes_and_asks_nothing_again(tree, answers, tmp_path, monkeypatch):
    before = distill(tree, tmp_path, store=answers, held_out="line")
    monkeypatch.setattr(WeightTracker, "after_step", lambda *_: 1 / 0)
    monkeypatch.setattr(LocalTeacher, "embed_images", lambda *_: 1 / 0)
    after = distill(tree, tmp_path, store=answers, held_out="line")
    assert after.trials == before.trials and after.summary == before.summary


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


@pytest.mark.parametrize("views", [2, 0])
def test_killed_anywhere_it_ends_with_the_same_weights_and_pays_nothing_twice(
    tree, tmp_path, monkeypatch, views
):
    more = {"views": views, "held_out": "colour", "batch": 20, "checkpoint_minutes": 0}
    if not views:  # with an average that an anchor follows
        more["anchors"] = "iterate-average:every=1,consolidation:importance=uniform"
    whole = distill(tree, tmp_path / "whole", **more)
    paid = ledger(tmp_path / "whole" / "answers")
    # Within the store, in the first phase, and twice in the second.
    for kind, name, calls in (
        (EmbeddingStore, "_append", 2),
        (WeightTracker, "after_step", 3),
        (WeightTracker, "after_step", 3),
        (WeightTracker, "after_step", 2),
    ):
        with monkeypatch.context() as patch, pytest.raises(KilledError):
            killed_after(patch, kind, name, calls)
            distill(tree, tmp_path, **more)
    resumed = distill(tree, tmp_path, **more)
    assert ledger(tmp_path / "answers") == paid
    models = [p / "run" / "without-colour" / "model" for p in (tmp_path / "whole", tmp_path)]
    for file in ("model.safetensors", "projection.safetensors"):
        assert (models[0] / file).read_bytes() == (models[1] / file).read_bytes()
    assert whole.trials[0].scores == resumed.trials[0].scores
    for name, stage in whole.trials[0].stages.items():
        assert stage.validations == resumed.trials[0].stages[name].validations
        assert stage.kept == resumed.trials[0].stages[name].kept


def test_kill_9_while_distilling(tree, answers, tmp_path):
    """With the loss-valley average, whose segments must survive too."""
    train = {"learning_rate": 1e-3, "steps": 12, "per_domain": 3, "validate_every": 2}
    average = {"kind": "valley", "converge": 2, "tolerance": 3}
    more = {"held_out": "colour", "checkpoint_minutes": 0, "train": train, "average": average}
    distill(tree, tmp_path / "whole", store=answers, **more)
    settings = small_settings(tree, out=tmp_path / "run", store=answers, **more)
    code = (
        "import json, sys\n"
        "from holdfast.commands.distill import distill\n"
        "from holdfast.commands.settings import DistillSettings\n"
        "distill(DistillSettings.from_dict(json.loads(sys.argv[1])))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(to_jsonable(settings))],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    checkpoint = tmp_path / "run" / "without-colour" / "training" / "distill.checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert checkpoint.exists()
    distill(tree, tmp_path, store=answers, **more)
    models = [p / "run" / "without-colour" / "model" for p in (tmp_path / "whole", tmp_path)]
    weights = [load_file(model / "model.safetensors") for model in models]
    assert all(torch.equal(weights[0][name], t) for name, t in weights[1].items())


def test_a_run_with_other_settings_or_images_is_not_continued(tree, answers, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(tree, data)
    distill(data, tmp_path, store=answers, held_out="colour")
    error = refused(data, tmp_path, store=answers, held_out="line")
    assert "held_out ('colour' there, 'line' now)" in error
    first, second = sorted((data / "line" / "bug").iterdir())[:2]
    shutil.copy(first, second)
    assert "other images" in refused(data, tmp_path, store=answers, held_out="colour")


def test_advice_on_one_teacher_may_be_followed_by_another(tree, tmp_path, clip_folder):
    advised = {"sample": 20, "advice_only": True}
    distill(tree, tmp_path, **advised)
    other = tmp_path / "other"
    shutil.copytree(clip_folder, other)
    distill(tree, tmp_path, **advised, teacher=f"local-dir:{other}")
    distill(tree, tmp_path, teacher=f"local-dir:{other}", held_out="colour")
    other.rename(tmp_path / "moved")  # the same teacher in another place
    distill(tree, tmp_path, teacher=f"local-dir:{tmp_path / 'moved'}", held_out="colour")
    assert "a run with other teacher" in refused(tree, tmp_path, held_out="colour")


def test_other_prompts_are_not_mixed_into_a_run(tree, tmp_path):
    sentences = tmp_path / "sentences.json"
    sentences.write_text(json.dumps({name: [f"a {name}"] for name in THINGS}))
    more = {"held_out": "colour", "prompts": {"descriptions": sentences}}
    distill(tree, tmp_path, **more)
    sentences.write_text(json.dumps({name: [f"no {name}"] for name in THINGS}))
    assert "a run with other prompts" in refused(tree, tmp_path, **more)


def test_the_same_student_on_labels_alone_stands_beside_the_teacher(tree, tmp_path, answers):
    more = {"held_out": "colour", "teacher_scores": "all", "store": answers}
    labels = distill(tree, tmp_path, **more, method="erm", out=tmp_path / "labels")
    assert "learned from the labels alone" in labels.verdict.text
    found = distill(tree, tmp_path, **more)
    right = 100 * labels.summary.held_out["full"].average.mean
    assert f"on the labels alone (labels) names {right:.1f} % right" in found.verdict.text


# -- what can be wrong


def test_the_first_image_may_be_unreadable(tree, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(tree, data)
    scan_domains(data).images.paths[0].write_bytes(b"no picture")
    result = distill(data, tmp_path, method="erm")
    assert [d.images for d in result.domains] == [29, 30, 30]
    assert len(result.unreadable) == 1
    assert result.teacher.tower.milliseconds_per_image > 0


def test_a_file_name_that_is_no_text(tree, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(tree, data)
    first, second = sorted((data / "line" / "bug").iterdir())[:2]
    try:
        first.rename(os.fsdecode(os.fsencode(first.parent) + b"/caf\xe9.png"))
    except OSError:
        pytest.skip("this file system has text names only")
    broken = os.fsencode(second.parent) + b"/0\xff.png"
    second.rename(os.fsdecode(broken))
    Path(os.fsdecode(broken)).write_bytes(b"no picture")
    [unreadable] = distill(data, tmp_path, held_out="colour").unreadable
    assert os.fsencode(unreadable).startswith(broken + b": it is none of JPEG")
    assert read_json(tmp_path / "run" / "result.json")["unreadable"] == [unreadable]


def test_wrong_requests_get_one_sentence(tree, tmp_path):
    def error(data=tree, **changes):
        return refused(data, tmp_path, **changes)

    assert "did you mean colour" in error(held_out="colou")
    assert "did you mean resnet18" in error(student="resnt18")
    assert "needs the teacher's weights" in error(
        student="teacher", teacher="http://127.0.0.1:9/v1"
    )
    assert "several values" in error(selection="source")
    assert "an empty list" in error(method={"name": "vl2v", "image_weight": []})
    several = {"name": "vl2v", "image_weight": [0.1, 0.5]}
    two = domain_tree(tmp_path / "two", styles=("colour", "line"), count=5)
    only = error(data=two, method=several, selection="source", held_out="colour")
    assert "there is only one" in only
    assert "hf download" in refused(tree, tmp_path, HoldfastError, student="resnet18")
    one = tmp_path / "one"
    shutil.copytree(tree / "colour", one / "colour")
    assert "only the domain 'colour'" in error(data=one)
    lacking = tmp_path / "lacking"
    shutil.copytree(tree, lacking)
    shutil.rmtree(lacking / "line" / "bug")
    assert "'line'" in (message := error(data=lacking)) and "'bug'" in message
    small = domain_tree(tmp_path / "small", count=1)
    assert "too few to hold a fifth out" in error(data=small)
    assert not (tmp_path / "run").exists() and not (tmp_path / "answers").exists()


def test_nothing_is_asked_of_the_students_weights_where_none_is_trained(tree, tmp_path):
    for number, more in enumerate(
        ({"method": "zero-shot"}, {"advice_only": True}, {"dry_run": True})
    ):
        distill(tree, tmp_path / str(number), student="resnet18", **more)


def test_as_a_library(tree, answers, tmp_path):
    found = distill(tree, tmp_path, store=answers)
    assert isinstance(found, DistillResult)
    assert found.trials[0].classifier == "model"
    plan = module.distill(small_settings(tree, out=tmp_path / "no", store=answers, dry_run=True))
    assert (plan.trainings, plan.texts) == (1, 0)
    assert not (tmp_path / "no").exists()
