"""What `holdfast demo` asks of the commands; the commands themselves have tests of their own."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast import builtin, cli_output
from holdfast.commands import demo as module
from holdfast.commands.distill import distill
from holdfast.commands.distill_plan import plan_trials
from holdfast.commands.settings import DemoSettings
from holdfast.data.domains import scan_domains
from holdfast.data.streams import read_stream
from holdfast.files import read_json


@pytest.fixture
def asked(monkeypatch):
    """The settings that a command would get."""
    found = []
    for what in module.ORDINARY:
        monkeypatch.setitem(module.ORDINARY, what, lambda settings: found.append(settings) or 7)
    return found


def test_the_folder_names_the_method(asked, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings, found = module.demo(DemoSettings("continual"))
    assert settings.out == Path("runs/demo-continual/run")
    assert (found, asked) == (7, [settings])
    settings, _ = module.demo(DemoSettings("continual", tmp_path / "elsewhere", seed=7))
    assert (settings.out, settings.seed) == (tmp_path / "elsewhere" / "run", 7)


def test_the_stream_of_the_demo_ends_with_what_the_model_knew(asked, tmp_path):
    settings, _ = module.demo(DemoSettings("continual", tmp_path))
    tasks = read_stream(settings.stream)
    assert len(tasks) == 5 and {task.place for task in tasks[:-1]} < set(builtin.stream("pocket"))
    assert tasks[-1].place == "pocket:nouns"
    assert {task.per_class for task in tasks} == {module.PICTURES}
    assert (settings.model, settings.generator) == ("pocket", "pocket")


def test_names_become_a_classifier_of_over_a_thousand_drawings(asked, tmp_path):
    settings, _ = module.demo(DemoSettings("transfer", tmp_path))
    assert settings.names == [str(settings.evaluate / "classes.json")]
    assert len(read_json(settings.evaluate / "classes.json")) > 60
    assert len(list(settings.evaluate.glob("*/*.png"))) > 1000
    assert (settings.model, settings.generator) == ("pocket", "pocket")


def test_the_student_of_the_demo_never_sees_one_style(asked, tmp_path):
    """The command itself plans it: what to ask about, and nothing of the held-out style."""
    settings, _ = module.demo(DemoSettings("distill", tmp_path))
    domains = scan_domains(settings.data)
    family = "pocket:domains/"
    styles = {name.removeprefix(family) for name in builtin.datasets() if family in name}
    assert set(domains.names) == styles and len(styles) == 6
    [trial] = plan_trials(settings, domains)
    assert domains.names[trial.held_out] == module.UNSEEN
    plan = distill(replace(settings, dry_run=True))
    counts = [len(domains.indices(number)) for number in range(6)]
    unseen = counts.pop(trial.held_out)
    kept = sum(int(0.2 * count) for count in counts)  # a fifth of each style is held back
    assert plan.images == settings.views * (sum(counts) - kept) + kept + unseen
    assert plan.texts == 60


@pytest.mark.parametrize(
    ("what", "printer"),
    [("transfer", "transfer"), ("distill", "distilled"), ("continual", "stream")],
)
def test_the_demo_ends_as_its_command_does(what, printer, monkeypatch):
    shown = []
    monkeypatch.setattr(cli_output, f"show_{printer}", lambda *given: shown.append(given))
    cli_output.show_demo(DemoSettings(what), ("settings", "result"))
    assert shown == [("settings", "result")]


def test_each_command_of_the_demo_is_the_ordinary_one():
    for what, place in (
        ("transfer", "transfer:transfer"),
        ("distill", "distill:distill"),
        ("continual", "continual_run:run_stream"),
    ):
        name, function = place.split(":")
        ordinary = importlib.import_module(f"holdfast.commands.{name}")
        assert module.ORDINARY[what] is getattr(ordinary, function)
