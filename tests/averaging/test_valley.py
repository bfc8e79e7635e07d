import pytest
from tests.averaging.walks import Losses, following, trained, walk

import holdfast.averaging.valley as valley_module
from holdfast.averaging import SWADTracker, accumulates


def test_the_segments_that_wait_are_on_the_cpu(monkeypatch):
    moved = []
    monkeypatch.setattr(valley_module, "on_cpu", lambda weights: moved.append(weights) or weights)
    walk(SWADTracker(Losses([1.0] * 3), every=2, steps=5), 5)
    assert [set(weights) for weights in moved] == [{"weight"}] * 3


def test_the_valley_averages_means_between_validations_and_ends_the_training():
    losses = [3.0, 1.0, 1.1, 1.2, 1.1, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0]
    valley = SWADTracker(Losses(losses), every=3, steps=37, converge=3, tolerance=3)
    module = walk(valley, 37)
    assert valley.finished and module.weight[0, 0] < 36
    about = valley.kept()
    # The loss of 1.0 at step 3 starts it, and what ends there only holds the place; the segments
    # that end at steps 6, 9 and 12 are averaged; three losses above 1.43 end it at step 21.
    assert about["converged"] and about["ended"] and about["last_step"] == 12
    assert module.weight[0, 0] == 21
    segments = [(end - 2 + end - 1 + end) / 3 for end in (6, 9, 12)]
    assert valley.result()["weight"][0, 0] == pytest.approx(sum(segments) / 3)


def test_a_valley_that_never_converged_gives_the_last_segment():
    valley = SWADTracker(Losses([5.0, 4.0, 3.0, 2.0]), every=2, steps=7)
    walk(valley, 7)
    assert valley.result()["weight"][0, 0] == (5 + 6) / 2
    assert valley.kept() == {
        "average": "valley",
        "first_step": 5,
        "last_step": 6,
        "segments": 2,
        "converged": False,
        "ended": False,
    }
    assert not valley.finished


def test_the_valley_has_the_papers_settings_and_takes_others():
    given = SWADTracker(Losses([]), 1, 1, 4, 5, 0.6).swad
    assert (given.converge, given.tolerance, given.ratio) == (4, 5, 0.6)
    given = SWADTracker(Losses([]), 1, 1).swad
    assert (given.converge, given.tolerance, given.ratio) == (3, 6, 0.3)


def test_an_average_that_holds_its_place_only_is_of_one_segment():
    """The training ends where the valley begins, and the losses after it are high."""
    valley = SWADTracker(Losses([0.1, 1.0, 1.0]), every=1, steps=3)
    walk(valley, 3)
    about = valley.kept()
    assert (about["converged"], about["segments"]) == (True, 1)
    assert (about["first_step"], about["last_step"]) == (0, 0)


def test_a_valley_that_has_ended_is_still_over_after_a_restart():
    whole = trained(SWADTracker)
    again = following(SWADTracker)
    again.restore(*whole.state())
    assert again.finished and again.segment is None


def test_segments_accumulate_from_the_first_step_where_they_are_not_reset():
    losses = [1.0, 1.1, 1.2, 1.1, 9.0, 9.0, 9.0]
    valley = SWADTracker(
        Losses(losses), every=2, steps=13, converge=3, tolerance=3, accumulate=True
    )
    walk(valley, 13)
    # The first segment (step 0) begins the valley and holds its place; those that end at steps 2, 4
    # and 6 are averaged, each the mean of all steps so far: 1, 2 and 3. Reset, they would be 1.5,
    # 3.5 and 5.5.
    assert valley.result()["weight"][0, 0] == pytest.approx((1 + 2 + 3) / 3)
    assert (valley.kept()["first_step"], valley.kept()["last_step"]) == (0, 6)
    reset = SWADTracker(Losses(losses), every=2, steps=13, converge=3, tolerance=3)
    walk(reset, 13)
    assert reset.result()["weight"][0, 0] == pytest.approx((1.5 + 3.5 + 5.5) / 3)


def test_late_in_a_training_they_start_anew_at_each_thousandth_step():
    assert [step for step in range(0, 5001, 200) if valley_module.starts_anew(step)] == [
        3000,
        4000,
        5000,
    ]


@pytest.mark.parametrize(
    ("student", "aligning", "distilling"),
    [
        ("resnet50", True, True),
        ("resnet50.tv_in1k", True, True),
        ("vit_small_patch16_224.augreg_in21k_ft_in1k", True, True),
        ("deit_small_distilled_patch16_224", True, True),
        ("vit_base_patch16_224.augreg_in21k_ft_in1k", True, False),
        ("convnext_tiny", False, False),
        ("local-dir:resnet50", False, False),
        ("teacher", False, False),
    ],
)
def test_they_accumulate_where_the_published_scripts_have_it(student, aligning, distilling):
    assert accumulates("published", student, True) is aligning
    assert accumulates("published", student, False) is distilling
    for stage in (True, False):
        assert accumulates("accumulate", student, stage)
        assert not accumulates("reset", student, stage)
