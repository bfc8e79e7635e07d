"""Trainings that resume: checkpoints, records, what is kept, and time."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress

import pytest
import torch
from torch import nn

from holdfast import stages, tensor_files
from holdfast.averaging import PeriodicAverage
from holdfast.errors import HoldfastError
from holdfast.json_lines import read_lines
from holdfast.results import ValidationPoint
from holdfast.settings import Optimisation
from holdfast.stages import CURVE_POINTS, Stage, thinned
from holdfast.train import fit

STEPS = 12
RATE = Optimisation(learning_rate=0.01, warmup_steps=2, batch_statistics="learn")


class Batches:
    """Noise that depends on the step alone."""

    def __len__(self):
        return STEPS

    def __call__(self, start):
        for step in range(start, STEPS):
            yield torch.randn(6, 4, generator=torch.Generator().manual_seed(step))


class Stopped(Exception):  # noqa: N818
    """As if the process had been killed."""


def small():
    """A model with buffers, with dropout, and with a layer that does not learn."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2), nn.Linear(2, 2)
    )
    model[4].requires_grad_(False)
    return model


def train(
    folder,
    stop_at=None,
    minutes=0.0,
    callback=None,
    model=None,
    signal_at=None,
    number=None,
    broken_at=None,
    what=None,
    batches=None,
    spoil=None,
):
    """(model, stage) after a training.

    stop_at: the step after which it is killed; signal_at: the one in which it gets a signal;
    broken_at: the one whose loss or gradient is not finite; spoil: changes the model after step 7.
    """
    model = model or small()
    stage = Stage(folder, "train", minutes)
    broken = torch.randn(6, 4, generator=torch.Generator().manual_seed(broken_at or 0))

    def objective(module, batch):
        terms = {"square": module(batch).square().mean(), "size": 0.01 * module[0].weight.norm()}
        if broken_at is not None and torch.equal(batch, broken):
            bad = {"loss": torch.tensor(torch.nan), "gradient": (0 * module[0].weight).sum().sqrt()}
            terms["bad"] = bad[what]
        yield terms

    def after_step(step, _):
        if step == stop_at:
            raise Stopped
        if step == signal_at:
            os.kill(os.getpid(), number)
        if step == 7 and spoil:
            spoil(model)

    with suppress(Stopped):
        fit(
            model,
            batches or Batches(),
            objective,
            RATE,
            seed=3,
            stage=stage,
            callback=callback and callback(model),
            after_step=after_step,
        )
    return model, stage


def average(model):
    return PeriodicAverage(model, 3, STEPS)


def assert_same(model, other):
    theirs = other.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("callback", [None, average], ids=["plain", "average"])
def test_a_training_that_was_stopped_ends_with_the_same_bits(callback, tmp_path):
    whole, kept = train(tmp_path / "whole", callback=callback)
    for stop_at in (0, 4, 10):
        folder = tmp_path / str(stop_at)
        _, stopped = train(folder, stop_at, callback=callback)
        assert not stopped.finished and stopped.checkpoint.exists() == (stop_at > 0)
        resumed, stage = train(folder, callback=callback)
        assert_same(resumed, whole)
        assert stage.weights.read_bytes()[200:] and not stage.checkpoint.exists()
        assert stage.curve() == kept.curve()


def test_stopped_again_and_again_it_still_does(tmp_path):
    whole, _ = train(tmp_path / "whole")
    for stop_at in (3, 4, 8):
        train(tmp_path / "often", stop_at)
    resumed, stage = train(tmp_path / "often")
    assert_same(resumed, whole)
    assert [point.step for point in stage.curve()] == list(range(STEPS))


def test_a_finished_training_is_loaded_and_not_repeated(tmp_path, monkeypatch):
    trained, stage = train(tmp_path)
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.iterdir()}
    monkeypatch.setattr(Batches, "__call__", None)
    loaded, again = train(tmp_path)
    assert_same(loaded, trained)
    assert not loaded.training and again.about == stage.about
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.iterdir()} == before


def test_only_what_learns_is_kept_and_its_buffers(tmp_path):
    _, stage = train(tmp_path)
    other = small()
    nn.init.constant_(other[4].weight, 7.0)  # not the training's to say
    assert stage.load_finished(other)
    assert (other[4].weight == 7).all()
    assert other[1].num_batches_tracked == STEPS


