"""The pages of a stream and of one more task: what they say, and which parts may be missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.report.continual_example import NO_NUMBERS, TASKS, stream_example
from tests.report.pages import NASTY, Page, no_charts, render, section_ids

from holdfast.report import formats
from holdfast.report.continual import MEANING, ContinualPage
from holdfast.results import ContinualResult

__all__ = ["no_charts"]

SECTIONS = ["matrix", "numbers", "curves", "gate", "replay", "training", "accounting", "reproduce"]
AWARE = "Task-aware accuracy (the task is known at test time)"
AGNOSTIC = "Task-agnostic accuracy (the task is not known: among the classes of all tasks)"


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> ContinualResult:
    return stream_example(tmp_path_factory.mktemp("stream"))


@pytest.fixture(scope="module")
def stream_page(stream: ContinualResult, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return render(stream, tmp_path_factory.mktemp("page"))[1]


def test_what_it_says(stream: ContinualResult, stream_page: Page) -> None:
    page = stream_page
    assert section_ids(page) == SECTIONS
    numbers = stream.task_aware
    for share in (numbers.transfer, numbers.transfer_by_stage, numbers.average, numbers.last):
        assert formats.percent(share) in page.text
    assert formats.points(numbers.forget) in page.text
    assert "points gained, \u22123.0 forgotten" in page.text
    for title in (AWARE, AGNOSTIC):
        assert page.text.count(title) == 2  # the matrix and the numbers
    for meaning in MEANING.values():
        assert meaning in page.text
    # tasks; losses, drift, learning rate, gradient norm
    assert len(page.all("svg")) == 3 + 2 + 2 + 2
    assert "All charts have one scale, from 35 to 79 per cent." in page.text
    assert "GIFT, arXiv 2503.04229" in page.text
    assert "letters 200, textures 201, digits 202" in page.text


def test_the_heat_map_starts_with_zero_shot(stream: ContinualResult, tmp_path: Path) -> None:
    _, _, aware, _, agnostic, _, incremental, _ = ContinualPage(stream, tmp_path).matrices()
    assert [name for name, _ in aware.rows] == ["zero-shot", *(f"after {task}" for task in TASKS)]
    assert (aware.label, agnostic.label) == (AWARE, AGNOSTIC)
    cells = [[cell.text for cell in row] for _, row in aware.rows]
    assert cells[0] == ["50.0", "52.0", "54.0"]
    assert cells[3] == ["66.0", "70.0", "74.0"]
    framed = [[cell.framed for cell in row] for _, row in aware.rows]
    assert framed[1:] == [[True, False, False], [False, True, False], [False, False, True]]
    # shades are distances from zero-shot, the furthest of them 100
    first, second = aware.rows[1][1][:2]
    assert (first.text, first.shade, first.good) == ("70.0", 100, True)
    assert not second.good
    assert aware.rows[0][1][0].shade == 0
    # Class-incremental: before any task, and of tasks still to come, there is no such score.
    cells = [[cell.text for cell in row] for _, row in incremental.rows]
    assert cells[0] == ["–"] * 3 and cells[1] == ["64.1", "–", "–"]
    assert all(cell.shade == 0 for _, row in incremental.rows for cell in row)


@pytest.mark.usefixtures("no_charts")
def test_what_was_forgotten_is_not_green(stream: ContinualResult, tmp_path: Path) -> None:
    """Above zero-shot as it may be, what is lower than right after it was learnt is orange."""
    _, _, aware, *_ = ContinualPage(stream, tmp_path).matrices()
    cells = [row for _, row in aware.rows]
    after = [float(row[0].text) for row in cells]
    assert after[0] < after[3] < after[1]
    assert cells[1][0].good and not cells[3][0].good
    assert cells[3][0].shade == round(100 * (after[1] - after[3]) / 20)
    _, page = render(stream, tmp_path)
    [numbers] = [rows for label, rows in page.tables() if label == "Numbers of the stream"]
    assert numbers[1][-1].endswith("\u22129.3 to +3.4")
    forgot = replace(stream.verdict, decision="forgot")
    assert ContinualPage(replace(stream, verdict=forgot), tmp_path).hero().tone == "mixed"


@pytest.mark.usefixtures("no_charts")
def test_replay_and_gate(stream: ContinualResult, tmp_path: Path) -> None:
    _, page = render(stream, tmp_path)
    assert "of pre-training" in page.text and "of textures" in page.text
    assert "9 of 26 names" in page.text
    assert "2 drawn again" in page.text
    pictures = page.all("img")
    assert len(pictures) == 6  # of the last task: two of each source
    assert pictures[-1]["alt"] == "replayed image for the prompt: a photo of textures, 1."
    tables = dict(page.tables())
    assert tables["Decisions of the gate"][1:] == [
        ["letters", "1", worst(1.0), worst(1.0), "100", "flowers (11)"],
        ["textures", "0.6", worst(5.0), worst(1.5), "100", "flowers (11)"],
        ["digits", "0.6", worst(5.0), worst(1.5), "100", "flowers (11)"],
    ]
    sweep = tables["Sweep for digits"]
    before = "70.0\u00a0%50 images"
    assert sweep[1] == ["0 (previous)", "–", before, before, ""]
    changes = ["+1.0\u22127.0 to +8.0", "\u22121.5\u22129.5 to +5.5"]
    assert sweep[-1] == ["0.6 taken", "42.0\u00a0%", *changes, "yes"]


def worst(lost: float) -> str:
    """The cell of the set that fell most."""
    low, high = formats.points(-lost / 100 - 0.08), formats.points(-lost / 100 + 0.07)
    return f"{formats.points(-lost / 100)}pets, 50 images, {low} to {high}"


@pytest.mark.usefixtures("no_charts")
def test_a_gate_that_nothing_passes(stream: ContinualResult, tmp_path: Path) -> None:
    step = stream.steps[0]
    assert step.gate is not None
    steps = [replace(step, gate=replace(step.gate, alpha=None))]
    _, page = render(replace(stream, steps=steps), tmp_path)
    assert dict(page.tables())["Decisions of the gate"][1] == [
        "letters", "none passes", worst(1.0), "–", "100", "flowers (11)",
    ]  # fmt: skip


@pytest.mark.usefixtures("no_charts")
@pytest.mark.parametrize("method", ["zero-shot", "joint"])
def test_methods_that_take_no_steps(method: str, tmp_path: Path) -> None:
    result = stream_example(tmp_path / "images", method=method)
    result = replace(result, steps=[])
    if method == "joint":
        numbers = replace(NO_NUMBERS, last=0.6)
        matrix = replace(
            result.matrix,
            rows=["zero-shot", "joint"],
            task_aware=result.matrix.task_aware[:2],
            task_agnostic=result.matrix.task_agnostic[:2],
            class_incremental=result.matrix.class_incremental[:2],
        )
        one = replace(result.class_incremental, by_stage=[0.6], average=None, last=0.6)
        result = replace(
            result,
            matrix=matrix,
            task_aware=numbers,
            task_agnostic=numbers,
            class_incremental=one,
        )
    _, page = render(result, tmp_path)
    assert section_ids(page) == ["matrix", "numbers", "accounting", "reproduce"]
    framed = [td for td in page.all("td") if (td.get("class") or "").endswith("new")]
    assert framed == []


@pytest.mark.usefixtures("no_charts")
def test_captions_have_no_score_among_all_classes(tmp_path: Path) -> None:
    result = stream_example(tmp_path / "images", captions=True)
    _, page = render(result, tmp_path)
    tables = dict(page.tables())
    assert tables[AGNOSTIC][1] == ["zero-shot", "–", "42.0", "44.0"]
    assert [row[0] for row in tables["Numbers of the stream"][1:]] == [AWARE]
    assert tables["Tasks of the stream"][1][0] == "letters captions"


@pytest.mark.usefixtures("no_charts")
def test_a_single_task_has_no_transfer(tmp_path: Path) -> None:
    _, page = render(stream_example(tmp_path / "images", ["letters"]), tmp_path)
    row = dict(page.tables())["Numbers of the stream"][1]
    assert row[1:4] == ["50.0\u00a0%", "–", "–"]


@pytest.mark.usefixtures("no_charts")
def test_many_tasks(tmp_path: Path) -> None:
    names = [f"task {n}" for n in range(30)]
    _, page = render(stream_example(tmp_path / "images", names), tmp_path)
    assert "The first 24 of 30 tasks" in page.text


def test_names_are_text(tmp_path: Path) -> None:
    """In charts too: dollars are no formulas there, and a letter that no font has is no error."""
    names = [*NASTY[:4], "a $x_1$ b", "broken \udcff"]
    text, page = render(stream_example(tmp_path / "images", names), tmp_path)
    assert "<script" not in text
    for name in names[:-1]:
        assert name in page.text
    assert "a $x_1$ b" in text


@pytest.mark.usefixtures("no_charts")
def test_what_a_step_may_lack(stream: ContinualResult, tmp_path: Path) -> None:
    steps = [
        replace(step, replay=None, samples=[], gate=None, training=[], train={})
        for step in stream.steps
    ]
    _, page = render(replace(stream, steps=steps, settings={}, notes=[]), tmp_path)
    assert section_ids(page) == ["matrix", "numbers", "curves", "accounting", "reproduce"]
    assert "from ViT" not in page.text


def test_settings_in_which_the_tasks_differ(stream_page: Page) -> None:
    table = dict(stream_page.tables())["Training settings"]
    assert table[0] == ["Task", "label_smoothing"]
    assert [row[1] for row in table[1:]] == ["0.0", "0.1", "0.2"]
