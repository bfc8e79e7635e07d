"""Name-only transfer on the embedded world: every claim of RegFT that it can test, five seeds.

    python evidence/transfer.py        (or: make evidence-transfer)

Runs `holdfast.transfer` as a user would, three settings a seed, and writes
docs/evidence/transfer.md and transfer.json. Runs that are finished with the pocket weights of today
are not run again.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # two processes of one thread beat one of two

from common import ROOT, work
from transfer_page import page, summarise

from holdfast import pocket, transfer
from holdfast.settings import ImageSettings, TrainSettings

PAGE = ROOT / "docs" / "evidence" / "transfer.md"
SEEDS = range(5)
WORK = work("transfer")
# What `holdfast demo` uses, but fewer images.
IMAGES = {"steps": 12, "guidance": 3.0, "batch_size": 32}
TRAIN = {"learning_rate": 1e-4, "batch_size": 32, "workers": 0}


@dataclass(frozen=True)
class Task:
    """A downstream task: how many images a class to train on, generated or real, and to test on."""

    name: str
    images: int
    test_images: int | None


TASKS = (Task("digits", 24, 50), Task("shapes", 24, 40), Task("things", 10, 20))

# One setting each. All train on the same generated images, but for the upper reference.
VARIANTS: dict[str, dict[str, Any]] = {
    "regularised": {},
    "plain": {"variance": 0.0, "covariance": 0.0},
    "real": {"variance": 0.0, "covariance": 0.0},
}


def run_seed(task: Task, seed: int) -> dict[str, Any]:
    """All variants of a task under one seed; returns their results."""
    data, out = WORK / task.name, WORK / task.name / f"seed-{seed}"
    results = {}
    for variant, options in VARIANTS.items():
        run = out / variant
        if not (run / "result.json").exists():
            folder = {
                "regularised": None,
                "real": data / "real-train",
            }.get(variant, out / "regularised" / "generated")
            transfer(
                [str(data / "test" / "classes.json")],
                run,
                model="pocket",
                generator="pocket",
                folder=folder,
                evaluate=data / "test",
                alpha="auto" if variant == "regularised" else 0.5,
                images=ImageSettings(per_class=task.images, **IMAGES),
                train=TrainSettings(**TRAIN, **options),
                seed=seed,
                device="cpu",
            )
        results[variant] = json.loads((run / "result.json").read_text())
    return results


def main() -> int:
    """Run what is missing, then write the page."""
    for task in TASKS:
        for split, count in (("train", task.images), ("test", task.test_images)):
            root = WORK / task.name / ("test" if split == "test" else "real-train")
            if not (root / "classes.json").exists():
                pocket.write_task(task.name, root, count, split)
    jobs = [(task, seed) for seed in SEEDS for task in TASKS]
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(run_seed, *zip(*jobs, strict=True)))
    results = {
        task.name: [r for (t, _), r in zip(jobs, found, strict=True) if t is task] for task in TASKS
    }
    summary = {task: summarise(runs) for task, runs in results.items()}
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.with_suffix(".json").write_text(json.dumps(summary, indent=2) + "\n")
    PAGE.write_text(page(summary, len(SEEDS)))
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
