"""The page of a transfer: whole, legible, and sane for any number of classes; its parts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from tests.report.pages import NASTY, Page, no_charts, render, section_ids
from tests.report.transfer_example import DIGITS, transfer_example

from holdfast.report import formats
from holdfast.report.page import Interval
from holdfast.report.scores import verdict_hero
from holdfast.results import Evaluation, TransferResult, Verdict, read_result, write_result

__all__ = ["no_charts"]

SECTIONS = ["scores", "samples", "alpha", "classes", "calibration", "confusion", "mistakes"]
SECTIONS += ["training", "diagnostics", "accounting", "reproduce"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> TransferResult:
    return transfer_example(tmp_path_factory.mktemp("digits"), DIGITS)


@pytest.fixture(scope="module")
def digits_page(digits: TransferResult, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return render(digits, tmp_path_factory.mktemp("page"))[1]


def test_what_it_says(digits: TransferResult, digits_page: Page) -> None:
    page = digits_page
    assert section_ids(page) == SECTIONS
    assert "Use the adapted model" in page.text
    assert "etter than zero-shot by" in page.text
    for name in ("zero-shot", "fine-tuned", "ensemble"):
        assert formats.percent(digits.scores[name].top1) in page.text
    assert "taken: α = 0.5" in page.text
    assert "RegFT, arXiv 2406.05432" in page.text
    assert page.all("img")[0]["alt"] == "generated image 1 of zero"
    assert len(page.all("svg")) == 9


@pytest.mark.usefixtures("no_charts")
def test_names_are_text(tmp_path: Path) -> None:
    result = replace(
        transfer_example(tmp_path / "images", NASTY, images=50),
        title="<i>run</i> & co",
        notes=["</ul><script>alert(2)</script>"],
        command="holdfast transfer '<b>'",
        settings={"names": NASTY},
        method="<b>method",
        method_title="<b>title",
        paper="<b>paper",
    )
    text, page = render(result, tmp_path)
    assert "<script" not in text
    assert not page.all("i") or all("class" in i for i in page.all("i"))
    for bold in ("method", "title", "paper", "'"):
        assert f"<b>{bold}" not in text and f"<b>{bold}" in page.text
    for name in NASTY:
        assert page.text.count(name) >= 3
    assert "</ul><script>alert(2)</script>" in page.text
    assert "<i>run</i> & co" in page.text


def test_two_classes(tmp_path: Path) -> None:
    result = transfer_example(tmp_path / "images", ["cat", "dog"], images=30, size=200, gain=-2.0)
    _, page = render(result, tmp_path)
    assert section_ids(page) == SECTIONS
    assert "Keep the zero-shot model" in page.text


@pytest.mark.usefixtures("no_charts")
def test_three_hundred_classes(tmp_path: Path) -> None:
    names = [f"class {i}" for i in range(300)]
    result = transfer_example(tmp_path / "images", names, images=900)
    text, page = render(result, tmp_path)
    assert "heat" not in [table.get("class") for table in page.all("table")]
    assert "24 of 300 classes" in page.text
    assert "280 classes between" in page.text
    assert "All 300 of these classes" in page.text
    assert "Taken for" in page.text
    assert len(text) < 1_500_000


@pytest.mark.usefixtures("no_charts")
def test_ten_thousand_classes(digits: TransferResult, tmp_path: Path) -> None:
    names = tuple(f"class {i}" for i in range(10_000))
    score = replace(
        digits.scores["zero-shot"],
        classes=names,
        per_class=tuple(i / 10_000 for i in range(10_000)),
        count=(1,) * 10_000,
        confusion=tuple((i, (i + 1) % 10_000, 1) for i in range(10_000)),
    )
    scores = {"zero-shot": score, "ensemble": replace(score, per_class=score.per_class[::-1])}
    samples = {"generated": {name: ["a.png"] for name in names}}
    result = replace(digits, classes=list(names), scores=scores, samples=samples)
    written = write_result(tmp_path / "result.json", result)
    assert read_result(tmp_path / "result.json") == written
    text, page = render(written, tmp_path)
    assert "1,797 labelled images of 10,000 classes" in page.text
    assert "Of 10,000 classes the" in page.text and "classes.csv beside the result" in page.text
    assert len(text) < 500_000
    assert (tmp_path / "result.json").stat().st_size < 1_000_000
    assert len((tmp_path / "classes.csv").read_text().splitlines()) == 10_001


@pytest.mark.usefixtures("no_charts")
def test_without_real_images(digits: TransferResult, tmp_path: Path) -> None:
    sweep = [
        replace(point, real_top1=None, real_mean_per_class=None, ece=None)
        for point in digits.alpha.sweep
    ]
    result = replace(
        digits,
        scores={},
        samples={"generated": digits.samples["generated"]},
        verdict=None,
        mistakes=[],
        diagnostics=None,
        alpha=replace(digits.alpha, sweep=sweep),
    )
    _, page = render(result, tmp_path)
    assert section_ids(page) == ["samples", "alpha", "training", "accounting", "reproduce"]
    assert "Not measured on real images" in page.text
    assert "real" not in [card.get("alt", "")[:4] for card in page.all("img")]


@pytest.mark.usefixtures("no_charts")
def test_what_may_be_missing(digits: TransferResult, tmp_path: Path) -> None:
    """A run on the user's own images, with a fixed alpha, that was resumed when it was done."""
    result = replace(
        digits,
        generator=None,
        samples={},
        training=[],
        images=replace(digits.images, requested=None, unreadable=[]),
        alpha=replace(digits.alpha, how="user", why="", sweep=[]),
        notes=[],
        method_title="",
        paper="",
    )
    _, page = render(result, tmp_path)
    assert (
        "α = 0.5, set by the user." in page.text
        and "drawn by" not in page.text
        and "regft" in page.text
    )
    left = [s for s in SECTIONS if s not in ("samples", "training")]
    assert section_ids(page) == left


