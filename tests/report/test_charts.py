"""Charts: the page's colours, axes, marks."""

from __future__ import annotations

import re

import pytest

from holdfast.report.charts import MOST_POINTS, Mark, Series, line_chart, thin_out


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
        ([2.0, 3.0], False, "The vertical axis starts at about 1.9, not at zero."),
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
