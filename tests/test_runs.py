"""A run's folder: what it holds, who may write to it, and with which settings it goes on."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from holdfast import runs, seen
from holdfast.errors import HoldfastError, UsageError
from holdfast.files import LOCK, TEMPORARY, read_sealed, write_sealed
from holdfast.results import (
    AlphaResult,
    Costs,
    ImageCounts,
    ModelInfo,
    TransferResult,
    read_result,
)
from holdfast.runs import Run, command_line, made_nothing, peak_memory, result_header
from holdfast.seen import SEEN, Seen
from holdfast.settings import Optimisation
from holdfast.settings.base import Settings, setting


@dataclass(frozen=True)
class Inner(Settings):
    rate: float = setting(0.1, "How fast.")
    workers: int = setting(0, "Processes.", free=True)


@dataclass(frozen=True)
class Some(Settings):
    out: Path = setting(Path("x"), "The folder.", free=True)
    seed: int = setting(0, "Of chance.")
    names: list[str] = setting(factory=list, help="Several.")
    inner: Inner = field(default_factory=Inner, metadata={"help": "A group."})


def opened(folder, settings=None, **options):
    """Open a run and leave it again."""
    with Run.open(folder, settings or Some(), "some work", **options) as run:
        return run


def contents(folder):
    return {path.name for path in folder.iterdir()}


def test_a_folder_holds_what_reproduces_the_run(tmp_path):
    folder = tmp_path / "a" / "run"
    opened(folder)
    assert contents(folder) == {"settings.json", "environment.json", LOCK}
    assert Some.from_dict(json.loads((folder / "settings.json").read_text())) == Some()
    found = json.loads((folder / "environment.json").read_text())
    assert {"holdfast", "torch", "diffusers"} <= found["packages"].keys()
    assert found["python"].startswith("3.")


def test_the_environment_is_that_of_the_first_start(tmp_path):
    opened(tmp_path)
    (tmp_path / "made").touch()
    write_sealed(tmp_path / "environment.json", {"python": "1.0"})
    opened(tmp_path)
    assert read_sealed(tmp_path / "environment.json") == {"python": "1.0"}


def test_an_environment_that_is_gone_or_damaged_is_named(tmp_path, caplog):
    opened(tmp_path)
    (tmp_path / "made").touch()
    (tmp_path / "environment.json").write_text("{}")
    opened(tmp_path)
    assert "environment.json has no checksum" in caplog.text
    (tmp_path / "environment.json").unlink()
    opened(tmp_path)
    assert "environment.json was gone" in caplog.text
    assert read_sealed(tmp_path / "environment.json")["packages"]


def test_what_differs_is_named_and_the_folder_stays_as_it_was(tmp_path):
    opened(tmp_path)
    (tmp_path / "made").touch()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    other = Some(seed=1, names=["a"], inner=Inner(rate=0.2))
    with pytest.raises(
        UsageError,
        match=r"holds a run with other settings: inner.rate \(0.1 there, 0.2 now\); "
        r"names \(\[\] there, \['a'\] now\); seed \(0 there, 1 now\); give another --out",
    ):
        opened(tmp_path, other)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_many_differences_are_cut_short(tmp_path):
    opened(tmp_path)
    (tmp_path / "made").touch()
    settings = read_sealed(tmp_path / "settings.json")
    write_sealed(tmp_path / "settings.json", settings | dict.fromkeys("abcde", 1))
    with pytest.raises(UsageError, match=r"a \(1 there, None now\); .*d \(.* and more; give"):
        opened(tmp_path)


def test_free_fields_may_differ_and_are_written_anew(tmp_path):
    opened(tmp_path)
    (tmp_path / "made").touch()
    opened(tmp_path, Some(out="elsewhere", inner=Inner(workers=4)))
    assert json.loads((tmp_path / "settings.json").read_text())["inner"]["workers"] == 4
    opened(tmp_path, Some(seed=1), free=["seed"])
    opened(tmp_path, Some(seed=1, inner=Inner(rate=0.9)), free=["inner"])  # a whole group
    with pytest.raises(UsageError, match="seed"):
        opened(tmp_path, Some(seed=2))


def test_a_bound_field_may_not_differ_although_it_is_free(tmp_path):
    opened(tmp_path)
    (tmp_path / "made").touch()
    with pytest.raises(UsageError, match=r"inner\.workers"):
        opened(tmp_path, Some(inner=Inner(workers=4)), bound=["inner.workers"])


def test_settings_can_be_left_as_they_are_written(tmp_path):
    opened(tmp_path)
    (tmp_path / "made").touch()
    opened(tmp_path, Some(out="elsewhere"), keep_settings=True)
    assert json.loads((tmp_path / "settings.json").read_text())["out"] == "x"


def test_a_run_that_made_nothing_yet_takes_other_settings_and_inputs(tmp_path):
    with Run.open(tmp_path, Some(), "work") as run:
        run.check_inputs({"images": "a"})
    (tmp_path / f".weights.1{TEMPORARY}").write_text("left by a kill")
    with Run.open(tmp_path, Some(seed=1), "work") as run:
        run.check_inputs({"images": "b"})
    assert not (tmp_path / f".weights.1{TEMPORARY}").exists()
    (tmp_path / "plan.json").touch()
    opened(tmp_path, Some(seed=2), preliminary=["plan.json"])
    with pytest.raises(UsageError, match="other settings"):
        opened(tmp_path, Some(seed=3))


def test_a_run_remembers_the_files_it_was_made_from(tmp_path, monkeypatch):
    (tmp_path / "image").write_bytes(b"x")
    with Run.open(tmp_path / "run", Some(), "some") as run:
        digest = SEEN.digest(tmp_path / "image")
        run.check_inputs({"images": digest})
    again = Seen()
    monkeypatch.setattr(runs, "SEEN", again)
    monkeypatch.setattr(seen, "open_file", lambda _: pytest.fail("read again"))
    with Run.open(tmp_path / "run", Some(), "some"):
        assert again.digest(tmp_path / "image") == digest


def test_only_the_same_inputs_go_on(tmp_path):
    with Run.open(tmp_path, Some(), "work") as run:
        run.check_inputs({"class names": "a", "training images": "b"})
        run.check_inputs({"class names": "a", "training images": "b"})
        with pytest.raises(UsageError, match="with other training images; give another --out"):
            run.check_inputs({"class names": "a", "training images": "c"})
        with pytest.raises(UsageError, match="with other class names and training images"):
            run.check_inputs({"class names": "b", "training images": "c"})


def test_a_training_that_was_not_finite_may_go_on_with_a_lower_rate(tmp_path):
    @dataclass(frozen=True)
    class Other(Some):
        train: Optimisation = field(default_factory=Optimisation, metadata={"help": "A group."})

    def at(rate, **others):
        opened(tmp_path, Other(train=Optimisation(learning_rate=rate, **others)))

    at(0.5)
    (tmp_path / "made").touch()
    with pytest.raises(UsageError, match=r"train\.learning_rate"):
        at(0.1)
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "train.not-finite.json").touch()
    at(0.1, precision="fp32")
    with pytest.raises(UsageError, match=r"train\.weight_decay"):
        at(0.1, precision="fp32", weight_decay=0.7)
    (tmp_path / "part" / "train.not-finite.json").unlink()
    with pytest.raises(UsageError, match=r"train\.learning_rate"):
        at(0.5, precision="fp32")


@pytest.mark.parametrize("made", ["train.safetensors", "a/align.checkpoint.safetensors"])
def test_inputs_that_are_gone_or_damaged_are_named(tmp_path, made):
    with Run.open(tmp_path, Some(), "work") as run:
        run.check_inputs({"images": "a"})
    path = tmp_path / "inputs.json"
    whole = path.read_text()
    path.write_text(whole.replace('"a"', '"b"'))
    (tmp_path / made).parent.mkdir(exist_ok=True)
    (tmp_path / made).touch()
    with Run.open(tmp_path, Some(), "work") as run:
        with pytest.raises(HoldfastError, match=r"inputs\.json is damaged or was edited"):
            run.check_inputs({"images": "b"})
        path.unlink()
        with pytest.raises(HoldfastError, match=r"inputs\.json is gone"):
            run.check_inputs({"images": "a"})
    assert not path.exists()


def test_a_run_that_trained_nothing_yet_takes_its_inputs_anew(tmp_path):
    opened(tmp_path)
    (tmp_path / "generated").mkdir()  # killed before the inputs were known
    with Run.open(tmp_path, Some(), "work") as run:
        run.check_inputs({"images": "a"})
    assert (tmp_path / "inputs.json").exists()


def test_other_places_are_left_alone(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file; give another folder"):
        opened(tmp_path / "file")
    with pytest.raises(UsageError, match="not empty and holds no run"):
        opened(tmp_path)
    assert contents(tmp_path) == {"file"}


@pytest.mark.parametrize("text", ["[]", "3", "null"])
def test_a_file_of_settings_that_holds_none_is_one_sentence(text, tmp_path):
    opened(tmp_path)
    (tmp_path / "settings.json").write_text(text)
    (tmp_path / "made").touch()
    with pytest.raises(HoldfastError, match=r"settings.json has no checksum"):
        opened(tmp_path)
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(HoldfastError, match=r"settings.json cannot be read as JSON"):
        opened(tmp_path)


def test_what_a_kill_left_of_the_first_file_is_nothing(tmp_path):
    (tmp_path / f".settings.json.1{TEMPORARY}").write_text("{")
    assert made_nothing(tmp_path) and made_nothing(tmp_path / "none")
    opened(tmp_path)
    (tmp_path / "made").touch()
    assert not made_nothing(tmp_path)


OPEN = """
import sys
from pathlib import Path
from tests.test_runs import Some
from holdfast.runs import Run
with Run.open(Path(sys.argv[1]), Some(), "work"):
    print("open", flush=True)
    sys.stdin.read()
