"""Functions with the signature of a settings class: each field is a parameter, and documented."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields
from typing import Any, Literal, ParamSpec, TypeVar, cast, get_args, get_origin

from holdfast.settings.base import Named, Settings, bounds, default_of, shown, types
from holdfast.settings.convert import is_union

P = ParamSpec("P")
S = TypeVar("S", bound=Settings)
R = TypeVar("R")


def takes(kind: Callable[P, S]) -> Callable[[Callable[[S], R]], Callable[P, R]]:
    """Make a function of settings one of their fields.

        @takes(GenerateSettings)
        def generate(settings: GenerateSettings) -> Path: ...

        generate(["cat", "dog"], out="pets", images={"per_class": 4})

    A group of settings may be given as a dictionary. Each value is converted to the type of its
    field; UsageError, in one sentence, for what cannot be, and for an unknown name. Type checkers
    and editors see the fields as parameters; so does `inspect.signature`, and the docstring lists
    them with their help, limits and defaults.
    """
    settings = cast("type[Settings]", kind)
    names = [each.name for each in fields(settings)]

    def decorate(function: Callable[[S], R]) -> Callable[P, R]:
        def call(*args: Any, **kwargs: Any) -> R:
            if len(args) > len(names):
                raise TypeError(f"{function.__name__} takes at most {len(names)} values.")
            given = dict(zip(names, args, strict=False))
            if twice := given.keys() & kwargs.keys():
                raise TypeError(f"{function.__name__} got {min(twice)} twice.")
            return function(cast("S", settings.from_dict(given | kwargs)))

        made: Any = call
        for name in ("__name__", "__qualname__", "__module__"):
            setattr(made, name, getattr(function, name))
        made.__doc__ = document(inspect.getdoc(function) or "", settings)
        made.__annotations__ = types(settings)
        made.__signature__ = signature(settings, function.__annotations__.get("return"))
        return cast("Callable[P, R]", made)

    return decorate


def signature(kind: type[Settings], returns: Any) -> inspect.Signature:
    """The fields of a settings class as parameters, with their types and defaults."""
    parameters = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            annotation=types(kind)[each.name],
            default=default_of(each),
        )
        for each in fields(kind)
    ]
    # Fields without a default may follow others: all can be given by name.
    parameters = [
        each.replace(default=inspect.Parameter.empty) if each.default is MISSING else each
        for each in parameters
    ]
    empty = inspect.Signature.empty
    return inspect.Signature(parameters, return_annotation=returns or empty)


def document(text: str, kind: type[Settings]) -> str:
    """A docstring with a line for each field, and below a group the fields of the group."""
    return "\n".join([text, "", "Args:", *lines(kind, None, "    ")])


def lines(kind: type[Settings], default: Settings | None, indent: str) -> Iterator[str]:
    """A line for each field of a group; default: its values, none those of its class."""
    for each in fields(kind):
        hint = types(kind)[each.name]
        value = default_of(each) if default is None else getattr(default, each.name)
        group = group_of(hint)
        said = "" if type(value) is group else allowed(each, hint, value)
        yield f"{indent}{each.name}: {each.metadata['help']}{f' [{said}]' if said else ''}"
        if group is not None and not (issubclass(group, Named) and not group.name):
            inner = value if isinstance(value, Settings) else None
            yield from lines(group, inner, f"{indent}    ")


def kinds_of(hint: Any) -> tuple[Any, ...]:
    """The types that a value may have."""
    return get_args(hint) if is_union(hint) else (hint,)


def group_of(hint: Any) -> type[Settings] | None:
    """The class of the group of settings that a value is, if it is one."""
    for kind in kinds_of(hint):
        if isinstance(kind, type) and issubclass(kind, Settings):
            return kind
    return None


def allowed(each: Field[Any], hint: Any, default: Any) -> str:
    """What a field allows, and its default, in words."""
    about = [bounds(each)]
    choices = [text for k in kinds_of(hint) if get_origin(k) is Literal for text in get_args(k)]
    if choices:
        about.append(f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0])
    if default is MISSING:
        about.append("must be given")
    elif default is None:
        about.append("default: none")
    elif default is not False and default != []:
        about.append(f"default: {shown(default)}")
    return "; ".join(part for part in about if part)
