import json
import math

import pytest

from holdfast.teachers.ledger import BudgetExhausted, Ledger


def lines_of(ledger):
    return [json.loads(line) for line in ledger.path.read_text().splitlines()]


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger.jsonl")


def test_queries_are_images_and_texts_from_before_they_are_sent(ledger):
    assert (ledger.spent, ledger.left) == (0, math.inf) and not ledger.path.exists()
    ledger.run = "one"
    ledger.charge(images=3, texts=2)
    assert (ledger.images, ledger.texts, ledger.spent, ledger.unanswered) == (3, 2, 5, 5)
    ledger.answered()
    assert (ledger.spent, ledger.unanswered) == (5, 0)
    first, second = lines_of(ledger)
    about = {"request": 0, "images": 3, "texts": 2, "purpose": "store", "run": "one"}
    assert first | about == first and second["answered"] == 0


def test_a_request_that_was_not_accepted_is_not_spent(ledger):
    ledger.run = "one"
    ledger.charge(images=3)
    ledger.answered()
    ledger.charge(images=4, purpose="spot check")
    ledger.withdraw()
    assert (ledger.spent, ledger.spent_by_run, ledger.unanswered) == (3, 3, 0)
    again = Ledger(ledger.path)
    assert (again.spent, again.unanswered) == (3, 0)


def test_runs_that_share_a_ledger_share_its_budget(ledger):
    other = Ledger(ledger.path, max_queries=5)
    ledger.run, other.run = "one", "two"
    ledger.charge(images=3)
    other.refresh()
    other.charge(texts=2)
    assert (other.left, other.spent_by_run, other.spent) == (0, 2, 5)
    before = other.path.read_text()
    with pytest.raises(BudgetExhausted, match=r"of 5 queries is spent \(5 so far\) and 1 more"):
        other.charge(images=1)
    assert other.path.read_text() == before
    ledger.charge(images=9)  # without a limit of its own
    other.refresh()
    assert other.left == 0


def test_a_ledger_line_cut_short_was_never_sent(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.charge(images=3)
    with ledger.path.open("a") as file:
        file.write('{"time": "2026-01-01T00:00:00+00:00", "request": 1, "ima')
    again = Ledger(ledger.path, max_queries=5)
    assert (again.spent, again.unanswered, again.left) == (3, 3, 2)
    again.charge(texts=2)
    again.answered()
    assert (again.spent, again.unanswered, again.left) == (5, 3, 0)
    with pytest.raises(BudgetExhausted, match=r"budget of 5 queries is spent \(5 so far\) and 1 "):
        again.charge(images=1)
    ledger.refresh()
    assert (ledger.images, ledger.texts, ledger.unanswered) == (3, 2, 3)
