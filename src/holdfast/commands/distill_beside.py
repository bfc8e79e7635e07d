"""What a distilled student is compared with: its zero-shot teacher, and itself without one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from holdfast.commands.settings import DistillSettings
from holdfast.errors import HoldfastError
from holdfast.files import read_json
from holdfast.results import DistillResult, TrialResult, read_result
from holdfast.runs import RESULT, SETTINGS
from holdfast.verdicts import mean_change

LABELS_ALONE = "erm"  # the method that learns from labels and asks no teacher
# Settings in which a run on labels alone must be the same, beside its trials.
SHARED = ("data", "student", "student_weights", "seed", "classes")


def what_was_compared(settings: DistillSettings, trials: Sequence[TrialResult]) -> str:
    """A sentence beside the comparison with the teacher, which saw none of the labels.

    A finished run of the same student, data and trials on labels alone (`--method erm`) in a folder
    next to this one stands beside it; without one the sentence says how to get it.

    settings: of the run, as they hold in any folder.
    """
    if all(trial.held_out is None or trial.classifier is None for trial in trials):
        return ""
    if settings.method.name == LABELS_ALONE:
        return " It learned from the labels alone; the teacher is zero-shot and saw none of them."
    told = " The teacher is zero-shot and saw none of the labels that the student learned from"
    for folder, other in runs_on_labels(settings):
        ours, theirs = by_domain(trials), by_domain(other.trials)
        if ours.keys() != theirs.keys() or any(ours[k][1] != theirs[k][1] for k in ours):
            continue
        before, after = ([table[key][0] for key in ours] for table in (theirs, ours))
        change = mean_change(before, after, [images for _, images in ours.values()])
        mean, low, high = (f"{100 * value:+.1f}" for value in change)
        seeds = {seed for seed, _ in ours}
        # Several seeds are measured on the same images, which this interval knows nothing of.
        interval = f"95 % interval {low} to {high}" if len(seeds) == 1 else f"{len(seeds)} seeds"
        return (
            f"{told}. The same student trained on the labels alone ({folder.name}) names "
            f"{100 * sum(before) / len(before):.1f} % right: with the teacher it is {mean} points "
            f"({interval})."
        )
    return (
        f"{told}: what the teacher is worth shows beside the same student trained on the labels "
        "alone, --method erm with an --out next to this run's."
    )


def by_domain(trials: Sequence[TrialResult]) -> dict[tuple[int, str], tuple[float, int]]:
    """Accuracy and number of images of each domain left out, by seed and domain."""
    return {
        (trial.seed, trial.held_out): (found.top1, found.n)
        for trial in trials
        if trial.held_out is not None and (found := trial.scores[trial.held_out].full)
    }


def runs_on_labels(settings: DistillSettings) -> Iterator[tuple[Path, DistillResult]]:
    """Finished runs on labels alone of the same student and data, next to this run's folder."""
    own = settings.to_json()
    here = Path(own["out"]).absolute()
    for file in sorted(here.parent.glob(f"*/{RESULT}")):
        folder = file.parent
        if folder == here:
            continue
        try:
            given = read_json(folder / SETTINGS)
            method = given.get("method", {})
            if method.get("name") != LABELS_ALONE:
                continue
            if any(given.get(name) != own.get(name) for name in SHARED):
                continue
            found = read_result(file)
        except (HoldfastError, AttributeError, OSError):
            continue  # another kind of folder
        if isinstance(found, DistillResult):
            yield folder, found
