from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tests.worlds import (
    changed,
    domain_tree,
    small_experiment,
    small_settings,
    train,
    weights_of,
)
from torch import nn

from holdfast import training_run as module
from holdfast.anchors.consolidation import Consolidation
from holdfast.anchors.iterate_average import IterateAverage
from holdfast.anchors.variance_covariance import VarianceCovariance
from holdfast.anchors.weight_ensemble import WeightEnsemble
from holdfast.averaging import (
    BestTracker,
    PeriodicAverage,
    RunningAverage,
    SWADTracker,
    ValidatedAverage,
    WeightTracker,
)
from holdfast.errors import HoldfastError
from holdfast.files import derive_seed
from holdfast.json_lines import read_lines
from holdfast.methods import Composition, Family, Method, Phase, compose
from holdfast.methods.base import available
from holdfast.models.classifier import head_of
from holdfast.training_run import TrainingRun


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return domain_tree(tmp_path_factory.mktemp("domains") / "data")


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """A store, filled when it is first used."""
    return tmp_path_factory.mktemp("answers")


@pytest.fixture
def experiment(tree, answers, request):
    """Fresh caches; a parameter changes the settings."""
    return small_experiment(tree, answers, **getattr(request, "param", {}))[0]


class Counting(nn.Module):
    """A backbone that counts the images it sees."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.images = backbone, 0

    def forward(self, images):
        self.images += len(images)
        return self.backbone(images)


ALIGN = Phase("align", part="projection", draws="align")
DISTILL = Phase("distill", part="backbone")
METHODS = [name for name, method in available(Family.DISTILL).items() if method.trains]
TEACHER = {"student": "teacher"}


def composed(method, anchors=()):
    return compose(Method.from_value(method, "method"), anchors, Family.DISTILL)


def drawn(training, settings, phase=DISTILL):
    return [draw.indices for draw in training.batches(phase, settings, asks=False).draws()]


def test_draws_come_from_the_training_part_of_the_sources_and_not_from_the_method(
    experiment, tmp_path
):
    training, other = (TrainingRun(experiment, 0, (0, 2), tmp_path / name) for name in "ab")
    settings = experiment.settings.train
    known = {i for d in (0, 2) for i in experiment.domains.split(d, 0)[1]}
    first = drawn(training, settings)
    assert set(torch.cat(first).tolist()) <= known
    assert all(len(indices) == 2 * settings.per_domain for indices in first)
    again = drawn(other, settings, Phase("another", part="all"))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for seed, sources, phase in ((1, (0, 2), DISTILL), (0, (0, 1), DISTILL), (0, (0, 2), ALIGN)):
        others = drawn(TrainingRun(experiment, seed, sources, tmp_path), settings, phase)
        assert not all(torch.equal(a, b) for a, b in zip(first, others, strict=True))


def test_the_backbone_sees_each_stored_view_once_for_all_steps_and_trainings(experiment, tmp_path):
    backbone = Counting(experiment.tower(None, 0).visual.backbone)
    for sources in ((0, 1), (1, 2)):
        training = TrainingRun(experiment, 0, sources, tmp_path)
        batches = training.batches(ALIGN, experiment.settings.align, True, backbone)
        assert len(list(batches(0))) == experiment.settings.align.steps
    assert backbone.images == 3 * 24 * experiment.settings.views  # 24 training images a domain
    experiment.forget(0)
    assert len(experiment.features) == 3
    experiment.forget(1)
    assert not experiment.features


def test_features_of_what_was_trained_before_are_not_shared(experiment, tmp_path):
    """They belong to one training, unlike those of a student as it comes."""
    training = TrainingRun(experiment, 0, (0, 1), tmp_path)
    training.stages["train"] = None
    backbone = Counting(experiment.tower(None, 0).visual.backbone)
    training.batches(Phase("probe", part="head"), experiment.settings.train, False, backbone)
    assert backbone.images and not experiment.features


def test_features_and_answers_belong_to_the_drawn_views(experiment, tmp_path):
    training = TrainingRun(experiment, 0, (0, 1), tmp_path)
    backbone = experiment.tower(None, 0).visual.backbone
    settings = experiment.settings.align
    on_features = training.batches(ALIGN, settings, True, backbone)
    on_pixels = training.batches(ALIGN, settings, True)
    for known, seen in zip(on_features(0), on_pixels(0), strict=True):
        with torch.no_grad():
            expected = backbone.eval()(seen.images)
        torch.testing.assert_close(known.images, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(known.teacher_images, seen.teacher_images, rtol=0, atol=1e-3)
        for name in ("labels", "indices", "teacher_text"):
            assert torch.equal(getattr(known, name), getattr(seen, name))


@pytest.mark.parametrize(
    ("experiment", "expected"),
    [
        (
            {"average": {"kind": kind, "converge": 2, "tolerance": 4, "ratio": 0.5, "start": 7}},
            tracker,
        )
        for kind, tracker in (
            ("none", BestTracker),
            ("running", RunningAverage),
            ("valley", SWADTracker),
        )
    ],
    indirect=["experiment"],
)
def test_what_is_kept_follows_the_settings_or_an_anchor(experiment, expected, tmp_path):
    training, settings = TrainingRun(experiment, 0, (0,), tmp_path), experiment.settings.train
    _, learner = training.new_learner(composed("erm"))
    [phase] = composed("erm").method.phases
    tracker = training.tracker(phase, composed("erm"), learner, settings)
    assert type(tracker) is expected
    assert (tracker.every, tracker.steps) == (2, 4)
    if expected is SWADTracker:
        valley = tracker.swad
        assert (valley.converge, valley.tolerance, valley.ratio) == (2, 4, 0.5)
    if expected is RunningAverage:
        assert tracker.start == 7
    anchored = composed("erm", [IterateAverage(every=3)])
    tracker = training.tracker(phase, anchored, learner, settings)
    assert type(tracker) is ValidatedAverage and type(tracker.average) is PeriodicAverage
    assert (tracker.every, tracker.steps) == (2, 4)
    assert (tracker.average.every, tracker.average.steps) == (3, 4)


def test_distilling_starts_from_the_best_single_projection_unless_an_average_is_asked_for(
    tree, answers, tmp_path
):
    """As the paper's code does; the valley still ends the alignment."""
    average = {"kind": "valley", "converge": 2, "tolerance": 4, "ratio": 0.5}
    experiment, _ = small_experiment(tree, answers, average=average)
    training = TrainingRun(experiment, 0, (0,), tmp_path)
    found = {}
    for aligned in ("best", "average"):
        composition = composed({"name": "vl2v", "aligned": aligned})
        _, learner = training.new_learner(composition)
        align, distill = composition.method.phases
        for phase in (align, distill):
            settings = getattr(experiment.settings, phase.draws)
            found[aligned, phase.name] = training.tracker(phase, composition, learner, settings)
    assert {key: type(tracker) for key, tracker in found.items()} == {
        ("best", "align"): BestTracker,
        ("best", "distill"): SWADTracker,
        ("average", "align"): SWADTracker,
        ("average", "distill"): SWADTracker,
    }
    valley = found["best", "align"].valley
    assert (valley.converge, valley.tolerance, valley.ratio) == (2, 4, 0.5)
    trained, _ = train(experiment, tmp_path / "best", "vl2v")
    kept = trained.stages["align"].kept
    best = max(trained.stages["align"].validations, key=lambda v: (v.accuracy, -v.loss))
    assert (kept.average, kept.step) == ("none", best.step)
    assert trained.stages["distill"].kept.average == "valley"


