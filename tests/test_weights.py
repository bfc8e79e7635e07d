import pytest
import torch

from holdfast.weights import (
    SWAD,
    UNSEEN_IMPORTANCE,
    Segment,
    adaptive_importance,
    add_consolidation_grad,
    fisher_information,
    fisher_merge,
    interpolate,
    uniform_importance,
)

A = {"w": torch.tensor([0.0, 2.0]), "count": torch.tensor(3)}
B = {"w": torch.tensor([4.0, 4.0]), "count": torch.tensor(8)}


def test_interpolation_by_hand():
    merged = interpolate(A, B, 0.25)
    assert merged["w"].tolist() == [1.0, 2.5]
    assert merged["count"].item() == 8


@pytest.mark.parametrize(("alpha", "expected"), [(0, A), (1, B), (0.0, A), (1.0, B)])
def test_the_ends_are_exact_copies(alpha, expected):
    merged = interpolate(A, B, alpha)
    assert all(torch.equal(merged[name], expected[name]) for name in A)
    assert merged["w"] is not expected["w"]


def test_interpolation_is_symmetric():
    torch.testing.assert_close(interpolate(A, B, 0.3)["w"], interpolate(B, A, 0.7)["w"])


def test_weights_are_paired_by_name_not_by_order():
    swapped = dict(reversed(B.items()))
    assert torch.equal(interpolate(A, swapped, 0.5)["w"], interpolate(A, B, 0.5)["w"])


def test_different_names_or_shapes_are_refused():
    with pytest.raises(ValueError, match="names"):
        interpolate(A, {"w": B["w"]}, 0.5)
    with pytest.raises(ValueError, match="shape"):
        interpolate(A, {**B, "w": torch.zeros(3)}, 0.5)


def test_fisher_merge_with_equal_information_is_linear():
    fisher = {"w": torch.tensor([1.0, 1.0])}
    merged = fisher_merge(A, B, fisher, {"w": torch.tensor([7.0, 7.0])}, 0.25)
    torch.testing.assert_close(merged["w"], interpolate(A, B, 0.25)["w"])


def test_fisher_merge_by_hand():
    # Relative to their means: F0 = [2, 0], F1 = [0, 2]; each weight comes from the one that knows.
    merged = fisher_merge(
        A, B, {"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 5.0])}, 0.5, floor=0.0
    )
    assert merged["w"].tolist() == [0.0, 4.0]


def test_fisher_merge_without_any_information_is_linear():
    zero = {"w": torch.zeros(2)}
    torch.testing.assert_close(
        fisher_merge(A, B, zero, zero, 0.5)["w"], interpolate(A, B, 0.5)["w"]
    )


def test_fisher_information_by_hand():
    module = torch.nn.Linear(2, 1, bias=False)
    samples = [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.0])]
    information = fisher_information(module, lambda m, x: m(x).squeeze(), samples)
    assert information["weight"].tolist() == [[5.0, 2.0]]


def valley_of(losses, **settings):
    """Segments of one step each, whose weight is the step."""
    valley = SWAD(**settings)
    for step, loss in enumerate(losses):
        valley.validate(Segment({"w": torch.tensor(float(step))}, step, step, loss=loss))
    return valley


def test_the_valley_by_hand():
    # Falls until step 2, stays, then rises for good: 2 begins, and it dies once three are high.
    valley = valley_of([5, 4, 1, 1.1, 1.2, 1.1, 9, 9, 9], converge=3, tolerance=3)
    assert valley.left_valley
    average = valley.result()
    # Step 2 begins it and holds the place; what counts are 3, 4 and 5, as in SWAD's code.
    assert (average.first, average.last) == (2, 5)
    assert average.weights["w"].item() == pytest.approx((3 + 4 + 5) / 3)


def test_before_convergence_the_valley_is_the_latest_segment():
    assert valley_of([3, 2, 1]).result().weights["w"].item() == 2


def test_asking_for_the_average_does_not_change_it():
    valley = valley_of([1, 1, 1, 1, 1, 1, 1, 1])
    first = valley.result().weights["w"].item()
    assert valley.result().weights["w"].item() == first


def test_adaptive_importance_by_hand():
    # Squares 1, 9, 2 with a mean of 4.
    found = adaptive_importance("w", torch.tensor([1.0, -3.0, 2.0**0.5]))
    torch.testing.assert_close(found, torch.tensor([0.25, 2.25, 0.5]))


def test_adaptive_importance_does_not_know_the_size_of_the_gradient():
    gradient = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        adaptive_importance("w", 1e-4 * gradient), adaptive_importance("w", gradient)
    )


def test_a_tensor_that_the_replay_says_nothing_about():
    assert adaptive_importance("w", None) == UNSEEN_IMPORTANCE
    found = adaptive_importance("w", torch.zeros(2, 2))
    torch.testing.assert_close(found, torch.full((2, 2), UNSEEN_IMPORTANCE))


KNOWN = {"a": torch.tensor([[0.5, 2.0]]), "b": torch.tensor([1.5])}


@pytest.mark.parametrize(
    "importance",
    [adaptive_importance, uniform_importance, lambda name, gradient: KNOWN[name]],
    ids=["adaptive", "uniform", "static"],
)
def test_the_pull_is_the_gradient_of_the_penalty(importance):
    """In closed form it equals what autograd makes of the penalty, on top of other gradients."""
    generator = torch.Generator().manual_seed(0)
    anchor = {"a": torch.randn(1, 2, generator=generator), "b": torch.randn(1, generator=generator)}
    parameters = {
        name: (t + torch.randn(t.shape, generator=generator)).requires_grad_()
        for name, t in anchor.items()
    }
    before = {"a": torch.randn(1, 2, generator=generator), "b": None}
    fisher = {name: importance(name, before[name]) for name in parameters}
    penalty = 0.7 * sum(
        (fisher[name] * (p - anchor[name]).square()).sum() for name, p in parameters.items()
    )
    gradients = torch.autograd.grad(penalty, list(parameters.values()))
    for name, p in parameters.items():
        p.grad = None if before[name] is None else before[name].clone()
    found = add_consolidation_grad(anchor, parameters, 0.7, importance)
    assert not found.requires_grad
    torch.testing.assert_close(found, penalty.detach())
    for (name, p), gradient in zip(parameters.items(), gradients, strict=True):
        already = 0 if before[name] is None else before[name]
        torch.testing.assert_close(p.grad, already + gradient)


def test_at_the_anchor_nothing_pulls():
    anchor = {"w": torch.tensor([1.0, 2.0])}
    parameter = anchor["w"].clone().requires_grad_()
    parameter.grad = torch.tensor([3.0, 0.0])
    assert add_consolidation_grad(anchor, {"w": parameter}, 5.0, adaptive_importance).item() == 0
    assert parameter.grad.tolist() == [3.0, 0.0]
