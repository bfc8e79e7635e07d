"""The page of a distillation: what it says of one student, of many, and of none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.report.distill_example import BEST, CLASSES, DOMAINS, VALLEY, distill_example
from tests.report.pages import NASTY, Page, no_charts, render, section_ids

from holdfast.report import formats
from holdfast.report.charts import Band
from holdfast.report.distill import DistillPage
from holdfast.report.trials import kept_band, kept_remark, kept_steps
from holdfast.results import DistillResult, KeptWeights, TowerInfo

__all__ = ["no_charts"]

SECTIONS = ["domains", "classes", "advice", "models", "training", "samples", "queries", "reproduce"]


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> DistillResult:
    return distill_example(tmp_path_factory.mktemp("single"))


@pytest.fixture(scope="module")
def single_page(single: DistillResult, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return render(single, tmp_path_factory.mktemp("page"))[1]


def test_what_it_says(single: DistillResult, single_page: Page) -> None:
    page = single_page
    assert section_ids(page) == SECTIONS
    scores = single.trials[0].scores["sketch"]
    assert "of its teacher's accuracy" in page.text
    assert scores.full and scores.teacher and scores.gap and single.advice
    for share in (scores.full.top1, scores.teacher.top1):
        assert formats.percent(share) in page.text
    assert f"{formats.points(scores.gap.low)} to" in page.text
    assert single.advice.text in page.text
    assert "1,220" in page.text
    assert "21.7\u00a0M" in page.text and "12.5 ms" in page.text
    assert len(page.all("svg")) == 4
    assert len(page.all("img")) == 6
    assert "mean of steps 41 to 100" in page.text
    assert "6 validations; the training ended first" in page.text
    assert "step 40" in page.text
    assert "photos/broken.jpg" in page.text
    assert "1 file that could not be read" in page.text
    assert "VL2V-ADiP (vl2v), arXiv 2310.08255" in page.text


@pytest.mark.parametrize(("student", "tone"), [(0.8, "use"), (0.3, "keep")])
def test_the_head_follows_the_conclusion(student: float, tone: str, tmp_path: Path) -> None:
    result = distill_example(tmp_path, student=student)
    hero = DistillPage(result, tmp_path).hero()
    assert hero.tone == tone
    assert hero.interval is not None and result.verdict.gap is not None
    assert (hero.interval.place(hero.interval.difference) < 50) == (student < 0.8)
    assert f"{result.verdict.gap.gained} images are right only with the student" in hero.lines[0]


@pytest.mark.usefixtures("no_charts")
def test_several_seeds_have_deviations_and_every_domain_is_left_out(tmp_path: Path) -> None:
    result = distill_example(tmp_path / "images", held_out=list(DOMAINS), seeds=3)
    _, page = render(result, tmp_path)
    [table] = [rows for label, rows in page.tables() if label == "Accuracy by domain"]
    names = [row[0] for row in table]
    group = ["clipart", "photo", "sketch", "average"]
    shown = [name.replace(" worst", "") for name in names[1:]]
    assert shown == [
        "Domains the student never saw", *group,
        "Domains it learned from, images held back", *group,
    ]  # fmt: skip
    average = result.summary.held_out["full"].average
    assert average.deviation is not None
    text = f"{formats.percent(average.mean)} ± {100 * average.deviation:.1f}"
    assert table[5][2] == text
    gap = result.summary.gap
    assert gap is not None and gap.deviation is not None
    assert table[5][4] == f"{formats.points(gap.mean)}± {100 * gap.deviation:.1f}"
    theirs = [
        t.scores["photo"].teacher.top1  # type: ignore[union-attr]
        for t in result.trials
        if t.held_out == "photo"
    ]
    assert table[3][3] == formats.percent(sum(theirs) / 3)
    assert "to" not in table[3][4], "no interval of three trials"
    assert "without photo, seed 2" in page.text
    assert "9 trials" in page.text
    assert sum(name.endswith("worst") for name in names) == 2


@pytest.mark.usefixtures("no_charts")
def test_for_deployment_there_is_no_unseen_domain(tmp_path: Path) -> None:
    result = distill_example(tmp_path / "images", held_out=[None])
    _, page = render(result, tmp_path)
    assert "never saw" not in page.text and "never seen" not in page.text
    assert "four fifths" not in page.text
    assert section_ids(page) == [s for s in SECTIONS if s != "classes"]


@pytest.mark.usefixtures("no_charts")
def test_a_teacher_that_was_not_asked_has_no_bars(tmp_path: Path) -> None:
    result = distill_example(tmp_path / "images", teacher_asked=False)
    _, page = render(result, tmp_path)
    assert "Student minus teacher" not in page.text
    assert "classes" not in section_ids(page)


@pytest.mark.usefixtures("no_charts")
def test_classes_are_compared_on_the_same_images(single: DistillResult, tmp_path: Path) -> None:
    trial = single.trials[0]
    scores = trial.scores["sketch"]
    assert scores.full is not None

    def with_teacher(images: int) -> Page:
        part = replace(scores.full, n=150, per_class=dict.fromkeys(CLASSES, 0.25))
        teacher = replace(scores.full, n=images, per_class=dict.fromkeys(CLASSES, 0.5))
        changed = replace(scores, domainbed=part, teacher=teacher)
        one = replace(trial, scores=trial.scores | {"sketch": changed})
        return render(replace(single, trials=[one]), tmp_path)[1]

    page = with_teacher(150)
    [table] = [rows for label, rows in page.tables() if label == "Change by class"]
    assert [row[-1] for row in table[1:]] == ["\u221225.0"] * len(CLASSES)
    assert "classes" not in section_ids(with_teacher(149))


def test_what_was_kept_is_marked() -> None:
    running = KeptWeights(average="running", first_step=100, last_step=400)
    assert kept_band(running) == Band(100, 400, "averaged")
    assert kept_remark(running) == ""
    assert kept_band(BEST) is None
    assert kept_steps(BEST) == "step 40"
    turned = "6 validations; the loss never turned: its last stretch"
    assert kept_remark(replace(VALLEY, converged=False)) == turned
    assert kept_remark(replace(VALLEY, ended=True)) == "6 validations; the valley ended"


@pytest.mark.usefixtures("no_charts")
def test_names_are_text(tmp_path: Path) -> None:
    names = [f"<b>{name}" for name in DOMAINS]
    result = distill_example(
        tmp_path / "images", domains=names, classes=NASTY, held_out=[names[-1]]
    )
    text, page = render(result, tmp_path)
    assert "<script" not in text and "<b>sketch" not in text
    for name in [*NASTY, *names]:
        assert name in page.text


@pytest.mark.usefixtures("no_charts")
def test_of_many_classes_the_weakest_come_first(tmp_path: Path) -> None:
    classes = [f"class {n}" for n in range(40)]
    result = distill_example(tmp_path / "images", classes=classes)
    _, page = render(result, tmp_path)
    assert "The other 30 classes" in page.text
    assert "20 classes between" in page.text


@pytest.mark.usefixtures("no_charts")
def test_what_may_be_missing(single: DistillResult, tmp_path: Path) -> None:
    result = replace(
        single,
        advice=None,
        spot_check=None,
        samples={},
        unreadable=[],
        prompts=[],
        teacher=replace(single.teacher, zero_shot=None, tower=None),
        queries=replace(single.queries, limit=None),
    )
    _, page = render(result, tmp_path)
    assert section_ids(page) == [s for s in SECTIONS if s != "advice"]
    assert "asked for again" not in page.text and "limit" not in page.text


@pytest.mark.usefixtures("no_charts")
def test_a_teacher_that_changed_is_named(single: DistillResult, tmp_path: Path) -> None:
    assert single.spot_check is not None
    check = replace(single.spot_check, drifted=True)
    _, page = render(replace(single, spot_check=check), tmp_path)
    assert "The teacher has changed since." in page.text


@pytest.mark.usefixtures("no_charts")
def test_zero_shot_has_no_student(single: DistillResult, tmp_path: Path) -> None:
    trial = single.trials[0]
    trial = replace(
        trial,
        stages={},
        candidates=[],
        classifier=None,
        image_weight=None,
        student=TowerInfo(),
        scores={n: replace(s, teacher=None, gap=None) for n, s in trial.scores.items()},
    )
    summary = replace(single.summary, gap=None)
    result = replace(single, trials=[trial], student=TowerInfo(), summary=summary)
    _, page = render(result, tmp_path)
    assert "training" not in section_ids(page)
    assert CLASSES[0] in page.text  # the advice has them
