"""Options of the command line, made from the fields of settings, and the pages of help."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin

from holdfast.errors import UsageError, did_you_mean
from holdfast.methods.base import Family, Method, available
from holdfast.settings.base import Settings, default_of, types
from holdfast.settings.signatures import allowed, group_of, kinds_of

METAVARS = {int: "N", float: "X", Path: "PATH", str: "TEXT", bool: ""}


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    kind: its settings. words: the fields that the words after it fill, in order; a last one that
    ends in `...` takes all that are left. family: of its methods. where: the module and function
    that carry it out. show: prints what that returns. first: fields of groups that are among the
    options that matter first. dry: the module and function of a dry run, where it is another one.
    """

    kind: type[Settings]
    words: tuple[str, ...]
    help: str
    example: str
    where: str
    show: Callable[..., None]
    family: Family | None = None
    first: tuple[str, ...] = ()
    dry: str = ""

    def ranks(self, option: Option) -> bool:
        """Whether an option is among those that matter first."""
        word = option.name in (word.rstrip(".") for word in self.words)
        own = "." not in option.name and bool(option.field.metadata.get("rank"))
        return word or own or option.name in self.first

    @property
    def usage(self) -> str:
        """Its words, as a page of help writes them."""
        return " ".join(word.upper() for word in self.words)


@dataclass(frozen=True)
class Option:
    """A field of a command's settings, or of a group of them, by its dotted name."""

    name: str
    field: Field[Any]
    hint: Any
    default: Any

    @property
    def group(self) -> type[Settings] | None:
        """The class of the group that it is, if it is one; of a method, the chosen one's."""
        return type(self.default) if self.hint is Method else group_of(self.hint)

    @property
    def is_list(self) -> bool:
        """Whether it may be given several times."""
        return any(get_origin(kind) is list for kind in kinds_of(self.hint))

    @property
    def is_named(self) -> bool:
        """Whether it is a list of what has a name, such as anchors."""
        return self.is_list and any(hasattr(k, "known") for k in get_args(self.hint))

    @property
    def metavar(self) -> str:
        """What stands for its value in a page of help."""
        first = kinds_of(self.hint)[0]
        first = get_args(first)[0] if get_origin(first) is list else first
        return METAVARS.get(first, "NAME")

    def explained(self, family: Family | None) -> str:
        """Its help, what it allows, and its default."""
        about = [allowed(self.field, self.hint, self.default)]
        if self.hint is Method and family:
            about.insert(0, f"one of {', '.join(available(family))}")
        if self.is_list:
            about.insert(0, "may be given several times")
        said = "; ".join(part for part in about if part)
        text = self.field.metadata["help"] + (f" [{said}]" if said else "")
        return text.replace("%", "%%")


def options_of(kind: type[Settings], method: Method | None = None) -> list[Option]:
    """All options of a command; method: the one whose settings are among them, none the default."""
    return list(walk(kind, None, "", method))


def walk(
    kind: type[Settings], default: Settings | None, prefix: str, method: Method | None
) -> Iterator[Option]:
    """The fields of a group, each followed by those of the group that it is.

    default: the values of the group where nobody gives any; none is those of its class.
    """
    hints = types(kind)
    for each in fields(kind):
        value = default_of(each) if default is None else getattr(default, each.name)
        if hints[each.name] is Method and method is not None:
            value = method
        option = Option(f"{prefix}{each.name}", each, hints[each.name], value)
        yield option
        if option.group:
            inner = value if isinstance(value, Settings) else None
            yield from walk(option.group, inner, f"{option.name}.", method)


def resolve(given: str, options: Sequence[Option], command: str) -> Option:
    """The option that has a name, or whose name ends in it; `-` is `_`. Raises UsageError."""
    name = given.replace("-", "_")
    for option in options:
        if option.name == name:
            return option
    found = [option for option in options if option.name.endswith(f".{name}")]
    if len(found) == 1:
        return found[0]
    if found:
        *most, last = [f"--{option.name}" for option in found]
        raise UsageError(f"--{given} can be {', '.join(most)} or {last}; give the whole name.")
    known = [option.name for option in options] + ["config", "print_config", "help"]
    known += [name.rpartition(".")[2] for name in known if name.count(".")]
    hint = (
        did_you_mean(name, dict.fromkeys(known)).replace("mean ", "mean --").replace(", ", ", --")
    )
    raise UsageError(f"There is no option --{given}{hint}; see `holdfast {command} --help`.")


class Parser(argparse.ArgumentParser):
    """Says what is wrong with an option in one sentence."""

    def error(self, message: str) -> NoReturn:
        what = message.replace("argument ", "The option ", 1).rstrip(".")
        what = what.replace(": expected one argument", " needs a value")
        raise UsageError(f"{what}; see `{self.prog} --help`.")


def build(name: str, command: Command, options: Sequence[Option]) -> Parser:
    """The parser of a command, and with it its page of help."""
    about = inspect.getdoc(command.kind) or ""
    end = "An option is also found by the last part of its name, if no other has the same."
    if command.family:
        end += f"\n`holdfast {name} --method NAME --help` shows the settings of another method."
    parser = Parser(
        prog=f"holdfast {name}",
        usage=f"holdfast {name} {command.usage} [--option value]",
        description=f"{about}\n\nExample:\n  {command.example}",
        epilog=end,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=30, width=100
        ),
        allow_abbrev=False,
        add_help=False,
        argument_default=argparse.SUPPRESS,
    )
    sections: dict[str, list[Option]] = {"What matters first": []}
    for option in options:
        if command.ranks(option):
            sections["What matters first"].append(option)
        else:
            sections.setdefault(heading(option, options), []).append(option)
    for title, members in sections.items():
        group = parser.add_argument_group(title)
        for option in members:
            hidden = option.group is not None and option.hint is not Method
            group.add_argument(
                f"--{option.name}",
                dest=option.name,
                action="append" if option.is_list else "store",
                metavar=option.metavar,
                help=argparse.SUPPRESS if hidden else option.explained(command.family),
            )
    group = parser.add_argument_group("Files of settings")
    text = (
        "JSON or YAML with settings, such as a run's settings.json; what options say counts more."
    )
    group.add_argument("--config", metavar="FILE", help=text)
    text = "Print all settings as JSON, and stop."
    group.add_argument("--print_config", action="store_true", help=text)
    group = parser.add_argument_group("What is printed")
    text = "Print the result as JSON, and everything else to standard error."
    group.add_argument("--json", action="store_true", help=text)
    text = "Print nothing but warnings and errors."
    group.add_argument("--quiet", action="store_true", help=text)
    group.add_argument("-h", "--help", action="help", help="Show this page, and stop.")
    return parser


def heading(option: Option, options: Sequence[Option]) -> str:
    """The section of a page of help that an option stands in."""
    first = option.name.partition(".")[0]
    if first == option.name:
        return "Further settings"
    top = next(each for each in options if each.name == first)
    if isinstance(top.default, Method):
        paper = f", {top.default.paper}" if top.default.paper else ""
        return f"{top.default.title}{paper} (--method {top.default.name})"
    return f"{top.field.metadata['help'].rstrip('.')} (--{first}.*)"
