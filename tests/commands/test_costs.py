"""What a run would take: parts, their sum, and how they are measured."""

import time

import pytest
import torch
from torch import nn
from torchvision.transforms import ToTensor

from holdfast.commands.costs import (
    RunCost,
    Work,
    seconds_per_image,
    stand_ins,
    time_in_words,
    timed_steps,
)
from holdfast.generation import Estimate
from holdfast.names import from_names
from holdfast.settings import Optimisation
from holdfast.train import fit


def test_parts_add_up_and_are_said_in_words():
    drawing = Estimate(10, 6.0, 1000.0)
    cost = RunCost(drawing, (Work("training", "steps", 1200, 0.5), Work("x", "images", 0, 9.0)))
    assert cost.seconds == 60 + 600
    assert str(cost).splitlines() == [
        f"Drawing: {drawing}",
        "Training: 1,200 steps of 0.5 s, about 10 minutes.",
        "All together about 11 minutes.",
    ]
    assert str(RunCost(None, ())) == "All together about 0 seconds."


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3.2, "3 seconds"), (119, "119 seconds"), (120, "2 minutes"), (7199, "120 minutes")],
)
def test_times_in_words(seconds, words):
    assert time_in_words(seconds) == words
    assert time_in_words(7200) == "2.0 hours" and time_in_words(9000) == "2.5 hours"


class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class Batches:
    def __len__(self):
        return 3

    def __call__(self, start):
        yield from range(start, 3)


def test_the_first_step_is_not_counted():
    def step(module, batch):
        time.sleep(0.4 if batch == 0 else 0.02)
        yield {"loss": module.weight.square().sum()}

    with timed_steps() as each:
        fit(Slow(), Batches(), step, Optimisation(warmup_steps=0))
    assert 0.02 <= each() < 0.2
    fit(Slow(), Batches(), step, Optimisation(warmup_steps=0))  # nobody measures now


def test_an_image_takes_what_reading_and_encoding_take(pictures):
    calls = []

    def encode(images):
        calls.append(len(images))
        time.sleep(0.4 if len(calls) == 1 else 0.08)
        return images.flatten(1)

    paths = sorted(pictures.rglob("*.png"))[:3]
    found = seconds_per_image(encode, paths, ToTensor(), torch.device("cpu"))
    assert calls == [8, 8] and 0.01 <= found < 0.05


def test_a_few_images_stand_for_many(pictures):
    paths = sorted(pictures.rglob("*.png"))
    classes = from_names(["a", "b", "c"])
    found = stand_ins(paths[:2], 5, classes)
    assert found.paths == [paths[0], paths[1], paths[0], paths[1], paths[0]]
    assert found.labels == [0, 1, 2, 0, 1] and found.classes is classes
    assert set(stand_ins(paths, 20).paths) == set(paths[:8])
