import pytest
import torch
from torch import nn

from holdfast.losses import cosine_loss
from holdfast.methods.distill import Student, TaughtBatch, objective, train
from holdfast.settings import Optimisation

SETTINGS = Optimisation(
    optimizer="adam", learning_rate=0.01, weight_decay=0.0, warmup_steps=0, schedule="constant"
)


class OneBatch:
    def __init__(self, batch, steps):
        self.batch, self.steps = batch, steps

    def __len__(self):
        return self.steps

    def __call__(self, start):
        return iter([self.batch] * (self.steps - start))


@pytest.fixture
def student():
    torch.manual_seed(0)
    return Student(nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.GELU()), nn.Linear(6, 4))


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return TaughtBatch(torch.randn(5, 3, 2, 2), torch.randn(5, 4), torch.randn(5, 4))


def test_the_objective_by_hand(student, batch):
    (terms,) = objective(0.3)(student, batch)
    z = nn.functional.normalize(student(batch.images), dim=-1)
    images, text = (
        (z * nn.functional.normalize(t, dim=-1)).sum(dim=-1).mean()
        for t in (batch.teacher_images, batch.teacher_text)
    )
    torch.testing.assert_close(terms["image"], -0.3 * images)
    torch.testing.assert_close(terms["text"], -0.7 * text)


def test_cosine_loss_ignores_lengths(batch):
    a, b = batch.teacher_images, batch.teacher_text
    torch.testing.assert_close(cosine_loss(3 * a, 0.1 * b), cosine_loss(a, b))
    assert cosine_loss(a, a).item() == pytest.approx(-1.0)


@pytest.mark.parametrize("moving", ["projection", "backbone"])
def test_each_stage_moves_its_own_part_and_lowers_the_loss(student, batch, moving):
    before = {name: t.clone() for name, t in student.state_dict().items()}
    losses = []
    train(
        student,
        moving,
        OneBatch(batch, 30),
        0.5,
        SETTINGS,
        seed=0,
        record=lambda r: losses.append(sum(r["losses"].values())),
    )
    moved = {name for name, t in student.state_dict().items() if not torch.equal(t, before[name])}
    assert moved == {name for name in before if name.startswith(moving)}
    assert losses[-1] < losses[0] - 0.1