def test_segments_of_a_valley_follow_the_settings_and_the_student(tree, answers, tmp_path):
    found = {}
    for segments in ("published", "accumulate"):
        average = {"kind": "valley", "segments": segments}
        experiment, _ = small_experiment(tree, answers, average=average)
        training = TrainingRun(experiment, 0, (0,), tmp_path)
        composition = composed("erm")
        _, learner = training.new_learner(composition)
        for student in ("pocket", "resnet50.tv_in1k"):
            training.settings = replace(experiment.settings, student=student)
            [phase] = composition.method.phases
            tracker = training.tracker(phase, composition, learner, experiment.settings.train)
            found[segments, student] = tracker.accumulate
    assert found == {
        ("published", "pocket"): False,
        ("published", "resnet50.tv_in1k"): True,
        ("accumulate", "pocket"): True,
        ("accumulate", "resnet50.tv_in1k"): True,
    }


def test_a_finished_phase_is_loaded_and_not_trained_again(experiment, tmp_path, monkeypatch):
    """Nor are its features computed again."""
    training, classifier = train(experiment, tmp_path / "a", "lp-ft")
    monkeypatch.setattr(WeightTracker, "after_step", lambda *_: 1 / 0)
    monkeypatch.setattr(TrainingRun, "batches", lambda *_: 1 / 0)
    again, loaded = train(experiment, tmp_path / "a", "lp-ft")
    assert not changed(weights_of(classifier), weights_of(loaded))
    assert again.stages == training.stages
    assert list(training.stages) == ["probe", "train"]
    assert again.accuracy == training.accuracy == training.stages["train"].kept.accuracy
    assert [v.step for v in training.stages["train"].validations] == [0, 2, 3]


