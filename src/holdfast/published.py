"""Class names of data sets as the papers have them: facts from their public code."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from holdfast.errors import UsageError, did_you_mean
from holdfast.files import read_json

LIST_PREFIX = "names:"  # of such a list where class names are given


@cache
def _lists() -> dict[str, Any]:
    return read_json(Path(__file__).with_name("published.json"))


def known_lists() -> dict[str, str]:
    """What each list is, by its name."""
    return {name: about["source"] for name, about in _lists().items()}


def published_names(given: str) -> dict[str, str] | None:
    """{"folder": "class name"} of the list that `given` names, `names:eurosat`; None for others.

    The folders are the data set's own. Raises UsageError for a list that is not known.
    """
    if not given.startswith(LIST_PREFIX):
        return None
    name = given.removeprefix(LIST_PREFIX)
    if name not in _lists():
        raise UsageError(
            f"There are no class names {given!r}{did_you_mean(name, _lists())}; give one of "
            f"{', '.join(LIST_PREFIX + known for known in _lists())}, or a file of names."
        )
    return dict(_lists()[name]["names"])
