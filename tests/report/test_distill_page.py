"""The page of a distillation: what it says, and that it stands with any part missing."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from distill_example import CLASSES, DOMAINS, example_record
from pages import NASTY, Page, assert_accessible, assert_self_contained, no_charts_in, render

from holdfast.report import distill, formats
from holdfast.report.charts import Band, Mark

SECTIONS = ["domains", "classes", "advice", "models", "training", "samples", "queries", "reproduce"]


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return example_record(tmp_path_factory.mktemp("single"))


@pytest.fixture(scope="module")
def single_page(
    single: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Page]:
    return render(single, tmp_path_factory.mktemp("page"))


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    no_charts_in(monkeypatch, distill)


def test_whole_page(single: dict[str, Any], single_page: tuple[str, Page]) -> None:
    text, page = single_page
    assert [a["id"] for a in page.all("section")] == SECTIONS
    assert_self_contained(text, page)
    assert_accessible(page)
    scores = single["trials"][0]["scores"]["sketch"]
    assert "of its teacher's accuracy" in page.text
    for share in (scores["full"]["top1"], scores["teacher"]["top1"]):
        assert formats.percent(share) in page.text
    assert f"{formats.points(scores['gap']['low'])} to" in page.text
    assert single["advice"]["text"] in page.text
    assert "1,220" in page.text
    assert "21.7\u00a0M" in page.text and "12.5 ms" in page.text
    assert len(page.all("svg")) == 4
    assert len(page.all("img")) == 6
    assert "mean of steps 41 to 100 (the training ended first)" in page.text
    assert "0.5 (chosen)" in page.text
    assert "photos/broken.jpg" in page.text
    assert len(text) < 300_000


def test_a_student_that_holds_up_is_told_so(tmp_path: Path) -> None:
    found = example_record(tmp_path, student=0.8)
    assert found["verdict"]["headline"] == "As good as its teacher"
    assert distill.verdict(found["verdict"])["kind"] == "use"
    worse = example_record(tmp_path, student=0.3)["verdict"]
    assert worse["decision"] == "falls short"
    assert distill.verdict(worse)["kind"] == "keep"
    assert distill.verdict(worse)["strip"]["at"] < 50


@pytest.mark.usefixtures("no_charts")
def test_several_seeds_have_deviations_and_every_domain_is_left_out(tmp_path: Path) -> None:
    record = example_record(tmp_path / "images", held_out=list(DOMAINS), seeds=3)
    _, page = render(record, tmp_path)
    rows = distill.domains(record["summary"], record["trials"])["groups"]
    assert [row["name"] for row in rows[0]["rows"]] == DOMAINS
    assert [len(group["rows"]) for group in rows] == [3, 3]
    spread = record["summary"]["held_out"]["full"]["average"]
    shown = f"{formats.percent(spread['mean'])} ± {100 * spread['deviation']:.1f}"
    assert rows[0]["average"]["text"] == shown and shown in page.text
    theirs = [t["scores"]["photo"]["teacher"]["top1"] for t in record["trials"]]
    left_out = [t["held_out"] == "photo" for t in record["trials"]]
    mine = [value for value, out in zip(theirs, left_out, strict=True) if out]
    assert rows[0]["rows"][1]["teacher"] == pytest.approx(sum(mine) / 3)
    assert rows[0]["rows"][1]["interval"] is None
    assert "without photo, seed 2" in page.text
    assert "3 domains, each left out in turn" in page.text
    assert "9 trials" in page.text


@pytest.mark.usefixtures("no_charts")
def test_for_deployment_there_is_no_unseen_domain(tmp_path: Path) -> None:
    record = example_record(tmp_path / "images", held_out=[None])
    _, page = render(record, tmp_path)
    assert "Not measured on a new domain" in page.text
    assert "never saw" not in page.text and "never seen" not in page.text
    assert [a["id"] for a in page.all("section")] == [s for s in SECTIONS if s != "classes"]


@pytest.mark.usefixtures("no_charts")
def test_a_teacher_that_was_not_asked_has_no_bars(tmp_path: Path) -> None:
    record = example_record(tmp_path / "images", teacher_asked=False)
    _, page = render(record, tmp_path)
    assert "--teacher_scores all" in page.text
    assert "Student minus teacher" not in page.text


def test_classes_are_compared_on_the_same_images(single: dict[str, Any]) -> None:
    trial = copy.deepcopy(single["trials"][0])
    scores = trial["scores"]["sketch"]
    scores["domainbed"] = {"n": 150, "per_class": dict.fromkeys(CLASSES, 0.25)}
    scores["teacher"] = {"n": 150, "per_class": dict.fromkeys(CLASSES, 0.5), "top1": 0.5}
    change = distill.class_change([trial])
    assert change is not None
    assert [row["change"] for row in change["rows"]] == [-0.25] * len(CLASSES)
    scores["teacher"]["n"] = 149
    assert distill.class_change([trial]) is None


def test_what_was_kept_is_marked() -> None:
    running = {"average": "running", "first_step": 100, "last_step": 400}
    assert distill.marked(running) == {"band": Band(100, 400, "averaged")}
    best = {"average": "none", "step": 40}
    assert distill.marked(best) == {"mark": Mark(40, "kept")}
    assert distill.steps(best) == "step 40"


@pytest.mark.usefixtures("no_charts")
def test_names_are_text(tmp_path: Path) -> None:
    names = [f"<b>{name}" for name in DOMAINS]
    record = example_record(tmp_path / "images", domains=names, classes=NASTY, held_out=[names[-1]])
    text, page = render(record, tmp_path)
    assert "<script" not in text and "<b>sketch" not in text
    for name in [*NASTY, *names]:
        assert name in page.text


@pytest.mark.usefixtures("no_charts")
def test_of_many_classes_the_weakest_come_first(tmp_path: Path) -> None:
    classes = [f"class {n}" for n in range(40)]
    record = example_record(tmp_path / "images", classes=classes)
    _, page = render(record, tmp_path)
    assert "The other 30 classes" in page.text
    assert "20 classes between" in page.text


PARTS = ["title", "created", "settings", "environment", "method", "classes", "domains", "samples"]
PARTS += ["unreadable", "advice", "trials", "summary", "teacher", "student", "queries"]
PARTS += ["spot_check", "peak_memory_bytes", "verdict"]


@pytest.mark.usefixtures("no_charts")
@pytest.mark.parametrize("missing", PARTS)
def test_any_part_may_be_missing(missing: str, single: dict[str, Any], tmp_path: Path) -> None:
    assert missing in single
    render({key: value for key, value in single.items() if key != missing}, tmp_path)
    render({**single, missing: None}, tmp_path)


def test_every_part_is_among_those_that_may_be_missing(single: dict[str, Any]) -> None:
    assert set(single) == {"kind", *PARTS}


def test_empty_record(tmp_path: Path) -> None:
    _, page = render({"kind": "distill"}, tmp_path)
    assert page.all("section") == []
    assert "Not measured" in page.text


@pytest.mark.usefixtures("no_charts")
def test_zero_shot_has_no_student(single: dict[str, Any], tmp_path: Path) -> None:
    record = copy.deepcopy(single)
    trial = record["trials"][0]
    for key in ("stages", "candidates", "classifier"):
        del trial[key]
    for scores in trial["scores"].values():
        del scores["teacher"], scores["gap"]
    record["student"] = trial["student"] = {"parameters": None}
    del record["summary"]["gap"]
    _, page = render(record, tmp_path)
    assert "Training" not in page.text
    assert CLASSES[0] in page.text  # the advice has them
