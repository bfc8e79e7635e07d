"""What a teacher was asked, written down before it is asked."""

from __future__ import annotations

import json
import math
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.files import append_lines


class BudgetExhausted(HoldfastError):  # noqa: N818 - reads better where it is caught
    """More queries are needed than `max_queries` allows; nothing was sent."""


class Ledger:
    """A file with one JSON line when a request goes out and one when its answer is kept.

    An image or a text is one query. A query counts as spent just before it is sent, since the
    service may charge for it even if no answer arrives. A request that the service did not accept
    is withdrawn. A request that a teacher repeats by itself counts once.

    path: the file. max_queries: the largest sum that the file may reach, over all runs that share
    it; None is no limit. `run` is the name of the run that asks; it is written beside each request.
    """

    def __init__(self, path: Path, max_queries: int | None = None) -> None:
        self.path = path
        self.max_queries = max_queries
        self.run = ""
        self.images = 0
        self.texts = 0
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

    def answered(self) -> None:
        """Write down that the last request's answer is kept."""
        self._append({"answered": self._requests - 1})

    def withdraw(self) -> None:
        """Write down that the service did not accept the last request."""
        self._append({"withdrawn": self._requests - 1, "run": self.run})

    def refresh(self) -> None:
        """Read the lines that were added since, also by other processes."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        new = new[: new.rfind(b"\n") + 1]  # a kill may have cut the last line
        self._read += len(new)
        for text in new.splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if "answered" in line:
                self._open.pop(line["answered"], None)
            elif "withdrawn" in line:
                images, texts = self._open.pop(line["withdrawn"], (0, 0))
                self.images -= images
                self.texts -= texts
                self._runs[line.get("run", "")] -= images + texts
            else:
                self._requests = line["request"] + 1
                self.images += line["images"]
                self.texts += line["texts"]
                self._runs[line.get("run", "")] += line["images"] + line["texts"]
                self._open[line["request"]] = line["images"], line["texts"]

    def _append(self, line: dict[str, Any]) -> None:
        time = datetime.now(UTC).isoformat(timespec="seconds")
        append_lines(self.path, [{"time": time} | line])
        self.refresh()