def test_each_phase_has_its_own_settings_seeds_and_label(tree, answers, tmp_path, monkeypatch):
    stage = {"learning_rate": 1e-3, "per_domain": 2, "validate_every": 9}
    experiment, _ = small_experiment(
        tree,
        answers,
        align=stage | {"steps": 3},
        train=stage | {"steps": 5},
        checkpoint_minutes=7,
    )
    seen, original = [], module.fit

    def watched(learner, batches, step, settings, **kept):
        found = settings.steps, kept["seed"], batches.draws.seed, kept["label"]
        seen.append((*found, kept["stage"].minutes))
        original(learner, batches, step, settings, **kept)

    monkeypatch.setattr(module, "fit", watched)
    training, _ = train(experiment, tmp_path, "vl2v", sources=(1, 2), seed=4)
    draws = [derive_seed(4, name, 1, 2) for name in ("align", "distill")]
    assert seen == [
        (3, derive_seed(4, "align"), draws[0], "aligning", 7),
        (5, derive_seed(4, "distill"), draws[1], "distilling", 7),
    ]
    assert [s.validations[-1].step for s in training.stages.values()] == [2, 4]
    seen.clear()
    train(experiment, tmp_path / "lp-ft", "lp-ft", sources=(1, 2), seed=4)
    assert [row[1:3] for row in seen] == [
        (derive_seed(4, "probe"), draws[0]),
        (derive_seed(4, "train"), draws[1]),
    ]


def test_weights_of_another_student_are_refused(tree, answers, experiment, tmp_path):
    train(experiment, tmp_path / "a", "erm")
    other, _ = small_experiment(tree, answers, student="pocket-vit")
    with pytest.raises(HoldfastError, match="do not fit this model"):
        train(other, tmp_path / "a", "erm")


def test_each_step_is_recorded(experiment, tmp_path):
    train(experiment, tmp_path, "vl2v")
    for name in ("align", "distill"):
        rows = read_lines(tmp_path / f"{name}.jsonl")
        assert [row["step"] for row in rows] == [0, 1, 2, 3]
        assert all(set(row["losses"]) == {"image", "text"} for row in rows)
        assert not (tmp_path / f"{name}.checkpoint.safetensors").exists()


PHASES = {"vl2v": ["align", "distill"], "lp-ft": ["probe", "train"]}


