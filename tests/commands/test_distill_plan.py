import pytest

from holdfast.commands.distill_plan import (
    check_method,
    check_splits,
    places_to_learn,
    plan_trials,
)
from holdfast.commands.settings import DistillSettings
from holdfast.data.domains import Domains
from holdfast.data.folders import LabelledImages
from holdfast.errors import UsageError
from holdfast.names import from_names


def domains_of(folder, **sizes):
    starts = [sum([*sizes.values()][:n]) for n in range(len(sizes) + 1)]
    labels = [0] * starts[-1]
    images = LabelledImages([folder] * starts[-1], labels, from_names(["a", "b"]), folder)
    return Domains(tuple(sizes), images, tuple(starts))


@pytest.fixture
def domains(tmp_path):
    return domains_of(tmp_path, Art=20, Clipart=30, Product=25)


def check(domains, **changes):
    """The composition of a run's method, with its anchors."""
    settings = DistillSettings(data=domains.images.root, **changes)
    return check_method(settings, plan_trials(settings, domains))


def test_the_sizes_of_office_home(tmp_path):
    """The public code asks 3,840,768 times for one trial; ours 124,720 times for ten views."""
    sizes = {"Art": 2427, "Clipart": 4365, "Product": 4439, "Real World": 4357}
    domains = domains_of(tmp_path, **sizes)
    settings = DistillSettings(data=tmp_path, held_out="all")
    trials = plan_trials(settings, domains)
    assert settings.views * len(places_to_learn(domains, trials)) == 124_720
    steps = settings.align.steps + settings.train.steps
    folds = [sources for trial in trials for sources in trial.trainings(settings)]
    assert sum(steps * settings.train.per_domain * len(f) for f in folds) == 3_840_768


def test_trials_go_seed_after_seed_and_have_folders_of_their_own(domains):
    settings = DistillSettings(data=domains.images.root, held_out="all", trials=2, seed=5)
    trials = plan_trials(settings, domains)
    assert [(t.seed, t.held_out, t.sources) for t in trials] == [
        (seed, left, tuple(d for d in range(3) if d != left))
        for seed in (5, 6)
        for left in range(3)
    ]
    assert trials[4].folder(settings, domains) == "without-Clipart/seed-6"
    settings = DistillSettings(data=domains.images.root)
    [single] = plan_trials(settings, domains)
    assert single.folder(settings, domains) == "" and single.held_out is None
    settings = DistillSettings(data=domains.images.root, held_out="Art")
    [without] = plan_trials(settings, domains)
    assert without.folder(settings, domains) == "without-Art"


def test_a_student_is_tested_on_images_it_has_not_seen(domains):
    settings = DistillSettings(data=domains.images.root, held_out="Clipart")
    [trial] = plan_trials(settings, domains)
    tested = trial.tested(domains)
    assert sorted(tested[1]) == list(range(20, 50))
    assert [len(part) for part in tested] == [4, 30, 5]
    assert not {*tested[0], *tested[1], *tested[2]} & set(places_to_learn(domains, [trial]))


REFUSED = [
    ({"anchors": "replay-distillation"}, "'replay-distillation' needs replay images"),
    ({"anchors": "alignment"}, "'alignment' needs replay images"),
    ({"anchors": "consolidation"}, "'adaptive' of the consolidation comes from replayed images"),
    ({"anchors": "consolidation:importance=static"}, "take consolidation:importance=uniform"),
    ({"anchors": "iterate-average", "method": "zero-shot"}, "trains nothing; leave --anchors out"),
    ({"anchors": "teacher-embeddings"}, "already; give its weight by --method.image_weight"),
    ({"anchors": "teacher-embeddings", "method": "image-only"}, "already; leave it out"),
    ({"anchors": "teacher-embeddings", "method": "erm"}, "does not project into it"),
    ({"anchors": "teacher-embeddings", "method": "lp-ft"}, "give --student teacher"),
    ({"method": "wise-ft"}, "a new projection names no classes; give --student teacher"),
    ({"method": "regft"}, "a new projection names no classes; give --student teacher"),
    ({"method": "text-head", "anchors": "weight-ensemble"}, "give --student teacher"),
    ({"method": "erm", "anchors": "weight-ensemble"}, "a new head names no classes"),
    ({"method": "kd", "anchors": "weight-ensemble"}, "a new head names no classes"),
    (
        {"method": "erm", "anchors": "weight-ensemble", "student": "teacher"},
        "a new head names no classes",
    ),
    ({"anchors": "weight-ensemble:alpha=auto"}, "give a number from 0 to 1"),
    ({"advice_only": True, "method": "erm"}, "would ask about none"),
    ({"advice_only": True, "sample": 0}, "would ask about none"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_a_distillation_cannot_meet_is_refused(domains, changes, message):
    with pytest.raises(UsageError) as caught:
        check(domains, **changes)
    assert message in str(caught.value)
    assert str(caught.value).count(". ") == 0 and str(caught.value).endswith(".")  # one sentence


TAKEN = [
    ({"anchors": "consolidation:strength=0"}, []),
    ({"anchors": "consolidation:importance=uniform"}, ["consolidation"]),
    ({"anchors": "weight-ensemble"}, ["weight-ensemble"]),  # with the aligned student
    ({"anchors": "weight-ensemble", "method": "lp-ft"}, ["weight-ensemble"]),
    ({"anchors": "weight-ensemble", "student": "teacher"}, ["weight-ensemble"]),
    ({"method": "wise-ft", "student": "teacher"}, ["weight-ensemble"]),
    ({"method": "regft", "student": "teacher"}, ["variance-covariance", "weight-ensemble"]),
    ({"anchors": "teacher-embeddings", "method": "text-head"}, ["teacher-embeddings"]),
    (
        {"anchors": "teacher-embeddings", "method": "erm", "student": "teacher"},
        ["teacher-embeddings"],
    ),
    ({"anchors": "iterate-average", "method": "kd"}, ["iterate-average"]),
    ({"advice_only": True, "method": "kd"}, []),
    (
        {"advice_only": True, "method": "text-head", "anchors": "teacher-embeddings"},
        ["teacher-embeddings"],
    ),
]


@pytest.mark.parametrize(("changes", "expected"), TAKEN)
def test_what_goes_together(domains, changes, expected):
    anchors = [a.name for a in check(domains, **changes).anchors]
    if changes.get("method", "vl2v") == "vl2v":
        expected = ["teacher-embeddings", *expected]
    assert anchors == expected


def test_a_domain_that_is_too_small_to_hold_a_fifth_out(tmp_path):
    domains = domains_of(tmp_path, Art=20, Clipart=4)
    settings = DistillSettings(data=tmp_path)
    with pytest.raises(UsageError, match=r"'Clipart' .* has only 4 readable images"):
        check_splits(domains, plan_trials(settings, domains))
