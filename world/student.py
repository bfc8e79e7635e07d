"""Students for distillation: small timm models that learnt names in one or two styles only.

The everyday nouns are not among these names, so that there is something to be taught.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import nn
from torch.nn import functional as F

from holdfast.files import write_json

from .drawing import augmented, plain
from .saving import half, save_weights
from .source import BUILD
from .split import World
from .state import Average
from .words import NOUNS


@dataclass(frozen=True)
class Recipe:
    """A timm architecture with other sizes, and how it is trained."""

    architecture: str
    shape: dict[str, Any]
    styles: tuple[str, ...]
    size: int
    crop: float
    rate: float
    steps: int
    seed: int


RECIPES = {
    "student": Recipe(
        "resnet10t", {"channels": (24, 48, 80, 112), "output_stride": 16}, ("line", "thin line"),
        size=32, crop=1.0, rate=2e-3, steps=1200, seed=4,
    ),
    "student-vit": Recipe(
        "vit_tiny_patch16_224",
        {"img_size": 32, "patch_size": 8, "embed_dim": 128, "depth": 3, "num_heads": 4},
        ("line", "solid"), size=32, crop=0.9, rate=1.5e-3, steps=4000, seed=3,
    ),
}  # fmt: skip
BATCH = 128


def names(world: World, count: int = 200) -> list[str]:
    """The labels: the most frequent names of pre-training that are no everyday nouns."""
    common = Counter(world.group[(world.use == "train") & (world.category == "")].tolist())
    return [name for name, _ in common.most_common() if name not in NOUNS][:count]


def train(name: str, out: Path) -> None:
    """Train one of `RECIPES` on drawings of pre-training; write the timm folder `out`."""
    recipe = RECIPES[name]
    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    world = World()
    labels = names(world)
    number = {noun: k for k, noun in enumerate(labels)}
    rows = np.flatnonzero(
        (world.use == "train") & (world.category == "") & np.isin(world.style, recipe.styles)
        & np.isin(world.group, labels)
    )  # fmt: skip
    model: nn.Module = timm.create_model(
        recipe.architecture, num_classes=len(labels), **recipe.shape
    ).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=0.05)
    average, begun, total = Average(model, 0.995), time.time(), 0.0
    for step in range(recipe.steps):
        optimizer.param_groups[0]["lr"] = (
            recipe.rate * min(1, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * step / recipe.steps))
        )
        r = np.random.default_rng((recipe.seed, step))
        taken = np.sort(r.choice(rows, BATCH))
        x = augmented(world.pictures[taken], world.palette[taken], r) * 2 - 1
        y = torch.tensor([number[world.group[i]] for i in taken])
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(x.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), y, label_smoothing=0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(step, model)
        total += loss.item()
        if step % 100 == 99:
            print(
                f"{name} {step + 1} loss {total / 100:.3f} {time.time() - begun:.0f}s", flush=True
            )
            total = 0.0
    model.load_state_dict(average.weights)
    save(model, recipe, labels, out)
    print(accuracy(out, world), flush=True)


def save(model: Any, recipe: Recipe, labels: list[str], out: Path) -> None:
    """Write the timm folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    parts = {key: model.pretrained_cfg[key] for key in ("first_conv", "classifier")}
    data = {
        "input_size": [3, recipe.size, recipe.size], "fixed_input_size": "img_size" in recipe.shape,
        "interpolation": "bicubic", "crop_pct": recipe.crop, "crop_mode": "center",
        "mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": len(labels), **parts,
    }  # fmt: skip
    write_json(
        out / "config.json",
        {
            "architecture": recipe.architecture,
            "num_classes": len(labels),
            "num_features": model.num_features,
            "label_names": labels,
            "pretrained_cfg": data,
            "model_args": recipe.shape,
        },
    )
    save_weights(half(model.state_dict()), out / "model.safetensors")


@torch.inference_mode()
def accuracy(folder: Path, world: World) -> dict[str, float]:
    """Percent of the drawings of development teams that its own classifier names, by style."""
    model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    labels = names(world)
    found = {}
    for style in ("line", "solid", "duotone", "colour", "pixel"):
        rows = np.flatnonzero(
            (world.use == "dev") & (world.category == "") & (world.style == style)
            & np.isin(world.group, labels)
        )[:600]  # fmt: skip
        x = torch.from_numpy(plain(world.pictures[rows], world.palette[rows], 7))
        guess = model(x.permute(0, 3, 1, 2).float() / 127.5 - 1).argmax(1)
        right = [labels[g] == world.group[i] for g, i in zip(guess.tolist(), rows, strict=True)]
        found[style] = round(100 * float(np.mean(right)), 1)
    return found


if __name__ == "__main__":
    for chosen in sys.argv[1:] or RECIPES:
        train(chosen, BUILD / chosen)
