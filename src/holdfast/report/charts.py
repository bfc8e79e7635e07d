"""Line charts as SVG that lives inside the page: its colours and font are the page's own.

matplotlib draws with stand-in colours, which are then replaced by the page's CSS variables; so
one drawing is right in the light and in the dark theme. Text stays text.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from holdfast.report.blocks import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# stand-in -> variable of style.css; arbitrary, only unlikely to occur by chance
CHART_COLOURS = {
    "#010a01": "ink",
    "#010a02": "muted",
    "#010a03": "line",
    "#010a04": "ensemble",
    "#010a05": "tuned",
}
INK, MUTED, LINE, ENSEMBLE, TUNED = CHART_COLOURS
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "holdfast",  # the same records give the same file
    "text.parse_math": False,  # names are names, dollars and all
    "font.size": 10.5,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
}
WIDTH, HEIGHT = 4.0, 2.7  # inches: drawn small, so that its text stays legible on a phone
MOST_POINTS = 240
LONGEST_NAME = 16  # letters of a tick
ROOM_FOR_NAMES = 34  # letters of all ticks together
ROOM_FOR_LEGEND = 26  # letters of a row of the legend


@dataclass(frozen=True)
class Series:
    """A line: x and y of one length; a name for the legend, or none; dots: where it has few x."""

    x: Sequence[float]
    y: Sequence[float]
    name: str = ""
    colour: str = ENSEMBLE
    dashed: bool = False
    dots: bool = True


@dataclass(frozen=True)
class Mark:
    """A vertical line at x with a dot on each series that has that x."""

    x: float
    name: str


@dataclass(frozen=True)
class Band:
    """A shaded stretch of x."""

    first: float
    last: float
    name: str


def line_chart(
    title: str,
    series: Sequence[Series],
    described: str,
    x_label: str,
    y_label: str,
    *,
    percent: bool = False,
    percent_x: bool = False,
    mark: Mark | None = None,
    band: Band | None = None,
    ends: tuple[str, str] | None = None,
    names: Sequence[str] = (),
    starts: Sequence[float] = (),
    limits: tuple[float, float] | None = None,
) -> Figure:
    """A chart of the series over a shared x, with a note if the vertical axis leaves zero out.

    described: the text alternative. percent, percent_x: shares on y, on x shown as per cent. ends:
    names of the first and the last x, below the axis. names: words for x = 0, 1, 2 ... instead of
    numbers. starts: where parts of x begin, as faint lines. limits: of y, of which the caller says
    whether they leave zero out.
    """
    # Not needed before a chart is drawn.
    import matplotlib
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the page's own font has it
        canvas = Canvas(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = canvas.add_subplot()
        for x in starts:
            axes.axvline(x, color=LINE, linewidth=1)
        for one in series:
            _draw_series(axes, one)
        axes.margins(x=0.03, y=0.12)
        values = [y for one in series for y in one.y]
        low, high = limits or _limits(values, *axes.get_ylim(), percent)
        axes.set_ylim(low, high)
        if band:
            _draw_band(axes, band)
        if mark:
            _draw_mark(axes, mark, series)
        if names:
            _name_ticks(axes, names)
        if len(series) > 1:
            columns = len(series) if sum(len(s.name) for s in series) <= ROOM_FOR_LEGEND else 2
            canvas.legend(loc="outside upper left", ncols=columns, frameon=False, handlelength=1.6)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if percent_x:
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g} %"))
        if percent:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %"))
        else:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _tick(y)))
        if ends:
            _name_ends(axes, ends)
        buffer = io.StringIO()
        canvas.savefig(buffer, format="svg", transparent=True)
    note = "" if limits or low <= 0 <= high else _cut_axis(low, percent)
    return Figure(title, _inline(buffer.getvalue(), described), note)


def _limits(values: Sequence[float], low: float, high: float, percent: bool) -> tuple[float, float]:
    """Of y: from zero where the values are not far above it or are all alike; shares to one."""
    least, most = min(values), max(values)
    if 0 <= most - least < 0.05 * least:
        low, high = 0.0, 1.2 * most
    elif least >= 0:
        low = 0.0 if least <= 0.5 * most else max(low, 0.0)
    return low, (min(high, 1.02) if percent and most <= 1 else high)


def _cut_axis(low: float, percent: bool) -> str:
    shown = f"{100 * low:.0f}\u00a0%" if percent else f"{low:.2g}"
    return f"The vertical axis starts at about {shown}, not at zero."


def _tick(value: float) -> str:
    """Short, with true minus signs: 0.00001 as 1e-5."""
    return re.sub(r"e-0*", "e-", f"{value:g}").replace("-", "\u2212")


def _draw_series(axes: Axes, series: Series) -> None:
    axes.plot(
        series.x,
        series.y,
        color=series.colour,
        linestyle=(0, (4, 2.5)) if series.dashed else "-",
        linewidth=1.8 if series.dots else 1,
        marker="o" if series.dots and len(series.x) <= 25 else None,
        markersize=3,
        label=series.name,
    )


def _draw_mark(axes: Axes, mark: Mark, series: Sequence[Series]) -> None:
    axes.axvline(mark.x, color=INK, linewidth=1, linestyle=(0, (1.5, 2)))
    for one in series:
        for x, y in zip(one.x, one.y, strict=True):
            if x == mark.x:
                axes.plot([x], [y], "o", color=one.colour, markersize=7)
    left = mark.x > (min(series[0].x) + max(series[0].x)) / 2
    _name_above(axes, mark.name, mark.x, left)


def _draw_band(axes: Axes, band: Band) -> None:
    """A band, named at its right end; it stays inside what the series span."""
    axes.axvspan(band.first, band.last, color=ENSEMBLE, alpha=0.14, linewidth=0)
    for x in (band.first, band.last):
        axes.axvline(x, color=ENSEMBLE, linewidth=1, linestyle=(0, (1.5, 2)))
    _name_above(axes, band.name, band.last, True)


def _name_above(axes: Axes, name: str, x: float, left: bool) -> None:
    """Words above the axes, to one side of x."""
    axes.annotate(
        name,
        (x, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if left else 5, 2),
        textcoords="offset points",
        ha="right" if left else "left",
        va="bottom",
        fontweight="bold",
    )


def _name_ticks(axes: Axes, names: Sequence[str]) -> None:
    """Words below the axis; slanted where they would run into each other."""
    short = [_shortened(name) for name in names]
    slanted = sum(map(len, short)) > ROOM_FOR_NAMES
    turned: dict[str, Any] = (
        {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    )
    axes.set_xticks(range(len(names)), short, **turned)


def _shortened(name: str) -> str:
    """A name that fits below an axis; what no font can hold becomes a question mark."""
    name = name.encode("utf-8", "replace").decode("utf-8")
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _name_ends(axes: Axes, ends: tuple[str, str]) -> None:
    """Words below the first and the last x, on the line of the axis label."""
    for x, word, side in ((0, ends[0], "left"), (1, ends[1], "right")):
        axes.annotate(
            word,
            (x, 0),
            xycoords="axes fraction",
            xytext=(0, -31),
            textcoords="offset points",
            ha=side,
            va="center",
        )


def thin_out(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """Means of consecutive points, so that no more than MOST_POINTS are left."""
    size = -(-len(x) // MOST_POINTS) or 1
    starts = range(0, len(x), size)

    def means(values: Sequence[float]) -> list[float]:
        return [sum(part) / len(part) for part in (values[i : i + size] for i in starts)]

    return means(x), means(y)


def _inline(svg: str, described: str) -> Markup:
    """The <svg> element alone: no prologue, metadata, styles, names or size, but a text for it."""
    body = svg[svg.index("<svg") :]
    view_box = re.search(r'viewBox="[^"]*"', body)
    assert view_box, "matplotlib writes a viewBox"
    body = body[body.index(">") + 1 :].replace("xlink:href", "href")
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.S)
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # figure_1, axes_1: the same in every chart
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)  # the page's own
    for colour, variable in CHART_COLOURS.items():
        body = body.replace(colour, f"var(--{variable})")
    head = f'<svg class="chart" {view_box[0]} role="img" aria-label="{html.escape(described)}">'
    return Markup(head + re.sub(r"\s*\n\s*", "\n", body))
