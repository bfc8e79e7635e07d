"""What the command line does with a command: errors, exit codes, first pages."""

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
from tests.report.transfer_example import DIGITS, transfer_example

from holdfast import cli
from holdfast.cli import COMMANDS, main
from holdfast.cli_output import as_json
from holdfast.commands import settings
from holdfast.files import read_sealed
from holdfast.generation import Estimate
from holdfast.results import write_result
from holdfast.runs import command_line


def error_of(capsys, *arguments):
    """(exit code, the one line on standard error) of a command that fails."""
    code = main([str(a) for a in arguments])
    printed = capsys.readouterr().err
    lines = [line for line in printed.splitlines() if line.startswith("holdfast: ")]
    assert len(lines) == 1 and "Traceback" not in printed, printed
    return code, lines[0]


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


def test_importing_holdfast_is_quick():
    script = "import sys, holdfast; sys.exit('torch' in sys.modules or 'yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_the_installed_command_runs():
    command = Path(sys.executable).with_name("holdfast")
    done = subprocess.run([command, "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.strip() == "0.1.0"


def working(found, monkeypatch, name="report"):
    """The command does nothing, says something, and finds this."""

    def work(settings):
        print("said on the way")
        return found

    module = type(sys)("holdfast.commands.fake")
    module.work = work
    monkeypatch.setitem(sys.modules, "holdfast.commands.fake", module)
    monkeypatch.setitem(COMMANDS, name, replace(COMMANDS[name], where="fake:work"))


def test_json_is_all_of_standard_output_and_quiet_prints_nothing(capsys, monkeypatch):
    working(Path("page.html"), monkeypatch)
    assert main(["report", "run"]) == 0
    assert capsys.readouterr().out == "said on the way\nReport: page.html\n"
    for words in (["report", "run", "--json"], ["--json", "report", "run"]):
        assert main(words) == 0
        out, err = capsys.readouterr()
        assert json.loads(out) == {"path": "page.html"} and err == "said on the way\n"
    for words in (["report", "run", "--quiet"], ["report", "--quiet", "run"]):
        assert main(words) == 0
        assert capsys.readouterr() == ("", "")
    code, line = error_of(capsys, "report", "run", "--quiet", "--json")
    assert code == 2 and "give one of them" in line
    code, line = error_of(capsys, "--seed", "3", "report", "run")
    assert code == 2 and "--seed stands before the command; write it after" in line


def test_what_a_command_found_is_json(tmp_path):
    run = transfer_example(tmp_path, DIGITS[:3], images=60)
    write_result(tmp_path / "result.json", run)
    written = read_sealed(tmp_path / "result.json")
    transfer = settings.TransferSettings(DIGITS[:3], tmp_path)
    assert as_json(transfer, object()) == written  # the classifier
    assert as_json(transfer, Estimate(3, 0.5, 10.0))["images"] == 3
    assert json.loads(json.dumps(as_json(settings.EvaluateSettings("a", "b"), run))) == written
    demo = settings.DemoSettings()
    assert as_json(demo, (transfer, object())) == written
    predicted = [(Path("a.png"), [("cat", 0.5)]), (1, [("dog", 0.25)])]
    assert as_json(settings.PredictSettings("c", "i"), predicted) == [
        {"file": "a.png", "names": [{"name": "cat", "probability": 0.5}]},
        {"file": "1", "names": [{"name": "dog", "probability": 0.25}]},
    ]
    assert as_json(settings.ServeSettings("m"), None) is None
