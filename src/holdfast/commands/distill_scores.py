"""What a distillation measures: its teacher, its students, all trials together, and the verdict."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from scipy.stats import t as student_t
from torch import Tensor, nn

from holdfast.commands.distill_beside import what_was_compared as what_was_compared
from holdfast.commands.distill_plan import Trial
from holdfast.data.domains import Domains
from holdfast.device import attention
from holdfast.experiment import Experiment
from holdfast.metrics import compare, is_correct, score
from holdfast.models.classifier import Classifier
from holdfast.results import (
    Advice,
    CompactScores,
    Comparison,
    Conclusion,
    DomainScores,
    DomainTable,
    Share,
    Spread,
    Summary,
    TowerInfo,
    TrialResult,
)
from holdfast.teachers.store import EmbeddingStore

PASSES = 20  # forward passes that a latency is the median of
WEAK = 0.5  # accuracy under which a teacher misleads more often than not


def zero_shot_logits(
    experiment: Experiment, store: EmbeddingStore, indices: Sequence[int]
) -> Tensor:
    """The teacher's logits (n, classes) of whole images whose answers are stored."""
    taught = experiment.taught
    answers = store.images([taught.views.whole(i) for i in indices])
    return experiment.logit_scale * answers @ taught.text.cpu().T


def advise(domains: Domains, indices: Sequence[int], logits: Tensor) -> Advice:
    """Should I distil? The teacher's zero-shot accuracy on some images, and what it tells.

    indices: places of the images; logits: (n, classes).
    """
    labels = torch.tensor([domains.images.labels[i] for i in indices])
    starts = torch.tensor(domains.starts[1:])
    where = torch.bucketize(torch.tensor(list(indices)), starts, right=True)
    right = is_correct(logits, labels)

    def by(groups: Tensor, names: Sequence[str]) -> dict[str, Share]:
        members = {name: right[groups == number] for number, name in enumerate(names)}
        return {
            name: Share(n=len(some), top1=some.float().mean().item())
            for name, some in members.items()
            if len(some)
        }

    tables = {
        "domains": by(where, domains.names),
        "classes": by(labels, domains.images.classes.names),
    }
    weak = {
        kind: [name for name, found in table.items() if found.top1 < WEAK]
        for kind, table in tables.items()
    }
    overall = right.float().mean().item()
    listed = ", ".join(f"{name} {found.top1:.0%}" for name, found in tables["domains"].items())
    text = f"The teacher names {overall:.0%} of {len(right):,} training images right ({listed}). "
    parts = [
        f"the {kind} {', '.join(names[:5])}{' and others' if len(names) > 5 else ''}"
        for kind, names in weak.items()
        if names
    ]
    if overall < WEAK:
        text += (
            "It is wrong more often than right: distilling teaches its mistakes. Try other "
            "--prompts.templates or another teacher, or learn from the labels with --method erm."
        )
    elif parts:
        text += (
            f"It is wrong more often than right in {' and in '.join(parts)}: there the labels "
            "teach more than it; a lower --method.image_weight gives them more say."
        )
    else:
        text += "It is right more often than wrong in every domain and class: distil."
    return Advice(images=len(right), top1=overall, **tables, weak=weak, text=text)


