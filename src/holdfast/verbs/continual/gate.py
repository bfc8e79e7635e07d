"""The gate: how far a new model may be taken without losing what the model knew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.data.replay import images_of
from holdfast.errors import HoldfastError
from holdfast.models.clip import CLIP
from holdfast.settings import ContinualTrainSettings
from holdfast.verbs.continual.replay import ReplayImages
from holdfast.verbs.continual.scores import Exam, measure
from holdfast.weights import Weights, interpolate

ALPHAS = tuple(round(0.1 * i, 1) for i in range(9, 0, -1))
ROUNDING = 1e-9  # of the difference of two shares
ENOUGH = 20  # images; with fewer a single one would decide


@dataclass(frozen=True)
class Labelled:
    """Images and an integer for each."""

    paths: list[Any]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.paths)


def suite(replay: ReplayImages | None, held_out: Sequence[Exam]) -> list[Exam]:
    """What must not get worse: the replay images of each source that has enough, and `held_out`.

    The replay images of a source are told apart among its own names.
    """
    exams: list[Exam] = []
    for source in replay.sources if replay is not None else ():
        assert replay is not None
        places = images_of(source, replay.prompts)
        if len(places) >= ENOUGH:
            data = Labelled([replay.paths[place] for place in places], list(places.values()))
            prompts = [[prompt] for prompt in source.prompts]
            name = f"replay of {source.origin}"
            exams.append(Exam(name, "replay", data, source.names, prompts))
    return [*exams, *held_out]


def too_few(replay: ReplayImages) -> list[str]:
    """The sources that `suite` leaves out."""
    found = {source.origin: images_of(source, replay.prompts) for source in replay.sources}
    return [origin for origin, places in found.items() if len(places) < ENOUGH]


@dataclass(frozen=True)
class Verdict:
    """The weight of the new model that passes, and what was measured on the way.

    alpha is None if no average passes; `before` holds the accuracy of each exam under the previous
    weights; `sweep` a row for each weight tried: its drops, and accuracy on the task itself.
    """

    alpha: float | None
    max_drop: float
    before: dict[str, Any]
    sweep: list[dict[str, Any]]

    def to_record(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {
            "alpha": self.alpha,
            "max_drop": self.max_drop,
            "before": self.before,
            "sweep": self.sweep,
        }


def judge(
    clip: CLIP,
    previous: Weights,
    tuned: Weights,
    exams: Sequence[Exam],
    task: Exam | None,
    max_drop: float,
    settings: ContinualTrainSettings,
) -> Verdict:
    """The new weights if they pass; else the average that is best on `task` among those that do.

    task: validation images of the new task; without them the largest weight that passes is taken.
    Changes the weights of `clip`.
    """

    def row(alpha: float) -> dict[str, Any]:
        clip.model.load_state_dict(interpolate(previous, tuned, alpha))
        found = measure(clip, [*exams, *([task] if task else [])], [], settings)
        drops = {each.name: before[each.name]["top1"] - found[each.name]["top1"] for each in exams}
        own = found[task.name]["top1"] if task else None
        passes = max(drops.values()) <= max_drop + ROUNDING
        return {"alpha": alpha, "task_top1": own, "drops": drops, "passes": passes}

    clip.model.load_state_dict(dict(previous))
    before = measure(clip, exams, [], settings)
    sweep = [row(1.0)]
    if not sweep[0]["passes"]:
        sweep += [row(alpha) for alpha in ALPHAS]
    return Verdict(best(sweep), max_drop, before, sweep)


def best(sweep: Sequence[Mapping[str, Any]]) -> float | None:
    """The weight of the new model to take: the best on the task, of equals the largest."""
    passing = [row for row in sweep if row["passes"]]
    if not passing:
        return None
    return max(passing, key=lambda row: (row["task_top1"] or 0.0, row["alpha"]))["alpha"]


def refusal(name: str, verdict: Verdict) -> HoldfastError:
    """What to say if no average passes."""
    last = verdict.sweep[-1]
    worst = max(last["drops"], key=lambda each: last["drops"][each])
    return HoldfastError(
        f"Learning {name!r} costs {100 * last['drops'][worst]:.1f} points on {worst} even with a "
        f"weight of {last['alpha']:g}, more than the {100 * verdict.max_drop:g} that max_drop "
        "allows; no model is written. Raise --max_drop, or lower --train.learning_rate."
    )
