"""A stream of tasks, and one more task, in words."""

import pytest

from holdfast.commands import continual_results, continual_words
from holdfast.results import AccuracyMatrix, GateResult, TaskScores


def matrix_of(*rows, images=500):
    """A matrix whose first row is zero-shot."""
    columns = [f"task {n}" for n in range(len(rows[0]))]
    names = ["zero-shot", *columns][: len(rows)]
    agnostic = [[None] * len(columns)] * len(rows)
    return AccuracyMatrix(
        split="test",
        rows=names,
        columns=columns,
        images=[images] * len(columns),
        task_aware=[list(row) for row in rows],
        task_agnostic=agnostic,
    )


def test_a_stream_in_words():
    matrix = matrix_of((0.4, 0.5), (0.9, 0.4), (0.8, 0.9))
    numbers = continual_results.stream_numbers(matrix.task_aware[1:], matrix.images)
    assert (numbers.transfer, numbers.last) == pytest.approx((0.4, 0.85))
    assert numbers.forget == pytest.approx(-0.1)
    found = continual_words.conclude_stream("gift", matrix, numbers)
    assert found.decision == "forgot" and found.headline == "40.0 points gained, 10.0 forgotten"
    assert "On 1,000 test images of 2 tasks the model is 85.0 % right (task-aware)" in found.text
    assert "zero-shot, it was 45.0 %: +40.0 points (95 % interval +36" in found.text
    assert (
        "accuracy changed by -10.0 points (95 % interval -14.4 to -5.6) on average." in found.text
    )
    assert "Tasks still to come stood at 40.0 %, against 50.0 % zero-shot." in found.text
    worse = matrix_of((0.9, 0.9), (0.5, 0.5), (0.5, 0.5))
    found = continual_words.conclude_stream(
        "gift", worse, continual_results.stream_numbers(worse.task_aware[1:], worse.images)
    )
    assert found.decision == "lost"
    assert found.headline == "Nothing measurable gained: -40.0 points, no forgetting measured"
    start = matrix_of((0.4, 0.5), (0.4, 0.5), (0.4, 0.5))
    found = continual_words.conclude_stream("zero-shot", start, numbers)
    assert found.decision == "open" and "names 45.0 % of" in found.text


def test_what_cannot_be_measured_is_neither_gained_nor_forgotten():
    few = matrix_of((0.5, 0.5), (0.7, 0.5), (0.6, 0.6), images=10)
    numbers = continual_results.stream_numbers(few.task_aware[1:], few.images)
    found = continual_words.conclude_stream("gift", few, numbers)
    assert found.decision == "lost"
    assert found.headline == "Nothing measurable gained: +10.0 points, no forgetting measured"
    kept = matrix_of((0.3, 0.3), (0.8, 0.3), (0.79, 0.9))
    numbers = continual_results.stream_numbers(kept.task_aware[1:], kept.images)
    found = continual_words.conclude_stream("gift", kept, numbers)
    assert found.decision == "learnt"
    assert found.headline == "54.5 points gained, no forgetting measured"
    single = matrix_of((0.3,), (0.8,))
    numbers = continual_results.stream_numbers(single.task_aware[1:], single.images)
    found = continual_words.conclude_stream("gift", single, numbers)
    assert found.headline == "50.0 points gained"


def scored(top1):
    return TaskScores(
        split="test",
        images=100,
        task_aware_top1=top1,
        task_aware_mean_per_class=top1,
        task_aware_ece=0.0,
    )


def test_one_more_task_in_words():
    assert continual_words.conclude_add("a", {}, {}, []).decision == "open"
    before, after = {"a": scored(0.5), "b": scored(0.8)}, {"a": scored(0.5), "b": scored(0.6)}
    assert continual_words.conclude_add("a", before, after, []).decision == "lost"
    found = continual_words.conclude_add("a", before, after | {"a": scored(0.9)}, ["b"])
    assert found.decision == "forgot" and found.headline == "40.0 points gained on a"
    assert "Of 1 held-out task, b fared worst: -20.0 points (95 % interval -31" in found.text
    assert "on 100 test images." in found.text
    few = {"a": scored(0.5)}, {"a": scored(0.55)}
    found = continual_words.conclude_add("a", *few, [])
    assert found.decision == "lost" and found.headline == "Nothing measurable gained on a"


def test_a_loss_that_is_told_is_not_a_gate_that_was_kept():
    """The gate's own images passed, and those that are told fell by more than it allows."""
    before, after = {"a": scored(0.5), "b": scored(0.8)}, {"a": scored(0.9), "b": scored(0.7)}

    def concluded(max_drop):
        gate = GateResult(alpha=1.0, max_drop=max_drop, before={}, sweep=[])
        return continual_words.conclude_add("a", before, after, ["b"], gate)

    found = concluded(0.02)
    assert found.decision == "lost"
    assert found.headline == "40.0 points gained on a, 10.0 lost on b"
    assert "more than the 2 points that may be lost; the gate let the model pass by" in found.text
    assert concluded(0.1).decision == "learnt"
