"""The gate of a task: how far a new model may go without losing what the model knew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from holdfast.commands.continual_words import ROUNDING
from holdfast.commands.settings import ContinualAddSettings
from holdfast.data.replay import images_of
from holdfast.data.streams import Task
from holdfast.errors import HoldfastError, UsageError
from holdfast.evaluation import Embedded, EvalSet, embed_sets, eval_set
from holdfast.metrics import compare
from holdfast.models.clip import CLIP
from holdfast.replay import ReplayImages
from holdfast.results import (
    Comparison,
    GateResult,
    GateTrial,
)
from holdfast.weights import Weights, interpolate

GATE_ALPHAS = tuple(round(0.1 * i, 1) for i in range(9, 0, -1))
ENOUGH = 20  # images; with fewer a single one would decide


@dataclass(frozen=True)
class ReplayedImages:
    """Replayed images of one source; labels: each one's name, an index into the source's."""

    paths: list[Any]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.paths)


class Gate:
    """How far a new model may be taken without losing what the model knew.

    It stands on the replayed images of each source that has enough, told apart among the source's
    own names, and on the held-out tasks. Raises UsageError if that is nothing.
    """

    def __init__(
        self,
        settings: ContinualAddSettings,
        images: ReplayImages | None,
        held_out: Sequence[Task],
    ) -> None:
        assert settings.max_drop is not None
        self.max_drop, self.workers = settings.max_drop, settings.train.workers
        self.precision = settings.train.precision
        self.sets: list[EvalSet] = []
        self.cannot_tell: dict[str, int] = {}
        for source in images.sources if images is not None else ():
            assert images is not None
            places = images_of(source, images.prompts)
            data = ReplayedImages([images.paths[at] for at in places], list(places.values()))
            prompts = [[prompt] for prompt in source.prompts]
            name = f"replay of {source.origin}"
            self.take(EvalSet(name, "replay", data, source.names, prompts))
        for each in held_out:
            if (found := eval_set(each, "val", "train")) is not None:
                self.take(found)
        if not self.sets:
            raise UsageError(
                f"max_drop has nothing to be measured on: neither a source of replayed images nor "
                f"a held-out task has {ENOUGH} images; name tasks with --held_out, or raise "
                "--replay.images."
            )

    def take(self, found: EvalSet) -> None:
        """Measure on a set, or, where it has too few images to tell anything, only name it."""
        if len(found.data) < ENOUGH:
            self.cannot_tell[found.name] = len(found.data)
        else:
            self.sets.append(found)

    def admit(self, clip: CLIP, previous: Weights, task: Task) -> GateResult:
        """`judge` on the task's validation images; raises HoldfastError if no average passes."""
        found = self.judge(clip, previous, eval_set(task, "val"))
        if found.alpha is None:
            last = found.sweep[-1]
            worst, change = worst_change(last)
            raise HoldfastError(
                f"Learning {task.name!r} costs {-100 * change.difference:.1f} points on {worst} "
                f"({change.n:,} images) even with a weight of {last.alpha:g}, more than the "
                f"{100 * self.max_drop:g} that max_drop allows; no model is written. Raise "
                "--max_drop, or lower --train.learning_rate."
            )
        return found

    def judge(self, clip: CLIP, previous: Weights, task: EvalSet | None) -> GateResult:
        """The new weights if they pass; else the average that is best on `task` of those that do.

        clip: the model with the new weights; it ends with those that passed, or with the last
        that were tried. previous: the weights before the task. task: validation images of the new
        task; without them the largest weight that passes is taken.
        """
        tuned: dict[str, Tensor] = {
            name: t.detach().to("cpu", copy=True) for name, t in clip.model.state_dict().items()
        }

        def tried(alpha: float) -> GateTrial:
            clip.model.load_state_dict(interpolate(previous, tuned, alpha))
            found = self.measure(clip, [*self.sets, *([task] if task else [])])
            right = found.right()
            changes = {each.name: compare(known[each.name], right[each.name]) for each in self.sets}
            worst = min(change.difference for change in changes.values())
            return GateTrial(
                alpha=alpha,
                task_aware_top1=found.scores()[task.name].task_aware_top1 if task else None,
                changes=changes,
                passes=-worst <= self.max_drop + ROUNDING,
            )

        clip.model.load_state_dict(dict(previous))
        first = self.measure(clip, self.sets)
        known = first.right()
        sweep = [tried(1.0)]
        if not sweep[0].passes:
            sweep += [tried(alpha) for alpha in GATE_ALPHAS]
        passing = [trial for trial in sweep if trial.passes]
        best: float | None = None
        if passing:
            best = max(passing, key=lambda t: (t.task_aware_top1 or 0.0, t.alpha)).alpha
        if best is not None:
            clip.model.load_state_dict(interpolate(previous, tuned, best))
        return GateResult(
            alpha=best,
            max_drop=self.max_drop,
            before=first.scores(),
            sweep=sweep,
            cannot_tell=self.cannot_tell,
        )

    def measure(self, clip: CLIP, sets: Sequence[EvalSet]) -> Embedded:
        """What the model as it is makes of sets."""
        return embed_sets(clip, sets, (), self.workers, self.precision)

    def notes(self, passed: GateResult) -> list[str]:
        """What the user should know of it."""
        found = [said_of_gate(passed)]
        if passed.alpha != 1:
            found.append(
                f"The gate took a weight of {passed.alpha:g} of the new model; as it was trained "
                f"it lost more than {100 * passed.max_drop:g} points on what the model knew."
            )
        if few := list(self.cannot_tell.items()):
            named = ", ".join(f"{name!r} ({count} images)" for name, count in few[:5])
            found.append(
                f"The gate cannot tell for {named}"
                f"{f' and {len(few) - 5} more' if len(few) > 5 else ''}: fewer than {ENOUGH} "
                "images. --replay.sampling balanced gives earlier tasks more; --held_out takes "
                "real ones."
            )
        return found


def worst_change(trial: GateTrial) -> tuple[str, Comparison]:
    """The set that fell most under one weight of the new model, and its change."""
    return min(trial.changes.items(), key=lambda pair: pair[1].difference)


def said_of_gate(passed: GateResult) -> str:
    """What the gate stands on, in a sentence: images, the worst change, and its interval."""
    assert passed.taken is not None
    name, change = worst_change(passed.taken)
    low, high = (f"{100 * end:+.1f}" for end in (change.low, change.high))
    images = sum(each.n for each in passed.taken.changes.values())
    text = (
        f"The gate measured {images:,} images of {len(passed.taken.changes)} sets; {name} fared "
        f"worst: {100 * change.difference:+.1f} points on {change.n:,} images (95 % interval "
        f"{low} to {high}), and {100 * passed.max_drop:g} may be lost."
    )
    if change.low < -passed.max_drop - ROUNDING:
        text += " So few images do not rule out that more was lost."
    return text
