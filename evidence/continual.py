"""Continual learning on the embedded world: GIFT, what it is compared with, and its parts.

    python evidence/continual.py             (or: make evidence-continual)
    python evidence/continual.py --choose    learning rates, on validation pictures and a spare seed
    python evidence/continual.py --minutes 5 begin nothing new after that, and write what there is

Runs `holdfast.continual_run` as a user would and writes docs/evidence/continual.md and
continual.json, with the settings that are finished for every seed. Runs that are finished with the
pocket weights of today are not run again.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

os.environ["OMP_NUM_THREADS"] = "1"  # two processes of one thread beat one of two

from common import ROOT, work
from continual_page import (
    BALANCED,
    CHAIN,
    GIFT,
    IMAGES,
    JOINT,
    L2,
    NUMBERS,
    ORDERS,
    OWN,
    ZERO_SHOT,
    numbered,
    page,
    summarise,
)

import holdfast
from holdfast import pocket
from holdfast.builtin import take_validation
from holdfast.files import read_json, write_json
from holdfast.pocket.world import CLASSES
from holdfast.settings import ContinualTrainSettings, ImageSettings, ReplaySettings

PAGE = ROOT / "docs" / "evidence" / "continual.md"
WORK = work("continual", "clip", "diffusion")
SEEDS = range(5)
SPARE = 100  # the seed of choices
RATES = (3e-5, 1e-4, 3e-4)
# Pictures of each class, about eighty to test on a task.
PICTURES = {"train": 16, "val": 4, "test": 3}
MORE = {"digits": 9, "shapes": 9, "textures": 7}  # to test on, where classes are few
DRAW: dict[str, Any] = {
    "base": "pocket",
    "steps": 8,
    "guidance": 5.0,
    "batch_size": 32,
    "precision": "bf16",
}
TRAIN: dict[str, Any] = {
    "steps": 20,
    "batch_size": 16,
    "replay_batch_size": 24,
    "precision": "bf16",
    "workers": 0,
}
# Label on the page -> what differs from GIFT. The most telling ones come first.
SETTINGS: dict[str, dict[str, Any]] = {
    ZERO_SHOT: {"method": "zero-shot"},
    "fine-tuning": {"method": "finetune"},
    GIFT: {},
    L2: {"method": "l2"},
    OWN: {"method": "finetune"},
    "ZSCL": {"method": "zscl"},
    "WiSE-FT after each task": {"method": "wise-ft"},
    "LwF": {"method": "lwf"},
    "static EWC": {"method": "ewc"},
    JOINT: {"method": "joint"},
    CHAIN[1]: {"train": {"importance": "uniform", "alignment": 0.0}},
    CHAIN[2]: {"train": {"importance": "uniform"}},
    BALANCED: {"replay": {"draw": "balanced"}},
    **{numbered(n): {"replay": {"images": n}} for n in NUMBERS if n not in (0, IMAGES)},
}


def write_stream(order: str) -> None:
    """The file of a stream, and the folders of its tasks where they are not there yet."""
    folders = []
    for task in ORDERS[order]:
        folder = WORK / "tasks" / task
        folders.append({"folder": str(folder)})
        counts = PICTURES | {"test": MORE.get(task, PICTURES["test"])}
        if task == "digits":  # one in four of what it trains on is for validation
            counts["train"] += counts.pop("val")
        for split, count in counts.items():
            if not (folder / split / "classes.json").exists():
                pocket.write_task(task, folder / split, count, split)  # type: ignore[arg-type]
        if not (folder / "val" / "classes.json").exists():
            take_validation(folder)
    write_json(WORK / f"{order}.json", folders)


@dataclass(frozen=True)
class Job:
    """A stream under one setting, seed and learning rate."""

    order: str
    label: str
    seed: int
    rate: float
    split: Literal["val", "test"] = "test"

    @property
    def out(self) -> Path:
        """Where it runs, and its result is kept beside."""
        label = re.sub("[^a-zA-Z0-9]+", "-", self.label).strip("-").lower()
        return WORK / "runs" / self.order / f"{label}-{self.rate:g}-{self.split}-{self.seed}"

    @property
    def found(self) -> dict[str, Any] | None:
        """The result, if it is finished."""
        kept = Path(f"{self.out}.json")
        return json.loads(kept.read_text()) if kept.exists() else None


def run(job: Job, deadline: float) -> None:
    """One stream, unless it is finished or would begin after the deadline."""
    if job.found is not None or time.time() > deadline:
        return
    options, out = SETTINGS[job.label], job.out
    train = TRAIN | {"learning_rate": job.rate} | options.get("train", {})
    replay = DRAW | {"images": IMAGES, "cache": WORK / "replay"} | options.get("replay", {})
    method = options.get("method", "gift")
    if method == "zscl":  # one reference set for all tasks, as its paper has it
        replay["folder"] = reference(job.seed)
    shared = drawing(job) if method in ("gift", "ewc") else nullcontext()
    with shared:
        result = holdfast.continual_run(
            WORK / f"{job.order}.json",
            out,
            model="pocket",
            generator="pocket",
            method=method,
            split=job.split,
            replay=ReplaySettings(**replay),
            train=ContinualTrainSettings(**train),
            seed=job.seed,
            device="cpu",
        )
    found = {key: result[key] for key in ("matrix", "metrics", "costs")}
    found["coverage"] = [step["replay"] and step["replay"]["coverage"] for step in result["steps"]]
    write_json(Path(f"{out}.json"), found)
    shutil.rmtree(out)  # a model of each task: all together they would fill gigabytes


@contextmanager
def drawing(job: Job) -> Iterator[None]:
    """One at a time: runs of an order and seed draw the same replay images into one folder."""
    with (WORK / f"{job.order}-{job.seed}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def reference(seed: int) -> Path:
    """Images of the names that stand for pre-training, the same for all tasks."""
    names = CLASSES["things"]
    options = {key: value for key, value in DRAW.items() if key != "base"}
    images = ImageSettings(per_class=-(-IMAGES // len(names)), **options)
    out = WORK / "replay" / f"reference-{seed}"
    holdfast.generate(names, out, generator="pocket", images=images, seed=seed, device="cpu")
    return out


def choices() -> dict[str, list[Job]]:
    """{setting: a run for each of RATES}, on validation pictures with the seed that is spare."""
    return {
        label: [Job("first", label, SPARE, rate, "val") for rate in RATES]
        for label in ("fine-tuning", GIFT)
    }


def averages(runs: Sequence[Job]) -> list[float]:
    """Avg of each; 0 for one that was not run in time."""
    return [job.found["metrics"]["within"]["average"] if job.found else 0.0 for job in runs]


def jobs() -> dict[tuple[str, str], list[Job]]:
    """{(order, setting): a run for each seed}, in the order in which they are begun."""
    best = {
        label: max(zip(averages(runs), RATES, strict=True))[1] for label, runs in choices().items()
    }
    skipped = [OWN] if best["fine-tuning"] == best[GIFT] else []
    return {
        (order, label): [
            Job(order, label, seed, best["fine-tuning" if label == OWN else GIFT])
            for seed in (SEEDS if label != ZERO_SHOT else SEEDS[:1])  # nothing is random there
        ]
        for label in SETTINGS
        for order in ORDERS
        if label not in (skipped if order == "first" else [*skipped, JOINT])
    }


def collect() -> dict[str, Any]:
    """What is finished for every seed."""
    orders: dict[str, dict[str, Any]] = {order: {} for order in ORDERS}
    missing: dict[str, list[str]] = {order: [] for order in ORDERS}
    for (order, label), wanted in jobs().items():
        found = [each for job in wanted if (each := job.found) is not None]
        if len(found) == len(wanted):
            orders[order][label] = summarise(found)
        else:
            missing[order].append(label)
    if JOINT in orders["first"]:
        orders["second"][JOINT] = orders["first"][JOINT]
    about = {
        "tasks": [count(task) for task in ORDERS["first"]],
        "rates": RATES,
        "choice": {label: averages(runs) for label, runs in choices().items()},
        "train": TRAIN | {"learning_rate": jobs()["first", GIFT][0].rate},
        "draw": DRAW,
    }
    return {"seeds": len(SEEDS), "about": about, "orders": orders, "missing": missing}


def count(task: str) -> dict[str, Any]:
    """Classes and pictures of a task."""
    folder = WORK / "tasks" / task
    numbers = {split: len(list((folder / split).glob("*/*.png"))) for split in ("train", "test")}
    return {"name": task, "classes": len(read_json(folder / "train" / "classes.json")), **numbers}


def main() -> int:
    """Run what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--choose", action="store_true", help="only compare learning rates")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after")
    arguments = parser.parse_args()
    deadline = time.time() + 60 * arguments.minutes
    for order in ORDERS:
        write_stream(order)
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:

        def go(runs: Iterable[Sequence[Job]]) -> None:
            todo = [job for each in runs for job in each]
            list(pool.map(run, todo, [deadline] * len(todo)))

        go(choices().values())
        if not arguments.choose:
            list(pool.map(reference, SEEDS))
            go(jobs().values())
    if arguments.choose:
        for job in (job for each in choices().values() for job in each if job.found):
            print(job.label, f"{job.rate:g}", job.found["metrics"]["within"])
        return 0
    summary = collect()
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.with_suffix(".json").write_text(json.dumps(summary, indent=2) + "\n")
    PAGE.write_text(page(summary))
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
