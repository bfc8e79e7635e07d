"""The gate of a task: how far a new model may go without losing what the model knew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from holdfast.commands.settings import ContinualAddSettings
from holdfast.data.replay import images_of
from holdfast.data.streams import Task
from holdfast.errors import HoldfastError, UsageError
from holdfast.evaluation import EvalSet, eval_set, evaluate_clip
from holdfast.models.clip import CLIP
from holdfast.replay import ReplayImages
from holdfast.results import (
    GateResult,
    GateTrial,
)
from holdfast.weights import Weights, interpolate

GATE_ALPHAS = tuple(round(0.1 * i, 1) for i in range(9, 0, -1))
ROUNDING = 1e-9  # of the difference of two shares
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
        self.sets: list[EvalSet] = []
        self.too_few: list[str] = []
        for source in images.sources if images is not None else ():
            assert images is not None
            places = images_of(source, images.prompts)
            if len(places) < ENOUGH:
                self.too_few.append(source.origin)
                continue
            data = ReplayedImages([images.paths[at] for at in places], list(places.values()))
            prompts = [[prompt] for prompt in source.prompts]
            name = f"replay of {source.origin}"
            self.sets.append(EvalSet(name, "replay", data, source.names, prompts))
        self.sets += [found for each in held_out if (found := eval_set(each, "val", "train"))]
        if not self.sets:
            raise UsageError(
                "max_drop has nothing to be measured on: no source has enough replayed images; "
                "name tasks with --held_out, or raise --replay.images."
            )

    def admit(self, clip: CLIP, previous: Weights, task: Task) -> GateResult:
        """`judge` on the task's validation images; raises HoldfastError if no average passes."""
        found = self.judge(clip, previous, eval_set(task, "val"))
        if found.alpha is None:
            last = found.sweep[-1]
            worst = max(last.drops, key=lambda each: last.drops[each])
            raise HoldfastError(
                f"Learning {task.name!r} costs {100 * last.drops[worst]:.1f} points on {worst} "
                f"even with a weight of {last.alpha:g}, more than the {100 * self.max_drop:g} that "
                "max_drop allows; no model is written. Raise --max_drop, or lower "
                "--train.learning_rate."
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
            found = evaluate_clip(clip, [*self.sets, *([task] if task else [])], (), self.workers)
            drops = {
                each.name: before[each.name].top1 - found[each.name].top1 for each in self.sets
            }
            return GateTrial(
                alpha=alpha,
                task_top1=found[task.name].top1 if task else None,
                drops=drops,
                passes=max(drops.values()) <= self.max_drop + ROUNDING,
            )

        clip.model.load_state_dict(dict(previous))
        before = evaluate_clip(clip, self.sets, (), self.workers)
        sweep = [tried(1.0)]
        if not sweep[0].passes:
            sweep += [tried(alpha) for alpha in GATE_ALPHAS]
        passing = [trial for trial in sweep if trial.passes]
        best = max(passing, key=lambda t: (t.task_top1 or 0.0, t.alpha)).alpha if passing else None
        if best is not None:
            clip.model.load_state_dict(interpolate(previous, tuned, best))
        return GateResult(alpha=best, max_drop=self.max_drop, before=before, sweep=sweep)

    def notes(self, passed: GateResult) -> list[str]:
        """What the user should know of it."""
        found = []
        if passed.alpha != 1:
            found.append(
                f"The gate took a weight of {passed.alpha:g} of the new model; as it was trained "
                f"it lost more than {100 * passed.max_drop:g} points on what the model knew."
            )
        if self.too_few:
            few = self.too_few
            found.append(
                f"The gate left out {', '.join(map(repr, few[:5]))}"
                f"{f' and {len(few) - 5} more' if len(few) > 5 else ''}: fewer than {ENOUGH} "
                "replayed images. --replay.sampling balanced gives earlier tasks more; --held_out "
                "takes real ones."
            )
        return found
