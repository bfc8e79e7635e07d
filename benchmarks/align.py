"""Alignment on stored features against running backbone and teacher in each step.

    python benchmarks/align.py        (some two minutes on one core)

Both ways train the same projection with Holdfast's own objective and loop. First on the pocket
models, where losses and weights of both must agree; then at full size, where only the time counts:
an untrained timm ViT-S/16, an untrained open_clip ViT-B/16, 224 px, 32 images of each of three
domains a step, and stored views as many as a fold of OfficeHome has (10 of each of 10,530 images).
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from holdfast.anchors.base import Memory
from holdfast.data.domains import DomainBatches
from holdfast.data.teacher_batches import CachedFeatures, FeatureBatches, ViewBatches, rounds
from holdfast.data.views import Renderer, Views
from holdfast.device import attention
from holdfast.json_lines import read_lines
from holdfast.learners import HeadLearner
from holdfast.methods import Family, compose
from holdfast.methods.vl2v import VL2V
from holdfast.models.classifier import head_of
from holdfast.models.clip import load_clip
from holdfast.models.student import Student, StudentTower, load_student
from holdfast.runs import Stage
from holdfast.settings import StageSettings, ViewSettings
from holdfast.teachers import LocalTeacher
from holdfast.teachers.teacher import LOGIT_SCALE
from holdfast.train import Batches, fit, objective

DOMAINS, CLASSES = 3, 65
PER_DOMAIN = 32
PAPER_STEPS = 5001
STORED_VIEWS = 10
WIDTH, STUDENT_WIDTH = 512, 384  # of ViT-B/16's embeddings and ViT-S/16's features
# OfficeHome: images of each domain, of which four fifths are trained on; each is left out once.
OFFICE_HOME = (2427, 4365, 4439, 4357)
WEIGHT = 0.5


class Timed:
    """Batches, and the seconds from asking for one to asking for the next."""

    def __init__(self, batches: Batches) -> None:
        self.batches, self.seconds = batches, list[float]()

    def __len__(self) -> int:
        return len(self.batches)

    def __call__(self, start: int = 0) -> Iterator[Any]:
        begun = time.perf_counter()
        for batch in self.batches(start):
            yield batch
            self.seconds.append(time.perf_counter() - begun)
            begun = time.perf_counter()


def pictures(folder: Path, count: int, side: int) -> list[Path]:
    """Noise, as JPEG files."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    paths = [folder / f"{n:03d}.jpg" for n in range(count)]
    for path in paths:
        pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


def align(
    student: Student, batches: Batches, text: Tensor, folder: Path, steps: int
) -> tuple[list[float], list[float]]:
    """Train the projection; the losses and the seconds of each step."""
    timed = Timed(batches)
    learner = HeadLearner(student, head_of(text, LOGIT_SCALE), LOGIT_SCALE, text)
    learner.requires_grad_(False)
    student.projection.requires_grad_(True)
    step = objective(compose(VL2V(WEIGHT), [], Family.DISTILL), learner, Memory())
    settings, stage = StageSettings(steps=steps, per_domain=PER_DOMAIN), Stage(folder, "align")
    fit(learner, timed, step, settings, seed=0, stage=stage)
    rows = read_lines(stage.records)
    stage.records.unlink()
    stage.remove()
    return [sum(row["losses"].values()) for row in rows], timed.seconds


def each_step(
    draws: DomainBatches, views: Views, tower: StudentTower, teacher: LocalTeacher, text: Tensor
) -> ViewBatches:
    """The paper's way: pixels for the backbone, and the teacher asked, in each step."""
    labels = torch.arange(len(views)) % len(text)
    return ViewBatches(draws, views, Renderer(tower.preprocess), teacher.embed_images, text, labels)


def stored(
    draws: DomainBatches, views: Views, tower: StudentTower, teacher: LocalTeacher, text: Tensor
) -> FeatureBatches:
    """Features and answers of all stored views, computed once."""
    labels = torch.arange(len(views)) % len(text)
    renderer = Renderer(tower.preprocess)
    known = []
    for group in draws.groups:
        seen = rounds(views, group.tolist(), draws.views)
        images = [torch.stack([renderer.one(view) for view in part]) for part in seen]
        with torch.no_grad(), attention(torch.device("cpu")):
            features = torch.stack([tower.visual.backbone.eval()(part) for part in images])
        answers = torch.stack([teacher.embed_images(part) for part in seen])
        known.append(CachedFeatures(group, features, answers))
    return FeatureBatches(draws, known, text, labels)