@pytest.mark.usefixtures("no_charts")
def test_zero_shot_alone_and_classes_without_images(digits: TransferResult, tmp_path: Path) -> None:
    one = digits.scores["zero-shot"]
    alone = replace(
        one,
        per_class=(*one.per_class[:3], None, *one.per_class[4:]),
        count=(*one.count[:3], 0, *one.count[4:]),
        confusion=((0, 0, 9),),
    )
    result = replace(digits, verdict=None, scores={"zero-shot": alone})
    _, page = render(result, tmp_path)
    assert "Measured, not compared" in page.text
    assert "1,797 labelled images of 9 classes" in page.text
    assert "made no mistake" in page.text


@pytest.mark.usefixtures("no_charts")
def test_evaluation(digits: TransferResult, tmp_path: Path) -> None:
    shared = {n: getattr(digits, n) for n in ("title", "created", "command", "settings")}
    scores = digits.scores
    alone = Evaluation(**shared, environment=digits.environment, scores=scores["ensemble"])
    _, page = render(alone, tmp_path)
    assert section_ids(page) == ["scores", "calibration", "confusion", "reproduce"]
    beside = replace(alone, zero_shot=scores["zero-shot"], verdict=digits.verdict)
    _, page = render(beside, tmp_path)
    assert section_ids(page) == ["scores", "classes", "calibration", "confusion", "reproduce"]
    assert "Use the adapted model" in page.text


def test_losses_that_are_not_finite_are_left_out(digits: TransferResult, tmp_path: Path) -> None:
    training = list(digits.training)
    training[5] = replace(training[5], losses=training[5].losses | {"variance": float("nan")})
    training[6] = replace(training[6], gradient_norm=float("inf"))
    training[7] = replace(training[7], losses={})
    text, _ = render(replace(digits, training=training), tmp_path)
    assert not re.search(r"\b(nan|inf)\b", re.sub(r"data:image/[^\"]*", "", text), re.IGNORECASE)


