"""RegFT's regulariser against the sums written out."""

import torch
from tests.anchors.towers import numbers

from holdfast.anchors.base import Answers
from holdfast.anchors.variance_covariance import VarianceCovariance
from holdfast.data.batches import Batch

BATCH = Batch(torch.empty(5, 0), torch.arange(5), torch.arange(5))


def terms(z, *weights):
    return VarianceCovariance(*weights).feature_losses(
        Answers(z, torch.empty(5, 2), BATCH.labels), BATCH
    )


def test_the_losses_by_hand():
    z = (0.6 * numbers(5, 3, seed=1)).requires_grad_()
    centred = z - z.mean(dim=0)
    variance = covariance = 0.0
    for i in range(3):
        deviation = ((centred[:, i] ** 2).sum() / 4 + 1e-7).sqrt()
        variance += (1 - deviation).clamp(min=0) / 3
        for j in range(3):
            if i != j:
                covariance += ((centred[:, i] * centred[:, j]).sum() / 4) ** 2 / 6
    found = terms(z, 0.3, 0.05)
    assert list(found) == ["variance", "covariance"]
    torch.testing.assert_close(found["variance"], 0.3 * variance)
    torch.testing.assert_close(found["covariance"], 0.05 * covariance)


def test_spread_out_and_uncorrelated_features_cost_nothing():
    z = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0], [0.0, -2.0]], requires_grad=True)
    assert all(term == 0 for term in terms(z).values())


def test_shifting_all_features_changes_nothing():
    z = numbers(5, 3, seed=1).requires_grad_()
    shifted = terms(z + torch.tensor([1.0, -2.0, 3.0]))
    for name, term in terms(z).items():
        torch.testing.assert_close(shifted[name], term)


def test_features_that_do_not_learn_are_left_alone():
    assert terms(numbers(5, 3, seed=1)) == {}


def test_the_papers_weights_and_none():
    assert VarianceCovariance() == VarianceCovariance(0.16, 0.02)
    assert not VarianceCovariance(0, 0).active
    assert VarianceCovariance(0, 0.1).active and VarianceCovariance(0.1, 0).active
