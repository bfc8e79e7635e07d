import pytest
import torch
from tests.methods.small import TEXT, small_batch, small_learner, terms_of
from tests.worlds import changed, domain_tree, small_experiment, train, weights_of
from torch.nn import functional as F

from holdfast.methods import Family, Method, compose
from holdfast.methods.one_stage import OneStage
from holdfast.training_run import TrainingRun


def test_the_objective_is_that_of_vl2v():
    learner, batch = small_learner(width=4), small_batch()
    terms = terms_of({"name": "one-stage", "image_weight": 0.3}, learner, batch)
    z = F.normalize(learner.visual(batch.images), dim=-1)
    images = (z * F.normalize(batch.teacher_images, dim=-1)).sum(dim=-1).mean()
    text = (z * TEXT[batch.labels]).sum(dim=-1).mean()
    torch.testing.assert_close(terms, {"image": -0.3 * images, "text": -0.7 * text})


def test_each_image_weight_is_a_candidate():
    assert OneStage().image_weight == 0.5
    several = OneStage(image_weight=[0.1, 0.9])
    assert several.candidates() == [OneStage(image_weight=w) for w in (0.1, 0.9)]
    assert [a.image_weight for a in several.anchors(Family.DISTILL)] == [0.1]


@pytest.mark.parametrize("method", ["one-stage", "image-only", "text-only"])
def test_student_and_projection_learn_in_one_training_and_the_text_predicts(tmp_path, method):
    experiment, _ = small_experiment(domain_tree(tmp_path / "data"), tmp_path / "answers")
    chosen = compose(Method.from_value(method, "method"), [], Family.DISTILL)
    _, learner = TrainingRun(experiment, 0, (0, 1), tmp_path / "new").new_learner(chosen)
    start = weights_of(learner)
    training, classifier = train(experiment, tmp_path / "run", method)
    assert list(training.stages) == ["train"]
    moved = changed(start, {k: t for k, t in weights_of(classifier).items() if k in start})
    assert {name.split(".")[1] for name in moved} == {"backbone", "projection"}
    text = experiment.taught.text
    torch.testing.assert_close(classifier.head.weight, text * experiment.logit_scale)