@pytest.mark.usefixtures("no_charts")
def test_images_that_are_gone_or_broken(digits: TransferResult, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n cut short")
    samples = {"generated": {"zero": [str(broken), "no/such.png"]}}
    mistakes = [replace(each, path="no/such.png") for each in digits.mistakes]
    _, page = render(replace(digits, samples=samples, mistakes=mistakes), tmp_path)
    assert page.all("img") == []
    assert "mistakes" not in section_ids(page)


@pytest.mark.usefixtures("no_charts")
def test_relative_images_are_found_in_the_run(digits: TransferResult, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "run" / "a.png")
    samples = {"real": {"two": ["a.png"]}}
    _, page = render(replace(digits, samples=samples, mistakes=[]), tmp_path)
    [image] = page.all("img")
    assert image["alt"] == "real image 1 of two"
    assert (image["width"], image["height"], image["class"]) == ("96", "96", "tiny")


@pytest.mark.parametrize(
    ("difference", "low", "high", "decision", "text", "tone", "shown"),
    [
        (0.0, -0.06, 0.06, "keep", "unclear", "keep", "unclear."),
        (-0.1, -0.2, -0.01, "keep", "by -10.0 points: x", "worse", "by \u221210.0 points."),
        (0.1, 0.01, 0.2, "use", "better: use", "use", "better."),
    ],
)
def test_verdict(
    difference: float, low: float, high: float, decision: str, text: str, tone: str, shown: str
) -> None:
    found = Verdict(
        difference=difference,
        low=low,
        high=high,
        n=10,
        gained=2,
        lost=1,
        decision=decision,  # type: ignore[arg-type]
        text=text,
        details=["cat fell by -3.0 points."],
    )
    hero = verdict_hero(found)
    assert (hero.tone, hero.text) == (tone, shown)
    assert hero.interval == Interval(difference, low, high, "zero-shot better", "adapted better")
    lines = ["2 images are right only with the adapted model, 1 only with the zero-shot model."]
    assert hero.lines == [*lines, "cat fell by \u22123.0 points."]


def test_an_interval_has_zero_in_the_middle() -> None:
    interval = Interval(0.0, -0.06, 0.03, "", "")
    assert interval.place(0.0) == 50
    assert interval.place(-0.06) == pytest.approx(50 - 50 / 1.2, abs=0.01)
    assert interval.place(0.03) == pytest.approx(50 + 25 / 1.2, abs=0.01)


@pytest.mark.usefixtures("no_charts")
def test_the_mistakes_it_was_surest_of_are_seen(digits: TransferResult, digits_page: Page) -> None:
    wrong = [image for image in digits_page.all("img") if "taken for" in (image["alt"] or "")]
    assert [image["alt"] for image in wrong] == ["zero, taken for one"] * len(digits.mistakes)
    assert f"one, {formats.percent(digits.mistakes[0].confidence)} sure" in digits_page.text


def test_the_reliability_diagram_has_both_models_and_the_diagonal(
    digits: TransferResult, digits_page: Page
) -> None:
    [diagram] = [c for c in digits_page.all("svg") if "confidence" in (c["aria-label"] or "")]
    last = digits.scores["ensemble"].reliability
    large = [(sure, right) for images, sure, right in last if images >= 5]
    spelt = f"ensemble {formats.percent(large[0][1])} at {formats.percent(large[0][0])} to"
    assert spelt in (diagram["aria-label"] or "")
    for word in ("zero-shot", "ensemble", "as sure as right", "confidence"):
        assert word in digits_page.text


@pytest.mark.usefixtures("no_charts")
def test_a_method_without_a_mixture_is_not_told_as_one(
    digits: TransferResult, tmp_path: Path
) -> None:
    alpha = replace(digits.alpha, how="none", chosen=1.0, sweep=[])
    _, page = render(replace(digits, alpha=alpha), tmp_path)
    assert "no mixture" in page.text and "share α of the fine-tuned model, and" not in page.text