@pytest.mark.parametrize(
    ("name", "experiment"),
    [
        *((name, {}) for name in METHODS if name not in ("wise-ft", "regft")),
        *((name, TEACHER) for name in ("erm", "lp-ft", "wise-ft", "regft", "vl2v")),
        ("lp-ft", {"views": 0}),
        ("vl2v", {"views": 0}),
    ],
    indirect=["experiment"],
)
def test_every_method_trains_its_parts_and_is_a_function_of_the_seed(
    name, experiment, tree, answers, tmp_path
):
    composition = composed(name)
    own_tower = experiment.settings.student == "teacher"
    tower, _ = TrainingRun(experiment, 0, (0, 1), tmp_path).new_learner(composition)
    before = weights_of(tower.visual)
    training, classifier = train(experiment, tmp_path / "first", name)
    expected = ["distill"] if own_tower and name == "vl2v" else PHASES.get(name, ["train"])
    assert list(training.stages) == expected
    learnt = [n for n, _ in classifier.visual.named_parameters()]
    assert len(changed(before, weights_of(classifier.visual))) > 0.9 * len(learnt)
    assert classifier.head.normalise == (composition.method.head != "new")
    start = head_of(experiment.taught.text, experiment.logit_scale).weight
    if composition.method.head == "fixed":
        assert torch.equal(classifier.head.weight, start)
    if composition.method.head == "text":  # it starts there and learns
        assert not torch.equal(classifier.head.weight, start)
        torch.testing.assert_close(classifier.head.weight, start, atol=0.05, rtol=0)
    # New pixels, the same numbers.
    fresh, _ = small_experiment(
        tree,
        answers,
        **{k: getattr(experiment.settings, k) for k in ("student", "views")},
    )
    _, again = train(fresh, tmp_path / "again", name)
    assert not changed(weights_of(classifier), weights_of(again))


def test_only_what_a_teacher_is_needed_for_costs_queries(experiment, tmp_path):
    asked = []
    answers = experiment.taught.ask
    experiment.taught.ask = lambda views: asked.append(len(views)) or answers(views)
    for name in ("erm", "lp-ft", "text-head"):
        train(experiment, tmp_path / name, name)
    assert not asked
    train(experiment, tmp_path / "kd", "kd")
    assert asked == [6] * 4


def test_batch_statistics_stay_as_they_were_before_the_training(experiment, tmp_path):
    _, learner = TrainingRun(experiment, 0, (0, 1), tmp_path).new_learner(composed("erm"))
    before = {name: b.clone() for name, b in learner.visual.named_buffers()}
    assert any("running_mean" in name for name in before)
    _, classifier = train(experiment, tmp_path, "erm")
    after = dict(classifier.visual.named_buffers())
    assert all(torch.equal(after[name], b) for name, b in before.items())


# -- anchors


@pytest.mark.parametrize("name", METHODS)
def test_variance_covariance_consolidation_and_the_mean_of_iterates_go_into_any_method(
    tree, answers, tmp_path, name
):
    changes = TEACHER if name in ("wise-ft", "regft") else {}
    experiment, _ = small_experiment(tree, answers, **changes)
    anchors = [
        VarianceCovariance(variance=0.3),
        Consolidation(importance="uniform", strength=0.1),
        IterateAverage(every=1),
    ]
    training, classifier = train(experiment, tmp_path / "with", name, anchors=anchors)
    last = list(training.stages)[-1]
    for phase, stage in training.stages.items():
        rows = read_lines(tmp_path / "with" / f"{phase}.jsonl")
        assert all("consolidation" in row["losses"] for row in rows)
        # Before the first step nothing has moved away.
        assert rows[0]["losses"]["consolidation"] == 0 < rows[-1]["losses"]["consolidation"]
        frozen = name == "lp-ft" and phase == "probe"
        assert all(("variance" in row["losses"]) is not frozen for row in rows)
        assert stage.kept.average == "iterates" and stage.kept.last_step == 3
        assert [v.step for v in stage.validations] == [0, 2, 3]
    plain, without = train(experiment, tmp_path / "without", name)
    assert plain.stages[last].kept.average == "none"
    assert changed(weights_of(without), weights_of(classifier))
    again, loaded = train(experiment, tmp_path / "with", name, anchors=anchors)
    assert again.stages == training.stages
    assert not changed(weights_of(classifier), weights_of(loaded))


