"""Made-up but consistent results of `distill`: scores come from simulated answers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image

from holdfast.metrics import compare
from holdfast.verbs.distill.scores import summary
from holdfast.verbs.distill.verdict import conclude

DOMAINS = ["clipart", "photo", "sketch"]
CLASSES = ["ant", "bee", "cow", "dog"]


def example_record(
    folder: Path,
    *,
    held_out: list[str | None] = ["sketch"],  # noqa: B006 - never changed
    seeds: int = 1,
    student: float = 0.6,
    domains: list[str] = DOMAINS,
    classes: list[str] = CLASSES,
    teacher_asked: bool = True,
) -> dict[str, Any]:
    """A whole record; `student` is its accuracy, and the teacher's is 0.8."""
    trials = [
        trial(seed, left_out, student, domains, classes, teacher_asked)
        for seed in range(seeds)
        for left_out in held_out
    ]
    teacher = {"name": "ViT-B-16", "parameters": 86192640, "bytes": 344770560}
    record: dict[str, Any] = {
        "kind": "distill",
        "title": "Distillation",
        "created": "2026-03-14T09:26:53+00:00",
        "settings": {"student": "vit_small_patch16_224", "views": 10},
        "environment": {"holdfast": "0.1.0", "torch": {"threads": 2}},
        "method": "distill",
        "classes": classes,
        "domains": [{"name": name, "images": 50} for name in domains],
        "unreadable": ["photos/broken.jpg"],
        "samples": {name: pictures(folder, number) for number, name in enumerate(domains)},
        "advice": {
            "images": 120,
            "top1": 0.78,
            "domains": {name: {"n": 40, "top1": 0.7 + 0.05 * i} for i, name in enumerate(domains)},
            "classes": {name: {"n": 30, "top1": 0.4 + 0.1 * i} for i, name in enumerate(classes)},
            "weak": {"domains": [], "classes": classes[:1]},
            "text": "The teacher names 78% of 120 training images right.",
        },
        "trials": trials,
        "summary": summary(SimpleNamespace(names=domains), trials),
        "teacher": teacher | {"milliseconds_per_image": 41.2, "device": "cpu"},
        "student": trials[0]["student"] | {"name": "vit_small_patch16_224"},
        "queries": {
            "asked_by_this_run": 1220,
            "needed_without_store": {"images": 2440, "texts": 4},
            "images_asked_in_all": 2440,
            "texts_asked_in_all": 4,
            "limit": 5000,
        },
        "spot_check": {
            "count": 8,
            "mean_cosine": 0.9999,
            "lowest_cosine": 0.998,
            "drifted": False,
        },
        "peak_memory_bytes": 3_412_000_000,
    }
    parts = (record[key] for key in ("trials", "summary", "student", "teacher"))
    return record | {"verdict": conclude("distill", *parts)}


def trial(
    seed: int,
    held_out: str | None,
    student: float,
    domains: list[str],
    classes: list[str],
    teacher_asked: bool,
) -> dict[str, Any]:
    """One trial, with scores in every domain."""
    scores = {}
    for number, name in enumerate(domains):
        unseen = name == held_out
        images = 200 if unseen else 40
        random = torch.Generator().manual_seed(1000 * seed + number)
        theirs = torch.rand(images, generator=random) < 0.8
        ours = torch.rand(images, generator=random) < (student if unseen else student + 0.1)
        kinds = ["domainbed", "full"] if unseen else ["validation"]
        scores[name] = {
            "role": "held-out" if unseen else "source",
            **{kind: counted(ours, classes) for kind in kinds},
            "teacher": counted(theirs, classes) if teacher_asked else None,
            "gap": asdict(compare(theirs, ours)) if teacher_asked else None,
        }
    return {
        "seed": seed,
        "held_out": held_out,
        "sources": [name for name in domains if name != held_out],
        "image_weight": 0.5,
        "candidates": [
            {"image_weight": 0.1, "accuracy": 0.61},
            {"image_weight": 0.5, "accuracy": 0.64},
        ],
        "stages": {"align": stage(0.5), "distill": stage(0.7)},
        "scores": scores,
        "student": {
            "parameters": 21665664,
            "bytes": 86662656,
            "milliseconds_per_image": 12.5,
            "device": "cpu",
        },
        "classifier": "model",
    }


def counted(right: torch.Tensor, classes: list[str]) -> dict[str, Any]:
    """Scores without logits; image n shows class n modulo their number."""
    labels = torch.arange(len(right)) % len(classes)
    top1 = right.float().mean().item()
    per_class = [right[labels == place].float().mean().item() for place in range(len(classes))]
    return {
        "n": len(right),
        "top1": top1,
        "mean_per_class": top1,
        "per_class": dict(zip(classes, per_class, strict=True)),
    }


def stage(best: float) -> dict[str, Any]:
    """Eleven validations, of which a valley kept steps 41 to 100."""
    validations = [
        {"step": 10 * n, "accuracy": best * n / (n + 1), "loss": 2 - 0.1 * n} for n in range(11)
    ]
    kept = {
        "average": "valley",
        "first_step": 41,
        "last_step": 100,
        "segments": 6,
        "converged": True,
        "ended": False,
        "accuracy": best,
        "loss": 1.1,
    }
    return {"kept": kept, "validations": validations, "seconds_of_the_last_start": 61.5}


def pictures(folder: Path, number: int) -> list[str]:
    """Two pictures of a domain."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}-{n}.png" for n in range(2)]
    for n, path in enumerate(paths):
        Image.new("RGB", (32, 32), (60 * number % 256, 90 + 60 * n, 120)).save(path)
    return [str(path) for path in paths]
