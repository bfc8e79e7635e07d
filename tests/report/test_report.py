"""The page: whole, escaped, self-contained, legible, and sane for any number of classes."""

from __future__ import annotations

import base64
import copy
import io
import re
from pathlib import Path
from typing import Any

import pytest
from pages import NASTY, Page, assert_accessible, assert_self_contained, no_charts_in, render
from PIL import Image
from report_example import DIGITS, example_record

from holdfast.report import formats, frame, transfer, write_report
from holdfast.report.charts import MOST_POINTS, Series, line_chart, thin_out
from holdfast.report.thumbnails import thumbnail
from holdfast.report.transfer import verdict

SECTIONS = ["scores", "samples", "alpha", "classes", "confusion"]
SECTIONS += ["training", "diagnostics", "accounting", "reproduce"]
CSS = Path(write_report.__code__.co_filename).with_name("style.css")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return example_record(tmp_path_factory.mktemp("digits"), DIGITS)


@pytest.fixture(scope="module")
def digits_page(
    digits: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Page]:
    return render(digits, tmp_path_factory.mktemp("page"))


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts are most of a page's time, and not what the test is about."""
    no_charts_in(monkeypatch, frame, transfer)


def test_whole_page(digits: dict[str, Any], tmp_path: Path) -> None:
    before = copy.deepcopy(digits)
    text, page = render(digits, tmp_path)
    assert digits == before
    assert [a["id"] for a in page.all("section")] == SECTIONS
    assert "Use the adapted model" in page.text
    assert "etter than zero-shot by" in page.text
    for name in ("zero-shot", "fine-tuned", "ensemble"):
        assert formats.percent(digits["scores"][name]["top1"]) in page.text
    assert "chosen α = 0.5" in page.text
    assert digits["command"] in page.text
    assert len(text) < 400_000
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["report.html"]


def test_same_record_same_bytes(digits: dict[str, Any], tmp_path: Path) -> None:
    assert render(digits, tmp_path / "a")[0] == render(digits, tmp_path / "b")[0]


def test_nothing_comes_from_elsewhere(digits_page: tuple[str, Page]) -> None:
    assert_self_contained(*digits_page)


def test_accessible(digits_page: tuple[str, Page]) -> None:
    _, page = digits_page
    assert_accessible(page)
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
    record = example_record(tmp_path / "images", NASTY, images=50)
    record["title"] = "<i>run</i> & co"
    record["notes"] = ["</ul><script>alert(2)</script>"]
    record["command"] = "holdfast transfer '<b>'"
    record["settings"]["names"] = NASTY
    text, page = render(record, tmp_path)
    assert "<script" not in text
    assert not page.all("i") or all("class" in i for i in page.all("i"))
    for name in NASTY:
        assert page.text.count(name) >= 3
    assert "</ul><script>alert(2)</script>" in page.text
    assert "<i>run</i> & co" in page.text


def test_two_classes(tmp_path: Path) -> None:
    record = example_record(tmp_path / "images", ["cat", "dog"], images=30, size=200, gain=-2.0)
    _, page = render(record, tmp_path)
    assert [a["id"] for a in page.all("section")] == SECTIONS
    assert "Keep the zero-shot model" in page.text


@pytest.mark.usefixtures("no_charts")
def test_three_hundred_classes(tmp_path: Path) -> None:
    names = [f"class {i}" for i in range(300)]
    record = example_record(tmp_path / "images", names, images=900)
    text, page = render(record, tmp_path)
    assert "heat" not in [table.get("class") for table in page.all("table")]
    assert "24 of 300 classes" in page.text
    assert "280 classes between" in page.text
    assert "All 300 classes" in page.text
    assert "Taken for" in page.text
    assert len(text) < 1_500_000


@pytest.mark.usefixtures("no_charts")
def test_without_real_images(digits: dict[str, Any], tmp_path: Path) -> None:
    record = copy.deepcopy(digits)
    del record["scores"], record["samples"]["real"]
    record["verdict"] = record["diagnostics"] = None
    for row in record["alpha"]["sweep"]:
        row |= {"real_top1": None, "real_mean_per_class": None, "ece": None}
    _, page = render(record, tmp_path)
    sections = [a["id"] for a in page.all("section")]
    assert sections == ["samples", "alpha", "training", "accounting", "reproduce"]
    assert "Not measured on real images" in page.text
    assert "Real images are stored" not in page.text


