"""What a case is: a harm, what must hold, and the function that does it and counts."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CASES: dict[int, "Case"] = {}


@dataclass(frozen=True)
class Case:
    """One line of the page.

    do: the harm. hold: what must be true of it. run: takes an empty folder, does the harm, gives
    the figure, and raises AssertionError where something did not hold.
    """

    number: int
    do: str
    hold: str
    run: Callable[[Path], str]


def case(number: int, do: str, hold: str):
    """Make a case of a function."""

    def add(run):
        assert number not in CASES
        CASES[number] = Case(number, do, hold, run)
        return run

    return add


def require(holds, what: object) -> None:
    """As `assert`, also where Python leaves those out."""
    if not holds:
        raise AssertionError(re.sub(r"\s+", " ", str(what))[: int(os.environ.get("CUT", 600))])
