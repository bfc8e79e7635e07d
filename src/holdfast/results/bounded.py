"""A result of many classes -> one of bounded size, and the table that has every class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from holdfast.results.base import Result, Scores
from holdfast.results.distill import Advice, CompactScores, DistillResult
from holdfast.results.transfer import Evaluation, TransferResult

MOST_LISTED = 1000  # classes up to which a result has all of them
AT_EITHER_END = 100  # classes that are kept of more: the worst, the best, those that changed most
MOST_CELLS = 5000  # of a confusion, the most frequent
SAMPLED = 48  # classes whose pictures are kept

Kept = TypeVar("Kept")
ClassTable = list[list[Any]]  # a row of heads, then rows


def bounded(result: Result) -> tuple[Result, ClassTable | None]:
    """The result with the worst, best and most changed of many classes, and the table of all.

    One of few classes comes back as it is, but for the rarest cells of its confusions; it has no
    table.
    """
    if isinstance(result, TransferResult):
        scores, table = bound_scores(result.scores)
        samples = {kind: some_of(paths) for kind, paths in result.samples.items()}
        return replace(result, scores=scores, samples=samples), table
    if isinstance(result, Evaluation):
        before = {"zero-shot": result.zero_shot} if result.zero_shot else {}
        scores, table = bound_scores(before | {"classifier": result.scores})
        further = {}
        for name, found in result.further.items():
            old = {"zero-shot": found.zero_shot} if found.zero_shot else {}
            some, _ = bound_scores(old | {"classifier": found.scores})
            zero = some.get("zero-shot")
            further[name] = replace(found, scores=some["classifier"], zero_shot=zero)
        zero = scores.get("zero-shot")
        return (
            replace(result, scores=scores["classifier"], zero_shot=zero, further=further),
            table,
        )
    if isinstance(result, DistillResult) and len(result.classes) > MOST_LISTED:
        return bound_distillation(result)
    return result, None


def bound_scores(scores: Mapping[str, Scores]) -> tuple[dict[str, Scores], ClassTable | None]:
    """Scores of several models on the same classes, all of the same of them."""
    if not scores:
        return {}, None
    first, *_, last = [*scores.values(), *scores.values()]
    if len(last.classes) <= MOST_LISTED:
        return {name: with_frequent_cells(each) for name, each in scores.items()}, None
    known = [i for i, share in enumerate(last.per_class) if share is not None]

    def change(place: int) -> float:
        return (last.per_class[place] or 0.0) - (first.per_class[place] or 0.0)

    kept = set(ends(known, lambda i: last.per_class[i] or 0.0)) | set(ends(known, change))
    mistakes = sorted((c for c in last.confusion if c[0] != c[1]), key=lambda c: -c[2])
    kept |= {place for true, said, _ in mistakes[:AT_EITHER_END] for place in (true, said)}
    table: ClassTable = [["class", "images", *scores]]
    table += [
        [name, last.count[i], *(each.per_class[i] for each in scores.values())]
        for i, name in enumerate(last.classes)
    ]
    return {name: with_classes(each, sorted(kept)) for name, each in scores.items()}, table


def ends(places: Sequence[Kept], key: Any) -> list[Kept]:
    """The first and the last of them in the order of a key."""
    ordered = sorted(places, key=key)
    return [*ordered[:AT_EITHER_END], *ordered[-AT_EITHER_END:]]


def with_classes(scores: Scores, kept: Sequence[int]) -> Scores:
    """Scores with some of the classes, by their places."""
    new = {old: place for place, old in enumerate(kept)}
    return with_frequent_cells(
        replace(
            scores,
            classes=tuple(scores.classes[i] for i in kept),
            per_class=tuple(scores.per_class[i] for i in kept),
            count=tuple(scores.count[i] for i in kept),
            confusion=tuple(
                (new[true], new[said], images)
                for true, said, images in scores.confusion
                if true in new and said in new
            ),
            more_classes=len(scores.classes) - len(kept),
        )
    )


def with_frequent_cells(scores: Scores) -> Scores:
    """Scores with the most frequent cells of a large confusion, in the order they had."""
    if len(scores.confusion) <= MOST_CELLS:
        return scores
    frequent = set(sorted(scores.confusion, key=lambda cell: -cell[2])[:MOST_CELLS])
    return replace(scores, confusion=tuple(cell for cell in scores.confusion if cell in frequent))


def some_of(samples: Mapping[str, Kept]) -> dict[str, Kept]:
    """Pictures of some classes, spread evenly over the list."""
    names = list(samples)
    if len(names) > SAMPLED:
        names = [names[i * len(names) // SAMPLED] for i in range(SAMPLED)]
    return {name: samples[name] for name in names}


def bound_distillation(result: DistillResult) -> tuple[DistillResult, ClassTable]:
    """A distillation with the classes that its students name best and worst, and their table."""
    table: ClassTable = [["seed", "left out", "domain", "model", "class", "right"]]
    shares: dict[str, list[float]] = {}
    for trial in result.trials:
        for domain, found in trial.scores.items():
            student = found.full or found.validation
            for model, scores in (("student", student), ("teacher", found.teacher)):
                for name, share in (scores.per_class if scores else {}).items():
                    table.append([trial.seed, trial.held_out, domain, model, name, share])
                    if model == "student" and share is not None:
                        shares.setdefault(name, []).append(share)
    kept = set(ends(list(shares), lambda name: sum(shares[name]) / len(shares[name])))

    def compact(scores: CompactScores | None) -> CompactScores | None:
        return scores and replace(scores, per_class=some(scores.per_class, kept))

    trials = [
        replace(
            trial,
            scores={
                domain: replace(
                    found,
                    validation=compact(found.validation),
                    domainbed=compact(found.domainbed),
                    full=compact(found.full),
                    teacher=compact(found.teacher),
                )
                for domain, found in trial.scores.items()
            },
        )
        for trial in result.trials
    ]

    def advice(found: Advice | None) -> Advice | None:
        if found is None:
            return None
        worst = set(ends(list(found.classes), lambda name: found.classes[name].top1))
        weak = {kind: names[:AT_EITHER_END] for kind, names in found.weak.items()}
        return replace(found, classes=some(found.classes, worst), weak=weak)

    teacher = replace(result.teacher, zero_shot=advice(result.teacher.zero_shot))
    prompts = result.prompts[:AT_EITHER_END]
    return (
        replace(
            result, trials=trials, advice=advice(result.advice), teacher=teacher, prompts=prompts
        ),
        table,
    )


def some(values: Mapping[str, Kept], kept: Iterable[str]) -> dict[str, Kept]:
    """The values of these names, in the order they have."""
    names = set(kept)
    return {name: value for name, value in values.items() if name in names}
