"""What all settings share. A field says everything about itself: type, default, help and limits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar, get_type_hints

from holdfast.errors import did_you_mean
from holdfast.files import CHECKSUM
from holdfast.settings.convert import FieldError, at_home, convert, from_json_text

Precision = Literal["auto", "fp32", "bf16"]
types: Callable[[type], dict[str, Any]] = cache(get_type_hints)  # of each field of a class


T = TypeVar("T")
U = TypeVar("U")
Values = Mapping[str, Any]  # some fields of a group, by name

if TYPE_CHECKING:

    class Given(Generic[T, U]):
        """A field that is a T, and may be given as a U, which is converted."""

        def __get__(self, settings: object, kind: object) -> T: ...

        def __set__(self, settings: object, value: T | U) -> None: ...

else:

    class Given:
        """A field that is a T, and may be given as a U, which is converted: `Given[T, U]` is T."""

        def __class_getitem__(cls, kinds: tuple[Any, Any]) -> Any:
            return kinds[0]


AnyPath = Given[Path, str]
AnyWords = Given[list[str], Sequence[str] | str]


def setting(
    default: Any = MISSING,
    help: str = "",
    *,
    factory: Callable[[], Any] | None = None,
    low: float | None = None,
    high: float | None = None,
    free: bool = False,
    rank: bool = False,
    place: bool = False,
) -> Any:
    """A field of a settings class.

    Args:
        default: its value where nobody gives one; without it the field must be given.
        help: one or two sentences for the command line, with the unit.
        factory: makes the default where that is a group of settings or a list.
        low, high: the smallest and the largest number that is allowed.
        free: a run that goes on may change it, since nothing that is kept depends on it.
        rank: whether `--help` of the command that it belongs to shows it among the options that
            matter first; of fields in groups each command says that itself.
        place: whether its text may name a file or a folder, so that `~` in it is the home folder.
    """
    about = {"help": help, "low": low, "high": high, "free": free, "rank": rank, "place": place}
    if factory is not None:
        return field(default_factory=factory, metadata=about)
    return field(default=default, metadata=about)


def inherited(base: type[Settings], name: str, default: Any, help: str = "") -> Any:
    """The field `name` of a base class with another default, and another help if one is given."""
    known = next(each for each in fields(base) if each.name == name)
    about = dict(known.metadata) | ({"help": help} if help else {})
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Settings:
    """A group of settings.

    Values are converted to the type of their field: text to numbers and paths (with `~`), a
    dictionary to a group. Raises UsageError, naming the field, for what cannot be converted, for
    numbers beyond their limits and for unknown fields of a group.
    """

    def __post_init__(self) -> None:
        hints = types(type(self))
        for each in fields(self):
            value = over(default_of(each), getattr(self, each.name))
            value = convert(value, hints[each.name], each.name)
            value = at_home(value) if each.metadata.get("place") else value
            object.__setattr__(self, each.name, value)
            check_limits(each, value)

    @classmethod
    def from_dict(cls, values: Any, where: str = "") -> Self:
        """Settings from field names and values, as JSON has them.

        where: the dotted name of the group, for errors. Raises UsageError.
        """
        if not isinstance(values, Mapping):
            raise FieldError(where or cls.__name__, f" is {values!r}; give names and values.")
        if not where:  # a run's file of settings
            values = {name: value for name, value in values.items() if name != CHECKSUM}
        known = {each.name: each for each in fields(cls)}
        for name in values:
            if name not in known:
                hint = did_you_mean(str(name), known)
                shown = str(name) if str(name).isprintable() else repr(name)
                raise FieldError(shown, f"{hint}.", "There is no setting ").within(where)
        for name, each in known.items():
            if name not in values and is_required(each):
                raise FieldError(name, " is missing.", "The setting ").within(where)
        try:
            return cls(**values)
        except FieldError as error:
            raise error.within(where) from None

    def to_json(self) -> dict[str, Any]:
        """Field names and values as JSON types; `from_dict` reads them back."""
        return {each.name: to_jsonable(getattr(self, each.name)) for each in fields(self)}


class Named(Settings):
    """Settings that are one of a kind, known by a name: a method, or an anchor.

    A subclass that sets `name` is known from then on. In settings it may be written as that name,
    or as a dictionary with the name and the fields that differ from its defaults.
    """

    name: ClassVar[str] = ""

    @classmethod
    def known(cls) -> dict[str, type[Self]]:
        """All of the kind by name, sorted."""
        raise NotImplementedError

    @classmethod
    def from_value(cls, value: Any, where: str) -> Self:
        """One of the kind from itself, its name, or a dictionary. Raises UsageError.

        Where only one will do, its name may be left out, and a single value is its first field.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, type) and issubclass(value, cls) and value.name:
            return value()
        if cls.name:
            given = value if isinstance(value, Mapping) else {fields(cls)[0].name: value}
            if given.get("name", cls.name) != cls.name:
                raise FieldError(where, f" is {given['name']!r}; it must be {cls.name}.")
            return cls.from_dict({k: v for k, v in given.items() if k != "name"}, where)
        given = {"name": value} if isinstance(value, str) else value
        names = f"give one of {', '.join(cls.known())}."
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            raise FieldError(where, f" is {value!r}; {names}")
        kind = cls.known().get(given["name"])
        if kind is None:
            what, hint = cls.__name__.lower(), did_you_mean(given["name"], cls.known())
            raise FieldError(where, f": there is no {what} {given['name']!r}{hint}; {names}")
        return kind.from_dict({k: v for k, v in given.items() if k != "name"}, where)

    def to_json(self) -> dict[str, Any]:
        """The name, then the fields."""
        return {"name": self.name, **super().to_json()}