@pytest.mark.parametrize("toward", ["previous", "initial"])
def test_a_strong_pull_keeps_the_weights_where_it_leads(tree, answers, tmp_path, toward):
    """Toward the start of the phase, or toward the student before all phases."""
    stage = {"learning_rate": 1e-2, "steps": 12, "per_domain": 2, "validate_every": 12}
    experiment, _ = small_experiment(
        tree,
        answers,
        align=stage,
        train=stage,
        average={"kind": "running", "start": 99},
    )
    _, learner = TrainingRun(experiment, 0, (0, 1), tmp_path).new_learner(composed("lp-ft"))
    start = learner.head.weight.clone()

    def moved(strength, folder):
        anchors = [Consolidation(importance="uniform", toward=toward, strength=strength)]
        _, classifier = train(experiment, tmp_path / folder, "lp-ft", anchors=anchors)
        probed = load_file(tmp_path / folder / "probe.safetensors")["head.weight"]
        place = start if toward == "initial" else probed
        return (classifier.head.weight - place).norm().item()

    assert moved(30.0, "strong") < 0.5 * moved(1e-6, "weak")


def test_the_mean_of_iterates_by_hand(experiment, tmp_path, monkeypatch):
    seen = []
    original = PeriodicAverage.after_step

    def watched(self, step, module):
        seen.append(module.head.weight.detach().clone())
        original(self, step, module)

    monkeypatch.setattr(PeriodicAverage, "after_step", watched)
    anchors = [IterateAverage(every=2)]
    training = TrainingRun(experiment, 0, (0, 1), tmp_path)
    start = training.new_learner(composed("erm"))[1].head.weight
    _, classifier = train(experiment, tmp_path, "erm", anchors=anchors)
    assert len(seen) == 4
    expected = torch.stack([start, seen[0], seen[2], seen[3]]).mean(dim=0)
    torch.testing.assert_close(classifier.head.weight, expected)


@pytest.mark.parametrize("name", ["vl2v", "lp-ft"])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_an_ensemble_averages_with_the_start_of_the_last_phase(experiment, tmp_path, name, alpha):
    anchors = [WeightEnsemble(alpha)]
    training, classifier = train(experiment, tmp_path, name, anchors=anchors)
    # The same trainings without the average, which are loaded from their folder.
    _, tuned = train(experiment, tmp_path, name)
    before, learnt = (
        weights_of(TrainingRun(experiment, 0, (0, 1), tmp_path).new_learner(composed(name))[1]),
        weights_of(tuned),
    )
    first = load_file(tmp_path / f"{PHASES[name][0]}.safetensors")
    for key, tensor in weights_of(classifier).items():
        if not tensor.is_floating_point():
            continue
        original = first.get(key, before[key])
        torch.testing.assert_close(tensor, torch.lerp(original, learnt[key], alpha))
    assert changed(weights_of(tuned), weights_of(classifier))
    # What it is worth is measured on it, and not on what was tuned.
    _, learner = TrainingRun(experiment, 0, (0, 1), tmp_path).new_learner(composed(name))
    learner.load_state_dict(weights_of(classifier))
    assert training.accuracy == experiment.validator(0, (0, 1), learner)().accuracy


@pytest.mark.parametrize("experiment", [TEACHER], indirect=True)
def test_a_fisher_weighted_ensemble_lies_elsewhere_than_the_linear_one(
    experiment, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "FISHER_IMAGES", 6)
    found = []
    for merge in ("linear", "fisher", "fisher"):
        method = {"name": "regft", "ensemble": {"alpha": 0.5, "merge": merge}}
        found.append(weights_of(train(experiment, tmp_path, method)[1]))
    assert changed(found[0], found[1]) and not changed(found[1], found[2])


def test_settings_of_small_runs_are_valid(tree):
    assert small_settings(tree, views=3).views == 3
    assert isinstance(composed("vl2v"), Composition)
