import math
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast.losses import (
    clip_logits,
    cosine_loss,
    covariance_loss,
    cross_entropy,
    distillation_loss,
    feature_mse,
    full_precision,
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


def test_the_variance_is_of_each_feature_with_an_epsilon():
    # Standard deviations 0 and sqrt(2); the epsilon alone is under the first root.
    z = torch.tensor([[3.0, 1.0], [3.0, -1.0]])
    assert variance_loss(z, epsilon=0.25).item() == pytest.approx((1 - 0.5) / 2)
    # 1e-7 unless another is given: its root is 3.16e-4.
    assert variance_loss(z[:, :1]).item() == pytest.approx(1 - 1e-7**0.5, abs=1e-7)
    # Two samples are enough: sqrt(0.5).
    assert variance_loss(torch.tensor([[0.0], [1.0]])).item() == pytest.approx(1 - 0.5**0.5)


def test_the_covariance_is_a_mean_over_pairs_of_features():
    # Centred columns (-1, 0, 1), (-1, 0, 1), (2, 0, -2); covariances 1, -2, -2 (n - 1 = 2).
    z = torch.tensor([[0.0, 0.0, 5.0], [1.0, 1.0, 3.0], [2.0, 2.0, 1.0]])
    assert covariance_loss(z).item() == pytest.approx(2 * (1 + 4 + 4) / 6)


@pytest.mark.parametrize("shape", [(1, 4), (4, 1)])
def test_a_sample_or_a_feature_alone_has_no_covariance(shape):
    z = torch.ones(shape, requires_grad=True)
    loss = covariance_loss(z)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(z.grad, torch.zeros(shape))


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


def embeddings(count=2, rows=6, columns=5):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, rows, columns, generator=generator) / 3


LABELS = torch.tensor([0, 4, 2, 2, 1, 3])
SHARES = torch.tensor([[0.5, 0.0, 0.25, 0.0, 0.25]]).repeat(6, 1)
CALLS = {
    "cross_entropy": lambda a, b: cross_entropy(a, LABELS),
    "cross_entropy with shares": lambda a, b: cross_entropy(a, labels=SHARES.to(b.dtype)),
    "variance": lambda a, b: variance_loss(a),
    "covariance": lambda a, b: covariance_loss(z=a),
    "cosine": lambda a, b: cosine_loss(a, target=b),
    "clip_logits": lambda a, b: clip_logits(a, b, logit_scale=torch.tensor(99.5).to(a.dtype)),
    "distillation": lambda a, b: distillation_loss(a, teacher=b, temperature=2.0),
    "kl": lambda a, b: kl_loss(a, b, 2.0),
    "feature_mse": lambda a, b: feature_mse(a, b),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_half_precision_is_promoted_and_autocast_is_off(call):
    """Not a digit is lost to the precision of the forward pass, only what it rounded itself."""
    a, b = embeddings().bfloat16()
    plain = call(a.float(), b.float())
    assert plain.dtype == torch.float32
    for kind in (torch.bfloat16, torch.float32):
        with torch.autocast("cpu", torch.bfloat16):
            inside = call(a.to(kind), b.to(kind))
        assert inside.dtype == torch.float32
        torch.testing.assert_close(inside, plain, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(call(a.to(kind), b.to(kind)), plain, rtol=1e-6, atol=1e-7)


def test_full_precision_hands_on_what_is_no_floating_point_tensor():
    seen = []

    @full_precision
    def look(*args, **kwargs):
        """Its own words."""
        seen.append((args, kwargs))
        return args[0] @ kwargs["z"]

    half, index = torch.ones(2, 2).half(), torch.tensor([1])
    with torch.autocast("cpu", torch.bfloat16):
        product = look(half, index, 0.1, z=half, flag=True)
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16, "on again after it"
    assert product.dtype == torch.float32
    ((z, kept, number), named), *_ = seen
    assert z.dtype == named["z"].dtype == torch.float32
    assert kept is index and number == 0.1 and named["flag"] is True
    assert (look.__name__, look.__doc__) == ("look", "Its own words.")


def test_the_gradient_passes_the_promotion():
    z = embeddings()[0].bfloat16().requires_grad_()
    variance_loss(z).backward()
    assert z.grad.dtype == torch.bfloat16 and z.grad.abs().sum() > 0


def test_cross_entropy_by_hand():
    # Probabilities (3/4, 1/4) and (1/2, 1/2).
    logits = torch.tensor([[math.log(3), 0.0], [5.0, 5.0]])
    expected = -(math.log(1 / 4) + math.log(1 / 2)) / 2
    assert cross_entropy(logits, torch.tensor([1, 0])).item() == pytest.approx(expected)
    shared = -(0.5 * math.log(3 / 4) + 0.5 * math.log(1 / 4) + math.log(1 / 2)) / 2
    targets = torch.tensor([[0.5, 0.5], [0.2, 0.8]])
    assert cross_entropy(logits, targets).item() == pytest.approx(shared)


def test_the_cosine_by_hand():
    # Cosines 1, 0 and -0.6, whatever the lengths.
    z = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 4.0]])
    target = torch.tensor([[5.0, 0.0], [7.0, 0.0], [-1.0, 0.0]])
    assert cosine_loss(z, target).item() == pytest.approx(-(1 + 0 - 0.6) / 3)
    assert cosine_loss(10 * z, target).item() == pytest.approx(cosine_loss(z, target).item())


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


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_temperature_by_hand(temperature):
    """Softened, both say what they say at T = 2; the loss goes with the square of T."""
    student = torch.tensor([[temperature * math.log(3), 0.0]])
    teacher = torch.tensor([[7.0, 7.0]])
    cross = -0.5 * (math.log(3 / 4) + math.log(1 / 4)) * temperature**2
    entropy = math.log(2) * temperature**2
    found = distillation_loss(student, teacher, temperature)
    assert found.item() == pytest.approx(cross, rel=1e-6)
    assert kl_loss(student, teacher, temperature).item() == pytest.approx(cross - entropy, rel=1e-5)


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
    images = torch.tensor([[0.6, 0.8]])
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    with torch.autocast("cpu", torch.bfloat16):
        logits = clip_logits(images, text, torch.tensor(99.0))
    torch.testing.assert_close(logits, torch.tensor([[59.4, 79.2, 95.04]]))
