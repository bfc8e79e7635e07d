from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tests.methods.small import TEXT, small_batch, small_learner, terms_of
from tests.worlds import changed, domain_tree, small_experiment, train, weights_of
from torch.nn import functional as F

from holdfast.anchors.teacher_embeddings import TeacherEmbeddings
from holdfast.losses import cosine_loss
from holdfast.methods import Family, compose
from holdfast.methods.vl2v import VL2V
from holdfast.training_run import TrainingRun


def test_the_objective_by_hand():
    learner, batch = small_learner(width=4), small_batch()
    terms = terms_of({"name": "vl2v", "image_weight": 0.3}, learner, batch)
    z = F.normalize(learner.visual(batch.images), dim=-1)
    images = (z * F.normalize(batch.teacher_images, dim=-1)).sum(dim=-1).mean()
    text = (z * TEXT[batch.labels]).sum(dim=-1).mean()
    assert list(terms) == ["image", "text"]
    torch.testing.assert_close(terms["image"], -0.3 * images)
    torch.testing.assert_close(terms["text"], -0.7 * text)


def test_cosine_loss_ignores_lengths():
    batch = small_batch()
    a, b = batch.teacher_images, batch.teacher_text
    torch.testing.assert_close(cosine_loss(3 * a, 0.1 * b), cosine_loss(a, b))
    assert cosine_loss(a, a).item() == pytest.approx(-1.0)


def test_each_image_weight_is_a_candidate():
    assert VL2V().image_weight == 0.5, "the paper's"
    several = VL2V(image_weight=[0.1, 0.9])
    assert several.candidates() == [VL2V(image_weight=w) for w in (0.1, 0.9)]
    # Before one is selected, the anchors are those of the first.
    assert several.anchors(Family.DISTILL) == [TeacherEmbeddings(0.1)]
    assert VL2V(image_weight=0.9).anchors(Family.DISTILL) == [TeacherEmbeddings(0.9)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return domain_tree(tmp_path_factory.mktemp("domains") / "data")


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    return tmp_path_factory.mktemp("answers")


@pytest.mark.parametrize("views", [2, 0])
def test_align_then_distill_then_predict_with_the_text(tree, answers, tmp_path, views):
    experiment, _ = small_experiment(tree, answers, views=views)
    composition = compose(VL2V(), [], Family.DISTILL)
    _, learner = TrainingRun(experiment, 0, (0, 1), tmp_path).new_learner(composition)
    start = {f"visual.{k}": p for k, p in learner.visual.named_parameters()}
    training, classifier = train(experiment, tmp_path, "vl2v")
    aligned, distilled = (
        {k: t for k, t in load_file(tmp_path / f"{name}.safetensors").items() if k in start}
        for name in ("align", "distill")
    )
    assert set(aligned) == {"visual.projection.weight", "visual.projection.bias"}
    assert all(name.startswith("visual.backbone.") for name in distilled)
    after = weights_of(classifier)
    assert all(torch.equal(after[name], t) for name, t in (aligned | distilled).items())
    assert {k for k, p in start.items() if not torch.equal(p, after[k])} == set(aligned | distilled)
    # Predict: cosine similarities with the text, times the logit scale.
    text = experiment.taught.text
    torch.testing.assert_close(classifier.head.weight, text * experiment.logit_scale)
    assert not classifier.head.bias.any()
    losses = [v.loss for stage in training.stages.values() for v in stage.validations]
    assert min(losses[3:]) < losses[0]


def test_both_phases_lower_the_loss(tree, answers, tmp_path):
    stage = {"learning_rate": 1e-2, "steps": 20, "per_domain": 3, "validate_every": 20}
    average = {"kind": "running", "start": 99}
    experiment, _ = small_experiment(tree, answers, align=stage, train=stage, average=average)
    training, _ = train(experiment, tmp_path, "vl2v")
    for name in ("align", "distill"):
        first, last = training.stages[name].validations
        assert last.loss < first.loss, name


def test_aligning_on_features_equals_aligning_on_pixels(tree, answers, tmp_path, monkeypatch):
    """The features are those of the backbone, which does not learn in this phase."""
    experiment, _ = small_experiment(tree, answers)
    train(experiment, tmp_path / "features", "vl2v")
    original = TrainingRun.batches
    # Draws among the stored views, but pixels.
    experiment.settings = replace(experiment.settings, views=0)
    monkeypatch.setattr(
        TrainingRun, "batches", lambda self, *rest: with_views(self, 2, original, *rest)
    )
    train(experiment, tmp_path / "pixels", "vl2v")
    found = [load_file(tmp_path / kind / "align.safetensors") for kind in ("features", "pixels")]
    for name, tensor in found[0].items():
        torch.testing.assert_close(tensor, found[1][name], rtol=1e-3, atol=1e-5)


def with_views(training, count, batches, *arguments):
    """The batches of a training with so many stored views."""
    settings = training.settings
    training.settings = replace(settings, views=count)
    made = batches(training, *arguments)
    training.settings = settings
    return made


def test_self_distillation_trains_all_of_the_teachers_tower_and_needs_no_alignment(
    tree, answers, tmp_path
):
    experiment, _ = small_experiment(tree, answers, student="teacher")
    teacher = weights_of(experiment.tower(None, 0).visual)
    training, classifier = train(experiment, tmp_path, "vl2v")
    assert list(training.stages) == ["distill"]
    assert "head.proj.weight" in changed(teacher, weights_of(classifier.visual))
    assert not changed(teacher, weights_of(experiment.tower(None, 0).visual))  # a copy learns


def test_the_image_weight_decides_between_pictures_and_text(tree, answers, tmp_path):
    experiment, _ = small_experiment(tree, answers)
    found = []
    for weight in (0.0, 1.0):
        method = {"name": "vl2v", "image_weight": weight}
        _, classifier = train(experiment, tmp_path / f"{weight}", method)
        found.append(weights_of(classifier.visual))
    assert changed(*found)
