"""Values that users give -> values of a field's type, or one sentence on what would be right."""

from __future__ import annotations

import json
import math
import os
import re
import types
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from holdfast.errors import UsageError, did_you_mean

NO_VALUE = ("none", "null")
TRUTHS = {"true": True, "false": False}
WANTED = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    type(None): "none",
}


class FieldError(UsageError):
    """A value that does not fit its field; place: the field's dotted name.

    The sentence is `before`, the place, and `after`.
    """

    def __init__(self, place: str, after: str, before: str = "") -> None:
        super().__init__(f"{before}{place}{after}")
        self.place, self.before, self.after = place, before, after

    def within(self, outer: str) -> FieldError:
        """The same error, of a field of the group `outer`."""
        return FieldError(f"{outer}.{self.place}" if outer else self.place, self.after, self.before)


def convert(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type `hint`. Raises UsageError, naming `where`, if it cannot be that.

    Text becomes a number, a truth value, a path (`~` is the home folder) or a list (`[...]`, or
    one element), so that the command line, files and Python share one rule. A number stays one:
    True is no 1, and 1.5 no whole number. Numbers must be finite.
    """
    origin = get_origin(hint)
    if hint is Any:
        return value
    if is_union(hint):
        return one_of(value, hint, where)
    if origin is Literal:
        if isinstance(value, str) and value in get_args(hint):
            return value
        hinted = did_you_mean(str(value), get_args(hint))
        raise FieldError(where, f" is {value!r}{hinted}; it must be {wanted(hint)}.")
    if origin is list:
        return as_list(value, hint, where)
    if origin is dict or hint is dict:
        value = from_json_text(value)
        if isinstance(value, Mapping):
            return dict(value)
        raise FieldError(where, f" is {value!r}; give names and values.")
    if isinstance(hint, type) and hasattr(hint, "from_value"):
        return hint.from_value(from_json_text(value), where)
    if isinstance(hint, type) and hasattr(hint, "from_dict"):
        return value if isinstance(value, hint) else hint.from_dict(from_json_text(value), where)
    found = READERS[hint](value)
    if found is None:
        raise FieldError(where, f" is {value!r}; it must be {wanted(hint)}.")
    return found


def is_union(hint: Any) -> bool:
    """Whether a type is one of several."""
    return get_origin(hint) in (Union, types.UnionType)


def wanted(hint: Any) -> str:
    """What a value of a type must be, in words."""
    if is_union(hint):
        return ", or ".join(wanted(each) for each in get_args(hint))
    if get_origin(hint) is Literal:
        first, *rest = get_args(hint)
        return f"one of {', '.join((first, *rest))}" if rest else first
    if get_origin(hint) is list:
        return f"a list, each {wanted(get_args(hint)[0])}"
    return WANTED.get(hint, "names and values")


def one_of(value: Any, hint: Any, where: str) -> Any:
    """A value of one of several types: of the first that it fits as it is, or can become."""
    kinds = get_args(hint)
    if type(None) in kinds and (value is None or value in NO_VALUE):
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if len(kinds) == 1 and hasattr(kinds[0], "from_dict"):
        return convert(value, kinds[0], where)
    spells_list = isinstance(value, str) and value.lstrip().startswith("[")

    def rank(kind: Any) -> int:
        if get_origin(kind) is list:
            return 0 if spells_list else 3
        return 1 if kind is type(value) else 2

    for kind in sorted(kinds, key=rank):
        try:
            return convert(value, kind, where)
        except UsageError:
            continue
    raise FieldError(where, f" is {value!r}; it must be {wanted(hint)}.")


def as_list(value: Any, hint: Any, where: str) -> list[Any]:
    """A list, from anything that has elements, from text, or from one element."""
    [element] = get_args(hint)
    if hasattr(element, "is_one") and element.is_one(value):
        value = [value]
    elif isinstance(value, str) and value.lstrip().startswith("["):
        value = split_list(value, element)
    elif isinstance(value, str) and hasattr(element, "known"):
        value = [part.strip() for part in value.split(",") if part.strip()]
    elif isinstance(value, str | os.PathLike | Real | Mapping):
        value = [value]
    try:
        items = list(value)
    except TypeError:
        raise FieldError(where, f" is {value!r}; give a list.") from None
    return [convert(item, element, where) for item in items]


def split_list(text: str, element: Any) -> list[Any]:
    """The elements of "[...]": JSON, or for other than text also without quotation marks."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        if element is str:
            return [text]
        found = [part.strip() for part in text.strip().strip("[]").split(",")]
    return found if isinstance(found, list) else [text]


def from_json_text(value: Any) -> Any:
    """Text that spells a dictionary, as one."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def whole_number(value: Any) -> int | None:
    """A whole number, or none."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    number = finite_number(value)
    if number is None or number != int(number):
        return None
    # A float is not exact beyond 2^53, as seeds may be.
    text = str(value).strip()
    return int(text) if text.lstrip("+-").isdecimal() else int(number)


def finite_number(value: Any) -> float | None:
    """A finite number, or none."""
    if isinstance(value, bool) or not isinstance(value, Real | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def truth_value(value: Any) -> bool | None:
    """A truth value, or none."""
    return value if isinstance(value, bool) else TRUTHS.get(str(value).lower())


def text_of(value: Any) -> str | None:
    """Text, or none."""
    return str(value) if isinstance(value, str | Path) else None


def at_home(value: Any) -> Any:
    """Text that names places, or a list of such, with the home folder for each leading `~`.

    A place begins where the text does, after a comma, and after `local-dir:` or `file:`.
    """
    if isinstance(value, list):
        return [at_home(each) for each in value]
    if not isinstance(value, str):
        return value
    home = str(Path.home())
    return re.sub(r"(^|,\s*|^local-dir:|^file:)~(?=[/\\,]|$)", lambda m: m[1] + home, value)


def path_of(value: Any) -> Path | None:
    """A path, or none."""
    if not isinstance(value, str | os.PathLike):
        return None
    text = os.fspath(value)
    return Path(text).expanduser() if isinstance(text, str) and text and "\0" not in text else None


READERS: dict[Any, Callable[[Any], Any]] = {
    int: whole_number,
    float: finite_number,
    bool: truth_value,
    str: text_of,
    Path: path_of,
}
