"""The gradients of one step, to compare two ways to compute it."""

import torch


def step_gradients(learner, objective, batch):
    """(losses, gradients by name) of one step of `learner`, whose weights stay as they are."""
    learner.zero_grad()
    losses = {}
    for terms in objective(learner, batch):
        torch.stack(list(terms.values())).sum().backward()
        losses |= {name: term.item() for name, term in terms.items()}
    gradients = {name: p.grad for name, p in learner.named_parameters() if p.grad is not None}
    return losses, {name: gradient.clone() for name, gradient in gradients.items()}


def assert_same_step(one, other):
    """Losses and gradients agree to 1e-5.

    A tensor's gradients are measured by the largest of them, or by a tenth of the largest of all.
    """
    (losses, gradients), (losses_, gradients_) = one, other
    assert losses.keys() == losses_.keys() and gradients.keys() == gradients_.keys()
    for name, value in losses.items():
        assert abs(value - losses_[name]) <= 1e-5 * max(1, abs(value)), name
    largest = max(gradient.abs().max() for gradient in gradients.values())
    for name, gradient in gradients.items():
        apart = (gradient - gradients_[name]).abs().max()
        assert apart <= 1e-5 * max(gradient.abs().max(), 0.1 * largest), name
