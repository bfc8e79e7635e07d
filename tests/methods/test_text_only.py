from dataclasses import replace

import torch
from tests.methods.small import TEXT, small_batch, small_learner, terms_of
from torch.nn import functional as F

from holdfast.methods import Family, compose
from holdfast.methods.text_only import TextOnly


def test_the_objective_by_hand():
    learner, batch = small_learner(width=4), small_batch()
    terms = terms_of("text-only", learner, batch)
    z = F.normalize(learner.visual(batch.images), dim=-1)
    text = (z * TEXT[batch.labels]).sum(dim=-1).mean()
    torch.testing.assert_close(terms, {"text": -text})


def test_the_teacher_is_asked_about_no_image():
    assert not compose(TextOnly(), [], Family.DISTILL).needs
    learner, batch = small_learner(width=4), small_batch()
    unasked = replace(batch, teacher_images=None)
    assert torch.equal(
        terms_of("text-only", learner, unasked)["text"],
        terms_of("text-only", learner, batch)["text"],
    )
