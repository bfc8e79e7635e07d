"""The command line's own work: words, options, help, exit codes. Workflows are in test_verbs.py."""

import json
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest
import torch

from holdfast import cli, settings
from holdfast.cli import main, named_words, parse
from holdfast.errors import UsageError


def error_of(capsys, *arguments):
    """(exit code, the one line on standard error) of a command that fails."""
    code = main([str(a) for a in arguments])
    printed = capsys.readouterr().err
    lines = [line for line in printed.splitlines() if line.startswith("holdfast: ")]
    assert len(lines) == 1 and "Traceback" not in printed, printed
    return code, lines[0]


def test_words_become_the_fields_they_fill():
    assert named_words("transfer", ["a b", "c", "--seed", "3"]) == [
        '--names=["a b", "c"]',
        "--seed",
        "3",
    ]
    assert named_words("evaluate", ["run", "data"]) == ["--classifier=run", "--data=data"]
    assert named_words("predict", ["run", "a.jpg", "b.jpg"]) == [
        "--classifier=run",
        '--images=["a.jpg", "b.jpg"]',
    ]
    with pytest.raises(UsageError, match="does not know what to do with 'x'"):
        named_words("evaluate", ["run", "data", "x"])


def test_names_with_commas_quotes_and_other_scripts_arrive_whole():
    names = ['a "b", c', "d: [e]", "été", "犬", "yes", "12", "null", "red 🐕"]
    assert parse("transfer", names).names == names


def test_dotted_options_and_values():
    found = parse(
        "transfer",
        [
            *("a", "b", "--train.learning_rate", "3e-4", "--alpha", "auto", "--dry_run"),
            *("--images.size", "64", "--head_prompts.templates", "art of {}"),
        ],
    )
    assert isinstance(found, settings.TransferSettings)
    assert found.train.learning_rate == 3e-4
    assert found.alpha == "auto"
    assert found.dry_run
    assert found.head_prompts.templates == "art of {}"
    assert found.images.size == 64
    assert found.train.covariance == 0.02


def test_the_demo_takes_a_method():
    assert parse("demo", []).what == "transfer"
    assert parse("demo", ["continual", "--seed", "3"]).what == "continual"
    with pytest.raises(UsageError, match="what cannot be 'distil'"):
        parse("demo", ["distil"])


def test_a_settings_file_reproduces_the_settings(tmp_path):
    from dataclasses import asdict

    from holdfast.runs import plain

    first = parse("transfer", ["a", "b", "--alpha", "0.3", "--train.epochs", "2", "--seed", "9"])
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(plain(asdict(first))))
    assert parse("transfer", ["--config", str(file)]) == first
    assert parse("transfer", ["--config", str(file), "--seed", "1"]).seed == 1


def test_what_print_config_prints_can_be_read_back(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        parse("generate", ["a", "b", "--images.steps", "7", "--print_config"])
    assert stop.value.code == 0
    file = tmp_path / "config.yaml"
    file.write_text(capsys.readouterr().out)
    assert parse("generate", ["--config", str(file)]) == parse(
        "generate", ["a", "b", "--images.steps", "7"]
    )


@pytest.mark.parametrize("verb", cli.VERBS)
def test_each_option_is_explained(verb):
    """The help text of an option is its line in the docstring of its settings class."""
    kinds = [cli.VERBS[verb].kind]
    for kind in kinds:
        documented = re.findall(r"^ {8}(\w+): ", kind.__doc__, flags=re.MULTILINE)
        inherited = {f.name for base in kind.__bases__ if is_dataclass(base) for f in fields(base)}
        for field in fields(kind):
            hint = get_type_hints(kind)[field.name]
            if is_dataclass(hint):  # its own docstring heads its options
                kinds.append(hint)
            else:
                assert field.name in documented or field.name in inherited, (kind, field.name)


def test_the_errors_of_the_command_line(capsys):
    assert error_of(capsys, "trasnfer", "a") == (
        2,
        "holdfast: There is no verb 'trasnfer' (did you mean transfer?); see `holdfast --help`.",
    )
    code, line = error_of(capsys, "continual", "ad", "model")
    assert code == 2 and "no verb 'continual ad' (did you mean continual add" in line
    code, line = error_of(capsys, "transfer", "a", "b", "--trian.epochs", 3)
    assert code == 2 and "no option --trian.epochs (did you mean --train.epochs" in line
    code, line = error_of(capsys, "transfer", "a", "b", "--train.epochs", "many")
    assert code == 2 and "train.epochs" in line and "many" in line
    code, line = error_of(capsys, "transfer", "--config", "missing.json")
    assert code == 2 and "missing.json" in line
    code, line = error_of(capsys, "evaluate", "only-one")
    assert code == 2 and "data" in line


def test_a_full_disk_or_a_forbidden_folder_is_one_sentence(capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "runs/a/model")

    monkeypatch.setattr(cli, "run", full)
    code, line = error_of(capsys, "demo")
    assert code == 1 and "runs/a/model: No space left on device" in line


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (
            ["distill", "x"],
            "lower --batch or --align.per_domain or --train.per_domain, or give --d",
        ),
        (["demo"], "out; give --device cpu"),
    ],
)
def test_memory_that_runs_out_names_the_options_of_the_verb(words, remedy, capsys, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(cli, "run", full)
    code, line = error_of(capsys, *words)
    assert code == 1 and remedy in line


@pytest.mark.parametrize(
    ("error", "expected"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)]
)
def test_interrupts_have_their_own_exit_codes(error, expected, monkeypatch):
    def stopped(*_):
        raise error

    monkeypatch.setattr(cli, "run", stopped)
    try:
        assert main(["demo"]) == expected
    except SystemExit as stop:
        assert stop.code == expected


def test_help_is_quick_because_nothing_heavy_is_imported():
    """Not the time, which depends on the machine, but what costs it."""
    script = (
        "import sys; from holdfast.cli import main; code = main(['--help']);"
        "heavy = {'torch', 'numpy', 'PIL', 'open_clip', 'diffusers'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "transfer NAMES..." in done.stdout


def test_importing_holdfast_is_quick():
    script = "import sys, holdfast; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_the_installed_command_runs():
    command = Path(sys.executable).with_name("holdfast")
    done = subprocess.run([command, "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.strip() == "0.1.0"
