"""Results -> one HTML file that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, Template
from markupsafe import Markup

from holdfast.files import write_text
from holdfast.report import formats
from holdfast.report.added import AddPage
from holdfast.report.continual import ContinualPage
from holdfast.report.distill import DistillPage
from holdfast.report.evaluation import EvaluationPage
from holdfast.report.page import ReportPage
from holdfast.report.transfer import TransferPage
from holdfast.results import (
    AddResult,
    ContinualResult,
    DistillResult,
    Evaluation,
    Result,
    TransferResult,
)

__all__ = ["write_report"]

HERE = Path(__file__).parent
PAGES: dict[type[Result], type[ReportPage]] = {
    TransferResult: TransferPage,
    Evaluation: EvaluationPage,
    DistillResult: DistillPage,
    ContinualResult: ContinualPage,
    AddResult: AddPage,
}


def write_report(result: Result, out: Path) -> None:
    """Write the page of a result to `out`.

    Relative image paths start at the working directory or in `out`'s folder; images that cannot be
    read are left out. All text of the result is escaped. A kill leaves the old page or the new one.
    """
    page = PAGES[type(result)](result, out.parent)
    html = _template().render(page=page)
    # file names that are not UTF-8 arrive with surrogates, which no file can hold
    write_text(out, html.encode("utf-8", "replace").decode("utf-8"))


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["points"] = formats.points
    style = Markup((HERE / "style.css").read_text(encoding="utf-8"))
    return environment.get_template("base.html", globals={"style": style})
