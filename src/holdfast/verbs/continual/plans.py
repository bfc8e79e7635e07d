"""The methods that `--method` names, as settings of one and the same training step.

Each is what its paper adds to cross-entropy over the task's classes; the values that make a method
what it is are fixed here, all others are the user's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from holdfast.methods.continual import replays
from holdfast.settings import ContinualTrainSettings

ALONE: dict[str, Any] = {"distillation": 0.0, "alignment": 0.0}  # no replay losses
DRAWN = ("known", "pretraining")  # replay that is made of drawn images
SNAPSHOTS = 10  # ZSCL averages the weights of every 100th of 1,000 steps


@dataclass(frozen=True)
class Plan:
    """What a method fixes.

    replay: images that the previous model is asked about: `known`, of pre-training and all earlier
        tasks; `pretraining` alone; the `task`'s own, among the names of the former; or `none`.
    teacher: the model that is asked: the `previous` one, or the `initial` one.
    ensemble: whether the weights are averaged with the previous ones after the task.
    """

    train: Mapping[str, Any] = field(default_factory=dict)
    replay: Literal["known", "pretraining", "task", "none"] = "none"
    teacher: Literal["previous", "initial"] = "previous"
    ensemble: bool = False


PLANS = {
    # arXiv 2503.04229.
    "gift": Plan(replay="known"),
    "finetune": Plan(ALONE | {"consolidation": 0.0}),
    "l2": Plan(ALONE | {"importance": "uniform"}),
    # arXiv 1612.00796. Pre-training and earlier tasks have left no data, so the Fisher information
    # is that of their replay images.
    "ewc": Plan(ALONE | {"importance": "static"}, replay="known"),
    # arXiv 1606.09282: what the previous model makes of the task's own images, among the classes
    # it knew before; here the names of pre-training and of earlier tasks.
    "lwf": Plan(
        {
            "alignment": 0.0,
            "consolidation": 0.0,
            "learns": "image",
            "distill_over": "all",
            "distill_sides": "image",
        },
        replay="task",
    ),
    # arXiv 2109.01903, after each task.
    "wise-ft": Plan(ALONE | {"consolidation": 0.0}, ensemble=True),
    # arXiv 2303.06628: the initial model's answers on reference images, L2, and an average of the
    # weights along the way.
    "zscl": Plan(
        {
            "alignment": 0.0,
            "learns": "image",
            "distill_over": "all",
            "importance": "uniform",
        },
        replay="pretraining",
        teacher="initial",
    ),
}


def training(method: str, given: ContinualTrainSettings, images: int) -> ContinualTrainSettings:
    """The settings that a method trains with.

    images: of replay that there will be. Without any there is nothing to distil, to align or to
    tell important weights by, and what is left is plain L2.
    """
    plan = PLANS[method]
    found = replace(given, **plan.train)
    if method == "zscl":
        found = replace(found, average_every=given.average_every or -(-given.steps // SNAPSHOTS))
    if plan.replay in DRAWN and images == 0:
        found = replace(found, **ALONE, importance="uniform")
    return found


def needs_replay(train: ContinualTrainSettings) -> bool:
    """Whether anything in the training asks replay images."""
    weighed = train.consolidation and train.importance != "uniform"
    return replays(train) or bool(weighed)