def trial_scores(
    experiment: Experiment, store: EmbeddingStore, trial: Trial, classifier: Classifier | None
) -> dict[str, DomainScores]:
    """Scores of one student in every domain; without a student, those of the teacher itself."""
    domains, found = experiment.domains, {}
    every = torch.tensor(domains.images.labels)

    def compact(indices: Sequence[int], logits: Tensor) -> CompactScores:
        all_of_it = score(logits, every[list(indices)], domains.images.classes.names)
        numbers = {k: getattr(all_of_it, k) for k in ("n", "top1", "mean_per_class", "ece", "nll")}
        per_class = dict(zip(all_of_it.classes, all_of_it.per_class, strict=True))
        return CompactScores(**numbers, per_class=per_class)

    for domain, indices in enumerate(trial.tested(domains)):
        teacher: CompactScores | None = None
        gap: Comparison | None = None
        if classifier is None:
            logits = zero_shot_logits(experiment, store, indices)
        else:
            logits = experiment.logits(classifier, indices)
            whole = experiment.taught.views.whole
            if stored := [place for place, i in enumerate(indices) if whole(i) in store]:
                known = [indices[place] for place in stored]
                theirs = zero_shot_logits(experiment, store, known)
                teacher = compact(known, theirs)
                labels = every[known]
                gap = compare(is_correct(theirs, labels), is_correct(logits[stored], labels))
        if domain == trial.held_out:
            validation = set(domains.split(domain, trial.seed)[0])
            kept = [place for place, i in enumerate(indices) if i not in validation]
            domainbed = compact([indices[place] for place in kept], logits[kept])
            row = DomainScores(role="held-out", domainbed=domainbed, full=compact(indices, logits))
        else:
            row = DomainScores(role="source", validation=compact(indices, logits))
        found[domains.names[domain]] = replace(row, teacher=teacher, gap=gap)
    return found


def size_and_speed(visual: nn.Module, image: Tensor) -> TowerInfo:
    """A tower's parameters, its bytes in float32, and the milliseconds that one image takes.

    image: (1, 3, height, width), preprocessed, on the device.
    """
    parameters = sum(p.numel() for p in visual.parameters())
    times = []
    with torch.no_grad(), attention(image.device):
        for _ in range(3 + PASSES):
            begun = time.perf_counter()
            visual.eval()(image).cpu()
            times.append(1000 * (time.perf_counter() - begun))
    return TowerInfo(
        parameters=parameters,
        bytes=4 * parameters,
        milliseconds_per_image=round(statistics.median(times[3:]), 3),
        device=str(image.device),
    )


