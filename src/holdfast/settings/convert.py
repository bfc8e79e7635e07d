"""Values that users give -> values of a field's type, or one sentence on what would be right."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from holdfast.errors import UsageError, did_you_mean

WORDS = {"true": True, "false": False}


def convert(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type `hint`. Raises UsageError, naming `where`, if it cannot be that.

    Text becomes a number, a truth value, a path (`~` is the home folder) or a list (`[...]`, or
    one element), so that the command line, files and Python share one rule. A number stays one:
    True is no 1, and 1.5 no whole number.
    """
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _one_of(value, get_args(hint), where)
    if origin is Literal:
        if value in get_args(hint) and not isinstance(value, bool):
            return value
        allowed = [str(each) for each in get_args(hint)]
        hinted = did_you_mean(str(value), allowed)
        raise UsageError(f"{where} is {value!r}{hinted}; give one of {', '.join(allowed)}.")
    if origin in (list, tuple):
        return _sequence(value, hint, where)
    if origin is dict or hint is dict:
        if isinstance(value, Mapping):
            return dict(value)
        raise UsageError(f"{where} is {value!r}; give names and values.")
    if isinstance(hint, type) and hasattr(hint, "from_value"):
        return hint.from_value(_parsed(value), where)
    if isinstance(hint, type) and hasattr(hint, "from_dict"):
        return value if isinstance(value, hint) else hint.from_dict(_parsed(value), where)
    return _plain(value, hint, where)


def _plain(value: Any, hint: Any, where: str) -> Any:
    found, wanted = _READERS[hint](value) if hint in _READERS else (value, "")
    if found is None and wanted:
        raise UsageError(f"{where} is {value!r}; it must be {wanted}.")
    return found


def _one_of(value: Any, hints: tuple[Any, ...], where: str) -> Any:
    if type(None) in hints and (value is None or value in ("null", "none")):
        return None
    kinds = [hint for hint in hints if hint is not type(None)]
    for hint in kinds:  # what fits as it is comes before what can be converted
        if isinstance(hint, type) and type(value) is hint:
            return convert(value, hint, where)
    problems = []
    for hint in sorted(kinds, key=lambda hint: get_origin(hint) is list and value_is_text(value)):
        try:
            return convert(value, hint, where)
        except UsageError as error:
            problems.append(str(error))
    raise UsageError(problems[0])


def value_is_text(value: Any) -> bool:
    """Whether a value is text that spells no list."""
    return isinstance(value, str) and not value.lstrip().startswith("[")


def _sequence(value: Any, hint: Any, where: str) -> Any:
    [element, *_] = get_args(hint)
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _listed(value, element)
    elif isinstance(value, str) and hasattr(element, "from_value"):
        value = [part.strip() for part in value.split(",") if part.strip()]
    elif isinstance(value, str | Path | int | float | Mapping):
        value = [value]
    try:
        items = list(value)
    except TypeError:
        raise UsageError(f"{where} is {value!r}; give a list.") from None
    found = [convert(item, element, where) for item in items]
    return tuple(found) if get_origin(hint) is tuple else found


def _listed(text: str, element: Any) -> list[Any]:
    """The elements of "[...]": JSON, or for other than text also without quotation marks."""
    try:
        found = json.loads(text)
    except ValueError:
        if element is str:
            return [text]
        found = [part.strip() for part in text.strip().strip("[]").split(",")]
    return found if isinstance(found, list) else [text]


def _parsed(value: Any) -> Any:
    """Text that spells a dictionary, as one."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _integer(value: Any) -> tuple[int | None, str]:
    number, _ = _number(value)
    try:
        whole = number is not None and number == int(number)
    except OverflowError:  # infinite
        whole = False
    if not whole or number is None:
        return None, "a whole number"
    # A float is not exact beyond 2^53, as seeds may be.
    text = str(value).strip()
    return int(text) if text.lstrip("+-").isdecimal() else int(number), "a whole number"


def _number(value: Any) -> tuple[float | None, str]:
    wanted = "a number"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None, wanted
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None, wanted
    return (None if math.isnan(number) else number), wanted


def _truth(value: Any) -> tuple[bool | None, str]:
    found = value if isinstance(value, bool) else WORDS.get(str(value).lower())
    return found, "true or false"


def _text(value: Any) -> tuple[str | None, str]:
    return (str(value) if isinstance(value, str | Path) else None), "text"


def _path(value: Any) -> tuple[Path | None, str]:
    if isinstance(value, str | Path) and str(value):
        return Path(value).expanduser(), "a path"
    return None, "a path"


_READERS: dict[Any, Any] = {int: _integer, float: _number, bool: _truth, str: _text, Path: _path}
