"""Options from the fields of settings: their names, and the pages that explain them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
from tests.test_cli_parse import read

from holdfast.cli import COMMANDS
from holdfast.cli_options import options_of, resolve
from holdfast.errors import UsageError
from holdfast.methods.base import Family, available
from holdfast.methods.ewc import EWC
from holdfast.methods.wise_ft import WiSEFT
from holdfast.settings import ClassifierSource, ImageInput
from holdfast.settings.base import Settings, flatten, setting
from holdfast.settings.signatures import kinds_of


@dataclass(frozen=True)
class Inner(Settings):
    rate: float = setting(0.1, "How fast.", low=0, high=1)
    size: int = setting(3, "How large.", low=1)


@dataclass(frozen=True)
class Outer(Settings):
    data: str = setting(help="Where it is.")
    inner: Inner = setting(factory=lambda: Inner(0.5), help="A group.")
    other: Inner | None = setting(None, "Another group.")
    switch: bool = setting(False, "On or off.")
    words: list[str] | str = setting("a", "One or several.")


OPTIONS = options_of(Outer)


def test_each_field_of_each_group_is_an_option():
    assert [option.name for option in OPTIONS] == [
        *("data", "inner", "inner.rate", "inner.size", "other", "other.rate", "other.size"),
        *("switch", "words"),
    ]
    found = {option.name: option for option in OPTIONS}
    assert found["inner.rate"].default == 0.5 and found["other.rate"].default == 0.1
    assert found["inner"].group is found["other"].group is Inner
    assert found["words"].is_list and not found["data"].is_list
    assert [found[name].metavar for name in ("data", "inner.rate", "inner.size", "switch")] == [
        *("TEXT", "X", "N", ""),
    ]


def test_help_says_what_an_option_allows():
    found = {option.name: option.explained(None) for option in OPTIONS}
    assert found["data"] == "Where it is. [must be given]"
    assert found["inner.rate"] == "How fast. [from 0 to 1; default: 0.5]"
    assert found["switch"] == "On or off."
    assert found["words"] == "One or several. [may be given several times; default: a]"


def test_the_settings_of_the_method_are_those_of_the_chosen_one():
    kind = COMMANDS["continual run"].kind

    def own(method):
        return {o.name: o.default for o in options_of(kind, method) if o.name.startswith("method.")}

    assert own(WiSEFT()) == {"method.alpha": None}
    assert own(EWC())["method.consolidation.importance"] == "static"
    assert own(None)["method.distillation.temperature"] == 2.0  # of the default, GIFT


@pytest.mark.parametrize(
    ("given", "found"),
    [("data", "data"), ("inner.rate", "inner.rate"), ("switch", "switch"), ("inner", "inner")],
)
def test_a_whole_name_is_that_option(given, found):
    assert resolve(given, OPTIONS, "work").name == found


def test_a_short_name_must_be_the_only_one_and_a_wrong_one_is_helped():
    with pytest.raises(UsageError, match=r"--rate can be --inner.rate or --other.rate; give the"):
        resolve("rate", OPTIONS, "work")
    with pytest.raises(UsageError, match=r"no option --swich \(did you mean --switch.*`holdfast w"):
        resolve("swich", OPTIONS, "work")
    with pytest.raises(UsageError, match=r"no option --inner.rat \(did you mean --inner.rate"):
        resolve("inner.rat", OPTIONS, "work")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_is_on_the_page_with_its_help_and_default(name):
    command = COMMANDS[name]
    text = " ".join(read(name, "--help").text.split())
    assert " ".join(command.example.split()) in text
    for option in options_of(command.kind):
        if option.group is None:
            assert f" --{option.name} " in text, option.name
            assert " ".join(option.field.metadata["help"].split()[:3]) in text
    assert "%%" not in text
    for word in command.words:
        assert word.upper() in text


@pytest.mark.parametrize("name", COMMANDS)
def test_ten_options_at_most_matter_first(name):
    command = COMMANDS[name]
    first = [option.name for option in options_of(command.kind) if command.ranks(option)]
    assert {word.rstrip(".") for word in command.words} <= set(first) and len(first) <= 10
    assert set(command.first) <= set(first)
    section = read(name, "--help").text.split("What matters first:")[1].split("\n\n")[0]
    assert [line.split()[0] for line in section.splitlines() if line.startswith("  --")] == [
        f"--{option}" for option in first
    ]


def test_options_that_matter_come_first():
    text = read("transfer", "--help").text
    order = ("Example:", "--names", "--method NAME", "--train.epochs", "--seed", "RegFT, arXiv")
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert text.count("--train.epochs") == 1
    assert "[at least 1; default: 10]" in text
    assert "one of finetune, l2, regft, wise-ft; default: regft" in " ".join(text.split())


@pytest.mark.parametrize("family", Family)
def test_the_page_of_each_method_has_its_title_paper_and_settings(family):
    name = {"continual": "continual run"}.get(family, str(family))
    for method, kind in available(family).items():
        text = read(name, "--method", method, "--help").text
        own = [o for o in options_of(COMMANDS[name].kind, kind()) if o.name.startswith("method.")]
        for option in own:
            assert option.group is not None or f"--{option.name} " in text
        if any(o.group is None for o in own):
            assert f"{kind.title}{', ' + kind.paper if kind.paper else ''} (--method" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_can_be_read(name):
    words = COMMANDS[name].example.split()
    assert words[0] == "holdfast" and " ".join(words[1:]).startswith(name)
    assert dict(flatten(read(name, *words[1 + len(name.split()) :]).to_json()))


def takes_text(hint):
    """Whether any text is a value of a type: text, a path, or a list of either."""
    kinds = [inner for kind in kinds_of(hint) for inner in (kind, *get_args(kind))]
    return any(kind in (str, Path, ImageInput, ClassifierSource) for kind in kinds)


@pytest.mark.parametrize("name", COMMANDS)
def test_text_that_does_not_fit_is_refused_and_never_kept(name):
    """On the command line, and so in files and in Python, which go the same way."""
    words = COMMANDS[name].example.split()[1 + len(name.split()) :]
    refused = 0
    for option in options_of(COMMANDS[name].kind):
        if not takes_text(option.hint):
            with pytest.raises(UsageError, match=option.name.rpartition(".")[2]) as error:
                read(name, *words, f"--{option.name}=no such thing")
            assert "\n" not in str(error.value) and str(error.value).endswith(".")
            refused += 1
    assert refused or name in ("report", "compare")
