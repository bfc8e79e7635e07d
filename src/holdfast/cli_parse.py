"""Arguments of the command line -> the settings of a command. Nothing they name is imported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.cli_options import Command, Option, Parser, build, options_of, resolve
from holdfast.errors import HoldfastError, UsageError
from holdfast.methods.base import Method, check_family
from holdfast.settings.base import Settings
from holdfast.settings.convert import FieldError, from_json_text
from holdfast.yaml_files import read_yaml


@dataclass(frozen=True)
class Page:
    """What a command prints instead of being carried out."""

    text: str


def parse(name: str, command: Command, arguments: Sequence[str]) -> Settings | Page:
    """The settings that arguments spell, or the page they ask for. Raises UsageError."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    given, words = list(arguments[:end]), list(arguments[end + 1 :])
    values, method = first_look(name, command, given)
    options = options_of(command.kind, method)
    parser = build(name, command, options)
    if {"-h", "--help"} & set(given):
        return Page(parser.format_help().rstrip())
    found, others = parser.parse_known_args(spelt_out(given, options, name))
    chosen = vars(found)
    printing = chosen.pop("print_config", False)
    if strange := [word for word in others if word.startswith("-") and len(word) > 1]:
        raise UsageError(f"There is no option {strange[0]}; see `holdfast {name} --help`.")
    fill_words(values, name, command.words, [*others, *words])
    for option in options:  # a group before its parts
        if option.name in chosen and option.hint is not Method:
            put(values, option.name, joined(option, chosen[option.name]))
    try:
        settings = command.kind.from_dict(values)
    except FieldError as error:
        if error.after != " is missing.":
            raise
        raise UsageError(f"{str(error)[:-1]}; see `holdfast {name} --help`.") from None
    if printing:
        return Page(json.dumps(settings.to_json(), indent=2, ensure_ascii=False))
    return settings


def first_look(
    name: str, command: Command, given: Sequence[str]
) -> tuple[dict[str, Any], Method | None]:
    """The values of the file of settings, and the method, whose fields are options too."""
    early = Parser(prog=f"holdfast {name}", add_help=False, allow_abbrev=False)
    early.add_argument("--config", type=Path)
    early.add_argument("--method")
    found, _ = early.parse_known_args(given)
    values = read_config(found.config) if found.config else {}
    if command.family is None:
        return values, None
    usual = next(o.default for o in options_of(command.kind) if o.hint is Method)
    asked, kept = from_json_text(found.method), from_json_text(values.get("method") or {})
    if asked is None or isinstance(asked, dict):
        kept = asked or kept
    elif not isinstance(kept, dict) or kept.get("name", usual.name) != asked:
        kept = asked  # what the file sets of another method does not count
    named = kept if isinstance(kept, dict) else {"name": kept}
    method = Method.from_value(named.get("name", usual.name), "method")
    check_family(method, command.family)
    values["method"] = named | {"name": method.name}
    return values, method


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a file. Raises UsageError."""
    try:
        values = read_yaml(path.expanduser())
    except HoldfastError as error:
        raise UsageError(str(error)) from None
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no settings; write `name: value` lines, or JSON.")
    return values


def spelt_out(given: Sequence[str], options: Sequence[Option], name: str) -> list[str]:
    """Arguments with the whole names of options, and with `=true` after a switch."""
    found = []
    skipped = -1
    for place, argument in enumerate(given):
        if place == skipped:
            continue
        if not argument.startswith("--"):
            found.append(argument)
            continue
        text, sign, value = argument[2:].partition("=")
        if text.replace("-", "_") in ("config", "print_config"):
            found.append(f"--{text.replace('-', '_')}{sign}{value}")
            continue
        option = resolve(text, options, name)
        following = given[place + 1].lower() if place + 1 < len(given) else ""
        if option.hint is bool and not sign and following not in ("true", "false"):
            sign, value = "=", "true"
        elif not sign and negative(following):  # argparse takes -1e-3 for an option
            sign, value = "=", following
            skipped = place + 1
        found.append(f"--{option.name}{sign}{value}")
    return found


def negative(text: str) -> bool:
    """Whether a text is a number below zero."""
    try:
        return text.startswith("-") and float(text) <= 0
    except ValueError:
        return False


def fill_words(
    values: dict[str, Any], name: str, fields: Sequence[str], words: Sequence[str]
) -> None:
    """Put words into the fields that they fill, in order. Raises UsageError for too many."""
    left = list(words)
    for field in fields:
        if not left:
            return
        if field.endswith("..."):
            values[field.rstrip(".")], left = left, []
        else:
            values[field] = left.pop(0)
    if left:
        raise UsageError(f"`holdfast {name}` does not know what to do with {' '.join(left)!r}.")


def joined(option: Option, value: Any) -> Any:
    """The value of an option, of which a list holds each that it was given."""
    if not isinstance(value, list):
        return value
    if len(value) == 1:
        return value[0]
    return ",".join(value) if option.is_named else value


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Put the value of an option into nested settings, over what is there. Raises UsageError."""
    *groups, last = key.split(".")
    for group in groups:
        inner = from_json_text(values.get(group) or {})
        if not isinstance(inner, dict):
            raise UsageError(
                f"{group} is {inner!r}, and --{key} sets a part of it; give one of the two."
            )
        values[group] = dict(inner)
        values = values[group]
    values[last] = value
