"""Made-up but consistent results of `distill`: scores come from simulated answers."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from tests.report.transfer_example import ENVIRONMENT

from holdfast.metrics import compare
from holdfast.results import (
    Advice,
    Candidate,
    CompactScores,
    Conclusion,
    Costs,
    DistillResult,
    DomainInfo,
    DomainScores,
    DomainTable,
    KeptWeights,
    QueryCount,
    Share,
    SpotCheck,
    Spread,
    StageResult,
    Summary,
    TeacherInfo,
    TowerInfo,
    TrialResult,
    ValidationPoint,
)

DOMAINS = ["clipart", "photo", "sketch"]
CLASSES = ["ant", "bee", "cow", "dog"]
BEST = KeptWeights(average="none", step=40)
VALLEY = KeptWeights(
    average="valley", first_step=41, last_step=100, segments=6, converged=True, ended=False
)


def distill_example(
    folder: Path,
    *,
    held_out: list[str | None] = ["sketch"],  # noqa: B006 - never changed
    seeds: int = 1,
    student: float = 0.6,
    domains: list[str] = DOMAINS,
    classes: list[str] = CLASSES,
    teacher_asked: bool = True,
) -> DistillResult:
    """A whole result; `student` is its accuracy, and the teacher's is 0.8."""
    trials = [
        trial_of(seed, left_out, student, domains, classes, teacher_asked)
        for seed in range(seeds)
        for left_out in held_out
    ]
    tower = TowerInfo(
        parameters=86192640, bytes=344770560, milliseconds_per_image=41.2, device="cpu"
    )
    return DistillResult(
        title="Distillation",
        created="2026-03-14T09:26:53+00:00",
        command="holdfast distill data --held_out sketch --out runs/distill",
        settings={"student": "vit_small_patch16_224", "views": 10},
        environment=ENVIRONMENT,
        notes=["clipart: 3 images look the same."],
        method="vl2v",
        method_title="VL2V-ADiP",
        paper="arXiv 2310.08255",
        classes=classes,
        prompts=[[f"a photo of a {name}.", f"art of the {name}."] for name in classes],
        domains=[DomainInfo(name=name, images=50 + i) for i, name in enumerate(domains)],
        unreadable=["photos/broken.jpg"],
        samples={name: pictures(folder, number) for number, name in enumerate(domains)},
        trials=trials,
        summary=summary_of(trials, domains),
        teacher=TeacherInfo(
            name="ViT-B-16 (openai)",
            identity="ViT-B-16/openai/3f2a9c",
            logit_scale=100.0,
            width=512,
            zero_shot=advice(domains, classes, 2440),
            tower=tower,
        ),
        student=TowerInfo(
            name="vit_small_patch16_224",
            parameters=21665664,
            bytes=86662656,
            milliseconds_per_image=12.5,
            device="cpu",
        ),
        queries=QueryCount(
            asked_by_this_run=1220,
            needed_images=2430,
            needed_texts=8,
            images_in_all=3040,
            texts_in_all=9,
            limit=5000,
        ),
        verdict=conclusion(trials),
        costs=Costs(training_seconds=123.0, peak_memory_bytes=3_412_000_000),
        advice=advice(domains, classes, 120),
        spot_check=SpotCheck(count=8, mean_cosine=0.9999, lowest_cosine=0.998, drifted=False),
    )


def conclusion(trials: list[TrialResult]) -> Conclusion:
    """What such a run may say of itself."""
    tested = [t.scores[t.held_out] for t in trials if t.held_out is not None]
    gap = tested[0].gap if len(tested) == 1 else None
    if gap is None:
        return Conclusion(decision="open", headline="Not compared", text="There is no comparison.")
    return Conclusion(
        decision="holds up" if gap.high >= 0 else "falls short",
        headline="Keeps 78 % of its teacher's accuracy",
        text=f"The difference is {100 * gap.difference:+.1f} points.",
        gap=gap,
    )


def advice(domains: list[str], classes: list[str], images: int) -> Advice:
    return Advice(
        images=images,
        top1=0.7831,
        domains={name: Share(n=40, top1=0.7 + 0.05 * i) for i, name in enumerate(domains)},
        classes={name: Share(n=30, top1=min(0.4 + 0.1 * i, 1)) for i, name in enumerate(classes)},
        weak={"domains": [], "classes": classes[:1]},
        text=f"The teacher names 78% of {images} training images right.",
    )