def is_required(each: Field[Any]) -> bool:
    """Whether a field has no default."""
    return each.default is MISSING and each.default_factory is MISSING


def default_of(each: Field[Any]) -> Any:
    """The value of a field that nobody gives; MISSING if it must be given."""
    return each.default if each.default_factory is MISSING else each.default_factory()


def over(default: Any, value: Any) -> Any:
    """`value` of a field; a dictionary of some fields of a group, with the default's others."""
    value = from_json_text(value) if isinstance(default, Settings) else value
    if not isinstance(default, Settings) or not isinstance(value, Mapping):
        return value
    known = {each.name: getattr(default, each.name) for each in fields(default)}
    if isinstance(default, Named):
        if value.get("name", default.name) != default.name:
            return value
        known["name"] = default.name
    return known | {name: over(known.get(name), each) for name, each in value.items()}


def check_limits(each: Field[Any], value: Any) -> None:
    """Raise UsageError for a number, or one in a list, that the field does not allow."""
    low, high = each.metadata.get("low"), each.metadata.get("high")
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        if (low is not None and number < low) or (high is not None and number > high):
            raise FieldError(each.name, f" is {number}; it must be {bounds(each)}.")


def bounds(each: Field[Any]) -> str:
    """What numbers a field allows, in words; "" for any."""
    low, high = each.metadata.get("low"), each.metadata.get("high")
    if low is not None and high is not None:
        return f"from {plainly(low)} to {plainly(high)}"
    return "" if low is None else f"at least {plainly(low)}"


def plainly(number: float) -> str:
    """A number as people write it."""
    return "2^63 - 1" if number == 2**63 - 1 else f"{number:.10g}"


def to_jsonable(value: Any) -> Any:
    """`value` with paths as text and dataclasses as dictionaries, so that JSON can hold it."""
    if isinstance(value, Settings):
        return value.to_json()
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: to_jsonable(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_jsonable(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """("train.epochs", 10) and so on: settings under the names they have on the command line."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def free_fields(settings: Settings, prefix: str = "") -> Iterator[str]:
    """Dotted names of the fields that a run that goes on may change; a free group as a whole."""
    for each in fields(settings):
        value = getattr(settings, each.name)
        if each.metadata.get("free"):
            yield f"{prefix}{each.name}"
        elif isinstance(value, Settings):
            yield from free_fields(value, f"{prefix}{each.name}.")


def shown(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, Named):
        return value.name
    value = to_jsonable(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