def spread_of(values: Sequence[float], domain: str | None = None) -> Spread:
    """Mean and deviation over seeds, and the values themselves."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(
        mean=statistics.mean(values), deviation=deviation, values=list(values), domain=domain
    )


def summarise(names: Sequence[str], trials: Sequence[TrialResult]) -> Summary:
    """Means and deviations over seeds. names: of all domains."""
    by_seed: dict[int, list[TrialResult]] = {}
    for trial in trials:
        by_seed.setdefault(trial.seed, []).append(trial)
    seeds = list(by_seed.values())

    def table(values: Mapping[str, Sequence[float]]) -> DomainTable:
        """{domain: values of the seeds} -> each domain, their average, the worst of each seed."""
        rows = list(zip(*values.values(), strict=True))
        worst = min(values, key=lambda name: statistics.mean(values[name]))
        return DomainTable(
            domains={name: spread_of(row) for name, row in values.items()},
            average=spread_of([statistics.mean(row) for row in rows]),
            worst=spread_of([min(row) for row in rows], worst),
        )

    in_domain: dict[str, list[float]] = {}
    for name in names:
        learnt = [[t.scores[name].validation for t in each if t.held_out != name] for each in seeds]
        if learnt[0]:
            in_domain[name] = [statistics.mean(s.top1 for s in each if s) for each in learnt]
    left_out = {t.held_out: t for t in seeds[0] if t.held_out is not None}
    held_out = {}
    for kind in ("domainbed", "full") if left_out else ():
        held_out[kind] = table(
            {
                name: [
                    getattr(next(t for t in each if t.held_out == name).scores[name], kind).top1
                    for each in seeds
                ]
                for name in left_out
            }
        )
    gaps = [[t.scores[t.held_out].gap for t in each if t.held_out] for each in seeds]
    gaps = [each for each in gaps if each and all(each)]
    means = [statistics.mean(gap.difference for gap in each if gap) for each in gaps]
    return Summary(
        seeds=list(by_seed),
        in_domain=table(in_domain),
        held_out=held_out,
        gap=spread_of(means) if len(means) == len(seeds) else None,
    )


def conclude(
    trials: Sequence[TrialResult],
    summary: Summary,
    student: TowerInfo,
    teacher: TowerInfo | None,
) -> Conclusion:
    """A run's verdict.

    `holds up` where the student is not worse than its teacher on domains it never saw, within the
    95 % interval of their difference; `falls short` where it is; `open` where that was not
    measured. student: its size, none where nothing was trained.
    """
    full, learnt = summary.held_out.get("full"), summary.in_domain
    if trials[0].classifier is None:
        return Conclusion(
            decision="open",
            headline="The teacher, not a student",
            text=f"The teacher names {100 * (full or learnt).average.mean:.1f} % of the images "
            "right.",
        )
    if full is None:
        return Conclusion(
            decision="open",
            headline="Not measured on a new domain",
            text="On held-back images of the domains it learned from, the student names "
            f"{100 * learnt.average.mean:.1f} % right, and {100 * learnt.worst.mean:.1f} % in the "
            f"worst of them, {learnt.worst.domain}. That says little about a new domain: "
            "--held_out all measures it.",
        )
    names = list(full.domains)
    where = f"{names[0]}, which it never saw," if len(names) == 1 else ""
    where = where or f"{len(names)} domains, each left out in turn,"
    size = ""
    if student.parameters and teacher and teacher.parameters not in (None, student.parameters):
        share = student.parameters / teacher.parameters
        size = f" It has {100 * share:.0f} % of the parameters of its teacher's image tower."
    tested = [t.scores[t.held_out] for t in trials if t.held_out is not None]
    if summary.gap is None:
        found = full.average.mean
        return Conclusion(
            decision="open",
            headline=f"{100 * found:.1f} % on domains it never saw",
            text=f"The student names {100 * found:.1f} % of the images of {where} right. The "
            f"teacher was not asked about them all; compare with --teacher_scores all.{size}",
        )
    gaps = [scores.gap for scores in tested if scores.gap]
    gap, theirs = (
        statistics.mean(gap.difference for gap in gaps),
        statistics.mean(scores.teacher.top1 for scores in tested if scores.teacher),
    )
    low, high = gap_interval(gaps, summary.gap.values)
    if low > 0:
        headline = "Better than its zero-shot teacher"
    elif high >= 0:
        headline = "As good as its zero-shot teacher"
    else:
        headline = f"Keeps {100 * (theirs + gap) / theirs:.0f} % of its teacher's accuracy"
    over_seeds = ", over seeds" if len(summary.seeds) > 1 else ""
    return Conclusion(
        decision="holds up" if high >= 0 else "falls short",
        headline=headline,
        text=f"On {sum(gap.n for gap in gaps):,} images of {where} the student names "
        f"{100 * (theirs + gap):.1f} % right and its teacher {100 * theirs:.1f} %: "
        f"{100 * gap:+.1f} points (95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
        f"{over_seeds}).{size}",
        gap=gaps[0] if len(gaps) == 1 else None,
    )


def gap_interval(gaps: Sequence[Comparison], seeds: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean gap: Student's t over several seeds, else over the images.

    gaps: of each domain left out; seeds: the mean gap of each seed.
    """
    if len(seeds) > 1:
        error = statistics.stdev(seeds) / math.sqrt(len(seeds))
        margin = float(student_t.ppf(0.975, len(seeds) - 1)) * error
        return statistics.mean(seeds) - margin, statistics.mean(seeds) + margin
    if len(gaps) == 1:
        return gaps[0].low, gaps[0].high
    # Domains have images of their own: their errors are independent.
    margin = math.hypot(*((gap.high - gap.low) / 2 for gap in gaps)) / len(gaps)
    mean = statistics.mean(gap.difference for gap in gaps)
    return mean - margin, mean + margin
