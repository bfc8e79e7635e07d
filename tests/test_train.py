import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from holdfast.errors import HoldfastError
from holdfast.settings import Optimisation
from holdfast.stages import Stage
from holdfast.train import fit, learning_rate

SETTINGS = Optimisation(learning_rate=0.1, warmup_steps=2, weight_decay=0.01)


class Steps:
    """Batches that depend on the step alone."""

    def __init__(self, count, scale=1.0):
        self.count, self.scale = count, scale

    def __len__(self):
        return self.count

    def __call__(self, start):
        for step in range(start, self.count):
            generator = torch.Generator().manual_seed(step)
            yield self.scale * torch.randn(8, 3, generator=generator)


def squares(module, batch):
    noise = torch.rand(())  # randomness inside a step must be resumed too
    yield {"square": module(batch).square().mean() + noise * module.weight.abs().sum()}


def model():
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def test_schedule_by_hand():
    s = replace(SETTINGS, learning_rate=1.0)
    rates = [learning_rate(step, 6, s) for step in range(6)]
    cosine = [0.5 * (1 + math.cos(math.pi * i / 4)) for i in range(4)]
    assert rates == pytest.approx([0.5, 1.0, *cosine])
    assert learning_rate(5, 6, replace(s, schedule="constant")) == 1.0


def test_a_warmup_as_long_as_the_run_does_not_divide_by_zero():
    assert learning_rate(1, 2, SETTINGS) == pytest.approx(0.1)
    assert math.isfinite(learning_rate(2, 2, SETTINGS))


def test_fit_equals_a_loop_written_out():
    ours, theirs = model(), model()
    fit(ours, Steps(4), lambda m, x: iter([{"l": m(x).square().mean()}]), SETTINGS)
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.1, weight_decay=0.01)
    for step, x in enumerate(Steps(4)(0)):
        optimizer.param_groups[0]["lr"] = learning_rate(step, 4, SETTINGS)
        optimizer.zero_grad()
        theirs(x).square().mean().backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        optimizer.step()
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


def test_losses_yielded_apart_add_up_and_gradients_can_be_read_in_between(tmp_path):
    seen = []

    def apart(module, batch):
        yield {"first": module(batch).square().mean()}
        seen.append(module.weight.grad.clone())
        yield {"second": module(batch).abs().mean()}
        seen.append(module.weight.grad.clone())

    def together(module, batch):
        z = module(batch)
        yield {"first": z.square().mean(), "second": z.abs().mean()}

    a, b = model(), model()
    stage = Stage(tmp_path, "train")
    fit(a, Steps(3), apart, SETTINGS, stage=stage)
    fit(b, Steps(3), together, SETTINGS)
    torch.testing.assert_close(a.state_dict(), b.state_dict())
    assert not torch.equal(seen[0], seen[1])
    records = stage.curve()
    assert set(records[0].losses) == {"first", "second"}
    assert [record.step for record in records] == [0, 1, 2]


def test_what_is_frozen_stays():
    module = model()
    module.bias.requires_grad_(False)
    before = module.state_dict()["bias"].clone()
    fit(module, Steps(2), squares, SETTINGS)
    assert torch.equal(module.bias, before)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["adamw", "adam"])
@pytest.mark.parametrize("after", [0, 3, 6])
def test_a_killed_run_ends_with_the_same_weights(tmp_path, after, optimizer):
    settings = replace(SETTINGS, optimizer=optimizer)
    whole, resumed = model(), model()
    fit(whole, Steps(7), squares, settings, seed=5)

    def kill(step, _):
        if step == after:
            raise KilledError

    def stage():
        return Stage(tmp_path, "train", minutes=0)

    with pytest.raises(KilledError):
        fit(resumed, Steps(7), squares, settings, seed=5, stage=stage(), after_step=kill)
    again = model()
    steps = []
    note = lambda step, _: steps.append(step)  # noqa: E731
    fit(again, Steps(7), squares, settings, seed=5, stage=stage(), after_step=note)
    assert steps == list(
        range(after, 7)
    )  # the step that was killed before its checkpoint is redone
    assert all(
        torch.equal(a, b) for a, b in zip(again.parameters(), whole.parameters(), strict=True)
    )


def test_a_gradient_that_is_not_finite_stops_before_the_weights_move():
    module = model()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    with pytest.raises(HoldfastError, match=r"step 0 .* not finite"):
        fit(module, Steps(3, scale=math.inf), squares, SETTINGS)
    assert all(torch.equal(module.state_dict()[k], v) for k, v in before.items())


@pytest.mark.parametrize("choice", ["keep", "learn"])
def test_statistics_of_batch_normalisation(choice):
    """Kept, they stay as they are, also where their layer learns and the rate is tiny."""
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2), nn.BatchNorm1d(2))
    module[3].requires_grad_(False)

    def objective(m, x):
        yield {"l": m(x).square().mean()}

    before = [norm.running_mean.clone() for norm in (module[1], module[3])]
    settings = replace(SETTINGS, learning_rate=1e-12, batch_statistics=choice)
    weight = module[1].weight.clone()
    fit(module, Steps(5), objective, settings)
    moved = [not torch.equal(b, n.running_mean) for b, n in zip(before, module[1::2], strict=True)]
    assert moved == [choice == "learn", False]  # of what does not learn nothing moves
    assert module[1].weight.requires_grad and not torch.equal(weight, torch.zeros(4))


def test_bf16_autocast_keeps_float32_weights():
    module = model()
    dtypes = []

    def objective(m, x):
        z = m(x)
        dtypes.append(z.dtype)
        yield {"l": z.float().square().mean()}

    fit(module, Steps(1), objective, replace(SETTINGS, precision="bf16"))
    assert dtypes == [torch.bfloat16]
    assert module.weight.dtype == torch.float32
