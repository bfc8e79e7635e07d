import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from holdfast.errors import HoldfastError, UsageError
from holdfast.files import locked
from holdfast.runs import STARTED, Records, alone, check_inputs, open_run


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1


@dataclass(frozen=True)
class Settings:
    out: Path = Path("x")
    seed: int = 0
    inner: Inner = field(default_factory=Inner)


def test_a_run_folder_holds_what_reproduces_it(tmp_path):
    run = open_run(tmp_path / "run", Settings())
    assert json.loads((run / "settings.json").read_text()) == {
        "out": "x",
        "seed": 0,
        "inner": {"rate": 0.1},
    }
    versions = json.loads((run / "environment.json").read_text())["packages"]
    assert {"holdfast", "torch", "diffusers"} <= versions.keys()


def test_only_the_same_settings_open_it_again(tmp_path):
    run = open_run(tmp_path / "run", Settings())
    (run / ".weights.1.holdfast-tmp").write_text("left by a kill")
    open_run(run, Settings(seed=7))  # nothing was made yet, so nothing can be lost
    open_run(run, Settings())
    assert not list(run.glob(".*"))
    (run / "records.jsonl").write_text("")
    with pytest.raises(UsageError, match=r"inner.rate \(0.1 there, 0.2 now\); seed"):
        open_run(run, Settings(seed=1, inner=Inner(0.2)))
    open_run(run, Settings(seed=1), free=["seed"])
    assert json.loads((run / "settings.json").read_text())["seed"] == 1


def test_a_run_that_made_nothing_yet_takes_other_settings(tmp_path):
    run = open_run(tmp_path / "run", Settings())
    (run / "plan.json").write_text("{}")
    with pytest.raises(UsageError, match="holds a run with other settings"):
        open_run(run, Settings(seed=1))
    open_run(run, Settings(seed=1), started=STARTED | {"plan.json"})
    assert json.loads((run / "settings.json").read_text())["seed"] == 1


def test_other_places_are_left_alone(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        open_run(tmp_path / "file", Settings())
    with pytest.raises(UsageError, match="not empty"):
        open_run(tmp_path, Settings())
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_of_a_repeated_step_the_last_record_counts(tmp_path):
    records = Records(tmp_path / "records.jsonl")
    for step, value in ((0, 1.0), (1, 2.0), (2, 3.0), (1, 4.0)):
        records.add({"step": step, "value": value})
    assert [r["value"] for r in records.read()] == [1.0, 4.0, 3.0]


def test_other_inputs_are_refused(tmp_path):
    run = open_run(tmp_path / "run", Settings())
    check_inputs(run, {"class names": "a", "training images": "b"})
    check_inputs(run, {"class names": "a", "training images": "b"})
    with pytest.raises(UsageError, match="with other training images"):
        check_inputs(run, {"class names": "a", "training images": "c"})


def test_a_run_that_made_nothing_may_have_other_inputs(tmp_path):
    begun = STARTED | {"inputs.json"}
    run = open_run(tmp_path / "run", Settings(), (), begun)
    check_inputs(run, {"images": "a"})
    check_inputs(open_run(run, Settings(), (), begun), {"images": "b"})
    (run / "made").touch()
    with pytest.raises(UsageError, match="other images"):
        check_inputs(open_run(run, Settings(), (), begun), {"images": "c"})


@dataclass(frozen=True)
class Dry(Settings):
    dry_run: bool = True


def test_a_run_has_its_folder_for_itself_but_for_dry_runs(tmp_path):
    verb = alone(lambda settings: settings.seed)
    out = tmp_path / "run"
    assert verb(Settings(out, 3)) == 3
    with locked(out):
        with pytest.raises(HoldfastError, match=r"Another process is writing to .*run; wait"):
            verb(Settings(out, 3))
        assert verb(Dry(out, 4)) == 4
    assert not out.exists()