def test_records_are_written_with_the_checkpoint_and_not_at_every_step(tmp_path, monkeypatch):
    _, stage = train(tmp_path / "rarely", stop_at=9, minutes=60)
    assert not stage.records.exists() and not stage.checkpoint.exists()
    written = []
    append = stages.append_lines

    def counted(path, lines):
        written.append(len(lines))
        append(path, lines)

    monkeypatch.setattr(stages, "append_lines", counted)
    _, stage = train(tmp_path / "at the end", minutes=60)
    assert written == [STEPS] and len(read_lines(stage.records)) == STEPS
    written.clear()
    due = iter([False, False, True] * STEPS)
    monkeypatch.setattr(Stage, "is_due", lambda stage: next(due))
    train(tmp_path / "every third step")
    assert written == [3, 3, 3, 3, 0]


def test_a_checkpoint_never_lacks_the_records_before_it(tmp_path, monkeypatch):
    """Killed between records and checkpoint: steps are repeated, and none is lost."""
    train(tmp_path, stop_at=5)

    def killed(*_):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(tensor_files, "write_tensors", killed)
        train(tmp_path)
    assert [line["step"] for line in read_lines(tmp_path / "train.jsonl")] == [0, 1, 2, 3, 4, 5]
    _, stage = train(tmp_path)
    assert [point.step for point in stage.curve()] == list(range(STEPS))


def test_of_a_step_that_is_recorded_twice_the_later_line_counts(tmp_path):
    stage = Stage(tmp_path, "train")
    for step, loss in ((0, 1.0), (1, 2.0), (2, 3.0), (1, 4.0)):
        stage.record(
            {"step": step, "losses": {"a": loss}, "learning_rate": 1.0, "gradient_norm": 1.0}
        )
    stage.finish(small(), {})
    with stage.records.open("a") as file:
        file.write('[1]\n{"step": 2, "losses": {"a"')  # foreign, and cut short by a kill
    assert [point.losses["a"] for point in stage.curve()] == [1.0, 4.0, 3.0]


@pytest.mark.parametrize("at", ["run", "checkpoint"])
@pytest.mark.parametrize(("keep", "gone"), [(0, STEPS), (2, STEPS - 2), (None, 0)])
def test_records_that_are_gone_are_named(at, keep, gone, tmp_path, caplog):
    train(tmp_path, stop_at=STEPS - 1 if at == "checkpoint" else None)
    records = Stage(tmp_path, "train").records
    lines = records.read_text().splitlines(keepends=True)
    records.write_text("".join(lines[:keep]))
    _, stage = train(tmp_path)
    if at == "checkpoint" and gone:
        gone = len(lines) - keep  # later steps are done again
    assert len(stage.curve()) == STEPS - gone
    said = f"{records} is damaged: {gone} of {STEPS} steps are gone"
    assert (said in caplog.text) == bool(gone)


def test_a_long_curve_is_thinned_out_evenly_and_ends_with_the_last_step(tmp_path):
    stage = Stage(tmp_path, "train")
    for step in range(1000):
        stage.record({"step": step, "losses": {}, "learning_rate": 1.0, "gradient_norm": 1.0})
    stage.finish(small(), {})
    steps = [point.step for point in stage.curve()]
    assert steps == list(range(4, 1000, 5))
    assert Stage(tmp_path, "none").curve() == []


