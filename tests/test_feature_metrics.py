"""Distances between sets of features, and their diversity, against scipy and hand arithmetic."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import torch

from holdfast.errors import HoldfastError
from holdfast.feature_metrics import domain_gap, feature_diversity, frechet_distance


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def message(error: pytest.ExceptionInfo) -> str:
    return str(error.value)


def test_frechet_of_one_dimensional_gaussians() -> None:
    """(mean difference)^2 + (difference of standard deviations)^2."""
    a, b = torch.tensor([[-1.0], [1.0]]), torch.tensor([[2.0], [8.0]])
    deviation = math.sqrt(2), math.sqrt(18)
    assert frechet_distance(a, b) == pytest.approx(5**2 + (deviation[1] - deviation[0]) ** 2)


@pytest.mark.parametrize(("n", "d"), [(200, 6), (5, 40)])
def test_frechet_of_a_shifted_copy_is_the_shift(n: int, d: int) -> None:
    features, shift = torch.randn(n, d), torch.randn(d)
    expected = float(shift.square().sum())
    assert frechet_distance(features, features + shift) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(features, features) == pytest.approx(0.0, abs=1e-9)


def test_frechet_equals_the_matrix_square_root() -> None:
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(5, 5, generator=generator)
    a = torch.randn(60, 5, generator=generator)
    b = torch.randn(80, 5, generator=generator) @ mix + 0.3
    cov_a, cov_b = np.cov(a.double().numpy().T), np.cov(b.double().numpy().T)
    shift = (a.double().mean(0) - b.double().mean(0)).square().sum().item()
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    expected = shift + np.trace(cov_a + cov_b - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_is_symmetric_and_blind_to_rotation_and_order() -> None:
    a, b = torch.randn(12, 30).double(), torch.randn(9, 30).double() + 1
    rotation = torch.linalg.qr(torch.randn(30, 30).double()).Q
    distance = frechet_distance(a, b)
    assert frechet_distance(b, a) == pytest.approx(distance)
    assert frechet_distance(a @ rotation, b @ rotation) == pytest.approx(distance)
    assert frechet_distance(a[torch.randperm(12)], b) == pytest.approx(distance)


def test_domain_gap_sees_a_shift_and_only_that() -> None:
    generator = torch.Generator().manual_seed(1)
    real = torch.randn(120, 8, generator=generator)
    near, far = torch.randn(301, 8, generator=generator), torch.randn(90, 8, generator=generator)
    no_gap, gap = domain_gap(real, near, seed=0), domain_gap(real, far + 2, seed=0)
    assert list(no_gap) == ["real/real", "generated/generated", "real/generated"]
    assert no_gap["real/generated"] < 2 * no_gap["real/real"]
    assert gap["real/generated"] == pytest.approx(8 * 2**2, rel=0.2)
    assert gap["real/generated"] > 5 * gap["real/real"]
    assert domain_gap(real, near, seed=0) == no_gap
    assert domain_gap(real, near, seed=3) != no_gap


def test_the_halves_of_a_domain_are_two_and_by_chance() -> None:
    """Of four numbers there are three ways to make pairs, and each seed gives one of them."""
    real, generated = (
        torch.tensor([[0.0], [1.0], [4.0], [9.0]]),
        torch.tensor([[100.0], [110.0], [150.0], [190.0], [1000.0]]),
    )

    def distance(a: tuple[float, float], b: tuple[float, float]) -> float:
        """Squared distance of two Gaussians through two numbers each."""
        (m, s), (other, t) = ((sum(x) / 2, abs(x[0] - x[1]) / 2**0.5) for x in (a, b))
        return (m - other) ** 2 + (s - t) ** 2

    within = sorted([distance((0, 1), (4, 9)), distance((0, 4), (1, 9)), distance((0, 9), (1, 4))])
    values = generated.flatten().tolist()
    choices = {
        round(distance((a, b), (c, d)), 3) for a, b, c, d in itertools.permutations(values, 4)
    }
    found = [domain_gap(real, generated, seed=seed) for seed in range(40)]
    assert {round(gap["real/real"], 3) for gap in found} == {round(x, 3) for x in within}
    assert {round(gap["generated/generated"], 3) for gap in found} <= choices
    # The fifth generated one is in a half, or the one that is left over.
    assert len({round(gap["generated/generated"], 3) for gap in found}) > 3
    assert min(gap["generated/generated"] for gap in found) > 1


def test_the_gap_is_the_mean_over_both_pairs_of_halves() -> None:
    """Halves that are all alike: the gap is that of the means, whichever pairs are compared."""
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(9, 3, generator=generator)
    generated = torch.randn(8, 3, generator=generator) + 1
    expected = torch.Generator().manual_seed(7)
    a, b = (x[torch.randperm(len(x), generator=expected)].split(4)[:2] for x in (real, generated))
    gap = domain_gap(real, generated, seed=7)
    both = (frechet_distance(a[0], b[0]) + frechet_distance(a[1], b[1])) / 2
    assert gap == {
        "real/real": pytest.approx(frechet_distance(*a)),
        "generated/generated": pytest.approx(frechet_distance(*b)),
        "real/generated": pytest.approx(both),
    }


def test_four_images_are_enough_for_a_gap_and_two_for_a_distance() -> None:
    images = torch.randn(5, 2)
    assert domain_gap(images[:4], images, seed=0)["real/real"] > 0
    for few in ((images[:3], images), (images, images[:3])):
        with pytest.raises(HoldfastError) as error:
            domain_gap(*few, seed=0)
        assert message(error) == "The gap between domains needs four images or more of each."
    assert frechet_distance(images[:2], images[2:4]) > 0
    for few in ((images[:1], images), (images, images[:1])):
        with pytest.raises(HoldfastError) as error:
            frechet_distance(*few)
        assert message(error) == "A distance between image sets needs two images in each."


@pytest.mark.usefixtures("unchecked")
def test_distances_need_features_of_one_size() -> None:
    for a, b in ((4, 2), (4, 3)), ((4,), (4,)), ((4, 2, 2), (4, 2, 2)):
        with pytest.raises(ValueError) as error:
            frechet_distance(torch.zeros(a), torch.zeros(b))
        assert message(error) == f"shapes {a} and {b} differ"


def test_diversity_by_hand() -> None:
    """Unit vectors east, east, north, with lengths 1, 2, 3; cosine distances 0, 1, 1."""
    features = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    diversity = feature_diversity(features, torch.tensor([0, 0, 1]))
    assert diversity["magnitude"] == pytest.approx(1 / 2)
    assert diversity["direction"] == pytest.approx(2 / 3)
    assert diversity["direction_within_class"] == pytest.approx(0.0)


def test_diversity_is_free_of_scale_and_rotation() -> None:
    features, labels = torch.randn(20, 6).double(), torch.arange(20) % 4
    rotation = torch.linalg.qr(torch.randn(6, 6).double()).Q
    plain = feature_diversity(features, labels)
    assert feature_diversity(7 * features @ rotation, labels) == pytest.approx(plain)


def test_diversity_without_pairs_in_a_class() -> None:
    diversity = feature_diversity(torch.eye(3), torch.arange(3))
    assert diversity["direction"] == pytest.approx(1.0)
    assert diversity["direction_within_class"] is None


def test_diversity_within_classes_is_a_mean_over_classes() -> None:
    """Cosine distances 1 in the first class, 0 in each of the three pairs of the second."""
    features = torch.tensor(
        [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [3.0, 0.0], [5.0, 0.0], [0.0, 2.0]]
    )
    diversity = feature_diversity(features, torch.tensor([7, 7, 2, 2, 2, 4]))
    assert diversity["direction_within_class"] == pytest.approx((1 + 0) / 2)
    # East four times, north twice: 8 of 15 pairs are orthogonal.
    assert diversity["direction"] == pytest.approx(8 / 15)
    norms = [1, 1, 1, 3, 5, 2]
    assert diversity["magnitude"] == pytest.approx(np.std(norms, ddof=1) / np.mean(norms))


def test_a_feature_of_zeros_is_orthogonal_to_all() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert feature_diversity(features, torch.tensor([0, 0]))["direction"] == pytest.approx(1.0)


@pytest.mark.usefixtures("unchecked")
def test_diversity_needs_two_images_and_their_labels() -> None:
    for features, labels in ((1, 3), (1,)), ((3, 3), (2,)), ((3, 3), (3, 1)):
        with pytest.raises(ValueError) as error:
            feature_diversity(torch.ones(features), torch.zeros(labels))
        fit = f"features {features} and labels {labels} do not fit (n, d) and (n,) with n >= 2"
        assert message(error) == fit
