"""A table of good and bad values for each type of setting."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from holdfast.anchors.base import Anchor
from holdfast.anchors.variance_covariance import VarianceCovariance
from holdfast.cli import COMMANDS
from holdfast.cli_parse import Page, parse
from holdfast.errors import UsageError
from holdfast.methods.base import Method
from holdfast.methods.gift import GIFT
from holdfast.methods.l2 import L2
from holdfast.settings import ImageSettings, PromptSettings
from holdfast.settings.convert import at_home, convert

Kind = Literal["linear", "fisher"]
FLOATS = float | list[float]
NONE_OR_GROUP = PromptSettings | None

GOOD = [
    (int, 3, 3),
    (int, "3", 3),
    (int, " -3 ", -3),
    (int, 3.0, 3),
    (int, "1e3", 1000),
    (int, np.int64(3), 3),
    (int, "9223372036854775807", 2**63 - 1),  # no float has it
    (int, 2**63 - 1, 2**63 - 1),
    (float, 1, 1.0),
    (float, "3e-4", 3e-4),
    (float, np.float32(0.5), 0.5),
    (bool, True, True),
    (bool, "true", True),
    (bool, "False", False),
    (str, "", ""),
    (str, "none", "none"),
    (str, Path("a"), "a"),
    (Path, "a b", Path("a b")),
    (Path, Path("a"), Path("a")),
    (Path, "~/x", Path.home() / "x"),
    (Any, {"a": 1}, {"a": 1}),
    (Kind, "fisher", "fisher"),
    (int | None, None, None),
    (int | None, "none", None),
    (int | None, "null", None),
    (int | None, "3", 3),
    (Path | None, "a", Path("a")),
    (str | None, "a", "a"),
    (float | Literal["auto"], "auto", "auto"),
    (float | Literal["auto"], "0.3", 0.3),
    (float | Literal["auto"], 1, 1.0),
    (list[str], ["a", "b"], ["a", "b"]),
    (list[str], ("a",), ["a"]),
    (list[str], "a, b", ["a, b"]),
    (list[str], '["a", "b"]', ["a", "b"]),
    (list[str], "[a", ["[a"]),
    (list[str], "[a] b", ["[a] b"]),
    (list[str], (name for name in "ab"), ["a", "b"]),
    (list[Path], "a", [Path("a")]),
    (list[Path], [Path("a"), "b"], [Path("a"), Path("b")]),
    (FLOATS, "0.5", 0.5),
    (FLOATS, 1, 1.0),
    (FLOATS, "[0.1, 0.5]", [0.1, 0.5]),
    (FLOATS, [1, "2"], [1.0, 2.0]),
    (FLOATS, np.array([0.5, 1.0]), [0.5, 1.0]),
    (list[str] | str, "a", "a"),
    (list[str] | str, '["a", "b"]', ["a", "b"]),
    (list[str] | str, ["a"], ["a"]),
    (dict[str, Any], {"a": 1}, {"a": 1}),
    (dict[str, Any], '{"a": 1}', {"a": 1}),
    (ImageSettings, {"per_class": "4"}, ImageSettings(per_class=4)),
    (ImageSettings, '{"per_class": 4}', ImageSettings(per_class=4)),
    (ImageSettings, ImageSettings(steps=3), ImageSettings(steps=3)),
    (NONE_OR_GROUP, {"templates": "a {}"}, PromptSettings("a {}")),
    (NONE_OR_GROUP, None, None),
    (Method, "gift", GIFT()),
    (Method, GIFT, GIFT()),
    (Method, {"name": "gift"}, GIFT()),
    (Method, L2(), L2()),
    (list[Anchor], "variance-covariance:variance=0.5:covariance=0", [VarianceCovariance(0.5, 0)]),
    (list[Anchor], ["variance-covariance"], [VarianceCovariance()]),
    (list[Anchor], {"name": "variance-covariance"}, [VarianceCovariance()]),
    (list[Anchor], "", []),
    (VarianceCovariance, {"variance": 0}, VarianceCovariance(0)),
    (VarianceCovariance, {"name": "variance-covariance"}, VarianceCovariance()),
    (VarianceCovariance, "0.5", VarianceCovariance(0.5)),
]

BAD = [
    (int, True, "x is True; it must be a whole number."),
    (int, 1.5, "x is 1.5; it must be a whole number."),
    (int, "1.5", "a whole number"),
    (int, "many", "x is 'many'; it must be a whole number."),
    (int, "", "a whole number"),
    (int, None, "a whole number"),
    (int, float("inf"), "a whole number"),
    (int, "nan", "a whole number"),
    (int, [1], "a whole number"),
    (float, True, "x is True; it must be a number."),
    (float, "nan", "a number"),
    (float, "inf", "a number"),
    (float, 10**400, "a number"),
    (float, "1,5", "a number"),
    (float, {}, "a number"),
    (bool, 1, "x is 1; it must be true or false."),
    (bool, "yes", "true or false"),
    (bool, None, "true or false"),
    (str, 3, "x is 3; it must be text."),
    (str, True, "it must be text"),
    (str, None, "it must be text"),
    (Path, "", "it must be a path"),
    (Path, 3, "it must be a path"),
    (Path, "a\0b", "it must be a path"),
    (Path, b"a", "it must be a path"),
    (Kind, "fischer", r"x is 'fischer' \(did you mean fisher\?\); it must be one of linear, fish"),
    (Kind, True, "one of linear, fisher"),
    (Kind, None, "one of linear, fisher"),
    (int | None, "many", "x is 'many'; it must be a whole number, or none."),
    (float | Literal["auto"], "maybe", "x is 'maybe'; it must be a number, or auto."),
    (FLOATS, ["a"], "it must be a number, or a list, each a number"),
    (FLOATS, "[0.1, b]", "it must be a number, or a list, each a number"),
    (list[str], 3, "x is 3; it must be text."),
    (list[str], None, "x is None; give a list."),
    (list[str], [1], "x is 1; it must be text."),
    (list[int], ["a"], "a whole number"),
    (dict[str, Any], "a", "x is 'a'; give names and values."),
    (ImageSettings, 3, "x is 3; give names and values."),
    (ImageSettings, "{", "x is '{'; give names and values."),
    (ImageSettings, {"per_clas": 3}, r"no setting x.per_clas \(did you mean per_class\?\)"),
    (ImageSettings, {"per_class": "a"}, "x.per_class is 'a'; it must be a whole number."),
    (ImageSettings, {"per_class": 0}, "x.per_class is 0; it must be at least 1."),
    (ImageSettings, {1: 2}, "There is no setting x.1"),
    (NONE_OR_GROUP, {"templatse": "a"}, r"no setting x.templatse \(did you mean templates\?\)"),
    (Method, "gft", r"x: there is no method 'gft' \(did you mean gift.*\?\); give one of erm, ewc"),
    (Method, None, "x is None; give one of erm, ewc"),
    (Method, {"nam": "gift"}, "give one of erm, ewc"),
    (Method, {"name": ["gift"]}, "give one of erm, ewc"),
    (Method, Method, "give one of erm, ewc"),
    (Method, "os.path", "there is no method 'os.path'"),
    (Method, {"name": "gift", "alignment": {"weight": -1}}, "x.alignment.weight is -1"),
    (Method, {"name": "gift", "alignment": {"wait": 1}}, r"no setting x.alignment.wait"),
    (list[Anchor], "variance", r"x: there is no anchor 'variance' \(did you mean variance-cov"),
    (list[Anchor], "variance-covariance:variance", "x has 'variance'; write name:setting=value."),
    (list[Anchor], "variance-covariance:v=1", "There is no setting x.v"),
    (VarianceCovariance, {"name": "alignment"}, "x is 'alignment'; it must be variance-covar"),
]


@pytest.mark.parametrize(("hint", "value", "expected"), GOOD)
def test_good_values(hint, value, expected):
    found = convert(value, hint, "x")
    assert found == expected and type(found) is type(expected)
    if isinstance(found, list):
        assert [type(each) for each in found] == [type(each) for each in expected]


@pytest.mark.parametrize(("hint", "value", "sentence"), BAD)
def test_bad_values_are_one_sentence(hint, value, sentence):
    with pytest.raises(UsageError, match=sentence) as error:
        convert(value, hint, "x")
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


def test_a_dotted_name_imports_nothing(tmp_path, monkeypatch):
    """What a settings file names is looked up among what is known, and never imported."""
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    for value in ("evil", "evil.Method", {"name": "evil.Method"}, {"class_path": "evil.Method"}):
        with pytest.raises(UsageError, match="give one of"):
            convert(value, Method, "method")
    with pytest.raises(UsageError, match=r"no setting images\.class_path"):
        convert({"class_path": "evil.Images"}, ImageSettings, "images")


def test_the_home_folder_is_spelt_out_where_a_place_begins():
    home = str(Path.home())
    for text, expected in (
        ("~", home),
        ("~/a", f"{home}/a"),
        ("local-dir:~/a", f"local-dir:{home}/a"),
        ("file:~/a", f"file:{home}/a"),
        ("~/a,pocket, ~/b", f"{home}/a,pocket, {home}/b"),
        ("a~/b", "a~/b"),
        ("~cat", "~cat"),
        ("hf-hub:~/a", "hf-hub:~/a"),
        (["~/a", "b"], [f"{home}/a", "b"]),
        (3, 3),
        (None, None),
    ):
        assert at_home(text) == expected


@pytest.mark.parametrize(
    ("name", "words", "field"),
    [
        ("transfer", ["a", "b", "--model", "local-dir:~/m"], "model"),
        ("transfer", ["a", "b", "--pretrained", "~/m"], "pretrained"),
        ("transfer", ["~/names.txt"], "names"),
        ("generate", ["a", "b", "--generator", "~/g"], "generator"),
        ("transfer", ["a", "--replay.base", "~/n.txt"], "replay.base"),
        ("distill", ["d", "--teacher", "file:~/t"], "teacher"),
        ("distill", ["d", "--student", "local-dir:~/s"], "student"),
        ("continual add", ["~/model", "--task", "t"], "model"),
        ("continual add", ["m", "--task", "~/t"], "task"),
        ("continual run", ["s", "--held_out", "~/t"], "held_out"),
        ("predict", ["~/run", "a"], "classifier"),
        ("predict", ["run", "~/a"], "images"),
        ("evaluate", ["run", "~/a"], "data"),
        ("serve", ["local-dir:~/m"], "model"),
        ("compare", ["~/a", "b"], "runs"),
    ],
)
def test_every_place_may_begin_with_the_home_folder(name, words, field):
    settings = parse(name, COMMANDS[name], words)
    assert not isinstance(settings, Page)
    for part in field.split("."):
        settings = getattr(settings, part)
    text = str(settings[0] if isinstance(settings, list) else settings)
    assert "~" not in text and str(Path.home()) in text
