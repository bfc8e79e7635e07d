import torch
from tests.averaging.walks import Losses, walk
from torch import nn

from holdfast.averaging import (
    PeriodicAverage,
    RunningAverage,
    ValidatedAverage,
)


def test_the_mean_every_so_many_steps_by_hand():
    module = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[-4.0, 100.0]]))
    mean = PeriodicAverage(module, every=3, steps=9)
    assert mean.result()["weight"].tolist() == [[-4, 100]]
    for step in range(9):
        with torch.no_grad():
            module.weight.copy_(torch.tensor([[step, step**2]]))
        mean.after_step(step, module)
    # Before the task, after steps 0, 3 and 6, and the last, 8.
    expected = [(-4 + 0 + 3 + 6 + 8) / 5, (100 + 0 + 9 + 36 + 64) / 5]
    torch.testing.assert_close(mean.result()["weight"], torch.tensor([expected]))
    assert not mean.finished
    assert mean.state()[1] == {"last": 8, "count": 5}


def test_a_resumed_mean_every_so_many_steps_goes_on():
    module = nn.Linear(2, 1, bias=False)
    whole, again = (PeriodicAverage(module, 2, 7) for _ in range(2))
    for step in range(7):
        with torch.no_grad():
            module.weight.copy_(torch.randn(1, 2, generator=torch.Generator().manual_seed(step)))
        whole.after_step(step, module)
        again.after_step(step, module)
        tensors, values = again.state()
        again = PeriodicAverage(nn.Linear(2, 1, bias=False), 2, 7)
        again.restore({name: t.clone() for name, t in tensors.items()}, values)
    assert torch.equal(again.result()["weight"], whole.result()["weight"])
    assert again.mean.first == whole.mean.first == -1


def test_another_average_is_validated_along_the_training_and_resumed():
    def tracker(found=0):
        mean = PeriodicAverage(nn.Linear(2, 1, bias=False), 3, 7)
        return ValidatedAverage(mean, Losses([1.0, 0.5, 0.1, 0.2], found), 4, 7)

    torch.manual_seed(0)
    whole = tracker()
    walk(whole, 7)
    torch.manual_seed(0)
    stopped = tracker()
    walk(stopped, 5)
    again = tracker(found=2)
    again.restore(*stopped.state())
    module = nn.Linear(2, 1, bias=False)
    for step in (5, 6):
        with torch.no_grad():
            module.weight.copy_(torch.tensor([[step, step**2]]))
        again.after_step(step, module)
    assert [v["step"] for v in again.validations] == [0, 4, 6]
    assert torch.equal(again.result()["weight"], whole.result()["weight"])
    assert torch.equal(whole.result()["weight"], whole.average.result()["weight"])
    assert not whole.finished
    about = whole.about()
    assert about == again.about()
    assert about["kept"] == whole.average.about()["kept"] | {"accuracy": 0.8, "loss": 0.2}
    assert about["kept"]["average"] == "iterates" and about["kept"]["last_step"] == 6
    whole.average.finished, whole.every = True, 99
    whole.after_step(7, module)
    assert whole.finished


def test_the_running_average_by_hand():
    running = RunningAverage(Losses([1.0, 1.0]), every=6, steps=7, start=4)
    walk(running, 7)
    expected = [[(4 + 5 + 6) / 3, (16 + 25 + 36) / 3]]
    torch.testing.assert_close(running.result()["weight"], torch.tensor(expected))
    assert running.kept() == {"average": "running", "first_step": 4, "last_step": 6}
    assert [v["loss"] for v in running.validations] == [1.0, 1.0]
    assert not running.finished


def test_a_training_that_ends_before_the_running_average_begins_has_its_last_weights():
    running = RunningAverage(Losses([1.0, 1.0]), every=6, steps=7)
    assert running.start == 100, "the paper's"
    walk(running, 7)
    assert running.result()["weight"].tolist() == [[6, 36]]
    assert running.kept() == {"average": "running", "first_step": 6, "last_step": 6}


def test_a_running_average_that_begins_late_begins_where_it_is():
    running = RunningAverage(Losses([1.0]), every=99, steps=99, start=3)
    module = nn.Linear(2, 1, bias=False)
    for step in (7, 8):
        nn.init.constant_(module.weight, step)
        running.after_step(step, module)
    assert running.result()["weight"].tolist() == [[7.5, 7.5]]
    assert running.kept() == {"average": "running", "first_step": 7, "last_step": 8}
