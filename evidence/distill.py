"""Distillation on the embedded world: every method, two students, two styles left out, five seeds.

    python evidence/distill.py        (or: make evidence-distill)

Runs `holdfast.distill` as a user would, five trials a run, and writes docs/evidence/distill.md and
distill.json. Runs that are finished with the pocket weights of today are not run again.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # two processes of one thread beat one of two

from common import ROOT, work
from distill_page import accuracies as accuracies_of
from distill_page import images_seen, page

import holdfast
from holdfast import pocket
from holdfast.data.domains import scan_domains
from holdfast.data.teacher_batches import rounds
from holdfast.data.views import Views
from holdfast.models.clip import load_clip
from holdfast.pocket.world import STYLES
from holdfast.settings import AverageSettings, StageSettings, ViewSettings
from holdfast.teachers import LocalTeacher
from holdfast.teachers.store import EmbeddingStore
from holdfast.verbs.distill.run import VIEW_SEED

PAGE = ROOT / "docs" / "evidence" / "distill.md"
WORK = work("distill", "clip", *pocket.STUDENTS.values())
HELD_OUT = ("photo", "sketch")
TUNED_ON = tuple(style for style in STYLES if style not in HELD_OUT)
SEEDS = 5
SPARE = 100  # the seed of choices
PICTURES = 15  # of each class and style
MOST_VIEWS = 30
VIEW = ViewSettings(size=32)
STAGE = {"per_domain": 8, "validate_every": 20, "precision": "bf16"}
ALIGN = StageSettings(**STAGE, steps=200, learning_rate=3e-3)
STEPS = {"pocket": 150, "pocket-vit": 200, "teacher": 60}
RATES = {
    "pocket": (3e-4, 1e-3, 3e-3),
    "pocket-vit": (1e-4, 3e-4, 1e-3),
    "teacher": (3e-5, 1e-4, 3e-4),
}


@dataclass(frozen=True)
class Variant:
    """One row of the page: a method and a student; views: stored ones a picture, 0 is online."""

    student: str
    label: str
    method: str
    views: int = 10
    average: str = "valley"
    styles: tuple[str, ...] = HELD_OUT

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.student}-{self.method}-{self.views}-{self.average}"

    @property
    def family(self) -> tuple[str, str]:
        """(student, method) whose learning rate it takes."""
        if self.method == "distill":
            return self.student, "distill"
        return self.student, "text-head" if self.student == "teacher" else "erm"


def of_student(student: str, styles: tuple[str, ...]) -> list[Variant]:
    """The methods of a student that is not the teacher."""
    methods = {
        "ERM": "erm",
        "ERM + averaging": "erm",
        "LP-FT": "lp-ft",
        "logit distillation": "logits",
        "text-initialised head": "text-head",
        "VL2V-ADiP": "distill",
    }
    return [
        Variant(student, label, method, 10, "none" if label == "ERM" else "valley", styles)
        for label, method in methods.items()
    ]


SKETCH = ("sketch",)
VARIANTS = [
    Variant("teacher", "teacher, zero-shot", "zero-shot"),
    Variant("teacher", "fine-tuning", "text-head"),
    Variant("teacher", "WiSE-FT", "wise-ft"),
    Variant("teacher", "name-only regulariser", "regularised"),
    Variant("teacher", "VL2V-SD", "distill"),
    *of_student("pocket", HELD_OUT),
    *of_student("pocket-vit", SKETCH),
]
VIEWS = [
    Variant("pocket", "VL2V-ADiP", "distill", views, styles=SKETCH)
    for views in (1, 5, 10, MOST_VIEWS, 0)
]
FAMILIES = sorted({v.family for v in VARIANTS if v.method != "zero-shot"})


def write_pictures(root: Path, styles: tuple[str, ...], split: Any) -> Path:
    """Folders of domains as `holdfast distill` reads them."""
    for style in styles:
        if not (root / style / "classes.json").exists():
            pocket.write_task(f"things/{style}", root / style, PICTURES, split)
    return root


def run(data: Path, out: Path, variant: Variant, rate: float, **options: Any) -> dict[str, Any]:
    """One run of `holdfast.distill`, or what an earlier one left."""
    if not (out / "result.json").exists():
        holdfast.distill(data, out, **settings(variant, rate), **options)
    return json.loads((out / "result.json").read_text())


def settings(variant: Variant, rate: float) -> dict[str, Any]:
    """What all runs of a variant share."""
    return {
        "teacher": "pocket",
        "student": variant.student,
        "method": variant.method,
        "view": VIEW,
        "views": variant.views,
        "align": ALIGN,
        "train": StageSettings(**STAGE, steps=STEPS[variant.student], learning_rate=rate),
        "average": AverageSettings(kind=variant.average),
        "sample": 0,
        "workers": 0,
        "device": "cpu",
    }


def stored(data: Path) -> Path:
    """Where the teacher's answers about some pictures are."""
    return WORK / "answers" / data.name