PARTS = ["title", "created", "command", "settings", "environment", "classes", "model", "generator"]
PARTS += ["samples", "training", "alpha", "scores", "verdict", "images", "diagnostics", "costs"]


@pytest.mark.usefixtures("no_charts")
@pytest.mark.parametrize("missing", PARTS)
def test_any_part_may_be_missing(missing: str, digits: dict[str, Any], tmp_path: Path) -> None:
    assert missing in digits
    render({key: value for key, value in digits.items() if key != missing}, tmp_path)
    render({**digits, missing: None}, tmp_path)


def test_empty_record(tmp_path: Path) -> None:
    _, page = render({}, tmp_path)
    assert page.all("section") == []
    assert "Not measured" in page.text


@pytest.mark.usefixtures("no_charts")
def test_zero_shot_alone_and_classes_without_images(digits: dict[str, Any], tmp_path: Path) -> None:
    record = copy.deepcopy(digits)
    record["verdict"] = None
    record["scores"] = {"zero-shot": record["scores"]["zero-shot"]}
    record["scores"]["zero-shot"]["per_class"][3] = None
    record["scores"]["zero-shot"]["count"][3] = 0
    record["scores"]["zero-shot"]["confusion"] = [[0, 0, 9]]
    _, page = render(record, tmp_path)
    assert "1,797 labelled images of 9 classes" in page.text
    assert "made no mistake" in page.text


def test_losses_that_are_not_finite_are_left_out(digits: dict[str, Any], tmp_path: Path) -> None:
    record = copy.deepcopy(digits)
    record["training"][5]["losses"]["variance"] = float("nan")
    record["training"][6]["gradient_norm"] = float("inf")
    del record["training"][7]["losses"]
    text, _ = render(record, tmp_path)
    assert "NaN" not in text


@pytest.mark.usefixtures("no_charts")
def test_images_that_are_gone_or_broken(digits: dict[str, Any], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n cut short")
    record = {**digits, "samples": {"generated": {"zero": [str(broken), "no/such.png"]}}}
    _, page = render(record, tmp_path)
    assert page.all("img") == []


def test_relative_images_are_found_in_the_run(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "run" / "a.png")
    _, page = render({"samples": {"real": {"red": ["a.png"]}}}, tmp_path)
    assert page.all("img")[0]["alt"] == "real image 1 of red"


def test_verdict_places_the_interval() -> None:
    base = {"difference": 0.0, "low": -0.06, "high": 0.06, "decision": "keep", "text": "unclear"}
    shown = verdict(base, True)
    assert (shown["kind"], shown["strip"]["at"], shown["text"]) == ("keep", 50, "unclear.")
    assert shown["strip"]["low"] + shown["strip"]["high"] == 100
    worse = {**base, "difference": -0.1, "low": -0.2, "high": -0.01, "text": "by -10.0 points: x"}
    assert verdict(worse, True)["kind"] == "worse"
    assert verdict(worse, True)["text"] == "by −10.0 points."
    better = {**base, "difference": 0.1, "low": 0.01, "high": 0.2, "decision": "use"}
    assert verdict(better, True)["strip"]["low_text"] == "+1.0"


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
        assert max(image.size) <= 96
        assert made.tiny == (max(size) <= 64)
        assert made.uri.startswith("data:image/png" if made.tiny else "data:image/jpeg")
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
    assert decoded(made.uri).size == (48, 96)


def test_thin_out() -> None:
    assert thin_out([0, 1, 2], [5, 6, 7]) == ([0, 1, 2], [5, 6, 7])
    x, y = thin_out(list(range(1000)), [3.0] * 1000)
    assert len(x) <= MOST_POINTS
    assert (x[0], set(y)) == (2.0, {3.0})


def test_chart_takes_the_pages_colours() -> None:
    svg = line_chart([Series([0, 1], [0.2, 0.4])], 'a "chart"', "α", percent=True)
    assert "var(--ensemble)" in svg
    assert not re.search(r"#0?1?0a0\d|<style|<metadata|font-family", svg)
    assert 'aria-label="a &quot;chart&quot;"' in svg
    assert "20 %" in svg
    assert "fill: #" not in svg, "a colour of its own would not follow the theme"


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
