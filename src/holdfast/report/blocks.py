"""What a page is made of: sections of blocks, which `blocks.html` turns into HTML.

Text is escaped there, unless it is Markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup


@dataclass(frozen=True)
class Block:
    """A part of a section; `blocks.html` has a branch for each kind."""

    kind: ClassVar[str]


@dataclass(frozen=True)
class Paragraph(Block):
    """Text; style: `lead`, `small` or plain."""

    kind = "paragraph"
    text: str | Markup
    style: str = ""


@dataclass(frozen=True)
class Heading(Block):
    """A heading inside a section."""

    kind = "heading"
    text: str


@dataclass(frozen=True)
class Code(Block):
    """Text that is selected as a whole by one click."""

    kind = "code"
    text: str


@dataclass(frozen=True)
class Items(Block):
    """A list of texts."""

    kind = "items"
    texts: Sequence[str]


@dataclass(frozen=True)
class Details(Block):
    """Blocks behind a summary; on paper they are open."""

    kind = "details"
    summary: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Column:
    """The head of a table's column; style: `words` stands to the left, as text does."""

    heading: str
    style: str = ""


@dataclass(frozen=True)
class Cell:
    """Text with a smaller note below it; style: `best`, `gain` or `loss`."""

    text: str
    note: str = ""
    style: str = ""


@dataclass(frozen=True)
class Bars:
    """Shares as bars, one below the other, each with its colour: `ours`, `theirs` or `between`."""

    shares: Sequence[tuple[float, str]]


@dataclass(frozen=True)
class Track:
    """A ring at the share before, and a dot at the share after."""

    before: float
    after: float

    @property
    def tone(self) -> str:
        """`gain`, `loss` or `same`."""
        return tone_of(self.after - self.before)


@dataclass(frozen=True)
class Row:
    """A row of a table. tag: a mark behind the head; swatch: a dot in the colour of that model."""

    head: str
    cells: Sequence[str | Cell | Bars | Track]
    tag: str = ""
    swatch: str = ""


@dataclass(frozen=True)
class Divider:
    """A row as wide as the table; title: whether it heads the rows below it."""

    text: str
    title: bool = True


@dataclass(frozen=True)
class Table(Block):
    """Rows below column heads, of which the first is that of the rows' heads; none for pairs."""

    kind = "table"
    label: str
    columns: Sequence[Column]
    rows: Sequence[Row | Divider]
    caption: str = ""
    style: str = ""


@dataclass(frozen=True)
class HeatCell:
    """Text on a shade from 0 to 100: green if good, else orange. framed: with a frame."""

    text: str
    shade: int
    good: bool
    framed: bool = False


@dataclass(frozen=True)
class HeatMap(Block):
    """Rows and columns of shaded cells."""

    kind = "heat-map"
    label: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[HeatCell]]]
    caption: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Figure:
    """A chart with its title, and a note below it."""

    title: str
    svg: Markup
    note: str = ""


@dataclass(frozen=True)
class Figures(Block):
    """Charts beside each other."""

    kind = "figures"
    figures: Sequence[Figure]


@dataclass(frozen=True)
class Thumbnail:
    """An image as a data URI, and the pixels that it is shown with. crisp: with hard edges."""

    uri: str
    width: int
    height: int
    crisp: bool
    alt: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Card:
    """Pictures under a title, in groups that may have a label. tag: a mark behind the title."""

    title: str
    groups: Sequence[tuple[str, Sequence[Thumbnail]]]
    tag: str = ""


@dataclass(frozen=True)
class Cards(Block):
    """Cards beside each other."""

    kind = "cards"
    cards: Sequence[Card]


@dataclass(frozen=True)
class Tiles(Block):
    """Numbers with their labels: (label, number)."""

    kind = "tiles"
    tiles: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Terms(Block):
    """What words mean: (word, meaning)."""

    kind = "terms"
    terms: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Section:
    """A part of the page that the navigation leads to. short: its title there."""

    id: str
    title: str
    blocks: Sequence[Block]
    short: str = ""


@dataclass(frozen=True)
class Interval:
    """A difference of shares with its interval, drawn on a scale with zero in the middle.

    less, more: what the ends of the scale say.
    """

    difference: float
    low: float
    high: float
    less: str
    more: str

    def place(self, value: float) -> float:
        """Where a value stands, in per cent of the width."""
        reach = max(abs(self.low), abs(self.high), abs(self.difference), 1e-6) * 1.2
        return round(50 + 50 * value / reach, 2)


@dataclass(frozen=True)
class Hero:
    """The head of the page: what the run comes to. tone: `use`, `mixed`, `keep`, `worse` or
    `open`."""

    tone: str
    headline: str
    text: str
    interval: Interval | None = None
    lines: Sequence[str] = ()


def tone_of(change: float) -> str:
    """The colour of a change."""
    return "gain" if change > 0 else "loss" if change < 0 else "same"
