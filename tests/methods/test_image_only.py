import torch
from tests.methods.small import small_batch, small_learner, terms_of
from torch.nn import functional as F


def test_the_objective_by_hand():
    learner, batch = small_learner(width=4), small_batch()
    terms = terms_of("image-only", learner, batch)
    z = F.normalize(learner.visual(batch.images), dim=-1)
    images = (z * F.normalize(batch.teacher_images, dim=-1)).sum(dim=-1).mean()
    torch.testing.assert_close(sum(terms.values()), -images)


def test_it_does_not_see_the_labels():
    learner, batch = small_learner(width=4), small_batch()
    before = sum(terms_of("image-only", learner, batch).values())
    batch.labels, batch.teacher_text = batch.labels.flip(0), batch.teacher_text.flip(0)
    assert torch.equal(sum(terms_of("image-only", learner, batch).values()), before)