def test_seconds_add_up_over_the_starts(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def slowly(step, _):
        clock[0] += 10

    monkeypatch.setattr(Stage, "record", lambda stage, line: slowly(None, None))
    monkeypatch.setattr(Stage, "is_due", lambda stage: True)
    train(tmp_path, stop_at=4)
    clock[0] += 1000  # nothing ran
    _, stage = train(tmp_path)
    assert stage.seconds == stage.about["seconds"] == 10 * STEPS
    clock[0] += 1000
    assert Stage(tmp_path, "train").load_finished(small())
    new = Stage(tmp_path, "other")
    clock[0] += 500  # what comes before a training is none of it
    model = small()
    new.resume(model, torch.optim.Adam(model.parameters()))
    assert new.seconds == 0
    _, again = train(tmp_path)
    assert again.seconds == 10 * STEPS


def test_checkpoints_are_as_far_apart_as_asked_for(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    stage = Stage(tmp_path, "train", minutes=2)
    clock[0] = 119
    assert not stage.is_due()
    clock[0] = 121
    assert stage.is_due()
    model = small()
    optimizer = torch.optim.Adam(p for p in model.parameters() if p.requires_grad)
    stage.resume(model, optimizer)
    assert not stage.is_due()


@pytest.mark.parametrize("content", [b"", b"{", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_broken_checkpoint_has_another_before_it(content, tmp_path, caplog):
    whole, _ = train(tmp_path / "whole")
    _, stopped = train(tmp_path / "run", stop_at=5)
    stopped.checkpoint.write_bytes(content)
    model, stage = train(tmp_path / "run")
    assert_same(model, whole)
    assert (
        "train.checkpoint.safetensors" in caplog.text and "the checkpoint before it" in caplog.text
    )
    stage.weights.write_bytes(content)
    with pytest.raises(HoldfastError, match=r"train\.safetensors .*Delete it to train again"):
        train(tmp_path / "run")
    _, stopped = train(tmp_path / "both", stop_at=5)
    stopped.checkpoint.write_bytes(content)
    stopped.previous.write_bytes(content)
    with pytest.raises(HoldfastError, match=r"checkpoint-before.*Delete it to start over"):
        train(tmp_path / "both")


def test_one_flipped_bit_of_a_checkpoint_is_noticed(tmp_path, caplog):
    whole, _ = train(tmp_path / "whole")
    _, stopped = train(tmp_path / "run", stop_at=5)
    content = bytearray(stopped.checkpoint.read_bytes())
    content[-3] ^= 1
    stopped.checkpoint.write_bytes(bytes(content))
    model, _ = train(tmp_path / "run")
    assert_same(model, whole)
    assert "is damaged" in caplog.text


def test_a_save_that_fails_leaves_a_checkpoint(tmp_path, monkeypatch):
    _, stopped = train(tmp_path, stop_at=5)

    def full(*_):
        raise HoldfastError("Cannot write it: No space left on device.")

    with monkeypatch.context() as patch, pytest.raises(HoldfastError, match="No space left"):
        patch.setattr(tensor_files, "write_tensors", full)
        train(tmp_path)
    assert stopped.previous.exists() and stopped.checkpoint.exists()
    model, _ = train(tmp_path)
    assert_same(model, train(tmp_path / "whole")[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_ends_the_step_and_saves(tmp_path, number):
    whole, _ = train(tmp_path / "whole")
    kind = KeyboardInterrupt if number == signal.SIGINT else SystemExit
    with pytest.raises(kind):
        train(tmp_path / "run", signal_at=5, number=number, minutes=60)
    assert len(read_lines(tmp_path / "run" / "train.jsonl")) == 6  # no step is lost
    model, stage = train(tmp_path / "run", minutes=60)
    assert_same(model, whole)
    assert [point.step for point in stage.curve()] == list(range(STEPS))


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_value_that_is_not_finite_stops_it_with_the_weights_before(tmp_path, what):
    """A loss without a graph would move the optimiser; its gradient is finite."""
    with pytest.raises(HoldfastError, match=f"The {what} of step 5 "):
        train(tmp_path / "run", broken_at=5, what=what, minutes=60)
    model, _ = train(tmp_path / "run", minutes=60)
    assert_same(model, train(tmp_path / "whole")[0])


def test_weights_of_another_model_are_one_sentence(tmp_path):
    train(tmp_path / "a")
    with pytest.raises(HoldfastError, match="do not fit this model: it has no"):
        Stage(tmp_path / "a", "train").load_finished(nn.Linear(2, 2))
    train(tmp_path / "b", stop_at=4)
    model = nn.Linear(2, 2)
    with pytest.raises(HoldfastError, match="does not fit this model"):
        Stage(tmp_path / "b", "train").resume(model, torch.optim.Adam(model.parameters()))


def test_a_stage_can_be_removed_once_it_was_of_use(tmp_path):
    _, stage = train(tmp_path)
    stage.remove()
    stage.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["train.jsonl"]


class FailingBatches(Batches):
    """Noise whose step 5 cannot be loaded, because of `error`."""

    def __init__(self, error):
        self.error = error

    def __call__(self, start):
        for step, batch in enumerate(super().__call__(start), start):
            if step == 5:
                raise self.error
            yield batch


@pytest.mark.parametrize(
    "error", [HoldfastError("no answer"), KeyboardInterrupt(), RuntimeError("out of memory")]
)
def test_what_ends_a_step_loses_no_step_before(tmp_path, error):
    whole, _ = train(tmp_path / "whole", minutes=60)
    with pytest.raises(type(error)):
        train(tmp_path / "run", minutes=60, batches=FailingBatches(error))
    assert len(read_lines(tmp_path / "run" / "train.jsonl")) == 5
    train(tmp_path / "five", stop_at=5)
    name = "train.checkpoint.safetensors"
    found, about = tensor_files.read_tensors(tmp_path / "run" / name)
    five, _ = tensor_files.read_tensors(tmp_path / "five" / name)
    assert about["step"] == 5 and all(torch.equal(found[key], five[key]) for key in five)
    model, _ = train(tmp_path / "run", minutes=60)
    assert_same(model, whole)


def test_a_step_that_fails_at_once_writes_no_second_checkpoint(tmp_path):
    train(tmp_path, stop_at=4)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.safetensors")}
    for _ in range(3):
        with pytest.raises(HoldfastError, match="no answer"):
            train(tmp_path, minutes=60, batches=FailingBatches(HoldfastError("no answer")))
    after = {path.name: path.read_bytes() for path in tmp_path.glob("*.safetensors")}
    assert before.keys() == after.keys()
    assert after["train.checkpoint-before.safetensors"] == before["train.checkpoint.safetensors"]


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    train(tmp_path, stop_at=5)

    def spoil(module):
        with torch.no_grad():
            module[0].weight[0, 0] = torch.inf

    with pytest.raises(HoldfastError, match="weights of training are no longer finite"):
        train(tmp_path, spoil=spoil)
    for path in tmp_path.glob("*.safetensors"):
        tensors, _ = tensor_files.read_tensors(path)
        assert all(bool(t.isfinite().all()) for t in tensors.values())
    model, _ = train(tmp_path)
    assert_same(model, train(tmp_path / "whole")[0])


def test_a_stop_for_a_value_that_is_not_finite_is_noted_until_it_goes_on(tmp_path):
    with pytest.raises(HoldfastError):
        train(tmp_path, broken_at=5, what="loss", minutes=60)
    assert (tmp_path / "train.not-finite.json").exists()
    train(tmp_path, minutes=60)
    assert not (tmp_path / "train.not-finite.json").exists()


def test_too_little_room_is_said_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(HoldfastError, match=r"The training train needs 0.0 MB in .*are free"):
        train(tmp_path)
    assert not list(tmp_path.iterdir())


def test_checkpoints_that_are_gone_are_named(tmp_path, caplog):
    _, stage = train(tmp_path, stop_at=5)
    stage.checkpoint.unlink()
    stage.previous.unlink()
    model, _ = train(tmp_path)
    assert "The checkpoints of" in caplog.text and "train.jsonl are gone" in caplog.text
    assert_same(model, train(tmp_path / "whole")[0])


def test_a_new_checkpoint_is_on_disk_before_the_older_one_goes(tmp_path, monkeypatch):
    """At each moment of a save two files, or the newest of them, can be read."""
    _, stage = train(tmp_path, stop_at=5)
    seen = []
    real = os.fsync

    def look(handle):
        paths = [path for path in (stage.checkpoint, stage.previous) if path.exists()]
        seen.append([tensor_files.read_tensors(path)[1]["step"] for path in paths])
        real(handle)

    monkeypatch.setattr(os, "fsync", look)
    train(tmp_path, stop_at=6)
    assert seen[0] == [5, 4] and seen[-1] == [6, 5]
    assert all(5 in found for found in seen)


def test_checkpoints_take_at_most_a_hundredth_of_the_time(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(stages.time, "monotonic", lambda: clock[0])
    real = tensor_files.write_tensors

    def slow(*arguments):
        clock[0] += 9.0
        real(*arguments)

    monkeypatch.setattr(tensor_files, "write_tensors", slow)
    model = small()
    optimizer = torch.optim.Adam(p for p in model.parameters() if p.requires_grad)
    stage = Stage(tmp_path, "train", minutes=5)
    clock[0] = 301.0
    assert stage.is_due()
    stage.save(1, model, optimizer)  # it takes nine seconds
    for later, due in ((301.0, False), (899.0, False), (901.0, True)):
        clock[0] = 310.0 + later
        assert stage.is_due() is due
    often = Stage(tmp_path, "train", minutes=0)
    often.save(1, model, optimizer)
    clock[0] += 0.1
    assert often.is_due()


def test_a_long_training_has_a_bounded_curve_of_validations():
    points = [ValidationPoint(step=n, accuracy=0.5, loss=1.0) for n in range(1000)]
    some = thinned(points, 3)
    assert len(some) <= CURVE_POINTS + 1
    assert [p.step for p in some][-2:] == [994, 999] and 3 in [p.step for p in some]
    assert thinned(points[:240], None) == points[:240] and thinned([], None) == []
