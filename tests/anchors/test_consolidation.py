"""The pull toward old weights: its gradient against autograd, and its importance by hand."""

import pytest
import torch
from tests.anchors.towers import Towers, numbers

from holdfast.anchors.base import Memory
from holdfast.anchors.consolidation import Consolidation


def moved(learner, seed=20):
    """Move all weights, and give each a gradient; the gradients."""
    gradients = {}
    for name, parameter in learner.named_parameters():
        seed += 1
        parameter.data += numbers(*parameter.shape, seed=seed)
        gradients[name] = numbers(*parameter.shape, seed=100 + seed)
        parameter.grad = gradients[name].clone()
    return gradients


@pytest.mark.parametrize("importance", ["uniform", "adaptive", "static"])
def test_the_gradient_is_that_of_the_penalty(importance):
    learner = Towers()
    old = {name: p.detach().clone() for name, p in learner.named_parameters()}
    fisher = {name: numbers(*p.shape, seed=9).square() for name, p in old.items()}
    pull = Consolidation(0.3, importance).start(learner, Memory(fisher=lambda: fisher))
    gradients = moved(learner)
    now = {name: p.detach().clone().requires_grad_() for name, p in learner.named_parameters()}
    penalty = torch.tensor(0.0)
    for name, parameter in now.items():
        gradient = gradients[name]
        weight = {
            "uniform": torch.ones_like(gradient),
            "adaptive": gradient.square() / gradient.square().mean(),
            "static": fisher[name],
        }[importance]
        penalty = penalty + 0.3 * (weight * (parameter - old[name]).square()).sum()
    penalty.backward()
    torch.testing.assert_close(pull(), penalty.detach())
    for name, parameter in learner.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name] + now[name].grad)


def test_weights_that_have_not_moved_are_not_pulled():
    learner = Towers()
    pull = Consolidation(importance="uniform").start(learner, Memory())
    assert pull() == 0
    assert not any(p.grad.any() for p in learner.parameters())


def test_the_old_weights_are_a_copy_of_those_at_the_start():
    learner = Towers()
    pull = Consolidation(2.0, "uniform").start(learner, Memory())
    with torch.no_grad():
        learner.image.weight += 0.5
    assert pull().item() == pytest.approx(2 * 9 * 0.25)
    assert not pull().requires_grad


def test_the_initial_weights_are_asked_for_and_not_the_present_ones():
    learner = Towers()
    initial = {name: torch.zeros_like(p) for name, p in learner.named_parameters()}
    memory = Memory(initial=lambda: initial | {"of another model": torch.zeros(1)})
    pull = Consolidation(1.0, "uniform", "initial").start(learner, memory)
    expected = sum(p.square().sum() for p in learner.parameters())
    torch.testing.assert_close(pull(), expected.detach())


def test_only_what_learns_is_pulled():
    learner = Towers()
    learner.learning = lambda: {"text.weight": learner.text.weight}
    pull = Consolidation(1.0, "uniform").start(learner, Memory())
    moved(learner)
    before = learner.image.weight.grad.clone()
    pull()
    assert torch.equal(learner.image.weight.grad, before)


def test_the_papers_strength_and_none():
    assert Consolidation() == Consolidation(1.0, "adaptive", "previous")
    assert not Consolidation(0).active
