"""What all settings share, and what holds for every field of every command."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from holdfast import settings
from holdfast.anchors.base import Anchor
from holdfast.anchors.consolidation import Consolidation
from holdfast.commands import settings as commands
from holdfast.errors import UsageError
from holdfast.methods.base import Method
from holdfast.methods.ewc import EWC
from holdfast.methods.regft import RegFT
from holdfast.settings.base import (
    Named,
    Settings,
    bounds,
    flatten,
    free_fields,
    inherited,
    is_required,
    setting,
    shown,
)

KINDS = [
    kind
    for module in (settings, commands)
    for kind in map(vars(module).get, module.__all__)
    if isinstance(kind, type) and issubclass(kind, Settings) and kind is not Named
]
KINDS += [*Method.known().values(), *Anchor.known().values()]


@dataclass(frozen=True)
class Inner(Settings):
    rate: float = setting(0.1, "Of the inner one.", low=0, high=1)
    steps: int = setting(3, "Steps.", low=1, free=True)


@dataclass(frozen=True)
class Outer(Settings):
    data: Path = setting(help="Where it is.")
    inner: Inner = setting(factory=lambda: Inner(rate=0.5), help="A group.")
    maybe: Inner | None = setting(None, "A group, or none.")
    out: Path = setting(Path("out"), "Where it goes.", free=True)
    weights: list[float] = setting(factory=list, help="Several.", low=0)


@pytest.mark.parametrize("kind", KINDS)
def test_each_field_says_what_it_is(kind):
    for each in fields(kind):
        text = each.metadata["help"]
        assert text and text[-1] == "." and "\n" not in text, (kind, each.name)


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_fit_their_own_limits_and_survive_json(kind):
    needed = {each.name: "words" for each in fields(kind) if is_required(each)}
    made = kind.from_dict(needed)
    data = json.loads(json.dumps(made.to_json()))
    again = kind.from_value(data, "x") if isinstance(made, Named) else kind.from_dict(data)
    assert again == made


def test_the_papers_values_are_the_defaults():
    images, train = settings.ImageSettings(), settings.TrainSettings()
    assert (images.per_class, images.guidance, images.steps) == (64, 5.0, 50)
    assert (train.epochs, train.batch_size, train.clip_norm) == (10, 128, 1.0)
    assert train.weight_decay == 0.1
    method = commands.TransferSettings().method
    assert isinstance(method, RegFT) and method.ensemble.alpha == 0.5
    assert (method.regulariser.variance, method.regulariser.covariance) == (0.16, 0.02)


def test_values_become_the_types_of_their_fields():
    found = Outer("data", {"rate": "1"}, out="~/x", weights="[1, 2]")
    assert found == Outer(Path("data"), Inner(1.0), None, Path.home() / "x", [1.0, 2.0])
    assert isinstance(found.inner.rate, float)


def test_what_a_group_does_not_give_is_as_in_the_field_and_not_as_in_its_class():
    assert Outer("data", {"steps": 7}).inner == Inner(0.5, 7)
    assert Outer("data", '{"steps": 7}').inner == Inner(0.5, 7)
    assert Outer("data", maybe={"steps": 7}).maybe == Inner(0.1, 7)
    ewc = {"name": "ewc", "consolidation": {"strength": 2}}
    assert Method.from_value(ewc, "method") == EWC(Consolidation(2.0, "static"))
    assert EWC({"strength": 2}) == EWC(Consolidation(2.0, "static"))
    assert EWC(2) == EWC(Consolidation(2.0))


def test_a_method_keeps_its_name_unless_another_is_given():
    some = {"ensemble": {"alpha": 0.3}}
    assert commands.TransferSettings(method=some).method == RegFT(ensemble=some["ensemble"])
    with pytest.raises(UsageError, match=r"no setting method\.ensemble\."):
        commands.TransferSettings(method={"name": "wise-ft"} | some)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "The setting data is missing."),
        ({"data": 3}, "data is 3; it must be a path."),
        ({"data": "a", "dta": 1}, r"There is no setting dta \(did you mean data\?\)."),
        ({"data": "a", "inner": {"rate": 2}}, "inner.rate is 2.0; it must be from 0 to 1."),
        ({"data": "a", "inner": {"steps": 0}}, "inner.steps is 0; it must be at least 1."),
        ({"data": "a", "inner": {"stps": 0}}, r"no setting inner.stps \(did you mean steps\?\)."),
        ({"data": "a", "maybe": {"rate": "x"}}, "maybe.rate is 'x'; it must be a number."),
        ({"data": "a", "weights": [1, -1]}, "weights is -1.0; it must be at least 0."),
        ({"data": "a", "inner": 3}, "inner is 3; give names and values."),
        ([], r"Outer is \[\]; give names and values."),
        (None, "Outer is None; give names and values."),
    ],
)
def test_wrong_settings_are_one_sentence(values, sentence):
    with pytest.raises(UsageError, match=f"^{sentence}$|{sentence}"):
        Outer.from_dict(values)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: settings.TrainSettings(learning_rate=-1), "learning_rate is -1.* from 0 to 10"),
        (lambda: settings.TrainSettings(label_smoothing=2), "from 0 to 0.99"),
        (lambda: settings.TrainSettings(precision="fp8"), "one of auto, fp32, bf16"),
        (lambda: settings.TrainSettings(clip_norm=float("nan")), "clip_norm is nan; .* a number"),
        (lambda: settings.ImageSettings(size=0), "size is 0; it must be at least 8"),
        (lambda: commands.TransferSettings(seed=10**30), r"from 0 to 2\^63 - 1"),
        (lambda: commands.TransferSettings(method="ewc"), "not for transfer; give one of finetune"),
        (lambda: commands.PredictSettings("a", [], top=0), "top is 0"),
        (lambda: RegFT(ensemble=1.5), "ensemble.alpha is 1.5; it must be from 0 to 1"),
    ],
)
def test_values_out_of_their_limits_are_one_sentence(make, sentence):
    with pytest.raises(UsageError, match=sentence):
        make()


def test_a_sentence_about_several_fields_stands_as_it_is():
    both = {"loss": "features", "directions": "image", "train_towers": "text"}
    with pytest.raises(UsageError, match=r"^Distilling the features of images teaches"):
        commands.ContinualRunSettings("s", method={"name": "gift", "distillation": both})


def test_what_a_run_may_change_is_said_beside_each_field():
    assert set(free_fields(Outer("data", maybe={}))) == {"inner.steps", "maybe.steps", "out"}
    free = set(free_fields(commands.TransferSettings()))
    assert {"out", "method.ensemble.alpha", "method.ensemble.merge", "train.workers"} <= free
    assert not {"seed", "method.regulariser.variance", "train.epochs"} & free


def test_settings_have_the_names_of_the_command_line():
    flat = dict(flatten(Outer("data").to_json()))
    assert flat == {
        "data": "data",
        "inner.rate": 0.5,
        "inner.steps": 3,
        "maybe": None,
        "out": "out",
        "weights": [],
    }
    assert dict(flatten(commands.TransferSettings().to_json()))["method.name"] == "regft"


def test_values_are_shown_as_the_command_line_takes_them():
    values: list[Any] = [Path("a"), "b", 0.5, None, True, ["a", "é"], RegFT()]
    assert [shown(v) for v in values] == ["a", "b", "0.5", "null", "true", '["a", "é"]', "regft"]


def test_a_field_can_be_inherited_with_another_default():
    @dataclass(frozen=True)
    class Other(Inner):
        rate: float = inherited(Inner, "rate", 0.9)
        steps: int = inherited(Inner, "steps", 5, "Other steps.")

    rate, steps = fields(Other)
    assert (rate.default, rate.metadata["help"]) == (0.9, "Of the inner one.")
    assert (steps.metadata["help"], steps.metadata["free"]) == ("Other steps.", True)
    assert (bounds(rate), bounds(steps)) == ("from 0 to 1", "at least 1")
    assert rate.default_factory is MISSING
    with pytest.raises(UsageError):
        Other(rate=2)
