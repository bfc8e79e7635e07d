from dataclasses import replace

import pytest
import torch
from tests.worlds import domain_tree, small_world
from torch import nn
from torch.nn import functional as F

from holdfast.data.batches import Batch
from holdfast.harness import Fold
from holdfast.losses import covariance_loss, variance_loss
from holdfast.methods import baselines
from holdfast.methods.baselines import BASELINES, Learner, probabilities, regularised, supervised
from holdfast.models.classifier import Head
from holdfast.settings import BaselineSettings


@pytest.fixture
def learner():
    torch.manual_seed(0)
    return Learner(nn.Sequential(nn.Flatten(), nn.Linear(12, 6)), Head(6, 3, normalise=False))


@pytest.fixture
def batch():
    torch.manual_seed(1)
    answers = F.normalize(torch.randn(5, 4), dim=-1)
    images, text = torch.randn(5, 3, 2, 2), torch.randn(5, 4)
    return Batch(images, torch.arange(5) % 3, torch.arange(5), answers, text)


TEXT = F.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(2)), dim=-1)
SCALE = torch.tensor(10.0)


def test_labels_by_hand(learner, batch):
    (terms,) = supervised(learner, batch)
    logits = learner.head(learner.student(batch.images))
    expected = -logits.log_softmax(dim=-1)[torch.arange(5), batch.labels].mean()
    torch.testing.assert_close(terms["cross_entropy"], expected)


def test_the_teachers_probabilities_by_hand(learner, batch):
    """KL(teacher || student): the sum over classes weighs by the teacher's probabilities."""
    weight, temperature = 0.3, 2.0
    (terms,) = probabilities(weight, temperature, TEXT, SCALE)(learner, batch)
    p = (SCALE * batch.teacher_images @ TEXT.T / temperature).softmax(dim=-1)
    q = (learner(batch.images)[1] / temperature).softmax(dim=-1)
    divergence = (p * (p.log() - q.log())).sum(dim=-1).mean()
    torch.testing.assert_close(terms["distillation"], weight * temperature**2 * divergence)
    (labels,) = supervised(learner, batch)
    torch.testing.assert_close(terms["cross_entropy"], 0.7 * labels["cross_entropy"])


def test_a_student_that_agrees_with_the_teacher_has_nothing_to_learn_from_it(batch):
    agreeing = Learner(nn.Identity(), Head(4, 3, normalise=False))
    with torch.no_grad():
        agreeing.head.weight.copy_(SCALE * TEXT)
        agreeing.head.bias.fill_(0.7)  # the same for all classes, so no difference
    same = replace(batch, images=batch.teacher_images)
    (terms,) = probabilities(1.0, 4.0, TEXT, SCALE)(agreeing, same)
    assert terms["distillation"].item() == pytest.approx(0, abs=1e-5)
    terms["distillation"].backward()
    assert agreeing.head.weight.grad.abs().max() < 1e-5


def test_the_regulariser_looks_at_embeddings_that_are_not_normalised(learner, batch):
    (terms,) = regularised(0.16, 0.02)(learner, batch)
    z = learner.student(batch.images)
    torch.testing.assert_close(terms["variance"], 0.16 * variance_loss(z))
    torch.testing.assert_close(terms["covariance"], 0.02 * covariance_loss(z))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return domain_tree(tmp_path_factory.mktemp("domains") / "data")


@pytest.fixture
def fold(tree, tmp_path, request):
    changes = getattr(request, "param", {})
    return Fold(small_world(tree, tmp_path / "answers", **changes)[0], 0, (0, 1), tmp_path / "fold")


def weights(module):
    return {name: t.clone() for name, t in module.state_dict().items()}


def moved(before, after):
    return {name for name, t in after.items() if not torch.equal(t, before[name])}


TEACHER = {"student": "teacher"}


@pytest.mark.parametrize(
    ("name", "fold", "stages"),
    [
        ("erm", {}, ["train"]),
        ("lp-ft", {}, ["probe", "train"]),
        ("lp-ft", {"views": 0}, ["probe", "train"]),
        ("logits", {}, ["train"]),
        ("text-head", {}, ["train"]),
        ("erm", TEACHER, ["train"]),
        ("lp-ft", TEACHER, ["probe", "train"]),
        ("wise-ft", TEACHER, ["train"]),
        ("regularised", TEACHER, ["train"]),
    ],
    indirect=["fold"],
)
def test_every_baseline_trains_student_and_head_and_is_a_function_of_the_seed(
    name, fold, stages, tmp_path
):
    projected = name in ("text-head", "wise-ft", "regularised")
    before = weights(fold.student(projected)[1])
    classifier = BASELINES[name](fold, 0.5)
    assert list(fold.stages) == stages
    student = classifier.visual
    if fold.settings.student == "teacher":
        before = {name.removeprefix("backbone."): t for name, t in before.items()}
    learnt = {name for name, p in student.named_parameters() if name != "logit_scale"}
    assert len(moved(before, weights(student))) > 0.9 * len(learnt)
    assert classifier.head.normalise == projected
    # New pixels, the same numbers.
    fold.world.known.clear()
    again = BASELINES[name](Fold(fold.world, 0, (0, 1), tmp_path / "again"), 0.5)
    assert not moved(weights(classifier), weights(again))


def test_only_the_teachers_probabilities_cost_queries(tree, tmp_path):
    world, _ = small_world(tree, tmp_path / "answers")
    asked = []
    answers, world.ask = world.ask, lambda views: asked.append(len(views)) or answers(views)
    for name in ("erm", "lp-ft", "text-head"):
        BASELINES[name](Fold(world, 0, (0, 1), tmp_path / name), 0.5)
    assert not asked
    BASELINES["logits"](Fold(world, 0, (0, 1), tmp_path / "logits"), 0.5)
    assert asked == [6] * 4


def test_the_probe_trains_the_head_alone(fold, monkeypatch):
    start = weights(fold.student(projected=False)[1])
    kept = {}
    monkeypatch.setattr(baselines, "learn", lambda _, learner, __: kept.update(weights(learner)))
    classifier = BASELINES["lp-ft"](fold, 0.5)
    assert not moved(start, {k: kept[f"student.{k}"] for k in start})
    before_training = baselines.new_head(fold, fold.student(projected=False)[1])
    assert not torch.equal(before_training.weight, classifier.head.weight)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_wise_ft_lies_between_the_teacher_and_what_was_tuned(tree, tmp_path, alpha):
    changes = {**TEACHER, "baseline": BaselineSettings(alpha=alpha)}
    world, _ = small_world(tree, tmp_path / "answers", **changes)
    fold = Fold(world, 0, (0, 1), tmp_path / "fold")
    teacher = weights(world.tower(None, 0).visual)
    found = weights(BASELINES["wise-ft"](fold, 0.5).visual)
    # The same training without the average, which is taken from the fold's folder.
    tuned = weights(BASELINES["text-head"](fold, 0.5).visual)
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, torch.lerp(teacher[name], tuned[name], alpha))
    assert bool(moved(teacher, found)) == (alpha > 0)


def test_the_text_head_starts_as_the_text_embeddings_and_learns(fold):
    classifier = BASELINES["text-head"](fold, 0.5)
    start = fold.world.text * fold.world.logit_scale
    assert not torch.equal(classifier.head.weight, start)
    torch.testing.assert_close(classifier.head.weight, start, atol=0.05, rtol=0)
