"""What a teacher was asked, written down before it is asked."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from holdfast.errors import DamagedFile, HoldfastError
from holdfast.files import as_type
from holdfast.json_lines import append_lines, parse_line


class BudgetExhausted(HoldfastError):  # noqa: N818 - reads better where it is caught
    """More queries are needed than `max_queries` allows; nothing was sent."""


@dataclass(frozen=True)
class Line:
    """A line of the ledger: a request, or what became of one.

    request: its number. images, texts: how many it asks. answered, withdrawn: the number of the
    request that was. rows: of the answer that were stored. run: that asked.
    """

    request: int | None = None
    images: int = 0
    texts: int = 0
    answered: int | None = None
    withdrawn: int | None = None
    rows: int = 0
    run: str = ""


class Ledger:
    """A file with one JSON line when a request goes out and one when its answer is kept.

    An image or a text is one query. A query counts as spent just before it is sent, since the
    service may charge for it even if no answer arrives, and so does each further try. A request
    that the service did not accept is withdrawn.

    path: the file. max_queries: the largest sum that the file may reach, over all runs that share
    it; None is no limit. `run` is the name of the run that asks; it is written beside each request.
    `stored` is the number of rows that were stored, as the answers say.

    Raises HoldfastError for a file that is damaged.
    """

    def __init__(self, path: Path, max_queries: int | None = None) -> None:
        self.path = path
        self.max_queries = max_queries
        self.run = ""
        self.images = 0
        self.texts = 0
        self.stored = 0
        self._read = 0  # bytes
        self._requests = 0
        self._runs: Counter[str] = Counter()  # queries of each run
        self._open: dict[int, tuple[int, int]] = {}  # images, texts of requests without an answer
        self.refresh()

    @property
    def spent(self) -> int:
        """Images and texts asked so far."""
        return self.images + self.texts

    @property
    def spent_by_run(self) -> int:
        """Images and texts asked by this run, in all its starts."""
        return self._runs[self.run]

    @property
    def unanswered(self) -> int:
        """Images and texts that were asked and whose answer was lost."""
        return sum(map(sum, self._open.values()))

    @property
    def left(self) -> float:
        """How many more may be asked; infinite without a limit."""
        return math.inf if self.max_queries is None else max(0, self.max_queries - self.spent)

    def charge(self, images: int = 0, texts: int = 0, purpose: str = "store") -> None:
        """Write down a request that is about to be sent, and sync it.

        images, texts: how many are asked. purpose: `store`, or `spot check`.
        Raises BudgetExhausted, and writes nothing, if the budget is too small for it.
        """
        if images + texts > self.left:
            raise BudgetExhausted(
                f"The budget of {self.max_queries:,} queries is spent ({self.spent:,} so far) and "
                f"{images + texts:,} more are needed; raise --max_queries and run the same "
                "command again to go on."
            )
        request = {"request": self._requests, "images": images, "texts": texts}
        self._append(request | {"purpose": purpose, "run": self.run})

    def answered(self, rows: int = 0) -> None:
        """Write down that the last request's answer is kept; rows: of it that were stored."""
        self._append({"answered": self._requests - 1, "rows": rows})

    def withdraw(self) -> None:
        """Write down that the service did not accept the last request."""
        self._append({"withdrawn": self._requests - 1, "run": self.run})

    def refresh(self) -> None:
        """Read the lines that were added since, also by other processes.

        Raises HoldfastError for a line that is damaged, or a file that has become shorter.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        *lines, _ = new.split(b"\n")  # a kill may have cut the last line
        for text in lines:
            try:
                self._take(as_type(parse_line(text), Line, self.path))
            except ValueError:
                raise DamagedFile(
                    f"A line of {self.path} is damaged (at byte {self._read:,}), so nobody can say "
                    "what was asked; restore it from a copy."
                ) from None
            self._read += len(text) + 1

    def _take(self, line: Line) -> None:
        """Count a line. Raises ValueError for one that says nothing."""
        if line.answered is not None:
            self._open.pop(line.answered, None)
            self.stored += line.rows
        elif line.withdrawn is not None:
            images, texts = self._open.pop(line.withdrawn, (0, 0))
            self.images -= images
            self.texts -= texts
            self._runs[line.run] -= images + texts
        elif line.request is not None and min(line.images, line.texts) >= 0:
            self._requests = line.request + 1
            self.images += line.images
            self.texts += line.texts
            self._runs[line.run] += line.images + line.texts
            self._open[line.request] = line.images, line.texts
        else:
            raise ValueError("it says nothing")

    def _append(self, line: dict[str, Any]) -> None:
        time = datetime.now(UTC).isoformat(timespec="seconds")
        append_lines(self.path, [{"time": time} | line])
        self.refresh()