def agreement(folder: Path, steps: int = 20) -> dict[str, float]:
    """Both ways on the pocket models; raises AssertionError where they differ."""
    paths = pictures(folder, DOMAINS * 8, 32)
    views = Views(paths, ViewSettings(size=32), 0)
    groups = torch.arange(len(paths)).split(8)
    draws = DomainBatches([g.tolist() for g in groups], PER_DOMAIN, steps, 4, 0)
    teacher = LocalTeacher(load_clip("pocket", device="cpu"))
    text = teacher.embed_text(["a cat", "a dog", "a car"])
    found = []
    for way in (each_step, stored):
        tower = load_student("pocket", text.shape[1], device="cpu", seed=0)
        batches = way(draws, views, tower, teacher, text)
        student = tower.visual
        if way is stored:
            student = Student(nn.Identity(), student.projection)
        before = student.projection.weight.detach().clone()
        losses, _ = align(student, batches, text, folder, steps)
        found.append((torch.tensor(losses), student.projection.weight.detach() - before))
    (losses, moved), (other_losses, other_moved) = found
    largest = (losses - other_losses).abs().max().item()
    relative = ((moved - other_moved).norm() / moved.norm()).item()
    assert largest < 1e-5, f"losses differ by {largest:g}"
    assert relative < 1e-3, f"weights differ by {relative:g} of the distance travelled"
    return {"steps": steps, "largest_loss_difference": largest, "weight_difference": relative}


def full_size(folder: Path, slow_steps: int = 2, fast_steps: int = 300) -> dict[str, Any]:
    """Seconds a step of both ways, and what the one-time cost makes of them."""
    teacher = LocalTeacher(load_clip("ViT-B-16", "random", "cpu"))
    tower = load_student("vit_small_patch16_224", WIDTH, pretrained=False, device="cpu")
    random = torch.Generator().manual_seed(0)
    text = torch.nn.functional.normalize(torch.randn(CLASSES, WIDTH, generator=random), dim=1)

    paths = pictures(folder, DOMAINS * PER_DOMAIN, 300)
    views = Views(paths, ViewSettings(), 0)
    groups = [list(range(d * PER_DOMAIN, (d + 1) * PER_DOMAIN)) for d in range(DOMAINS)]
    draws = DomainBatches(groups, PER_DOMAIN, slow_steps, STORED_VIEWS, 0)
    batches: Batches = each_step(draws, views, tower, teacher, text)
    _, slow = align(tower.visual, batches, text, folder, slow_steps)

    # Of features only the size matters here, which is that of a fold that leaves Art out.
    training = [n - n // 5 for n in OFFICE_HOME]
    sizes, total = training[1:], sum(training[1:])
    groups = [places.tolist() for places in torch.arange(total).split(sizes)]
    draws = DomainBatches(groups, PER_DOMAIN, fast_steps, STORED_VIEWS, 0)
    known = [
        CachedFeatures(
            group,
            torch.randn(STORED_VIEWS, len(group), STUDENT_WIDTH, generator=random),
            torch.randn(STORED_VIEWS, len(group), WIDTH, generator=random),
        )
        for group in draws.groups
    ]
    batches = FeatureBatches(draws, known, text, torch.arange(total) % CLASSES)
    student = Student(nn.Identity(), tower.visual.projection)
    _, fast = align(student, batches, text, folder, fast_steps)

    slow_step, fast_step = statistics.mean(slow), statistics.median(fast)
    # A view costs the same whenever it is seen: its share of a slow step without the projection's.
    view = (slow_step - fast_step) / (DOMAINS * PER_DOMAIN)

    def with_preparation(folds: int, images: int) -> float:
        """All steps of the paper, over all steps here and each stored view once."""
        steps = folds * PAPER_STEPS
        return steps * slow_step / (steps * fast_step + STORED_VIEWS * images * view)

    return {
        "images_a_step": DOMAINS * PER_DOMAIN,
        "seconds_a_step_each_time": slow_step,
        "seconds_of_slow_steps": slow,
        "seconds_a_step_stored": fast_step,
        "ratio_a_step": slow_step / fast_step,
        "stored_views_of_a_fold": STORED_VIEWS * total,
        "ratio_with_preparation_one_fold": with_preparation(1, total),
        "ratio_with_preparation_all_folds": with_preparation(len(OFFICE_HOME), sum(training)),
    }


def main() -> int:
    """Print both records; fail under a ratio of 50 a step."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    with tempfile.TemporaryDirectory() as temporary:
        same = agreement(Path(temporary, "small"))
        print(json.dumps({"agreement": same}, indent=2), flush=True)
        found = full_size(Path(temporary, "large"))
    print(json.dumps({"full_size": found, "threads": torch.get_num_threads()}, indent=2))
    return 0 if found["ratio_a_step"] >= 50 else 1


if __name__ == "__main__":
    sys.exit(main())
