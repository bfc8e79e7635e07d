"""Records -> one HTML file that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from holdfast.files import write_text
from holdfast.report import continual, distill, formats, transfer

__all__ = ["write_report"]

HERE = Path(__file__).parent
PAGES = {
    "transfer": ("transfer.html", transfer.page),
    "distill": ("distill.html", distill.page),
    "continual": ("continual.html", continual.page),
    "continual-add": ("continual.html", continual.page),
}


def write_report(record: Mapping[str, Any], out: Path) -> None:
    """Write the page of a run to `out`; parts that the record lacks are left out.

    The record's `kind` says which page; without one it is a `transfer`. Relative image paths start
    at the working directory or in `out`'s folder. All text of the record is escaped. A kill leaves
    the old page or the new one.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    for name in ("percent", "points", "number", "large", "duration", "size"):
        environment.filters[name] = getattr(formats, name)
    style = Markup((HERE / "style.css").read_text(encoding="utf-8"))
    name, page = PAGES[record.get("kind") or "transfer"]
    html = environment.get_template(name).render(style=style, **page(record, out.parent))
    # file names that are not UTF-8 arrive with surrogates, which no file can hold
    write_text(out, html.encode("utf-8", "replace").decode("utf-8"))
