import math
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast.losses import (
    clip_logits,
    covariance_loss,
    cross_entropy,
    distillation_loss,
    feature_mse,
    kl_loss,
    multi_positive_targets,
    variance_loss,
)

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


def pair_of_logits(seed=0, rows=4, columns=6):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, rows, columns, generator=generator) * 5
    return student.requires_grad_(), teacher


def test_distillation_by_hand():
    # T = 2: the teacher says (1/2, 1/2), the student (3/4, 1/4) once its logits are halved.
    student = torch.tensor([[2 * math.log(3), 0.0]])
    teacher = torch.tensor([[7.0, 7.0]])
    expected = -4 * 0.5 * (math.log(3 / 4) + math.log(1 / 4))
    assert distillation_loss(student, teacher, 2.0).item() == pytest.approx(expected, rel=1e-6)


def test_both_divergences_by_hand():
    student = torch.tensor([[2 * math.log(3), 0.0]])
    teacher = torch.tensor([[7.0, 7.0]])
    forward = 4 * 0.5 * (math.log(0.5 / 0.75) + math.log(0.5 / 0.25))
    backward = 4 * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
    assert kl_loss(student, teacher, 2.0).item() == pytest.approx(forward, rel=1e-5)
    assert kl_loss(student, teacher, 2.0, reverse=True).item() == pytest.approx(backward, rel=1e-5)


def test_the_divergence_has_the_gradient_of_the_cross_entropy():
    student, teacher = pair_of_logits()
    (one,) = torch.autograd.grad(distillation_loss(student, teacher, 2.0), student)
    (other,) = torch.autograd.grad(kl_loss(student, teacher, 2.0), student)
    torch.testing.assert_close(one, other)
    entropy = distillation_loss(teacher, teacher, 2.0)
    torch.testing.assert_close(
        kl_loss(student, teacher, 2.0), distillation_loss(student, teacher, 2.0) - entropy
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_a_divergence_is_zero_for_equals_and_positive_for_others(reverse):
    student, teacher = pair_of_logits()
    assert abs(kl_loss(teacher, teacher, 2.0, reverse).item()) < 1e-6
    assert kl_loss(student, teacher, 2.0, reverse).item() > 0.1


@pytest.mark.parametrize("loss", [distillation_loss, kl_loss])
def test_distillation_is_invariant_to_the_order_of_candidates_and_to_a_shift(loss):
    student, teacher = pair_of_logits()
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    moved = loss(student[:, order] + 3.0, teacher[:, order] - 2.0, 2.0)
    torch.testing.assert_close(moved, loss(student, teacher, 2.0))


def test_the_distance_of_features_by_hand():
    z, target = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    assert feature_mse(z, target).item() == pytest.approx(5 / 2)


def test_equal_prompts_share_their_targets():
    targets = multi_positive_targets(torch.tensor([4, 2, 4]))
    assert targets.tolist() == [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]
    # With one image for each prompt they are the ordinary labels.
    assert torch.equal(multi_positive_targets(torch.tensor([3, 1, 2])), torch.eye(3))


def test_similarities_by_hand_and_in_full_precision():
    images, text = torch.tensor([[0.6, 0.8]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    with torch.autocast("cpu", torch.bfloat16):
        logits = clip_logits(images, text, torch.tensor(100.0))
    torch.testing.assert_close(logits, torch.tensor([[60.0, 80.0]]))
