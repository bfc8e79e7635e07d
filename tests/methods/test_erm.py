import pytest
import torch
from tests.methods.small import small_batch, small_learner, terms_of

from holdfast.errors import UsageError


def test_the_labels_by_hand():
    learner, batch = small_learner(), small_batch()
    terms = terms_of("erm", learner, batch)
    logits = learner.head(learner.visual(batch.images))
    expected = -logits.log_softmax(dim=-1)[torch.arange(5), batch.labels].mean()
    assert list(terms) == ["cross_entropy"]
    torch.testing.assert_close(terms["cross_entropy"], expected)


def test_it_is_for_distillation_only():
    with pytest.raises(UsageError, match="'erm' is not for transfer"):
        terms_of("erm", small_learner(), small_batch(), family="transfer")
