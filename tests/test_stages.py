"""Trainings that resume: checkpoint, records, kept weights."""

import json
from itertools import pairwise

import pytest
import torch
from safetensors import safe_open
from torch import nn

from holdfast.data.batches import Batch
from holdfast.errors import HoldfastError
from holdfast.settings import Optimisation
from holdfast.stages import CURVE_POINTS, Stage, load_some, save_tensors
from holdfast.train import fit

OPTIMISATION = Optimisation(learning_rate=0.1, warmup_steps=0, schedule="constant")


class Model(nn.Module):
    """A weight that learns, one that does not, a buffer that is kept and one that is not."""

    def __init__(self):
        super().__init__()
        self.learns = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.stays = nn.Parameter(torch.tensor([3.0]), requires_grad=False)
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("mask", torch.ones(2), persistent=False)


class Steps:
    """So many batches of one number each, the step's own."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __call__(self, start):
        for step in range(start, self.count):
            label = torch.tensor([step])
            yield Batch(torch.tensor([[float(step)]]), label, label)


def objective(model, batch):
    model.count += 1
    yield {"loss": (model.learns * batch.images.sum()).square().sum()}


def trained(stage, steps=5, **more):
    model = Model()
    fit(model, Steps(steps), objective, OPTIMISATION, stage=stage, **more)
    return model


def test_what_is_kept_of_a_finished_training(tmp_path):
    stage = Stage(tmp_path / "run", "train")
    model = trained(stage)
    assert stage.finished and not stage.checkpoint.exists()
    with safe_open(stage.weights, "pt") as file:
        assert set(file.keys()) == {"learns", "count"}  # what stays comes from elsewhere
        assert json.loads(file.metadata()["about"]) == stage.about
    other = Model()
    with torch.no_grad():
        other.stays.fill_(7.0)
    again = Stage(tmp_path / "run", "train")
    fit(other, Steps(5), None, OPTIMISATION, stage=again)  # nothing is trained again
    assert torch.equal(other.learns, model.learns) and other.count == 5
    assert other.stays == 7.0
    assert again.seconds == stage.seconds > 0


class Killed(Exception):  # noqa: N818
    pass


def killed(stage, at, steps=5):
    def stop(step, module):
        if step == at:
            raise Killed

    with pytest.raises(Killed):
        trained(stage, steps, after_step=stop)


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path):
    whole = trained(Stage(tmp_path / "whole", "train"))
    killed(Stage(tmp_path / "run", "train", minutes=0), at=3)
    stage = Stage(tmp_path / "run", "train", minutes=0)
    model = trained(stage)
    assert torch.equal(model.learns, whole.learns) and model.count == 5
    assert [line.step for line in stage.curve()] == [0, 1, 2, 3, 4]


def test_records_are_written_with_the_checkpoint(tmp_path):
    """Not a synced line for each step; of a step that was repeated, the later line counts."""
    slow = Stage(tmp_path / "run", "train", minutes=60)
    killed(slow, at=3)
    assert not slow.records.exists() and not slow.checkpoint.exists()
    stage = Stage(tmp_path / "run", "train", minutes=60)
    trained(stage)
    lines = [json.loads(line) for line in stage.records.read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4]
    assert set(lines[0]) == {"step", "losses", "learning_rate", "gradient_norm"}
    first = lines[0] | {"losses": {"loss": 9.0}}
    with stage.records.open("a") as file:
        file.write(json.dumps(first) + "\n")
    assert [line.step for line in stage.curve()] == [0, 1, 2, 3, 4]
    assert stage.curve()[0].losses == {"loss": 9.0}


def test_a_long_training_has_a_short_curve(tmp_path):
    stage = Stage(tmp_path, "train")
    step = {"losses": {}, "learning_rate": 0.1, "gradient_norm": 1.0}
    stage.records.write_text(
        "".join(json.dumps({"step": n, **step}) + "\n" for n in range(10 * CURVE_POINTS + 7))
    )
    curve = [line.step for line in stage.curve()]
    assert len(curve) <= CURVE_POINTS and curve[-1] == 10 * CURVE_POINTS + 6
    assert {b - a for a, b in pairwise(curve)} == {11}


def test_seconds_add_up_over_starts(tmp_path):
    first = Stage(tmp_path, "train", minutes=0)
    killed(first, at=3)
    with safe_open(first.checkpoint, "pt") as file:
        about = json.loads(file.metadata()["about"])
    assert about["step"] == 3
    about["seconds"] = 100.0  # as if it had taken so long
    with safe_open(first.checkpoint, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    save_tensors(first.checkpoint, tensors, about)
    second = Stage(tmp_path, "train", minutes=0)
    trained(second)
    assert 100 < second.seconds < 160


def test_a_checkpoint_of_another_model_is_named(tmp_path):
    stage = Stage(tmp_path, "train", minutes=0)
    killed(stage, at=2)

    class Other(Model):
        def __init__(self):
            super().__init__()
            self.learns = nn.Parameter(torch.zeros(3))

    with pytest.raises(HoldfastError, match=r"train\.checkpoint\.safetensors does not fit"):
        fit(Other(), Steps(5), objective, OPTIMISATION, stage=Stage(tmp_path, "train"))
    stage.checkpoint.write_bytes(stage.checkpoint.read_bytes()[:50])
    with pytest.raises(HoldfastError, match="delete it to start over"):
        trained(Stage(tmp_path, "train"))


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(HoldfastError, match="it has no"):
        load_some(Model(), {"unknown": torch.zeros(1)})


def test_stages_are_removed(tmp_path):
    stage = Stage(tmp_path, "train", minutes=0)
    trained(stage)
    stage.checkpoint.write_bytes(b"left by a kill")
    stage.remove()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.jsonl"]
