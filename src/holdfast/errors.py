"""Errors meant for the user: one sentence on what is wrong and what to do, no traceback."""

from __future__ import annotations

import difflib
import importlib.util
import textwrap
from collections.abc import Iterable


class HoldfastError(Exception):
    """Something outside the program is wrong (a file, a model, a service). Exit code 1."""


class UsageError(HoldfastError):
    """The request itself is wrong (names, settings, options). Exit code 2."""


class DamagedFile(HoldfastError):  # noqa: N818 - reads better where it is caught
    """A file that is not what was written. Exit code 1."""


def did_you_mean(word: str, known: Iterable[str], count: int = 3) -> str:
    """A hint for a message: " (did you mean a, b?)" with the entries closest to a word, or "".

    word: what the user wrote. known: what would be right. count: entries at most.
    """
    by_fold = {entry.casefold(): entry for entry in known}
    matches = difflib.get_close_matches(word.casefold(), by_fold, n=count, cutoff=0.5)
    return f" (did you mean {', '.join(by_fold[match] for match in matches)}?)" if matches else ""


def shortened(error: object, width: int = 200) -> str:
    """What a library said, as a part of a sentence: one line, cut between words, no full stop.

    error: the exception, or its text. width: the most characters before the cut.
    """
    name = type(error).__name__ if isinstance(error, BaseException) else ""
    line = " ".join(str(error).split()) or name
    if len(line) <= width:
        return line.rstrip(".")
    cut = textwrap.shorten(line, width, placeholder="") or line[:width]  # one long word
    return f"{cut.rstrip('.')} ..."


def require(module: str, extra: str) -> None:
    """Raise HoldfastError, with the command that helps, where an optional library is missing.

    module: what is imported. extra: the group of `pip install 'holdfast[...]'` that brings it.
    """
    if importlib.util.find_spec(module) is None:
        raise HoldfastError(
            f"This needs the library {module}, which is not installed; run pip install "
            f"'holdfast[{extra}]'."
        )
