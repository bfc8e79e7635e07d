"""`docs/reliability.md`: the line that each case had when it was last run."""

import os
import platform
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.case import Case

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
NOT_RUN = "not run"
HEAD = """# Reliability

What happens when processes are killed, files are damaged, disks are full, and strangers send
what they like. `make faults` does each harm for real, on small runs of all three methods, prints a
line for each case and writes this page; `make faults CASES="2 5"` runs some, and leaves the lines
of the others as they were. Where a figure counts tests, the harm is in these tests, and `make test`
runs them too.

| # | done | must hold | found | result | when and where |
|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Found:
    """How a case ended: `ok` or `failed`, its figure, and where that was."""

    result: str
    figure: str
    where: str = ""


def here(seconds: float) -> str:
    """The date, the machine, and how long it took."""
    day = datetime.now(UTC).date().isoformat()
    return f"{day}, {platform.system()}, {os.cpu_count()} cores, {seconds:.0f} s"


def read(path: Path = PAGE) -> dict[int, Found]:
    """The lines of the page, but for those of cases that were never run."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    found = {}
    for line in text.splitlines():
        cells = [plain(each) for each in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 6 and cells[0].isdigit() and cells[4] != NOT_RUN:
            found[int(cells[0])] = Found(cells[4], cells[3], cells[5])
    return found


def write(cases: dict[int, Case], found: dict[int, Found], path: Path = PAGE) -> None:
    """Write the page; a case that is not in `found` is one that was not run."""
    lines = []
    for number, each in sorted(cases.items()):
        last = found.get(number, Found(NOT_RUN, ""))
        cells = (str(number), each.do, each.hold, last.figure, last.result, last.where)
        lines.append("| " + " | ".join(map(escaped, cells)) + " |\n")
    path.write_text(HEAD + "".join(lines), encoding="utf-8")


def escaped(text: str) -> str:
    """A text as a cell has it."""
    return " ".join(text.split()).replace("|", "\\|")


def plain(cell: str) -> str:
    """The text of a cell."""
    return cell.strip().replace("\\|", "|")
