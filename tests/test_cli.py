"""The command line's own work: words, options, help, tables, exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from holdfast import cli
from holdfast.anchors.alignment import Alignment
from holdfast.anchors.base import Anchor
from holdfast.anchors.consolidation import Consolidation
from holdfast.anchors.variance_covariance import VarianceCovariance
from holdfast.cli import COMMANDS, main
from holdfast.cli_options import options_of
from holdfast.cli_parse import Page, parse
from holdfast.commands.settings import TransferSettings
from holdfast.errors import UsageError
from holdfast.methods.base import Family, Method, available
from holdfast.methods.ewc import EWC
from holdfast.methods.finetune import FineTuning
from holdfast.methods.regft import RegFT
from holdfast.methods.wise_ft import WiSEFT
from holdfast.runs import command_line
from holdfast.settings.base import flatten


def read(name, *arguments):
    """The settings that the arguments of a command spell."""
    return parse(name, COMMANDS[name], [str(argument) for argument in arguments])


def error_of(capsys, *arguments):
    """(exit code, the one line on standard error) of a command that fails."""
    code = main([str(a) for a in arguments])
    printed = capsys.readouterr().err
    lines = [line for line in printed.splitlines() if line.startswith("holdfast: ")]
    assert len(lines) == 1 and "Traceback" not in printed, printed
    return code, lines[0]


# Words


def test_words_fill_fields_in_order():
    assert read("transfer", "a b", "c").names == ["a b", "c"]
    found = read("evaluate", "run", "data")
    assert (found.classifier, found.data) == (Path("run"), Path("data"))
    found = read("predict", "run", "a.jpg", "b.jpg")
    assert (found.classifier, found.images) == (Path("run"), [Path("a.jpg"), Path("b.jpg")])
    assert read("demo").what == "transfer" and read("demo", "continual").what == "continual"
    with pytest.raises(UsageError, match="does not know what to do with 'x y'"):
        read("evaluate", "run", "data", "x", "y")


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
        ("train: 3", "train is 3; give names and values"),
        ("train: {epochs: many}", "train.epochs is 'many'"),
        ("seed: 2020-01-01", "seed is datetime"),
        ("names: [1, 2]", "names is 1; it must be text"),
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


# Errors


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["trasnfer", "a"],
            r"no command 'trasnfer' \(did you mean transfer\?\); see `holdfast --h",
        ),
        (["continual", "ad", "model"], r"no command 'continual ad' \(did you mean continual add"),
        (["methods", "x"], "`holdfast methods` does not know what to do with 'x'"),
        (["transfer", "a", "--trian.epochs", "3"], r"no option --trian.epochs \(did you mean --tr"),
        (["transfer", "a", "--epocs", "3"], r"no option --epocs \(did you mean --epochs"),
        (["transfer", "a", "--train.epochs", "many"], "train.epochs is 'many'; it must be a whole"),
        (["transfer", "a", "--train.epochs", "0"], "train.epochs is 0; it must be at least 1"),
        (["transfer", "a", "--alpha", "-1"], "method.ensemble.alpha is -1.*from 0 to 1"),
        (["transfer", "a", "--alpha", "maybe"], "must be a number, or auto"),
        (["transfer", "a", "--seed"], "--seed needs a value; see `holdfast transfer --help`"),
        (["transfer", "a", "-x"], "no option -x; see `holdfast transfer --help`"),
        (["transfer", "a", "--config", "missing.json"], "missing.json cannot be read: No such"),
        (
            ["transfer", "a", "--images", "3", "--images.size", "64"],
            "images is '3', and --images.si",
        ),
        (["transfer", "a", "--dry_run=maybe"], "dry_run is 'maybe'; it must be true or false"),
        (["evaluate", "only-one"], "The setting data is missing; see `holdfast evaluate --help`"),
        (["evaluate"], "The setting classifier is missing; see"),
        (["demo", "distil"], r"what is 'distil' \(did you mean distill\?\)"),
        (["distill", "d", "--image_weight", "[]"], "image_weight is an empty list"),
    ],
)
def test_what_is_wrong_with_a_command_is_one_sentence(words, sentence, capsys):
    code, line = error_of(capsys, *words)
    assert code == 2 and re.search(sentence, line), line


def failing_with(error, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(cli, "carry_out", fail)


def test_a_full_disk_or_a_forbidden_folder_is_one_sentence(capsys, monkeypatch):
    failing_with(OSError(28, "No space left on device", "runs/a/model"), monkeypatch)
    code, line = error_of(capsys, "demo")
    assert code == 1 and "runs/a/model: No space left on device; mend it" in line


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (
            ["distill", "x"],
            "lower --batch or --align.per_domain or --train.per_domain, or give --d",
        ),
        (
            ["transfer", "a"],
            "lower --images.batch_size or --replay.batch_size or --train.batch_size or "
            "--train.replay_batch_size, or give --device cpu",
        ),
        (["demo"], "out; give --device cpu"),
    ],
)
def test_memory_that_runs_out_names_the_options_of_the_command(words, remedy, capsys, monkeypatch):
    failing_with(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), monkeypatch)
    code, line = error_of(capsys, *words)
    assert code == 1 and remedy in line


def test_another_error_of_the_program_is_no_sentence(monkeypatch):
    failing_with(RuntimeError("a mistake of ours"), monkeypatch)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        main(["demo"])


@pytest.mark.parametrize(
    ("error", "expected"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)]
)
def test_interrupts_have_their_own_exit_codes(error, expected, monkeypatch):
    failing_with(error, monkeypatch)
    try:
        assert main(["demo"]) == expected
    except SystemExit as stop:
        assert stop.code == expected


def test_a_command_that_is_ended_says_so_by_its_exit_code():
    script = (
        "import time; from holdfast import cli\n"
        "def wait(*_): print('ready', flush=True); time.sleep(60)\n"
        "cli.carry_out = wait; raise SystemExit(cli.main(['demo']))"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143


def test_a_reader_that_has_seen_enough_is_no_error():
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast", "transfer", "--help"],
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    os.close(reading)
    assert process.communicate()[1] == b"" and process.returncode == 0


def test_the_result_of_a_run_knows_its_command(monkeypatch):
    seen = []
    work = type(sys)("holdfast.commands.fake")
    work.work = lambda settings: seen.append((settings.seed, command_line.get()))
    monkeypatch.setitem(sys.modules, "holdfast.commands.fake", work)
    silent = replace(COMMANDS["demo"], where="fake:work", show=lambda *_: None)
    monkeypatch.setitem(COMMANDS, "demo", silent)
    assert main(["demo", "--seed", "3"]) == 0
    assert seen == [(3, ["demo", "--seed", "3"])] and command_line.get() is None


# Pages


@pytest.mark.parametrize(
    "words", [["--help"], ["transfer", "--help"], ["continual", "run", "-h"], ["methods"]]
)
def test_pages_are_quick_because_nothing_heavy_is_imported(words):
    """Not the time, which depends on the machine, but what costs it."""
    script = (
        f"import sys; from holdfast.cli import main; code = main({words});"
        "heavy = {'torch', 'numpy', 'PIL', 'open_clip', 'diffusers', 'yaml'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_first_page_names_all_commands(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert "transfer NAMES..." in printed and "predict CLASSIFIER IMAGES..." in printed
    assert all(name in printed for name in [*COMMANDS, "methods", "anchors"])
    assert main([]) == 2
    for words in (["continual"], ["continual", "--help"]):
        assert main(words) == 0
        printed = capsys.readouterr().out
        assert "continual run STREAM" in printed and "transfer" not in printed.split("usage")[-1]


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


def test_options_that_matter_come_first():
    text = read("transfer", "--help").text
    order = ("Example:", "--names", "--method NAME", "--train.epochs", "RegFT, arXiv", "--seed")
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
        if any(o.group is None and not o.field.metadata["rank"] for o in own):
            assert f"{kind.title}{', ' + kind.paper if kind.paper else ''} (--method" in text


def test_the_tables_have_all_methods_and_anchors(capsys):
    for name, kinds in (("methods", Method.known()), ("anchors", Anchor.known())):
        assert main([name]) == 0
        printed = capsys.readouterr().out
        lines = {line.split()[0]: line for line in printed.splitlines() if line[:1].strip()}
        assert set(lines) == {"name", *kinds}
        assert all(kind.paper in lines[key] for key, kind in kinds.items())
    assert "teacher-embeddings   arXiv 2310.08255  distill " in printed
    assert "Settings: variance=0.16, covariance=0.02." in printed


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_can_be_read(name):
    words = COMMANDS[name].example.split()
    assert words[0] == "holdfast" and " ".join(words[1:]).startswith(name)
    assert dict(flatten(read(name, *words[1 + len(name.split()) :]).to_json()))


def test_importing_holdfast_is_quick():
    script = "import sys, holdfast; sys.exit('torch' in sys.modules or 'yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_the_installed_command_runs():
    command = Path(sys.executable).with_name("holdfast")
    done = subprocess.run([command, "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.strip() == "0.1.0"