def trial_of(
    seed: int,
    held_out: str | None,
    student: float,
    domains: list[str],
    classes: list[str],
    teacher_asked: bool,
) -> TrialResult:
    """One trial, with scores in every domain."""
    scores = {}
    for number, name in enumerate(domains):
        unseen = name == held_out
        images = 200 if unseen else 40
        random = torch.Generator().manual_seed(1000 * seed + number)
        theirs = torch.rand(images, generator=random) < 0.8
        ours = torch.rand(images, generator=random) < (student if unseen else student + 0.1)
        scores[name] = DomainScores(
            role="held-out" if unseen else "source",
            validation=None if unseen else compact(ours, classes),
            domainbed=compact(ours[:160], classes) if unseen else None,
            full=compact(ours, classes) if unseen else None,
            teacher=compact(theirs, classes) if teacher_asked else None,
            gap=compare(theirs, ours) if teacher_asked else None,
        )
    return TrialResult(
        seed=seed,
        held_out=held_out,
        sources=[name for name in domains if name != held_out],
        scores=scores,
        student=TowerInfo(parameters=21665664),
        image_weight=0.5,
        candidates=[
            Candidate(image_weight=0.1, accuracy=0.61),
            Candidate(image_weight=0.5, accuracy=0.64),
        ],
        stages={"align": stage(0.5, BEST), "distill": stage(0.7, VALLEY)},
        classifier=f"trials/{seed}/model",
        training_seconds=130.0,
        evaluation_seconds=7.5,
    )


def compact(right: torch.Tensor, classes: list[str]) -> CompactScores:
    """Scores without logits; image n shows class n modulo their number."""
    labels = torch.arange(len(right)) % len(classes)
    per_class = {}
    for place, name in enumerate(classes):
        hits = right[labels == place]
        per_class[name] = hits.float().mean().item() if len(hits) else None
    known = [value for value in per_class.values() if value is not None]
    return CompactScores(
        n=len(right),
        top1=right.float().mean().item(),
        mean_per_class=statistics.mean(known),
        ece=0.0432,
        nll=1.2345,
        per_class=per_class,
    )


def stage(best: float, kept: KeptWeights) -> StageResult:
    """Eleven validations, and what was kept of them."""
    return StageResult(
        kept=replace(kept, accuracy=best, loss=1.1111),
        validations=[
            ValidationPoint(step=10 * n, accuracy=best * n / (n + 1), loss=2 - 0.1 * n)
            for n in range(11)
        ],
        seconds=61.5,
    )


def summary_of(trials: list[TrialResult], domains: list[str]) -> Summary:
    """Means and deviations over the trials' seeds."""
    seeds = list(dict.fromkeys(trial.seed for trial in trials))
    left_out = list(dict.fromkeys(t.held_out for t in trials if t.held_out is not None))

    def values(name: str, kind: str, held_out: bool) -> list[float]:
        found = []
        for seed in seeds:
            some = [
                getattr(t.scores[name], kind).top1
                for t in trials
                if t.seed == seed and (t.held_out == name) == held_out
            ]
            if some:
                found.append(statistics.mean(some))
        return found

    learned = {name: values(name, "validation", False) for name in domains}
    gaps = [
        [t.scores[t.held_out].gap for t in trials if t.seed == seed and t.held_out is not None]
        for seed in seeds
    ]
    known = [[gap.difference for gap in of_seed if gap is not None] for of_seed in gaps]
    return Summary(
        seeds=seeds,
        in_domain=domain_table({name: found for name, found in learned.items() if found}),
        held_out={
            kind: domain_table({name: values(name, kind, True) for name in left_out})
            for kind in ("domainbed", "full")
            if left_out
        },
        gap=spread([statistics.mean(row) for row in known]) if all(known) else None,
    )


def domain_table(table: dict[str, list[float]]) -> DomainTable:
    rows = list(zip(*table.values(), strict=True))
    worst = min(table, key=lambda name: statistics.mean(table[name]))
    return DomainTable(
        domains={name: spread(values) for name, values in table.items()},
        average=spread([statistics.mean(row) for row in rows]),
        worst=spread([min(row) for row in rows], worst),
    )


def spread(values: list[float], domain: str | None = None) -> Spread:
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(mean=statistics.mean(values), deviation=deviation, values=values, domain=domain)


def pictures(folder: Path, number: int) -> list[str]:
    """Two pictures of a domain."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}-{n}.png" for n in range(2)]
    for n, path in enumerate(paths):
        Image.new("RGB", (32, 32), (60 * number % 256, 90 + 60 * n, 120)).save(path)
    return [str(path) for path in paths]
