"""What the tests of all pages share: a reader of pages, and what every page must keep to."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup, escape

from holdfast.report import continual, page, scores, transfer, trials, write_report
from holdfast.report.blocks import Figure
from holdfast.results import Result

VOID = {"meta", "link", "img", "br", "input", "hr"}
NASTY = ['F-16A/B, "Viper"', "<script>alert(1)</script>", "R&D's {{ 7*7 }}", "🐙 octopus", "café"]


class Page(HTMLParser):
    """Tags with their attributes, text, and a check that every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.found: list[tuple[str, list[list[str]]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "div" and dict(attrs).get("class") == "scroll":
            self.found.append((dict(attrs)["aria-label"] or "", []))
        if tag == "tr":
            self.found[-1][1].append([])
        if tag in ("td", "th"):
            self.found[-1][1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data
        if {"td", "th"} & set(self.open):
            self.found[-1][1][-1][-1] += data

    def tables(self) -> list[tuple[str, list[list[str]]]]:
        """(label, rows of cells) of each table, heads among them."""
        return [(label, rows) for label, rows in self.found if rows]

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def render(result: Result, folder: Path) -> tuple[str, Page]:
    out = folder / "run" / "report.html"
    write_report(result, out)
    text = out.read_text(encoding="utf-8")
    return text, Page(text)


def section_ids(page: Page) -> list[str | None]:
    return [attributes["id"] for attributes in page.all("section")]


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts are most of a page's time, and not what most tests are about: only what they show."""

    def drawn(title: str, series: Any, described: str, *rest: Any, **options: Any) -> Figure:
        data = [(list(one.x), list(one.y), one.name) for one in series]
        label = escape(repr((described, data, rest, options)))
        return Figure(title, Markup(f'<svg role="img" aria-label="{label}"></svg>'))

    for module in (page, continual, scores, transfer, trials):
        monkeypatch.setattr(module, "line_chart", drawn)


def assert_self_contained(text: str, page: Page) -> None:
    """No script, and nothing from elsewhere."""
    assert not {"script", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "poster", "data", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), value
        assert not any(name.startswith("on") for name in attributes)
    assert "//" not in re.sub(r"data:image/[^\"]*", "", text).replace("</", "")
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text


def assert_accessible(page: Page) -> None:
    """Texts for pictures and charts, heads of tables, links that lead somewhere."""
    assert page.all("html")[0]["lang"] == "en"
    assert all(image.get("alt") for image in page.all("img"))
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in page.all("svg"))
    assert all(heading.get("scope") for heading in page.all("th"))
    assert len(page.all("h1")) == len(page.all("main")) == 1
    # a chart's markers and clips are named by a hash of their shape: one name, one shape
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    ids = [name for name in names if not re.fullmatch(r"[mp][0-9a-f]{10}", name or "")]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        assert (link["href"] or "")[1:] in ids
