"""What a student makes of images it has not learnt from, beside what its teacher makes of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.data.domains import Domains
from holdfast.harness import World, run
from holdfast.metrics import Scores, compare, is_correct, score
from holdfast.models.classifier import Classifier
from holdfast.teachers.store import EmbeddingStore
from holdfast.verbs.distill.trials import Trial, tested

PASSES = 20  # forward passes that a latency is the median of


def teacher_logits(world: World, store: EmbeddingStore, indices: Sequence[int]) -> Tensor:
    """Zero-shot logits (n, classes) of whole images whose answers are stored."""
    answers = store.images([world.views.whole(i) for i in indices])
    return world.logit_scale * answers @ world.text.cpu().T


def student_logits(world: World, classifier: Classifier, indices: Sequence[int]) -> Tensor:
    """Logits (n, classes) of whole images."""
    classifier.eval()
    images = world.images(indices, "testing")
    return torch.cat([classifier.head(run(classifier.visual, x)).cpu().detach() for x in images])


def trial_scores(
    world: World, store: EmbeddingStore, trial: Trial, classifier: Classifier | None
) -> dict[str, Any]:
    """Scores of one student in every domain; without a student, those of the teacher itself.

    Of a domain it was trained on, the held-out fifth is scored (`validation`). Of the domain left
    out: `domainbed`, the four fifths that DomainBed reports, and `full`, all of it. `teacher` is
    what the teacher makes of those images among them whose answers are stored, and `gap` how much
    more accurate the student is on the same ones.
    """
    found: dict[str, Any] = {}
    domains = world.domains
    for domain, indices in enumerate(tested(domains, trial)):
        if classifier is None:
            logits = teacher_logits(world, store, indices)
        else:
            logits = student_logits(world, classifier, indices)
        row: dict[str, Any] = {"role": "held-out" if domain == trial.held_out else "source"}
        held_out = set(domains.split(domain, trial.seed)[0])
        if domain == trial.held_out:
            kept = [place for place, i in enumerate(indices) if i not in held_out]
            row["domainbed"] = compact(domains, [indices[p] for p in kept], logits[kept])
            row["full"] = compact(domains, indices, logits)
        else:
            row["validation"] = compact(domains, indices, logits)
        row |= beside_teacher(world, store, indices, logits) if classifier else {}
        found[domains.names[domain]] = row
    return found


def beside_teacher(
    world: World, store: EmbeddingStore, indices: Sequence[int], logits: Tensor
) -> dict[str, Any]:
    """The teacher's scores, and the gap, on the images whose answers are stored."""
    kept = [place for place, i in enumerate(indices) if world.views.whole(i) in store]
    if not kept:
        return {"teacher": None, "gap": None}
    known = [indices[place] for place in kept]
    labels = labels_of(world.domains, known)
    theirs = teacher_logits(world, store, known)
    return {
        "teacher": compact(world.domains, known, theirs),
        "gap": asdict(compare(is_correct(theirs, labels), is_correct(logits[kept], labels))),
    }


def labels_of(domains: Domains, indices: Sequence[int]) -> Tensor:
    """Labels (n,) of the images at some places."""
    return torch.tensor([domains.images.labels[i] for i in indices])


def compact(domains: Domains, indices: Sequence[int], logits: Tensor) -> dict[str, Any]:
    """Scores without the confusion; accuracy per class by name."""
    found: Scores = score(logits, labels_of(domains, indices), domains.images.classes.names)
    return {
        "n": found.n,
        "top1": found.top1,
        "mean_per_class": found.mean_per_class,
        "ece": found.ece,
        "nll": found.nll,
        "per_class": dict(zip(found.classes, found.per_class, strict=True)),
    }


def summary(domains: Domains, trials: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means and deviations over seeds. Deviations are of samples, None for one seed.

    held_out: per domain left out, and `average` and `worst` over them, each as `domainbed` (its 80
    %) and `full`; `in_domain`: validation accuracy in the domains trained on, per domain and on
    average over all that were; `gap`: student minus teacher in the domain left out.
    """
    by_seed: dict[int, list[dict[str, Any]]] = {}
    for trial in trials:
        by_seed.setdefault(trial["seed"], []).append(trial)
    rows = list(by_seed.values())
    found: dict[str, Any] = {"seeds": list(by_seed)}
    left_out = [t["held_out"] for t in rows[0] if t["held_out"] is not None]
    in_domain = {
        name: [[s["validation"]["top1"] for s in seen(trials, name)] for trials in rows]
        for name in domains.names
    }
    means = {n: [statistics.mean(v) for v in seeds] for n, seeds in in_domain.items() if seeds[0]}
    found["in_domain"] = over_domains(means)
    if left_out:
        found["held_out"] = {}
        for kind in ("domainbed", "full"):
            table = {
                name: [
                    next(t for t in trials if t["held_out"] == name)["scores"][name][kind]["top1"]
                    for trials in rows
                ]
                for name in left_out
            }
            found["held_out"][kind] = over_domains(table)
    gaps = [
        [t["scores"][t["held_out"]].get("gap") for t in trials if t["held_out"]] for trials in rows
    ]
    if gaps[0] and all(gap for seed in gaps for gap in seed):
        found["gap"] = spread_of([statistics.mean(g["difference"] for g in seed) for seed in gaps])
    return found


def seen(trials: Sequence[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """A domain's scores in the trials that trained on it."""
    return [t["scores"][name] for t in trials if t["held_out"] != name]


def over_domains(table: dict[str, list[float]]) -> dict[str, Any]:
    """{domain: values of the seeds} -> each domain, their average, and the worst of each seed."""
    seeds = list(zip(*table.values(), strict=True))
    worst = min(table, key=lambda name: statistics.mean(table[name]))
    return {
        "domains": {name: spread_of(values) for name, values in table.items()},
        "average": spread_of([statistics.mean(values) for values in seeds]),
        "worst": spread_of([min(values) for values in seeds]) | {"domain": worst},
    }


def spread_of(values: Sequence[float]) -> dict[str, Any]:
    """Mean and deviation over seeds, and the values themselves."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "deviation": deviation, "values": list(values)}


def size_and_speed(visual: nn.Module, image: Tensor) -> dict[str, Any]:
    """Parameters of a tower, its bytes in float32, and the milliseconds that one image takes it."""
    parameters = sum(p.numel() for p in visual.parameters())
    times = []
    for _ in range(3 + PASSES):
        begun = time.perf_counter()
        run(visual, image[:1]).cpu()
        times.append(1000 * (time.perf_counter() - begun))
    return {
        "parameters": parameters,
        "bytes": 4 * parameters,
        "milliseconds_per_image": round(statistics.median(times[3:]), 3),
        "device": str(image.device),
    }
