import hashlib
import math

import pytest
import torch

from holdfast.weights import (
    UNSEEN_IMPORTANCE,
    adaptive_importance,
    add_consolidation_grad,
    check_same_names,
    copied,
    digest,
    fisher_information,
    fisher_merge,
    interpolate,
    mean_normalised,
    on_cpu,
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
    names = r"^weights differ in names: \['count', 'other'\]$"
    shape = r"^w has shape \(2,\) and \(3,\)$"
    for function in (
        check_same_names,
        lambda a, b: check_same_names(a, a, b),
        lambda a, b: interpolate(a, b, 0.5),
        lambda a, b: fisher_merge(a, b, {}, {}, 0.5),
    ):
        with pytest.raises(ValueError, match=names):
            function(A, {"w": B["w"], "other": B["count"]})
        with pytest.raises(ValueError, match=shape):
            function(A, {**B, "w": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"\['a', 'b', 'c', 'd', 'e'\]$"):
        check_same_names(dict.fromkeys("gfedcba", A["w"]), {})


def test_the_digest_is_of_names_and_values():
    """By hand: little-endian bytes of each, in the order of the names."""
    known = hashlib.sha256(b"a" + b"\x03" + 7 * b"\0" + b"b" + b"\0\0\x80\x3f" + b"\0\0\0\x40")
    weights = {"b": torch.tensor([1.0, 2.0]), "a": torch.tensor(3)}
    assert digest(weights) == known.hexdigest()
    assert digest(dict(reversed(weights.items()))) == known.hexdigest()
    assert digest({**weights, "b": torch.tensor([2.0, 1.0])}) != known.hexdigest()
    assert digest({"c": weights["b"], "a": weights["a"]}) != known.hexdigest()
    # Rows in memory order, whatever the strides; types that NumPy has not; parameters.
    matrix = torch.arange(6.0).view(2, 3)
    assert digest({"w": matrix.T}) == digest({"w": matrix.T.contiguous()})
    assert digest({"w": torch.nn.Parameter(matrix)}) == digest({"w": matrix})
    assert digest({"w": torch.ones(2).bfloat16()}) == digest(
        {"w": torch.tensor([0x3F80, 0x3F80], dtype=torch.int16)}
    )


def test_what_is_merged_shares_no_memory_with_either():
    for alpha in (0.0, 0.5, 1.0):
        merged = interpolate(A, B, alpha)
        for name, tensor in merged.items():
            assert tensor.data_ptr() not in (A[name].data_ptr(), B[name].data_ptr())


def test_mean_normalised_by_hand():
    importance = torch.tensor([[1.0, 2.0], [3.0, 2.0]])
    assert mean_normalised(importance).tolist() == [[0.5, 1.0], [1.5, 1.0]]
    assert mean_normalised(torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]
    # The mean counts, not a threshold of some size.
    torch.testing.assert_close(mean_normalised(1e-12 * importance), mean_normalised(importance))


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


def test_fisher_merge_with_a_floor_by_hand():
    # Means of one: F0 = [1.5, 0.5], F1 = [1, 1]; with the floor [2, 1] and [1.5, 1.5].
    original, tuned = {"w": torch.tensor([1.0, 1.0])}, {"w": torch.tensor([5.0, 5.0])}
    fishers = {"w": torch.tensor([3.0, 1.0])}, {"w": torch.tensor([9.0, 9.0])}
    merged = fisher_merge(original, tuned, *fishers, 0.25, floor=0.5)
    # 0.75·2 = 1.5 against 0.25·1.5 = 0.375, and 0.75·1 against 0.375.
    expected = [(1.5 + 5 * 0.375) / 1.875, (0.75 + 5 * 0.375) / 1.125]
    assert merged["w"].tolist() == pytest.approx(expected)
    # A floor of 1e-3 unless another is given.
    merged = fisher_merge(A, B, {"w": torch.tensor([1.0, 0.0])}, {"w": torch.zeros(2)}, 0.5)
    assert merged["w"].tolist() == pytest.approx([4 * 0.001 / 2.002, 3.0], rel=1e-5)


@pytest.mark.parametrize("alpha", [0, 1, 0.0, 1.0])
@pytest.mark.parametrize("fisher", [True, False])
def test_the_ends_are_exact_whatever_the_other_end_is(alpha, fisher):
    """Bit for bit: no product rounds, and a model whose training diverged does no harm."""
    generator = torch.Generator().manual_seed(0)
    ends = [{"w": torch.randn(2, 50, generator=generator)[k], "n": torch.tensor(k)} for k in (0, 1)]
    fishers = [{"w": torch.rand(50, generator=generator)} for _ in ends]
    expected, other = ends[int(alpha)], ends[1 - int(alpha)]
    for lost in (None, math.inf, math.nan):
        if lost is not None:
            other["w"][3] = lost
        merged = fisher_merge(*ends, *fishers, alpha) if fisher else interpolate(*ends, alpha)
        assert all(torch.equal(merged[name], expected[name]) for name in ("w", "n"))


def test_what_has_no_fisher_information_is_interpolated():
    original = {"w": torch.tensor([0.0]), "other": torch.tensor([2.0]), "n": torch.tensor(1)}
    tuned = {"w": torch.tensor([1.0]), "other": torch.tensor([6.0]), "n": torch.tensor(5)}
    merged = fisher_merge(original, tuned, {"w": torch.ones(1)}, {"w": torch.ones(1)}, 0.25)
    assert (merged["other"].item(), merged["n"].item()) == (3.0, 5)


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
    assert module.weight.grad is None


def test_fisher_information_of_what_does_not_matter_is_zero_and_of_what_is_frozen_is_absent():
    module = torch.nn.ModuleDict({name: torch.nn.Linear(1, 1, bias=False) for name in "abc"})
    module["c"].requires_grad_(False)
    samples = [torch.tensor([2.0])]
    information = fisher_information(module, lambda m, x: m["a"](x).squeeze(), iter(samples))
    assert {name: t.tolist() for name, t in information.items()} == {
        "a.weight": [[4.0]],
        "b.weight": [[0.0]],
    }
    nothing = fisher_information(module, lambda m, x: m["a"](x).squeeze(), [])
    assert nothing["a.weight"].tolist() == [[0.0]]


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
    """Its importance is small, and not zero: the pull must reach it."""
    assert UNSEEN_IMPORTANCE == 1e-6
    assert adaptive_importance("w", None) == UNSEEN_IMPORTANCE
    found = adaptive_importance("w", torch.zeros(2, 2))
    assert found.tolist() == [[pytest.approx(1e-6, rel=1e-6)] * 2] * 2
    # Where there is any gradient, none is added: a row that was not seen has no importance.
    seen = adaptive_importance("w", torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert seen.tolist() == [[0.0, 0.0], [2.0, 2.0]]


def test_the_importance_leaves_the_gradient_as_it_is():
    gradient = torch.tensor([3.0, 4.0])
    adaptive_importance("w", gradient)
    assert gradient.tolist() == [3.0, 4.0]


def test_plain_l2_weighs_all_alike():
    assert uniform_importance("w", torch.tensor([5.0, 0.0])) == 1.0
    assert uniform_importance("v", None) == 1.0


def test_the_consolidation_by_hand():
    """One step away, twice the strength is its gradient; two steps, four times."""
    parameters = {"a": torch.tensor([2.0, 5.0]), "b": torch.tensor([1.0])}
    anchor = {"b": torch.tensor([0.0]), "a": torch.tensor([1.0, 3.0])}
    parameters["a"].grad = torch.tensor([10.0, 20.0])
    importance = {"a": torch.tensor([1.0, 3.0]), "b": 0.5}
    penalty = add_consolidation_grad(anchor, parameters, 0.5, lambda name, _: importance[name])
    # 0.5·(1·1 + 3·4) + 0.5·(0.5·1)
    assert penalty.item() == 6.75
    assert parameters["a"].grad.tolist() == [10 + 1.0, 20 + 6.0]
    assert parameters["b"].grad.tolist() == [0.5]


def test_unseen_parameters_are_pulled_too():
    parameter, never = torch.ones(2, requires_grad=True), torch.ones(1, requires_grad=True)
    parameter.grad = torch.zeros(2)
    anchor = {"w": torch.zeros(2), "never": torch.zeros(1)}
    add_consolidation_grad(anchor, {"w": parameter, "never": never}, 1.0, adaptive_importance)
    assert parameter.grad.tolist() == [pytest.approx(2e-6, rel=1e-5)] * 2
    assert never.grad.tolist() == [pytest.approx(2e-6, rel=1e-5)]


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


class Elsewhere:
    """A tensor on an accelerator, as far as it is moved."""

    def to(self, device, copy=False):
        return device, copy


@pytest.mark.usefixtures("unchecked")
def test_weights_come_to_the_cpu():
    assert on_cpu({"w": Elsewhere()}) == {"w": ("cpu", False)}
    assert copied({"w": Elsewhere()}) == {"w": ("cpu", True)}


def test_a_copy_does_not_change_with_its_origin():
    weights = {"w": torch.zeros(2)}
    kept = copied(weights)
    weights["w"] += 1
    assert kept["w"].tolist() == [0, 0]
