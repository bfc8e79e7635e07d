"""The page of a transfer: whole, legible, and sane for any number of classes; its parts."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from tests.report.pages import NASTY, Page, no_charts, render, section_ids
from tests.report.transfer_example import DIGITS, transfer_example

from holdfast.report import formats, write_report
from holdfast.report.charts import MOST_POINTS, Mark, Series, line_chart, thin_out
from holdfast.report.page import Interval
from holdfast.report.scores import verdict_hero
from holdfast.report.thumbnails import thumbnail
from holdfast.results import Evaluation, TransferResult, Verdict

__all__ = ["no_charts"]

SECTIONS = ["scores", "samples", "alpha", "classes", "confusion"]
SECTIONS += ["training", "diagnostics", "accounting", "reproduce"]
CSS = Path(write_report.__code__.co_filename).with_name("style.css")


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
    assert len(page.all("svg")) == 8


def test_contrast_in_both_themes() -> None:
    """Text at least 4.5 to 1 on the ground and on cards (WCAG AA), shaded cells included."""
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w{6});", block))
        for block in re.findall(r":root \{(.*?)\}", CSS.read_text(), flags=re.S)
    )
    for theme in (light, dark):
        for ground in ("paper", "card"):
            for text in ("ink", "muted", "zero", "tuned", "ensemble", "loss"):
                assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
        for shade in ("heat-right", "heat-wrong"):
            assert contrast(theme["ink"], theme[shade]) >= 4.5, shade


def contrast(first: str, second: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


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
    assert "All 300 classes" in page.text
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
    result = replace(digits, classes=list(names), scores=scores, samples={})
    text, page = render(result, tmp_path)
    assert "The run's result.json has all classes." in page.text
    assert len(text) < 300_000


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
        alpha=replace(digits.alpha, how="fixed", why="", sweep=[]),
        notes=[],
        method_title="",
        paper="",
    )
    _, page = render(result, tmp_path)
    assert "as set" in page.text and "drawn by" not in page.text and "regft" in page.text
    left = ["scores", "alpha", "classes", "confusion", "diagnostics", "accounting", "reproduce"]
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
    assert section_ids(page) == ["scores", "confusion", "reproduce"]
    beside = replace(alone, zero_shot=scores["zero-shot"], verdict=digits.verdict)
    _, page = render(beside, tmp_path)
    assert section_ids(page) == ["scores", "classes", "confusion", "reproduce"]
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
    _, page = render(replace(digits, samples=samples), tmp_path)
    assert page.all("img") == []


@pytest.mark.usefixtures("no_charts")
def test_relative_images_are_found_in_the_run(digits: TransferResult, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "run" / "a.png")
    _, page = render(replace(digits, samples={"real": {"two": ["a.png"]}}), tmp_path)
    [image] = page.all("img")
    assert image["alt"] == "real image 1 of two"
    assert (image["width"], image["height"], image["class"]) == ("64", "64", "tiny")


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
    )
    hero = verdict_hero(found)
    assert (hero.tone, hero.text) == (tone, shown)
    assert hero.interval == Interval(difference, low, high, "zero-shot better", "adapted better")
    lines = ["2 images are right only with the adapted model, 1 only with the zero-shot model."]
    assert hero.lines == lines


def test_an_interval_has_zero_in_the_middle() -> None:
    interval = Interval(0.0, -0.06, 0.03, "", "")
    assert interval.place(0.0) == 50
    assert interval.place(-0.06) == pytest.approx(50 - 50 / 1.2, abs=0.01)
    assert interval.place(0.03) == pytest.approx(50 + 25 / 1.2, abs=0.01)


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def test_thumbnails(tmp_path: Path) -> None:
    for mode, size, color in (
        ("RGB", (32, 32), "red"),
        ("RGBA", (500, 250), (0, 0, 0, 0)),
        ("CMYK", (300, 300), 0),
        ("P", (40, 40), 0),
        ("I;16", (50, 50), 40000),
    ):
        suffix = "tif" if mode in ("CMYK", "I;16") else "png"
        path = tmp_path / f"{mode.replace(';', '')}.{suffix}"
        Image.new(mode, size, color).save(path)
        made = thumbnail(path)
        assert made is not None
        image = decoded(made.uri)
        assert image.mode == "RGB"
        assert max(image.size) <= 144
        assert made.crisp == (max(size) <= 64)
        assert made.uri.startswith("data:image/png" if made.crisp else "data:image/jpeg")
        pixel = image.getpixel((1, 1))
        if mode == "RGBA":
            assert pixel == (255, 255, 255)
        if mode == "I;16":
            assert pixel == (156, 156, 156)


def test_thumbnail_follows_the_camera(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (200, 100)).save(tmp_path / "turned.jpg", exif=exif)
    made = thumbnail(tmp_path / "turned.jpg")
    assert made is not None
    assert decoded(made.uri).size == (72, 144)


def test_tiny_images_are_enlarged_by_a_whole_number(tmp_path: Path) -> None:
    for size, shown in (((28, 28), (84, 84)), ((32, 16), (64, 32)), ((64, 64), (64, 64))):
        Image.new("RGB", size).save(tmp_path / "tiny.png")
        made = thumbnail(tmp_path / "tiny.png")
        assert made is not None and made.crisp
        assert (made.width, made.height) == shown
    Image.new("RGB", (200, 100)).save(tmp_path / "photo.png")
    made = thumbnail(tmp_path / "photo.png")
    assert made is not None and not made.crisp
    assert (made.width, made.height) == (72, 72)


def test_thin_out() -> None:
    assert thin_out([0, 1, 2], [5, 6, 7]) == ([0, 1, 2], [5, 6, 7])
    x, y = thin_out(list(range(1000)), [3.0] * 1000)
    assert len(x) <= MOST_POINTS
    assert (x[0], set(y)) == (2.0, {3.0})


def test_chart_takes_the_pages_colours() -> None:
    lines = [Series([0, 1], [0.2, 0.4])]
    svg = line_chart("title", lines, 'a "chart"', "α", "accuracy", percent=True).svg
    assert "var(--ensemble)" in svg
    assert not re.search(r"#0?1?0a0\d|<style|<metadata|font-family", svg)
    assert 'aria-label="a &quot;chart&quot;"' in svg
    assert "20 %" in svg
    assert ">accuracy<" in svg and ">α<" in svg
    assert "fill: #" not in svg, "a colour of its own would not follow the theme"


@pytest.mark.parametrize(
    ("values", "percent", "note"),
    [
        ([0.2, 0.4], True, ""),
        ([0.5, 0.6], True, "The vertical axis starts at about 49\u00a0%, not at zero."),
        ([2.0, 3.0], False, "The vertical axis starts at about 1.900, not at zero."),
        ([-1.0, 3.0], False, ""),
    ],
)
def test_an_axis_that_leaves_zero_out_says_so(
    values: list[float], percent: bool, note: str
) -> None:
    found = line_chart("title", [Series([0, 1], values)], "", "x", "y", percent=percent)
    assert found.note == note


def test_a_chart_with_a_mark_in_the_middle() -> None:
    lines = [Series([0, 1, 2], [0.2, 0.4, 0.3], "one"), Series([0, 1], [0.1, 0.2], "two")]
    svg = line_chart("", lines, "", "x", "y", mark=Mark(1, "here"), ends=("a", "b"), starts=[1]).svg
    for word in ("one", "two", "here", "a", "b"):
        assert f">{word}<" in svg


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formats.percent(0.8742), "87.4\u00a0%"),
        (formats.percent(None), "–"),
        (formats.points(-0.0213), "−2.1"),
        (formats.points(-0.0001), "0.0"),
        (formats.number(1.3024), "1.302"),
        (formats.number(14.92), "14.9"),
        (formats.number(12345.6), "12,346"),
        (formats.number(0.00012), "0.00012"),
        (formats.number(0), "0"),
        (formats.large(149620737), "149.6\u00a0M"),
        (formats.duration(59.96), "1\u00a0min"),
        (formats.duration(4021.3), "1\u00a0h 7\u00a0min"),
        (formats.size(3_412_000_000), "3.4\u00a0GB"),
    ],
)
def test_formats(shown: str, expected: str) -> None:
    assert shown == expected
