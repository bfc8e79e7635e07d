"""The numbers of a stream of tasks, by hand arithmetic."""

import pytest

from holdfast.metrics import stream_metrics

# Rows: after task 0, 1, 2; columns: tasks 0, 1, 2.
MATRIX = [
    [0.9, 0.5, 0.3],
    [0.8, 0.7, 0.1],
    [0.6, 0.65, 0.95],
]


def test_the_numbers_by_hand():
    found = stream_metrics(MATRIX)
    # Task 1 before it was learnt: 0.5. Task 2: (0.3 + 0.1) / 2 = 0.2.
    assert found["transfer"] == pytest.approx((0.5 + 0.2) / 2)
    # After task 0: (0.5 + 0.3) / 2 = 0.4. After task 1: 0.1.
    assert found["transfer_by_stage"] == pytest.approx((0.4 + 0.1) / 2)
    assert found["average"] == pytest.approx((0.9 + 0.5 + 0.3 + 0.8 + 0.7 + 0.1 + 2.2) / 9)
    assert found["last"] == pytest.approx(2.2 / 3)
    # (0.6 - 0.9) + (0.65 - 0.7) + 0 = -0.35, over T - 1 = 2.
    assert found["forget"] == pytest.approx(-0.175)


def test_the_two_kinds_of_transfer_differ_and_only_by_their_weights():
    found = stream_metrics(MATRIX)
    assert found["transfer"] > found["transfer_by_stage"]
    # Entries that are all alike leave nothing to weigh.
    flat = [[0.9, 0.4, 0.4], [0.1, 0.9, 0.4], [0.2, 0.3, 0.9]]
    same = stream_metrics(flat)
    assert same["transfer"] == pytest.approx(same["transfer_by_stage"]) == pytest.approx(0.4)
    # With two tasks there is one entry above the diagonal.
    two = stream_metrics([[0.9, 0.25], [0.5, 0.8]])
    assert two["transfer"] == two["transfer_by_stage"] == 0.25
    assert two["forget"] == pytest.approx(-0.4)


def test_what_lies_on_or_below_the_diagonal_is_no_transfer():
    other = [row[:] for row in MATRIX]
    other[1][0], other[2][2] = 0.0, 0.0
    assert stream_metrics(other)["transfer"] == stream_metrics(MATRIX)["transfer"]


def test_a_single_task_has_no_transfer_and_nothing_to_forget():
    found = stream_metrics([[0.7]])
    assert (found["average"], found["last"]) == (0.7, 0.7)
    assert found["transfer"] is found["transfer_by_stage"] is found["forget"] is None


@pytest.mark.parametrize("matrix", [[], [[0.1, 0.2]], [[0.1], [0.2]]])
def test_only_a_square_matrix_has_them(matrix):
    rows = [len(row) for row in matrix]
    with pytest.raises(ValueError) as error:
        stream_metrics(matrix)
    assert str(error.value) == f"{rows} are no rows of a square matrix"
