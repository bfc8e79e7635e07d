"""Functions with the signature of a settings class."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

import holdfast
from holdfast import settings
from holdfast.anchors.base import Anchor
from holdfast.commands import settings as commands
from holdfast.errors import UsageError
from holdfast.methods.base import Method
from holdfast.methods.ewc import EWC
from holdfast.settings.base import AnyPath, Settings, flatten, setting
from holdfast.settings.signatures import takes


@dataclass(frozen=True)
class Inner(Settings):
    rate: float = setting(0.1, "How fast.", low=0, high=1)


@dataclass(frozen=True)
class Outer(Settings):
    data: AnyPath = setting(help="Where it is.")
    inner: Inner = setting(factory=lambda: Inner(0.5), help="A group.")
    seed: int = setting(0, "Of chance.", low=0)
    size: int | None = setting(None, "In pixels.")


@takes(Outer)
def work(chosen: Outer) -> Outer:
    """Do the work."""
    return chosen


FUNCTIONS = {
    "generate": commands.GenerateSettings,
    "transfer": commands.TransferSettings,
    "distill": commands.DistillSettings,
    "evaluate": commands.EvaluateSettings,
    "predict": commands.PredictSettings,
    "continual_add": commands.ContinualAddSettings,
    "continual_run": commands.ContinualRunSettings,
    "write_report": commands.ReportSettings,
}


def test_values_are_given_in_order_or_by_name():
    expected = Outer(Path("a"), Inner(0.2), 3)
    assert work("a", {"rate": 0.2}, 3) == expected
    assert work("a", seed=3, inner=Inner(0.2)) == expected
    assert work(data=Path("a")) == Outer("a")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "The setting data is missing."),
        ({"data": "a", "sed": 1}, r"There is no setting sed \(did you mean seed"),
        ({"data": "a", "seed": "x"}, "seed is 'x'; it must be a whole number."),
        ({"data": "a", "inner": {"rate": 2}}, "inner.rate is 2.0; it must be from 0 to 1."),
        ({"data": "a", "inner": {"rat": 2}}, r"no setting inner.rat \(did you mean rate\?\)"),
        ({"data": "a", "inner": 3}, "inner is 3; give names and values."),
    ],
)
def test_wrong_values_are_one_sentence(given, sentence):
    with pytest.raises(UsageError, match=sentence):
        work(**given)


def test_too_many_values_are_a_mistake_of_the_program():
    with pytest.raises(TypeError, match="at most 4"):
        work("a", {}, 1, 2, 3)
    with pytest.raises(TypeError, match="data twice"):
        work("a", data="b")


def test_python_sees_the_fields_as_parameters():
    parameters = inspect.signature(work).parameters
    assert list(parameters) == ["data", "inner", "seed", "size"]
    assert parameters["data"].annotation is Path
    assert parameters["data"].default is inspect.Parameter.empty
    assert parameters["inner"].default == Inner(0.5)
    assert inspect.signature(work).return_annotation == "Outer"
    assert (work.__name__, work.__module__) == ("work", __name__)


def test_the_docstring_lists_each_field_with_help_limits_and_default():
    assert inspect.getdoc(work) == (
        "Do the work.\n\nArgs:\n"
        "    data: Where it is. [must be given]\n"
        "    inner: A group.\n"
        "        rate: How fast. [from 0 to 1; default: 0.5]\n"
        "    seed: Of chance. [at least 0; default: 0]\n"
        "    size: In pixels. [default: none]"
    )


@pytest.mark.parametrize(("name", "kind"), FUNCTIONS.items())
def test_the_public_functions_take_the_settings_of_their_commands(name, kind):
    function = getattr(holdfast, name)
    parameters = inspect.signature(function).parameters
    assert list(parameters) == [each.name for each in fields(kind)]
    for each in fields(kind):
        assert f"    {each.name}: {each.metadata['help']}" in function.__doc__
    assert function.__doc__.splitlines()[0].endswith((".", "`."))
    assert name in holdfast.__all__


def test_groups_methods_and_anchors_are_given_in_any_form(monkeypatch):
    monkeypatch.setattr("holdfast.commands.continual_run.run_stream", lambda chosen: chosen)
    expected = holdfast.continual_run(
        Path("s"),
        method=EWC({"strength": 2}),
        anchors=[holdfast.VarianceCovariance(0.3)],
        train=settings.ContinualTrainSettings(steps=3),
    )
    found = holdfast.continual_run(
        "s",
        method={"name": "ewc", "consolidation": {"strength": 2}},
        anchors="variance-covariance:variance=0.3",
        train={"steps": 3},
    )
    assert found == expected
    assert holdfast.continual_run("s", method=holdfast.EWC).method == EWC()
    assert dict(flatten(found.to_json()))["method.consolidation.importance"] == "static"


def test_classes_are_there_when_they_are_asked_for():
    for kind in (*Method.known().values(), *Anchor.known().values()):
        assert getattr(holdfast, kind.__name__) is kind and kind.__name__ in dir(holdfast)
    assert holdfast.Classifier.__name__ == "Classifier"
    assert holdfast.__version__ == "0.1.0"
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        holdfast.Nothing  # noqa: B018


def test_asking_for_a_method_imports_nothing_heavy():
    script = (
        "import sys, holdfast; holdfast.GIFT(); dir(holdfast); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