def ask(data: Path, views: int) -> None:
    """Have the teacher's answers about all pictures stored, before several processes need them."""
    domains = scan_domains(data)
    teacher = LocalTeacher(load_clip(f"local-dir:{pocket.path('clip')}", device="cpu"))
    store = EmbeddingStore(stored(data), teacher)
    names = domains.images.classes.names
    store.text([f"a photo of a {name}." for name in names])
    seen = Views(domains.images.paths, VIEW, VIEW_SEED)
    store.fill(*rounds(seen, range(len(seen)), views))


def tuned(data: Path, family: tuple[str, str], rate: float) -> float:
    """Accuracy on the validation pictures of the styles that are never left out."""
    variant = Variant(family[0], "", family[1])
    out = WORK / "tuning" / variant.name / f"{rate:g}"
    found = run(data, out, variant, rate, store=stored(data), seed=SPARE)
    return found["summary"]["in_domain"]["average"]["mean"]


def trials(data: Path, variant: Variant, style: str, rate: float) -> dict[str, Any]:
    """Five trials of a variant that leave one style out."""
    out = WORK / "runs" / variant.name / style
    # Only one process at a time may ask for a store, and online runs ask in each step.
    store = stored(data) if variant.views else WORK / "answers" / "online"
    return run(data, out, variant, rate, store=store, held_out=style, trials=SEEDS)


def queries(data: Path, variant: Variant, rate: float, **options: Any) -> int:
    """Images that a run asks about according to its dry run, with nothing stored."""
    nothing = WORK / "nothing"
    chosen = settings(variant, rate)
    plan = holdfast.distill(data, nothing, **chosen, **options, store=nothing, dry_run=True)
    assert not isinstance(plan, dict)
    return plan.images


def cost(job: tuple[Variant, str]) -> int:
    """Runs that take longer are begun first."""
    variant, _ = job
    return (variant.views or 60) * (variant.method == "distill") + STEPS[variant.student]


def main() -> int:
    """Run what is missing, then write the page."""
    tuning = write_pictures(WORK / "tuning-pictures", TUNED_ON, "val")
    data = write_pictures(WORK / "pictures", STYLES, "test")
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        pool.submit(ask, tuning, 10).result()
        asking = pool.submit(ask, data, MOST_VIEWS)
        grid = [(family, rate) for family in FAMILIES for rate in RATES[family[0]]]
        accuracies = pool.map(tuned, [tuning] * len(grid), *zip(*grid, strict=True))
        scores = dict(zip(grid, accuracies, strict=True))
        rates = {f: max(RATES[f[0]], key=lambda rate: scores[f, rate]) for f in FAMILIES}
        asking.result()
        once = {(v.name, style): (v, style) for v in VARIANTS + VIEWS for style in v.styles}
        jobs = sorted(once.values(), key=cost, reverse=True)
        chosen = [rates[v.family] for v, _ in jobs]
        found = pool.map(trials, [data] * len(jobs), *zip(*jobs, strict=True), chosen)
        results = {(v.name, style): r for (v, style), r in zip(jobs, found, strict=True)}
    adip = rates["pocket", "distill"]
    summary = {
        "seeds": SEEDS,
        "accuracy": {
            student: {
                v.label: {style: accuracies_of(results[v.name, style]) for style in v.styles}
                for v in VARIANTS
                if v.student == student
            }
            for student in STEPS
        },
        "views": [
            {
                "views": v.views,
                "queries": queries(data, v, adip, held_out="sketch"),
                "asked": images_seen(results[v.name, "sketch"]),
                "accuracy": accuracies_of(results[v.name, "sketch"]),
            }
            for v in VIEWS
        ],
        "tuning": [
            {"student": f[0], "method": f[1], "accuracy": {r: scores[f, r] for r in RATES[f[0]]}}
            for f in FAMILIES
        ],
        "about": {
            "pictures": PICTURES,
            "images": sum(d["images"] for d in next(iter(results.values()))["domains"]),
            "classes": len(next(iter(results.values()))["classes"]),
            "steps": STEPS,
            "align_steps": ALIGN.steps,
            "batch": ALIGN.per_domain * (len(STYLES) - 1),
            "parameters": {
                v.student: results[v.name, "sketch"]["student"]["parameters"]
                for v in VARIANTS
                if v.method == "distill"
            },
            "all_trials": queries(data, VIEWS[2], adip, held_out="all", trials=SEEDS),
        },
    }
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.with_suffix(".json").write_text(json.dumps(summary, indent=2) + "\n")
    PAGE.write_text(page(json.loads(PAGE.with_suffix(".json").read_text())))
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