"""


def other_process(folder, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", OPEN, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def test_one_process_has_the_folder_wherever_temporary_files_lie(tmp_path):
    """A lock among the temporary files would not be seen by a process with other ones."""
    folder = tmp_path / "run"
    first = other_process(folder, TMPDIR=str(tmp_path))
    assert first.stdout.readline() == "open\n"
    with pytest.raises(HoldfastError, match=r"Another process is writing to .*run; wait"):
        opened(folder)
    first.kill()
    first.communicate()
    opened(folder)  # a killed process has no lock


def test_the_folder_is_free_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), Run.open(tmp_path, Some(), "work"):
        raise RuntimeError
    second = other_process(tmp_path)
    assert second.stdout.readline() == "open\n"
    second.communicate("")


def test_time_adds_up_over_the_parts_of_a_run(tmp_path):
    run = opened(tmp_path)
    for _ in range(2):
        with run.clock("drawing"):
            time.sleep(0.02)
    with pytest.raises(RuntimeError), run.clock("training"):
        raise RuntimeError
    assert 0.04 <= run.seconds["drawing"] < 5 and run.seconds["training"] < 1


def test_a_result_knows_the_command_that_makes_it_again(tmp_path):
    run = opened(tmp_path / "a run")
    found = run.header("A title")
    assert found["title"] == "A title" and found["settings"] == Some().to_json()
    words = ["holdfast", "some", "work", "--config", str(tmp_path / "a run" / "settings.json")]
    assert shlex.split(found["command"]) == words
    token = command_line.set(["some", "work", "--names", "it's"])
    try:
        assert shlex.split(run.header("")["command"]) == [
            *("holdfast", "some", "work", "--names", "it's")
        ]
    finally:
        command_line.reset(token)
    assert result_header("", Some(), ["x", "a b"])["command"] == "holdfast x 'a b'"


def test_a_finished_run_has_its_result_and_its_page(tmp_path):
    with Run.open(tmp_path, Some(), "transfer") as run:
        result = TransferResult(
            **run.header("A title of its own"),
            method="regft",
            classes=["a", "b"],
            model=ModelInfo(name="tiny", parameters=3),
            generator=None,
            images=ImageCounts(requested=None, generated=2, filtered=0, redrawn=0, unreadable=[]),
            samples={},
            training=[],
            alpha=AlphaResult(chosen=1.0, how="none", why="no ensemble", sweep=[]),
            costs=Costs(peak_memory_bytes=peak_memory()),
        )
        run.finish(result)
    assert read_result(tmp_path / "result.json") == result
    assert "A title of its own" in (tmp_path / "report.html").read_text()
    assert result.costs.peak_memory_bytes > 10**7
