"""The papers' values of each kind of training, and that what is inherited keeps its limits."""

from dataclasses import fields

import pytest

from holdfast.errors import UsageError
from holdfast.settings import (
    AverageSettings,
    ContinualTrainSettings,
    Optimisation,
    StageSettings,
    TrainSettings,
)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        # RegFT's public code; the learning rate is that of CLIP's fine-tuning.
        (
            TrainSettings,
            {
                "epochs": 10,
                "batch_size": 128,
                "warmup_steps": 500,
                "weight_decay": 0.1,
                "clip_norm": 1.0,
                "schedule": "cosine",
                "optimizer": "adamw",
                "learning_rate": 1e-5,
                "label_smoothing": 0.0,
            },
        ),
        # VL2V-ADiP's public code.
        (
            StageSettings,
            {
                "steps": 5001,
                "per_domain": 32,
                "validate_every": 200,
                "optimizer": "adam",
                "learning_rate": 5e-5,
                "weight_decay": 0.0,
                "schedule": "constant",
            },
        ),
        # GIFT, section 4.
        (
            ContinualTrainSettings,
            {
                "steps": 1000,
                "batch_size": 64,
                "replay_batch_size": 64,
                "warmup_steps": 100,
                "learning_rate": 1e-5,
                "label_smoothing": 0.2,
                "weight_decay": 0.0,
                "clip_norm": 0.0,
                "negatives": "task",
            },
        ),
        # SWAD.
        (
            AverageSettings,
            {"kind": "valley", "converge": 3, "tolerance": 6, "ratio": 0.3, "start": 100},
        ),
    ],
)
def test_the_papers_values_are_the_defaults(kind, values):
    assert {name: getattr(kind(), name) for name in values} == values


@pytest.mark.parametrize("kind", [TrainSettings, StageSettings, ContinualTrainSettings])
def test_what_is_inherited_keeps_its_limits(kind):
    own = {each.name: each.metadata for each in fields(kind)}
    for each in fields(Optimisation):
        for key in ("low", "high", "free", "rank"):
            assert own[each.name][key] == each.metadata[key]


@pytest.mark.parametrize("kind", [TrainSettings, ContinualTrainSettings])
def test_how_fast_a_training_is_done_may_change(kind):
    free = {each.name for each in fields(kind) if each.metadata["free"]}
    assert free == {"workers", "checkpoint_minutes", "accumulation", "grad_checkpointing"}


@pytest.mark.parametrize("less", [{"accumulation": 2}, {"grad_checkpointing": True}])
def test_batch_statistics_that_learn_see_each_picture_once(less):
    Optimisation(**less)
    with pytest.raises(UsageError, match="would see each picture twice"):
        Optimisation(batch_statistics="learn", **less)
