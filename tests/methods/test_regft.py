import torch
from tests.methods.small import small_batch, small_learner, terms_of

from holdfast.losses import covariance_loss, variance_loss
from holdfast.methods import Family, compose
from holdfast.methods.regft import RegFT


def test_the_regulariser_looks_at_embeddings_that_are_not_normalised():
    learner, batch = small_learner(), small_batch()
    method = {"name": "regft", "regulariser": {"variance": 0.3, "covariance": 0.05}}
    terms = terms_of(method, learner, batch)
    z = learner.visual(batch.images)
    assert list(terms) == ["cross_entropy", "variance", "covariance"]
    torch.testing.assert_close(terms["variance"], 0.3 * variance_loss(z))
    torch.testing.assert_close(terms["covariance"], 0.05 * covariance_loss(z))


def test_features_that_do_not_learn_have_no_regulariser():
    learner = small_learner()
    learner.visual.requires_grad_(False)
    assert list(terms_of("regft", learner, small_batch())) == ["cross_entropy"]


def test_the_papers_weights():
    regulariser, ensemble = compose(RegFT(), [], Family.TRANSFER).anchors
    assert (regulariser.variance, regulariser.covariance) == (0.16, 0.02)
    assert ensemble.alpha == 0.5
