"""What `holdfast demo` asks of the verbs; the verbs themselves have tests of their own."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast import cli
from holdfast.data.domains import scan_domains
from holdfast.data.streams import read_stream
from holdfast.pocket.world import STYLES
from holdfast.settings import DemoSettings
from holdfast.verbs.distill.run import distill
from holdfast.verbs.distill.trials import plan_trials

demo = importlib.import_module("holdfast.verbs.demo")  # the package has a function of that name


def kept(settings):
    """Stands for a verb: the settings it would have got."""
    return {"settings": settings}


def test_the_folder_names_the_method(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "continual_run", kept)
    settings, found = demo.demo(DemoSettings("continual"))
    assert settings.out == Path("runs/demo-continual/run")
    assert found == {"settings": settings}
    settings, _ = demo.demo(DemoSettings("continual", tmp_path / "elsewhere", seed=7))
    assert (settings.out, settings.seed) == (tmp_path / "elsewhere" / "run", 7)


def test_the_stream_of_the_demo_is_all_of_pocket(monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "continual_run", kept)
    settings, _ = demo.demo(DemoSettings("continual", tmp_path))
    tasks = read_stream(settings.stream)
    assert [task.name for task in tasks] == ["letters", "textures", "digits", "shapes", "things"]
    assert {task.per_class for task in tasks} == {demo.PICTURES}
    assert (settings.model, settings.generator) == ("pocket", "pocket")


def test_the_student_of_the_demo_never_sees_one_style(monkeypatch, tmp_path):
    """The verb itself plans it: what there is to ask about, and nothing of the held-out style."""
    monkeypatch.setattr(demo, "THINGS", 5)
    monkeypatch.setattr(demo, "distill", kept)
    settings, _ = demo.demo(DemoSettings("distill", tmp_path))
    domains = scan_domains(settings.data)
    assert set(domains.names) == set(STYLES)
    assert [len(domains.indices(number)) for number in range(5)] == [120] * 5
    [trial] = plan_trials(settings, domains)
    assert domains.names[trial.held_out] == demo.UNSEEN
    plan = distill(replace(settings, dry_run=True))
    training = 4 * 96  # four styles without the fifth that is held back
    assert plan.images == settings.views * training + 4 * 24 + 120
    assert plan.texts == 24


@pytest.mark.parametrize(
    ("what", "printer"),
    [("transfer", "transfer"), ("distill", "distilled"), ("continual", "stream")],
)
def test_the_demo_ends_as_its_verb_does(what, printer, monkeypatch):
    shown = []
    monkeypatch.setattr(cli, f"show_{printer}", lambda *given: shown.append(given))
    cli.show_demo(DemoSettings(what), "settings", "result")
    assert shown == [("settings", "result")]
