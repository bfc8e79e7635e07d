"""Trainings that are followed: weights that move, and validations that find recorded losses."""

import json
import math

import torch
from safetensors.torch import load, save
from torch import nn

from holdfast.averaging import (
    RunningAverage,
    SWADTracker,
    Validation,
)


class Losses:
    """Validations that find the recorded losses, one after the other, wherever they start."""

    def __init__(self, losses, found=0):
        self.losses, self.found = losses, found

    def __call__(self):
        self.found += 1
        loss = self.losses[self.found - 1]
        return Validation(round(math.exp(-loss), 1), loss)


def walk(following, steps):
    """The weights at step t are [t, t^2]."""
    module = nn.Linear(2, 1, bias=False)
    for step in range(steps):
        with torch.no_grad():
            module.weight.copy_(torch.tensor([[step, step**2]]))
        following.after_step(step, module)
        if following.finished:
            break
    return module


VALIDATIONS = [2.0, 0.7, 0.8, 0.9, 0.75, 0.8, 0.8, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]


def following(kind, found=0):
    losses = Losses(VALIDATIONS, found)
    if kind == "accumulating":
        return SWADTracker(losses, 2, 29, converge=2, tolerance=3, accumulate=True)
    if kind is SWADTracker:
        return SWADTracker(losses, 2, 29, converge=2, tolerance=3)
    return kind(losses, 2, 29, **({"start": 5} if kind is RunningAverage else {}))


def trained(kind, stop=None):
    """A tracker that followed a training of 29 steps, stopped and resumed after the step `stop`."""
    generator = torch.Generator().manual_seed(5)
    module, tracker = nn.Linear(3, 2), following(kind)
    for step in range(29):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) / (step + 1))
        tracker.after_step(step, module)
        if step == stop:
            tensors, values = tracker.state()
            # One file cannot hold a tensor twice, nor one that is not contiguous.
            tensors, values = load(save(tensors)), json.loads(json.dumps(values, allow_nan=False))
            tracker = following(kind, found=len(tracker.validations))
            tracker.restore(tensors, values)
        if tracker.finished:
            break
    return tracker
