"""Made-up but consistent results of `continual run` and `continual add`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from PIL import Image

from holdfast.verbs.continual.matrix import matrices
from holdfast.verbs.continual.verdict import conclude, conclude_added

TASKS = ["letters", "textures", "digits"]


def example_record(
    folder: Path, tasks: list[str] = TASKS, *, method: str = "gift", captions: bool = False
) -> dict[str, Any]:
    """A stream: a learnt task gains 20 points and loses 2 with every task after it."""

    def scores(position: int, learnt: int) -> dict[str, Any]:
        top1 = 0.5 + 0.02 * position - 0.005 * learnt
        if learnt > position:
            top1 = 0.7 + 0.02 * position - 0.02 * (learnt - 1 - position)
        union = None if captions and position == 0 else top1 - 0.1
        return {"images": 200, "top1": top1, "union_top1": union}

    rows = {"zero-shot": {name: scores(place, 0) for place, name in enumerate(tasks)}}
    for learnt, after in enumerate(tasks, 1):
        rows[after] = {name: scores(place, learnt) for place, name in enumerate(tasks)}
    measured = matrices(rows, tasks, "test")
    return {
        "kind": "continual",
        "title": f"A stream of {len(tasks)} tasks, {method}",
        "created": "2026-03-14T09:26:53+00:00",
        "settings": {"model": "ViT-B-16", "generator": "pocket"},
        "environment": {"holdfast": "0.1.0", "torch": {"threads": 2}},
        "method": method,
        "tasks": [{"name": name, "classes": ["a", "b"], "captions": False} for name in tasks],
        **measured,
        "verdict": conclude(method, measured["matrix"], measured["metrics"]),
        "steps": [step(folder, tasks, place) for place in range(len(tasks))],
        "notes": ["textures: 'red' is also among the classes of 'letters'."],
        "costs": {
            "generation_seconds": 71.5,
            "training_seconds": 130.0,
            "gate_seconds": 0.0,
            "evaluation_seconds": 9.5,
            "peak_memory_bytes": 3_412_000_000,
        },
    }


def added_record(folder: Path) -> dict[str, Any]:
    """Digits added to a model that knows letters and textures."""
    before = {name: {"images": 100, "top1": 0.5} for name in ("digits", "pets", "flowers")}
    after = {name: {"images": 100, "top1": 0.8 if name == "digits" else 0.49} for name in before}
    one = step(folder, TASKS, 2)
    return {
        "kind": "continual-add",
        "title": "digits added",
        "created": "2026-03-14T09:26:53+00:00",
        "settings": {"model": "runs/two/model"},
        "environment": {"holdfast": "0.1.0"},
        "method": "gift",
        "tasks": TASKS,
        "held_out": ["pets", "flowers"],
        "before": before,
        "after": after,
        "verdict": conclude_added("digits", before, after, ["pets", "flowers"]),
        "step": {key: value for key, value in one.items() if key != "training"},
        "training": one["training"],
        "notes": [],
        "costs": one["costs"],
    }


def step(folder: Path, tasks: list[str], place: int) -> dict[str, Any]:
    """One task, with replay of pre-training and of the tasks before it."""
    sources = ["pre-training", *tasks[:place]]
    each = 60 // len(sources)
    return {
        "task": tasks[place],
        "position": place,
        "classes": 12,
        "images": {"train": 240, "val": 60, "test": 200},
        "train": {"steps": 40, "learning_rate": 3e-4},
        "replay": {
            "images": 60,
            "prompts": 31,
            "redrawn": place,
            "coverage": [
                {"source": s, "names": 26, "names_drawn": 9, "images": each, "share": each / 60}
                for s in sources
            ],
        },
        "samples": [
            {"path": picture(folder, n), "prompt": f"a photo of {source}, {n}.", "source": source}
            for source in sources
            for n in range(2)
        ],
        "gate": {
            "alpha": 0.6 if place else 1.0,
            "max_drop": 0.02,
            "before": {"replay of pre-training": {"top1": 0.9}, "pets": {"top1": 0.7}},
            "sweep": [
                sweep(1.0, 0.05 if place else 0.01),
                *([sweep(0.8, 0.03), sweep(0.6, 0.015)] if place else []),
            ],
        },
        "notes": [],
        "costs": {"generation_seconds": 20.0, "training_seconds": 43.3, "gate_seconds": 2.0},
        "training": [
            {
                "step": n,
                "losses": {"cross_entropy": 2 * math.exp(-n / 20), "distillation_image": 1.0},
                "learning_rate": 3e-4,
                "gradient_norm": 1.0 + n,
            }
            for n in range(40)
        ],
    }


def sweep(alpha: float, drop: float) -> dict[str, Any]:
    """What the gate measured under one weight of the new model."""
    drops = {"replay of pre-training": -0.01, "pets": drop}
    return {"alpha": alpha, "task_top1": 0.7 * alpha, "drops": drops, "passes": drop <= 0.02}


def picture(folder: Path, n: int) -> str:
    """A picture."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{n}.png"
    Image.new("RGB", (32, 32), (90, 60 * n, 120)).save(path)
    return str(path)
