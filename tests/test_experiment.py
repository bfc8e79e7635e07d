import pytest
import torch
from tests.worlds import domain_tree, small_experiment
from torch import nn

from holdfast import experiment as module
from holdfast.experiment import measured
from holdfast.learners import HeadLearner
from holdfast.methods import Family, Method, compose
from holdfast.models.classifier import head_of
from holdfast.models.student import Student
from holdfast.training_run import TrainingRun


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return domain_tree(tmp_path_factory.mktemp("domains") / "data")


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """A store, filled when it is first used."""
    return tmp_path_factory.mktemp("answers")


@pytest.fixture
def experiment(tree, answers, request):
    """Fresh caches; a parameter changes the settings."""
    return small_experiment(tree, answers, **getattr(request, "param", {}))[0]


class Counting(nn.Module):
    """A backbone that counts the images it sees."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.images = backbone, 0

    def forward(self, images):
        self.images += len(images)
        return self.backbone(images)


def test_validation_is_on_the_held_out_images_of_the_sources_each_domain_alike(
    experiment, tmp_path
):
    composition = compose(Method.from_value("vl2v", "method"), (), Family.DISTILL)
    tower, learner = TrainingRun(experiment, 0, (0, 1), tmp_path).new_learner(composition)
    found = experiment.validator(0, (0, 1), learner)()
    expected = []
    for domain in (0, 1):
        indices = experiment.domains.split(domain, 0)[0]
        seen = [experiment.taught.views.whole(i).image() for i in indices]
        with torch.no_grad():
            logits = learner(torch.stack([tower.preprocess(image) for image in seen]))[1]
        expected.append(measured(logits, experiment.taught.labels[indices]))
    assert found.accuracy == pytest.approx(sum(e.accuracy for e in expected) / 2)
    assert found.loss == pytest.approx(sum(e.loss for e in expected) / 2, rel=1e-5)
    # On features that are computed once it finds the same, and computes them once.
    counting = Counting(learner.visual.backbone)
    rest = Student(nn.Identity(), learner.visual.projection)
    head = head_of(experiment.taught.text, experiment.logit_scale)
    validate = experiment.validator(0, (0, 1), HeadLearner(rest, head, 1.0), counting)
    assert validate().loss == pytest.approx(found.loss, rel=1e-5)
    validate()
    assert counting.images == 2 * 6


def test_validation_images_that_do_not_fit_into_memory_are_rendered_again(experiment, monkeypatch):
    kept = experiment.validation_images(0, 0)
    assert kept is experiment.validation_images(0, 0)
    experiment.validation.clear()
    monkeypatch.setattr(module, "CACHE_BYTES", 100)
    images = [b.images for _ in range(2) for b in experiment.validation_images(0, 0)]
    assert len(images) == 2 and torch.equal(images[0], images[1])
    assert torch.equal(images[0], kept[0].images)
    assert not experiment.validation


def test_measured_by_hand():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    found = measured(logits, torch.tensor([0, 0, 0]))
    assert found.accuracy == pytest.approx(2 / 3)  # of equals the first
    expected = torch.tensor([2.0, 0.0, -1.0]).exp().log1p() - torch.tensor([2.0, 0.0, -1.0])
    assert found.loss == pytest.approx(expected.mean().item())
