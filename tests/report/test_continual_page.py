"""The page of a stream and of one more task: what it says, and that it stands in pieces."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from continual_example import TASKS, added_record, example_record
from pages import NASTY, Page, assert_accessible, assert_self_contained, no_charts_in, render

from holdfast.report import continual, formats, frame
from holdfast.verbs.continual.verdict import conclude, conclude_added

SECTIONS = ["matrix", "numbers", "curves", "gate", "replay", "training", "accounting", "reproduce"]


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return example_record(tmp_path_factory.mktemp("stream"))


@pytest.fixture(scope="module")
def stream_page(
    stream: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Page]:
    return render(stream, tmp_path_factory.mktemp("page"))


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    no_charts_in(monkeypatch, frame, continual)


def test_whole_page(stream: dict[str, Any], stream_page: tuple[str, Page]) -> None:
    text, page = stream_page
    assert [a["id"] for a in page.all("section")] == SECTIONS
    assert_self_contained(text, page)
    assert_accessible(page)
    numbers = stream["metrics"]["within"]
    for key in ("transfer", "transfer_by_stage", "average", "last"):
        assert formats.percent(numbers[key]) in page.text
    assert formats.points(numbers["forget"]) in page.text
    assert "points gained, 3.0 forgotten" in page.text
    for meaning in ("not to be compared with transfer", "column by column"):
        assert meaning in page.text
    assert len(page.all("svg")) == 3 + 4  # tasks; losses, learning rate, gradient norm
    assert stream["notes"][0] in page.text
    assert len(text) < 300_000


def test_the_heat_map_starts_with_zero_shot(stream: dict[str, Any]) -> None:
    within, union = continual.matrices(stream["matrix"], "gift")
    assert [row["name"] for row in within["rows"]] == [
        "zero-shot",
        *(f"after {task}" for task in TASKS),
    ]
    assert union["title"] == "Among the classes of all tasks together"
    cells = [[cell["text"] for cell in row["cells"]] for row in within["rows"]]
    assert cells[0] == ["50.0", "52.0", "54.0"]
    assert cells[3] == ["66.0", "70.0", "74.0"]
    framed = [[cell["new"] for cell in row["cells"]] for row in within["rows"]]
    assert framed[1:] == [[True, False, False], [False, True, False], [False, False, True]]
    # shades are distances from zero-shot, the furthest of them 100
    assert within["rows"][1]["cells"][0] == {"text": "70.0", "shade": 100, "right": True, "new": 1}
    assert within["rows"][1]["cells"][1]["right"] is False
    assert within["rows"][0]["cells"][0]["shade"] == 0


@pytest.mark.usefixtures("no_charts")
def test_replay_and_gate(stream: dict[str, Any], tmp_path: Path) -> None:
    _, page = render(stream, tmp_path)
    assert "of pre-training" in page.text and "of textures" in page.text
    assert "9 of 26 names" in page.text
    assert "2 drawn again" in page.text
    pictures = page.all("img")
    assert len(pictures) == 6  # of the last task: two of each source
    assert pictures[-1]["alt"] == "replay image for the prompt: a photo of textures, 1."
    rows = continual.gate(stream["steps"])
    assert [row["alpha"] for row in rows] == [1.0, 0.6, 0.6]
    assert rows[1]["trained"] == {"name": "pets", "change": -0.05}
    assert rows[1]["taken"] == {"name": "pets", "change": -0.015}
    assert "0.6 (taken)" in page.text


@pytest.mark.usefixtures("no_charts")
def test_one_more_task(tmp_path: Path) -> None:
    record = added_record(tmp_path / "images")
    _, page = render(record, tmp_path)
    assert [a["id"] for a in page.all("section")] == [
        "scores",
        *("gate", "replay", "training", "accounting", "reproduce"),
    ]
    assert_accessible(page)
    assert "30.0 points gained on digits" in page.text
    assert "Of 2 held-out tasks, pets fared worst: −1.0 points." in page.text
    assert "Task" in page.text and "before" in page.text
    assert "+30.0" in page.text


@pytest.mark.usefixtures("no_charts")
@pytest.mark.parametrize("method", ["zero-shot", "joint"])
def test_methods_that_take_no_steps(method: str, tmp_path: Path) -> None:
    record = example_record(tmp_path / "images", method=method)
    record["steps"] = []
    if method == "joint":
        matrix = record["matrix"]
        matrix["rows"] = ["zero-shot", "joint"]
        for kind in ("within", "union"):
            matrix[kind] = matrix[kind][:2]
            record["metrics"][kind] = dict.fromkeys(record["metrics"][kind]) | {"last": 0.6}
        record["verdict"] = conclude("joint", matrix, record["metrics"])
    _, page = render(record, tmp_path)
    assert [a["id"] for a in page.all("section")] == [
        *("matrix", "numbers"),
        *("accounting", "reproduce"),
    ]
    framed = [td for td in page.all("td") if (td.get("class") or "").endswith("new")]
    assert framed == []
    assert ("Zero-shot, nothing learnt" in page.text) == (method == "zero-shot")


@pytest.mark.usefixtures("no_charts")
def test_captions_have_no_score_among_all_classes(tmp_path: Path) -> None:
    record = example_record(tmp_path / "images", captions=True)
    assert record["metrics"]["union"]["last"] is None
    _, page = render(record, tmp_path)
    _, union = continual.matrices(record["matrix"], "gift")
    assert union["rows"][0]["cells"][0]["text"] == "–"
    assert "Among the classes of all tasks together" in page.text


@pytest.mark.usefixtures("no_charts")
def test_a_single_task_has_no_transfer(tmp_path: Path) -> None:
    record = example_record(tmp_path / "images", ["letters"])
    _, page = render(record, tmp_path)
    assert record["verdict"]["headline"] == "20.0 points gained"
    assert "20.0 points gained" in page.text
    assert continual.numbers(record["metrics"], record["matrix"])["rows"][0]["cells"][1] == "–"


@pytest.mark.usefixtures("no_charts")
def test_many_tasks(tmp_path: Path) -> None:
    names = [f"task {n}" for n in range(30)]
    _, page = render(example_record(tmp_path / "images", names), tmp_path)
    assert "The first 24 of 30 tasks" in page.text


def test_names_are_text(tmp_path: Path) -> None:
    """In charts too: dollars are no formulas there, and a letter that no font has is no error."""
    names = [*NASTY[:4], "a $x_1$ b", "broken \udcff"]
    text, page = render(example_record(tmp_path / "images", names), tmp_path)
    assert "<script" not in text
    for name in names[:-1]:
        assert name in page.text
    assert "a $x_1$ b" in text


PARTS = ["title", "created", "settings", "environment", "method", "tasks", "matrix", "metrics"]
PARTS += ["meaning", "curves", "verdict", "steps", "notes", "costs"]


@pytest.mark.usefixtures("no_charts")
@pytest.mark.parametrize("missing", PARTS)
def test_any_part_may_be_missing(missing: str, stream: dict[str, Any], tmp_path: Path) -> None:
    assert missing in stream
    render({key: value for key, value in stream.items() if key != missing}, tmp_path)
    render({**stream, missing: None}, tmp_path)


@pytest.mark.usefixtures("no_charts")
def test_any_part_of_a_step_may_be_missing(stream: dict[str, Any], tmp_path: Path) -> None:
    for missing in stream["steps"][0].keys() - {"task"}:
        record = copy.deepcopy(stream)
        for each in record["steps"]:
            del each[missing]
        render(record, tmp_path)


@pytest.mark.parametrize("kind", ["continual", "continual-add"])
def test_empty_record(kind: str, tmp_path: Path) -> None:
    _, page = render({"kind": kind}, tmp_path)
    assert page.all("section") == []
    assert "Not measured" in page.text


def test_verdicts_in_words(stream: dict[str, Any]) -> None:
    text = stream["verdict"]["text"]
    assert text.startswith("On 600 test images of 3 tasks the model is 70.0 % right")
    assert "zero-shot, it was 52.0 %" in text
    worse = {"within": [[0.5, 0.5], [0.4, 0.5], [0.4, 0.4]], "union": []}
    matrix = {**worse, "columns": ["a", "b"], "images": [10, 10], "split": "val"}
    numbers = {"within": {"forget": 0.0, "transfer": 0.5}}
    found = conclude("gift", matrix, numbers)
    assert (found["decision"], found["headline"]) == ("lost", "Nothing gained: -10.0 points")
    assert conclude_added("a", {}, {}, [])["decision"] == "open"
    scores = {"a": {"images": 5, "top1": 0.5}}
    assert conclude_added("a", scores, scores, [])["decision"] == "lost"
