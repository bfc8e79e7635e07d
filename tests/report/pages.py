"""What the tests of all pages share: a reader of pages, and what every page must keep to."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from markupsafe import Markup

from holdfast.report import write_report

EMPTY = Markup('<svg role="img" aria-label="empty"></svg>')
VOID = {"meta", "link", "img", "br", "input", "hr"}
NASTY = ['F-16A/B, "Viper"', "<script>alert(1)</script>", "R&D's {{ 7*7 }}", "🐙 octopus", "café"]


class Page(HTMLParser):
    """Tags with their attributes, text, and a check that every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def render(record: dict[str, Any], folder: Path) -> tuple[str, Page]:
    out = folder / "run" / "report.html"
    write_report(record, out)
    text = out.read_text(encoding="utf-8")
    return text, Page(text)


def no_charts_in(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
    """Charts are most of a page's time, and not what most tests are about."""
    for module in modules:
        monkeypatch.setattr(module, "line_chart", lambda *args, **options: EMPTY)


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
