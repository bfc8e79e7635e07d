"""Which trainings a run consists of: seeds, domains left out, weights to select from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.data.domains import Domains
from holdfast.errors import UsageError, did_you_mean
from holdfast.settings import DistillSettings

ASKING = ("distill", "logits")  # methods that learn from the teacher's embeddings of images
WHITE_BOX = ("wise-ft", "regularised")  # methods that fine-tune the teacher itself


@dataclass(frozen=True)
class Trial:
    """One result: a seed, the domain left out of training (none: all are trained on)."""

    seed: int
    held_out: int | None
    sources: tuple[int, ...]

    def folder(self, settings: DistillSettings, domains: Domains) -> str:
        """Where it is kept below the run's folder; a single deployed student lies at the top."""
        parts = [] if self.held_out is None else [f"without-{domains.names[self.held_out]}"]
        if settings.trials > 1:
            parts.append(f"seed-{self.seed}")
        return "/".join(parts)


def plan_trials(settings: DistillSettings, domains: Domains) -> list[Trial]:
    """The trials of a run, seed after seed. Raises UsageError for an unknown domain."""
    everything = range(len(domains))
    left_out: Sequence[int | None]
    if settings.held_out == "none":
        left_out = [None]
    elif settings.held_out == "all":
        left_out = everything
    elif settings.held_out in domains.names:
        left_out = [domains.names.index(settings.held_out)]
    else:
        raise UsageError(
            f"There is no domain {settings.held_out!r} in {domains.images.root}"
            f"{did_you_mean(settings.held_out, domains.names)}; hold out one of "
            f"{', '.join(domains.names)}, or all, or none."
        )
    return [
        Trial(seed, domain, tuple(d for d in everything if d != domain))
        for seed in range(settings.seed, settings.seed + settings.trials)
        for domain in left_out
    ]


def check_method(settings: DistillSettings, trials: Sequence[Trial]) -> None:
    """Raise UsageError for settings that do not go together."""
    if settings.method in WHITE_BOX and settings.student != "teacher":
        raise UsageError(
            f"The method {settings.method!r} fine-tunes the teacher itself; give --student teacher."
        )
    if settings.advice_only and (settings.method not in ASKING or not settings.sample):
        raise UsageError(
            "advice_only shows what the teacher makes of a sample, and this run would ask about "
            "none; give --sample a number, and --method distill or logits."
        )
    if settings.method not in ASKING and len(settings.image_weights) > 1:
        raise UsageError(
            f"The method {settings.method!r} has no image weight to select; give one value."
        )
    if settings.selection == "source" and len(trials[0].sources) < 2:
        raise UsageError(
            "--selection source leaves out one training domain in turn, and there is only one; "
            "take --selection validation."
        )


def check_splits(domains: Domains, trials: Sequence[Trial]) -> None:
    """Raise UsageError for a domain too small to validate on."""
    for trial in trials:
        for domain in range(len(domains)):
            if not all(domains.split(domain, trial.seed)):
                raise UsageError(
                    f"The domain {domains.names[domain]!r} of {domains.images.root} has only "
                    f"{len(domains.indices(domain))} readable images, too few to hold a fifth out; "
                    "add some or remove the domain."
                )


def trainings(settings: DistillSettings, trial: Trial) -> list[tuple[int, ...]]:
    """The domains of each training that a trial needs, with those that select a weight."""
    count = len(settings.image_weights)
    if settings.method == "zero-shot":
        return []
    if count == 1 or settings.selection == "validation":
        return [trial.sources] * count
    without = [tuple(d for d in trial.sources if d != left) for left in trial.sources]
    return without * count + [trial.sources]


def training_images(domains: Domains, trials: Sequence[Trial]) -> list[int]:
    """Places of all images that some training may learn from."""
    return sorted(
        {
            index
            for trial in trials
            for domain in trial.sources
            for index in domains.split(domain, trial.seed)[1]
        }
    )


def tested_images(domains: Domains, trials: Sequence[Trial]) -> list[int]:
    """Places of all images that some student is tested on."""
    return sorted({index for trial in trials for part in tested(domains, trial) for index in part})


def tested(domains: Domains, trial: Trial) -> list[list[int]]:
    """Of each domain, places of what a trial's student is tested on: unseen images only."""
    return [
        domains.indices(d) if d == trial.held_out else domains.split(d, trial.seed)[0]
        for d in range(len(domains))
    ]
