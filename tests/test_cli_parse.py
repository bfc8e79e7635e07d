"""Arguments -> settings: words, options and their short names, methods, anchors, files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.test_cli import error_of

from holdfast.anchors.alignment import Alignment
from holdfast.anchors.consolidation import Consolidation
from holdfast.anchors.variance_covariance import VarianceCovariance
from holdfast.cli import COMMANDS
from holdfast.cli_parse import Page, parse
from holdfast.commands.settings import TransferSettings
from holdfast.errors import UsageError
from holdfast.methods.ewc import EWC
from holdfast.methods.finetune import FineTuning
from holdfast.methods.regft import RegFT
from holdfast.methods.wise_ft import WiSEFT


def read(name, *arguments):
    """The settings that the arguments of a command spell."""
    return parse(name, COMMANDS[name], [str(argument) for argument in arguments])


# Words


def test_words_fill_fields_in_order():
    assert read("transfer", "a b", "c").names == ["a b", "c"]
    found = read("evaluate", "run", "data")
    assert (found.classifier, found.data) == ("run", [Path("data")])
    found = read("predict", "run", "a.jpg", "b.jpg")
    assert (found.classifier, found.images) == ("run", [Path("a.jpg"), Path("b.jpg")])
    assert read("evaluate", "run", "a", "b").data == [Path("a"), Path("b")]
    assert read("demo").what == "transfer" and read("demo", "continual").what == "continual"
    with pytest.raises(UsageError, match="does not know what to do with 'x y'"):
        read("distill", "data", "x", "y")


def test_options_stand_before_or_after_words_or_between_them():
    expected = read("transfer", "a", "b", "--seed", "3", "--dry_run")
    for words in (
        "--seed 3 --dry_run a b",
        "a --dry_run b --seed=3",
        "--dry_run true a b --seed 3",
    ):
        assert read("transfer", *words.split()) == expected


def test_names_with_commas_quotes_and_other_scripts_arrive_whole():
    names = ['a "b", c', "d: [e]", "[f]", "été", "犬", "yes", "12", "null", "red 🐕", "{}"]
    assert read("transfer", *names).names == names
    assert read("transfer", "--seed", "3", "--", "--odd", "-1").names == ["--odd", "-1"]
    assert read("transfer", "[one]").names == ["[one]"]


# Options


def test_dotted_options_and_their_values():
    found = read(
        "transfer",
        *("a", "b", "--train.learning_rate", "3e-4", "--method.ensemble.alpha", "auto"),
        *("--images.size=64", "--head_prompts.templates", "art of {}", "--dry_run"),
        *("--out", "~/runs", "--images.redraws", "0"),
    )
    assert isinstance(found, TransferSettings)
    assert found.train.learning_rate == 3e-4
    assert found.method == RegFT(ensemble="auto")
    assert found.dry_run and found.out == Path.home() / "runs"
    assert found.head_prompts.templates == "art of {}"
    assert (found.images.size, found.images.redraws) == (64, 0)


def test_the_last_part_of_a_name_is_enough_if_no_other_option_has_it():
    found = read("transfer", "a", "b", "--epochs", "3", "--alpha=0.2", "--variance", "0")
    assert found == read(
        *("transfer", "a", "b", "--train.epochs=3", "--method.ensemble.alpha=0.2"),
        "--method.regulariser.variance=0",
    )
    assert read("transfer", "--ensemble.alpha", "0.2").method.ensemble.alpha == 0.2
    with pytest.raises(UsageError, match=r"--steps can be --images.steps or --replay.steps; give"):
        read("transfer", "a", "b", "--steps", "3")
    with pytest.raises(
        UsageError, match=r"--batch_size can be --images\S+, --replay\S+ or --train.batch_size;"
    ):
        read("transfer", "a", "b", "--batch_size", "3")


def test_a_hyphen_is_as_good_as_an_underscore():
    assert read("transfer", "a", "--dry-run", "--train.learning-rate", "1e-3") == read(
        "transfer", "a", "--dry_run", "--train.learning_rate", "1e-3"
    )


def test_lists_are_given_as_json_or_one_by_one():
    for given in (
        ["--prompts.templates", '["a {}", "b {}"]'],
        ["--prompts.templates", "a {}", "--prompts.templates=b {}"],
    ):
        assert read("generate", "x", *given).prompts.templates == ["a {}", "b {}"]
    assert read("generate", "x", "--prompts.templates", "a, {}").prompts.templates == "a, {}"
    assert read("distill", "d", "--image_weight", "[0.1,0.5]").method.image_weight == [0.1, 0.5]
    twice = read("distill", "d", "--image_weight", "0.1", "--image_weight", "0.5")
    assert twice.method.image_weight == [0.1, 0.5]
    held = read("continual run", "s", "--held_out", "a", "--held_out", "b").held_out
    assert held == ["a", "b"]


@pytest.mark.parametrize("number", ["-1", "-1e-3", "-.5", "-inf"])
def test_a_number_below_zero_is_a_value(number):
    with pytest.raises(UsageError, match=r"train.learning_rate is .*; it must be"):
        read("transfer", "a", "--train.learning_rate", number, "b")


def test_of_an_option_given_twice_the_last_counts():
    assert read("transfer", "--seed", "1", "--seed", "2").seed == 2


def test_none_empties_an_option():
    assert read("transfer", "--images.size", "none").images.size is None
    assert read("continual run", "s", "--max_drop", "none").max_drop is None


# Methods and anchors


def test_a_method_brings_its_own_options():
    assert read("transfer", "--method", "wise-ft", "--alpha", "0.3").method == WiSEFT(0.3)
    assert read("transfer", "--method=finetune").method == FineTuning()
    found = read("continual add", "m", "--task", "t", "--method", "ewc", "--strength", "2")
    assert found.method == EWC(Consolidation(2.0, "static"))
    spelt = '{"name": "wise-ft", "alpha": 0.3}'
    assert read("transfer", "--method", spelt).method == WiSEFT(0.3)
    assert read("transfer", "--method.ensemble", "0.3").method == RegFT(ensemble=0.3)
    with pytest.raises(UsageError, match=r"no option --method.ensemble.alpha"):
        read("transfer", "--method", "wise-ft", "--method.ensemble.alpha", "0.3")
    with pytest.raises(UsageError, match="'ewc' is not for transfer; give one of finetune, l2"):
        read("transfer", "--method", "ewc")
    with pytest.raises(UsageError, match=r"no method 'gfit' \(did you mean gift"):
        read("continual run", "s", "--method", "gfit")


def test_anchors_are_named_with_their_settings():
    both = [VarianceCovariance(0.3), Alignment()]
    for words in (
        ["--anchors", "variance-covariance:variance=0.3,alignment"],
        ["--anchors", "variance-covariance:variance=0.3", "--anchors", "alignment"],
    ):
        assert read("continual run", "s", *words).anchors == both
    with pytest.raises(UsageError, match=r"no anchor 'aligment' \(did you mean alignment\?\)"):
        read("continual run", "s", "--anchors", "aligment")
    with pytest.raises(UsageError, match=r"There is no setting anchors\.weigth"):
        read("continual run", "s", "--anchors", "alignment:weigth=1")


# Files of settings


@pytest.mark.parametrize(
    "words",
    [
        ["transfer", "a", "b", "--alpha", "0.3", "--train.epochs", "2", "--seed", "9"],
        ["transfer", "a", "b", "--method", "l2", "--anchors", "variance-covariance"],
        ["generate", "a", "--images.steps", "7", "--prompts.templates", "a {}"],
        ["distill", "d", "--method", "kd", "--image_weight", "[0.1,0.2]"],
        ["continual run", "s", "--method", "zscl", "--max_drop", "0.1"],
        ["continual add", "m", "--task", "t"],
        ["evaluate", "c", "d"],
        ["predict", "c", "i"],
        ["serve", "m"],
        ["report", "r"],
        ["compare", "a", "b"],
        ["demo"],
    ],
)
def test_printed_settings_can_be_read_back(words, tmp_path):
    name = words[0]
    printed = read(*words, "--print_config")
    assert isinstance(printed, Page)
    file = tmp_path / "settings.json"
    file.write_text(printed.text)
    first = read(*words)
    assert read(name, "--config", file) == first
    file.write_text(json.dumps(first.to_json()))  # what a run's folder has
    assert read(name, "--config", file) == first


def test_options_count_more_than_the_file(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text(
        "names: [a, b]\nseed: 1\ntrain:\n  epochs: 2\n  learning_rate: 1e-3\n"
        "method:\n  name: regft\n  regulariser: {variance: 0}\n  ensemble: {merge: fisher}\n"
    )
    found = read("transfer", "--config", file, "--seed", "3", "--epochs", "5", "--alpha", "0.1")
    assert (found.names, found.seed) == (["a", "b"], 3)
    assert (found.train.epochs, found.train.learning_rate) == (5, 1e-3)
    regft = RegFT({"variance": 0}, {"merge": "fisher", "alpha": 0.1})
    assert found.method == regft
    assert read("transfer", "c", "--config", file).names == ["c"]
    # The settings of another method than the one that is asked for do not count.
    assert read("transfer", "--config", file, "--method", "wise-ft").method == WiSEFT()
    assert read("transfer", "--config", file, "--method", "regft").method.regulariser.variance == 0
    file.write_text("method: wise-ft")
    assert read("transfer", "--config", file, "--alpha", "0.3").method == WiSEFT(0.3)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nmaes: [a]", r"There is no setting nmaes \(did you mean names"),
        ("train: {epoch: 3}", r"There is no setting train.epoch \(did you mean epochs"),
        ("train: 3", "train is '3'; give names and values"),
        ("train: {epochs: many}", "train.epochs is 'many'"),
        ("seed: 2020-01-01", "seed is '2020-01-01'"),
        ("names: [[1], 2]", r"names is \['1'\]; it must be text"),
        ("method: os.system", "there is no method 'os.system'"),
        ("method: {name: regft, class_path: os.system}", "no setting method.class_path"),
        ("method: [regft]", r"method is \['regft'\]; give one of"),
        ("method: {ensemble: {alfa: 1}}", r"no setting method.ensemble.alfa"),
        ("a: &x [b]\nc: *x", "it has an anchor"),
        ("seed: 1\nseed: 2", "it has 'seed' twice"),
        ("- a", "holds no settings"),
        ("", "holds no settings"),
        ("a: [", "neither YAML nor JSON in line 1"),
    ],
)
def test_a_wrong_file_of_settings_is_one_sentence(text, sentence, tmp_path, capsys):
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    code, line = error_of(capsys, "transfer", "--config", file)
    assert code == 2 and re.search(sentence, line), line
