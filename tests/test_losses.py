from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast.losses import covariance_loss, cross_entropy, variance_loss

RECORDED = Path(__file__).parent / "reference" / "data" / "names.npz"


def test_variance_by_hand():
    # Standard deviations (n - 1): sqrt(0.5) and sqrt(8); only the first is below one.
    z = torch.tensor([[0.0, 0.0], [1.0, 4.0]])
    assert variance_loss(z).item() == pytest.approx((1 - 0.5**0.5) / 2, abs=1e-6)


def test_covariance_by_hand():
    # Cov(x, y) = ((-1)(-2) + (1)(2)) / 1 = 4, squared, twice off the diagonal of two entries.
    z = torch.tensor([[0.0, 0.0], [2.0, 4.0]])
    assert covariance_loss(z).item() == pytest.approx(16.0)


@pytest.mark.parametrize("case", range(4))
def test_equal_to_the_papers_code(case):
    with np.load(RECORDED) as record:
        z = torch.from_numpy(record[f"vc{case}/z"]).requires_grad_()
        variance, covariance = variance_loss(z), covariance_loss(z)
        total = 0.16 * variance + 0.02 * covariance
        total.backward()
        assert variance.item() == pytest.approx(record[f"vc{case}/variance"], rel=1e-5)
        assert covariance.item() == pytest.approx(record[f"vc{case}/covariance"], rel=1e-5)
        assert total.item() == pytest.approx(record[f"vc{case}/total_016_002"], rel=1e-5)
        torch.testing.assert_close(
            z.grad, torch.from_numpy(record[f"vc{case}/grad"]), rtol=1e-4, atol=1e-8
        )


@pytest.mark.parametrize("loss", [variance_loss, covariance_loss])
def test_invariant_to_order_and_shift(loss):
    z = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    moved = z[torch.randperm(9)][:, torch.randperm(5)] + 3.0
    torch.testing.assert_close(loss(moved), loss(z))


@pytest.mark.parametrize("loss", [variance_loss, covariance_loss])
def test_a_batch_of_one_is_zero_with_a_gradient(loss):
    z = torch.randn(1, 6, requires_grad=True)
    loss(z).backward()
    assert loss(z).item() == 0
    assert torch.equal(z.grad, torch.zeros_like(z))


@pytest.mark.parametrize("loss", [variance_loss, covariance_loss])
def test_autocast_does_not_lower_the_precision(loss):
    z = torch.randn(64, 32, generator=torch.Generator().manual_seed(0)) * 0.1
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(z), loss(z.clone()))
        inside = loss(z)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, loss(z))


def test_label_smoothing_by_hand():
    logits = torch.tensor([[2.0, 0.0]])
    log_p = logits.log_softmax(dim=-1)[0]
    expected = -(0.9 * log_p[0] + 0.1 * log_p[1])
    assert cross_entropy(logits, torch.tensor([0]), 0.2).item() == pytest.approx(expected.item())
