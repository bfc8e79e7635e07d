from dataclasses import replace

import pytest
import torch
from tests.methods.small import SCALE, TEXT, small_batch, small_learner, terms_of
from torch import nn

from holdfast.learners import HeadLearner
from holdfast.methods.kd import KD
from holdfast.models.classifier import Head


def test_the_teachers_probabilities_by_hand():
    """KL(teacher || student): the sum over classes weighs by the teacher's probabilities."""
    learner, batch, temperature = small_learner(), small_batch(), 3.0
    method = {"name": "kd", "image_weight": 0.3, "temperature": temperature}
    terms = terms_of(method, learner, batch)
    p = (SCALE * batch.teacher_images @ TEXT.T / temperature).softmax(dim=-1)
    q = (learner(batch.images)[1] / temperature).softmax(dim=-1)
    divergence = (p * (p.log() - q.log())).sum(dim=-1).mean()
    torch.testing.assert_close(terms["distillation"], 0.3 * temperature**2 * divergence)
    labels = terms_of("erm", learner, batch)
    torch.testing.assert_close(terms["cross_entropy"], 0.7 * labels["cross_entropy"])


def test_the_labels_are_smoothed_as_asked():
    learner, batch = small_learner(), small_batch()
    answers = learner.answers(batch)
    terms = KD(image_weight=0.3).new_loss(learner, answers, batch, label_smoothing=0.2)
    log_p = answers.logits.log_softmax(dim=-1)
    asked = log_p.gather(1, batch.labels[:, None])[:, 0]
    smoothed = -(0.8 * asked + 0.2 * log_p.mean(dim=-1)).mean()
    torch.testing.assert_close(terms["cross_entropy"], 0.7 * smoothed)


def test_a_student_that_agrees_with_the_teacher_has_nothing_to_learn_from_it():
    head = Head(4, 3, normalise=False)
    with torch.no_grad():
        head.weight.copy_(SCALE * TEXT)
        head.bias.fill_(0.7)  # the same for all classes, so no difference
    agreeing, batch = HeadLearner(nn.Identity(), head, SCALE, TEXT), small_batch()
    method = {"name": "kd", "image_weight": 1.0, "temperature": 4.0}
    terms = terms_of(method, agreeing, replace(batch, images=batch.teacher_images))
    assert terms["distillation"].item() == pytest.approx(0, abs=1e-5)
    terms["distillation"].backward()
    assert head.weight.grad.abs().max() < 1e-5


def test_each_weight_is_a_candidate():
    assert KD().candidates() == [KD()]
    assert KD(image_weight=[0.1, 0.9]).candidates() == [KD(image_weight=w) for w in (0.1, 0.9)]
    assert KD().temperature == 2
