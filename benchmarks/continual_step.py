"""One step of continual learning against a plain implementation: seconds, memory, same results.

    python benchmarks/continual_step.py [--pairs 3]      (some six minutes on a quiet core)

ViT-B/32 with random weights, 16 images of the task, 16 replay images, 100 classes, float32. The
plain step has the order of the public code: it keeps the previous model and asks it in every step,
encodes every prompt with the whole context, back-propagates the replay losses, reads the Fisher
information from their gradients, and back-propagates the rest, with autograd differentiating the
penalty. Ours is what `train.fit` makes of
`methods.gift`, in float32 and with bf16 autocast. Each has a process of its own and the plain
step takes turns with one of ours, so that both meet the same machine; the ratios are medians over
the turns. Seconds are the processor's, on one thread, so that other work on the machine does not
count. Losses and gradients of the first step must agree in float32. Needs 14 GiB of memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

BATCH, CLASSES = 16, 100
LEARNING_RATE, TEMPERATURE, SMOOTHING, ALIGNMENT, STRENGTH = 1e-5, 2.0, 0.2, 0.25, 1.0
TARGETS = {"fp32": 3.0, "bf16": 4.5}  # precision of ours: how many times faster, at least
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 2e-3  # relative; of a gradient's norm


@dataclass
class World:
    """A model after some steps, its weights before them, and one batch, everywhere the same."""

    clip: Any
    previous: dict[str, Any]
    images: Any
    labels: Any
    replayed: Any
    prompted: Any
    prompts: list[str]
    replay_prompts: list[str]


def world() -> World:
    import torch
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    from holdfast.models.clip import load_clip

    clip = load_clip("ViT-B-32", "random", "cpu", seed=0)
    previous = {name: p.detach().clone() for name, p in clip.model.named_parameters()}
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():  # where nothing has changed, there is nothing to distil or to pull back
        for name, p in clip.model.named_parameters():
            if name != "logit_scale":
                p.add_(0.02 * p.std().nan_to_num() * torch.randn(p.shape, generator=draw))
    order = torch.randperm(len(IMAGENET_CLASSNAMES), generator=draw).tolist()
    prompts = [f"a photo of a {IMAGENET_CLASSNAMES[i]}." for i in order]
    return World(
        clip,
        previous,
        torch.randn(BATCH, 3, 224, 224, generator=draw),
        torch.randint(CLASSES, (BATCH,), generator=draw),
        torch.randn(BATCH, 3, 224, 224, generator=draw),
        torch.randint(CLASSES, (BATCH,), generator=draw),
        prompts[:CLASSES],
        prompts[CLASSES : 2 * CLASSES],
    )


class Asked:
    """One batch for `fit`, each time the other end asks; answers with seconds and losses."""

    def __init__(self, batch: Any, model: Any, asked: Connection, gradients: Path) -> None:
        self.batch, self.model, self.asked, self.gradients = batch, model, asked, gradients
        self.losses: dict[str, float] = {}

    def __len__(self) -> int:
        return 10**6

    def __call__(self, start: int) -> Iterator[Any]:
        while self.asked.recv():
            began = time.process_time()
            yield self.batch
            seconds = time.process_time() - began  # fit is back for more: the step is done
            keep_gradients(self.model, self.gradients)
            self.asked.send((seconds, self.losses))


def ours(asked: Connection, gradients: Path, precision: str) -> None:
    import torch

    from holdfast.anchors.base import Memory, ReplaySet
    from holdfast.anchors.consolidation import Consolidation
    from holdfast.data.batches import Batch
    from holdfast.learners import TwoTowerLearner
    from holdfast.memory import with_prefix
    from holdfast.methods import Family, compose
    from holdfast.methods.gift import GIFT
    from holdfast.models.text import encode_text, image_features
    from holdfast.settings import ContinualTrainSettings
    from holdfast.train import fit, objective

    at = world()
    model = at.clip.model
    tuned = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.load_state_dict(at.previous)
    with torch.no_grad():
        replay = ReplaySet(
            paths=[],
            labels=at.prompted.tolist(),
            prompts=at.replay_prompts,
            tokens=at.clip.tokenizer(at.replay_prompts),
            teacher_images=image_features(model, at.replayed),
            teacher_text=encode_text(at.clip, at.replay_prompts),
        )
    model.load_state_dict(tuned)
    del tuned
    places = torch.arange(BATCH)
    replayed = Batch(at.replayed, at.prompted, places)
    batch = Batch(at.images, at.labels, places, replay=replayed)
    settings = ContinualTrainSettings(schedule="constant", warmup_steps=0, precision=precision)
    # The weights that are pulled toward are not those that the model has now.
    gift = compose(GIFT(consolidation=Consolidation(toward="initial")), [], Family.CONTINUAL)
    learner = TwoTowerLearner(at.clip, at.clip.tokenizer(at.prompts))
    memory = Memory(replay, initial=lambda: with_prefix(at.previous, "model."))
    step = objective(gift, learner, memory, settings.label_smoothing)
    batches = Asked(batch, model, asked, gradients)

    def noted(learner: Any, batch: Batch) -> Iterator[dict[str, Any]]:
        for terms in step(learner, batch):
            batches.losses.update({name: term.item() for name, term in terms.items()})
            yield terms

    forget_peak()
    fit(learner, batches, noted, settings)
    asked.send(peak())


def plain(asked: Connection, gradients: Path) -> None:
    import torch
    import torch.nn.functional as F

    from holdfast.models.clip import load_clip

    at = world()
    model, tokenizer = at.clip.model, at.clip.tokenizer
    teacher = load_clip("ViT-B-32", "random", "cpu", seed=0).model
    assert all(torch.equal(p, at.previous[name]) for name, p in teacher.named_parameters())
    at.previous.clear()
    anchor = dict(teacher.named_parameters())
    learning = {name: p for name, p in model.named_parameters() if name != "logit_scale"}
    model.logit_scale.requires_grad_(False)
    optimizer = torch.optim.AdamW(learning.values(), lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    tokens = tokenizer(at.prompts)
    pairs = tokenizer([at.replay_prompts[i] for i in at.prompted.tolist()])
    scale = model.logit_scale.exp()
    equal = (at.prompted[:, None] == at.prompted[None, :]).float()
    targets = equal / equal.sum(dim=1, keepdim=True)

    def logits(of: Any, images: Any, prompts: Any) -> Any:
        z, text = of.encode_image(images), of.encode_text(prompts)
        return scale * F.normalize(z, dim=-1) @ F.normalize(text, dim=-1).T

    def distill(student: Any, taught: Any) -> Any:
        soft = (taught / TEMPERATURE).softmax(dim=-1)
        return F.cross_entropy(student / TEMPERATURE, soft) * TEMPERATURE**2

    def align(student: Any) -> Any:
        return ALIGNMENT * F.cross_entropy(student, targets, label_smoothing=SMOOTHING)

    def step() -> dict[str, float]:
        optimizer.zero_grad()
        paired = logits(model, at.replayed, pairs)
        with torch.no_grad():
            taught = logits(teacher, at.replayed, pairs)
        losses = {
            "distillation_image": distill(paired, taught),
            "distillation_text": distill(paired.T, taught.T),
            "alignment_image": align(paired),
            "alignment_text": align(paired.T),
        }
        sum(losses.values()).backward()
        fisher = {name: p.grad.square() for name, p in learning.items()}
        fisher = {name: square / square.mean() for name, square in fisher.items()}
        task = logits(model, at.images, tokens)
        rest = {
            "cross_entropy": F.cross_entropy(task, at.labels, label_smoothing=SMOOTHING),
            "consolidation": STRENGTH
            * sum(
                (fisher[name] * (p - anchor[name].detach()).square()).sum()
                for name, p in learning.items()
            ),
        }
        sum(rest.values()).backward()
        losses |= rest
        optimizer.step()
        return {name: loss.item() for name, loss in losses.items()}

    model.train()
    forget_peak()
    while asked.recv():
        began = time.process_time()
        losses = step()
        seconds = time.process_time() - began
        keep_gradients(model, gradients)
        asked.send((seconds, losses))
    asked.send(peak())


def keep_gradients(model: Any, path: Path) -> None:
    """Write the gradients of the first step."""
    from safetensors.torch import save_file

    if not path.exists():
        found = {n: p.grad.contiguous() for n, p in model.named_parameters() if p.grad is not None}
        save_file(found, path)


def forget_peak() -> None:
    """Let the largest resident memory of this process be counted anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """Largest resident memory of this process, in GiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


def same(ours: Path, plain: Path, one: dict[str, float], other: dict[str, float]) -> bool:
    """Whether losses and gradients of both agree; prints the largest differences."""
    from safetensors import safe_open

    loss_gap = max(abs(one[name] - other[name]) / max(1, abs(other[name])) for name in other)
    with safe_open(ours, "pt") as a, safe_open(plain, "pt") as b:
        gaps = {}
        for name in b.keys():  # noqa: SIM118 (a safetensors file is no dict)
            x, y = a.get_tensor(name), b.get_tensor(name)
            if name.endswith("in_proj_bias"):  # its key third has no true gradient
                x, y = (t.view(3, -1)[[0, 2]] for t in (x, y))
            gaps[name] = ((x - y).norm() / y.norm()).item()
        good = set(a.keys()) == set(gaps) and one.keys() == other.keys()
    worst = max(gaps, key=lambda name: gaps[name])
    print(f"largest difference in a loss: {loss_gap:.1e} (allowed {LOSS_TOLERANCE:.0e})")
    print(
        f"largest difference in a gradient: {gaps[worst]:.1e} of its norm, in {worst} "
        f"(allowed {GRADIENT_TOLERANCE:.0e})"
    )
    return good and loss_gap <= LOSS_TOLERANCE and gaps[worst] <= GRADIENT_TOLERANCE


class Rival:
    """A way to take a step, in a process of its own."""

    def __init__(self, function: Callable[..., None], gradients: Path, *options: str) -> None:
        context = get_context("spawn")
        self.asked, theirs = context.Pipe()
        self.process = context.Process(
            target=function, args=(theirs, gradients, *options), daemon=True
        )
        self.process.start()
        theirs.close()

    def step(self) -> tuple[float, dict[str, float]]:
        """Processor seconds and losses of one step."""
        self.asked.send(True)
        return self.asked.recv()

    def end(self) -> float:
        """Largest resident memory, in GiB."""
        self.asked.send(False)
        memory = self.asked.recv()
        self.process.join()
        return memory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3, help="turns that count, after a first one")
    chosen = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    good = True
    with tempfile.TemporaryDirectory() as folder:
        theirs, own = (Path(folder) / f"{name}.safetensors" for name in ("plain", "ours"))
        simple = Rival(plain, theirs)
        _, wanted = simple.step()
        rows = []
        for kind, target in TARGETS.items():
            rival = Rival(ours, own, kind)
            _, losses = rival.step()
            if kind == "fp32":
                good &= same(own, theirs, losses, wanted)
            turns = [(simple.step()[0], rival.step()[0]) for _ in range(chosen.pairs)]
            ratio = median(p / o for p, o in turns)
            good &= ratio >= target
            rows.append((kind, turns, rival.end(), ratio, target))
        memory = simple.end()
    print("                     seconds a step   peak memory   ratio")
    slow = median(p for _, turns, *_ in rows for p, _ in turns)
    print(f"plain, float32       {slow:14.2f} {memory:9.1f} GiB")
    for kind, turns, used, ratio, target in rows:
        fast = median(o for _, o in turns)
        print(f"ours, {kind:15}{fast:14.2f} {used:9.1f} GiB {ratio:7.2f} (at least {target})")
    print("as wanted" if good else "NOT AS WANTED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
