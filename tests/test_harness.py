from dataclasses import replace

import pytest
import torch
from tests.worlds import domain_tree, small_settings, small_world
from torch import nn

from holdfast.averaging import BestTracker, RunningAverage, SWADTracker
from holdfast.harness import Fold, load, measured
from holdfast.models.classifier import head_of
from holdfast.models.student import Student
from holdfast.settings import AverageSettings


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return domain_tree(tmp_path_factory.mktemp("domains") / "data")


@pytest.fixture(scope="module")
def world(tree, tmp_path_factory):
    return small_world(tree, tmp_path_factory.mktemp("answers"))[0]


class Counting(nn.Module):
    """A backbone that counts the images it sees."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.images = backbone, 0

    def forward(self, images):
        self.images += len(images)
        return self.backbone(images)


def test_draws_come_from_the_training_part_of_the_sources_and_not_from_the_method(world, tmp_path):
    fold, other = (Fold(world, 0, (0, 2), tmp_path / name) for name in "ab")
    settings = world.settings.train
    training = {i for d in (0, 2) for i in world.domains.split(d, 0)[1]}
    drawn = [draw.indices for draw in fold.draws("distill", settings)()]
    assert set(torch.cat(drawn).tolist()) <= training
    assert all(len(indices) == 2 * settings.per_domain for indices in drawn)
    again = [draw.indices for draw in other.draws("distill", settings)()]
    assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))
    for changed in (Fold(world, 1, (0, 2), tmp_path), Fold(world, 0, (0, 1), tmp_path)):
        others = [draw.indices for draw in changed.draws("distill", settings)()]
        assert not all(torch.equal(a, b) for a, b in zip(drawn, others, strict=True))


def test_the_backbone_sees_each_stored_view_once_for_all_steps_and_folds(world, tmp_path):
    world.known.clear()
    backbone = Counting(world.tower(None, 0).visual.backbone)
    settings = replace(world.settings.align, steps=50)
    for sources in ((0, 1), (1, 2)):
        fold = Fold(world, 0, sources, tmp_path)
        assert len(list(fold.batches("align", settings, True, backbone)(0))) == 50
    assert backbone.images == 3 * 24 * world.settings.views  # 24 training images a domain
    world.known.clear()


def test_validation_is_on_the_held_out_images_of_the_sources_each_domain_alike(world, tmp_path):
    fold = Fold(world, 0, (0, 1), tmp_path)
    tower, student = fold.student(projected=True)
    head = head_of(world.text, world.logit_scale)
    found = fold.validator(lambda x: head(student(x)))()
    expected = []
    for domain in (0, 1):
        indices = world.domains.split(domain, 0)[0]
        images = torch.stack([tower.preprocess(world.views.whole(i).image()) for i in indices])
        with torch.no_grad():
            expected.append(measured(head(student(images)), world.labels[indices]))
    assert found.accuracy == pytest.approx(sum(e.accuracy for e in expected) / 2)
    assert found.loss == pytest.approx(sum(e.loss for e in expected) / 2, rel=1e-5)
    # On features that are computed once it finds the same, and computes them once.
    counting = Counting(student.backbone)
    validate = fold.validator(lambda x: head(student.projection(x)), counting)
    assert validate().loss == pytest.approx(found.loss, rel=1e-5)
    validate()
    assert counting.images == 2 * 6


def test_measured_by_hand():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    found = measured(logits, torch.tensor([0, 0, 0]))
    assert found.accuracy == pytest.approx(2 / 3)  # of equals the first
    expected = torch.tensor([2.0, 0.0, -1.0]).exp().log1p() - torch.tensor([2.0, 0.0, -1.0])
    assert found.loss == pytest.approx(expected.mean().item())


def test_what_is_kept_follows_the_settings(world, tmp_path):
    kinds = {"none": BestTracker, "running": RunningAverage, "valley": SWADTracker}
    for kind, expected in kinds.items():
        average = AverageSettings(kind=kind, converge=2, tolerance=4, ratio=0.5, start=7)
        fold = Fold(
            replace(world, settings=replace(world.settings, average=average)), 0, (0,), tmp_path
        )
        following = fold.following(lambda: None, world.settings.train)
        assert type(following) is expected
        assert (following.every, following.steps) == (2, 4)
        if kind == "valley":
            valley = following.swad
            assert (valley.converge, valley.tolerance, valley.ratio) == (2, 4, 0.5)
        if kind == "running":
            assert following.start == 7


def test_a_finished_stage_is_loaded_and_not_trained_again(world, tmp_path):
    fold = Fold(world, 0, (0, 1), tmp_path / "fold")

    def validate():
        return measured(torch.eye(2), torch.tensor([0, 1]))

    def train(**kept):
        for step in range(3):
            with torch.no_grad():
                module.projection.weight.add_(1)
            kept["callback"].after_step(step, module)

    module = Student(nn.Identity(), nn.Linear(2, 2, bias=False))
    fold.stage("align", module, replace(world.settings.align, steps=3), validate, train)
    trained = module.projection.weight.detach().clone()
    again = Student(nn.Identity(), nn.Linear(2, 2, bias=False))
    other = Fold(world, 0, (0, 1), tmp_path / "fold")
    other.stage("align", again, world.settings.align, validate, lambda **_: 1 / 0)
    assert torch.equal(again.projection.weight, trained)
    assert other.stages == fold.stages
    assert [v["step"] for v in fold.stages["align"]["validations"]] == [0, 2]


def test_weights_of_another_module_are_refused():
    with pytest.raises(ValueError, match="no parameters"):
        load(nn.Linear(2, 2), {"projection.weight": torch.zeros(2, 2)})


def test_settings_of_small_runs_are_valid(tree):
    assert small_settings(tree, views=3).views == 3
