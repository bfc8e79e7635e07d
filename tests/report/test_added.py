"""The page of one more task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.report.continual_example import added_example
from tests.report.pages import no_charts, render, section_ids

__all__ = ["no_charts"]


@pytest.mark.usefixtures("no_charts")
def test_one_more_task(tmp_path: Path) -> None:
    result = added_example(tmp_path / "images")
    _, page = render(result, tmp_path)
    assert section_ids(page) == [
        *("scores", "gate", "replay", "training", "accounting", "reproduce"),
    ]
    assert "30.0 points gained on digits" in page.text
    assert "Of 2 held-out tasks, pets fared worst: \u22121.0 points." in page.text
    table = dict(page.tables())["Change by task"]
    assert table[0] == ["Task", "0 to 100 %", "before", "after", "Change, points", "Images"]
    assert table[1] == ["digits", "", "50.0\u00a0%", "80.0\u00a0%", "+30.0", "100"]
    assert "pets held out" in [row[0] for row in dict(page.tables())["All scores"]]
    _, page = render(replace(result, before={}, after={}), tmp_path)
    assert "scores" not in section_ids(page)
