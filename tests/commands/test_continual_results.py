"""The matrix of a stream, and one more task, in words."""

from dataclasses import replace

import pytest

from holdfast.commands import continual_results
from holdfast.results import AccuracyMatrix


def test_numbers_of_a_single_row_and_of_tasks_without_a_score():
    joint = continual_results.stream_numbers([[0.5, 0.7]], [9, 9])
    assert joint.forget_interval is None
    assert joint.last == 0.6 and joint.transfer is joint.average is joint.forget is None
    assert continual_results.stream_numbers([[0.5, None], [0.5, None]], [9, 9]).last is None


def test_class_incremental_accuracy_is_over_the_images_of_the_tasks_learnt_so_far():
    matrix = AccuracyMatrix(
        split="test",
        rows=["zero-shot", "a", "b"],
        columns=["a", "b"],
        images=[10, 30],
        task_aware=[[0.5, 0.5]] * 3,
        task_agnostic=[[0.5, 0.5]] * 3,
        class_incremental=[[None, None], [0.9, None], [0.6, 0.8]],
    )
    found = continual_results.incremental_numbers(matrix)
    assert found.by_stage == pytest.approx([0.9, (6 + 24) / 40])
    assert found.last == pytest.approx(0.75) and found.average == pytest.approx((0.9 + 0.75) / 2)
    # Captions have no such score, and so has no stage in which there are some.
    captions = replace(matrix, class_incremental=[[None, None], [0.9, None], [0.6, None]])
    found = continual_results.incremental_numbers(captions)
    assert found.by_stage == [pytest.approx(0.9), None] and found.last is found.average is None
    # All tasks at once: one stage, that of all classes.
    joint = replace(
        matrix, rows=["zero-shot", "joint"], class_incremental=[[None, None], [0.6, 0.8]]
    )
    found = continual_results.incremental_numbers(joint)
    assert found.by_stage == [pytest.approx(0.75)] and found.average is None
