"""Two small students trained with labels, as they come from timm: they read no text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from holdfast.files import write_json
from holdfast.settings import Optimisation
from holdfast.train import fit

from .corpus import Corpus
from .saving import half, save_weights
from .shuffle import Shuffled
from .vae import scaled
from .world import CLASSES, Scene

FAMILIES = ("things", "textures", "letters", "shapes")  # no digits
LABELS = tuple(f"{family}/{name}" for family in FAMILIES for name in CLASSES[family])


@dataclass(frozen=True)
class Recipe:
    """A timm architecture with other sizes, and how it is trained."""

    architecture: str
    shape: dict[str, Any]
    learning_rate: float
    batch: int
    steps: int
    seed: int


# By the folder of the weights.
RECIPES = {
    "student": Recipe(
        "resnet10t",
        {"channels": (32, 64, 112, 152), "output_stride": 16},
        learning_rate=2e-3,
        batch=64,
        steps=2400,
        seed=4,
    ),
    "student-vit": Recipe(
        "vit_tiny_patch16_224",
        {"img_size": 32, "patch_size": 4, "embed_dim": 96, "depth": 4, "num_heads": 3},
        learning_rate=1e-3,
        batch=128,
        steps=1400,
        seed=3,
    ),
}


def build_student(recipe: Recipe) -> nn.Module:
    """A new, untrained model."""
    model: nn.Module = timm.create_model(
        recipe.architecture, num_classes=len(LABELS), **recipe.shape
    )
    return model


def taught(scene: Scene) -> bool:
    """Photos only, as in ImageNet: no drawings of things, no digits."""
    return scene.family in FAMILIES and scene.style in ("", "photo")


def supervised(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Cross-entropy with smoothed labels."""
    pictures, labels = batch
    yield {"cross_entropy": F.cross_entropy(model(pictures).float(), labels, label_smoothing=0.1)}


def train_student(data: Corpus, name: str, out: Path) -> None:
    """Train one of `RECIPES` from scratch; write the timm folder `out`."""
    recipe = RECIPES[name]
    torch.manual_seed(recipe.seed)
    model = build_student(recipe)
    chosen = np.array([i for i, scene in enumerate(data.scenes) if taught(scene)])
    names = [f"{data.scenes[i].family}/{data.scenes[i].name}" for i in chosen]
    labels = torch.tensor([LABELS.index(name) for name in names])

    def batch(index: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        pictures = scaled(data.pictures[chosen[index]])
        jitter = np.random.default_rng((recipe.seed, int(index[0]))).integers(-3, 4, 2)
        return pictures.roll(tuple(jitter.tolist()), (2, 3)), labels[index]

    optimisation = Optimisation(
        batch_statistics="learn",
        learning_rate=recipe.learning_rate,
        weight_decay=0.05,
        warmup_steps=100,
        clip_norm=1.0,
        precision="bf16",
    )
    batches = Shuffled(len(chosen), recipe.batch, recipe.steps, recipe.seed, batch)
    with sdpa_kernel(SDPBackend.MATH):
        fit(model, batches, supervised, optimisation, seed=recipe.seed, label=name)
    save_student(model, recipe, out)


def save_student(model: Any, recipe: Recipe, out: Path) -> None:
    """Write the timm folder `out`."""
    parts = {key: model.pretrained_cfg[key] for key in ("first_conv", "classifier")}
    data = {
        "input_size": [3, 32, 32], "fixed_input_size": "img_size" in recipe.shape,
        "interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": "center", "mean": [0.5] * 3,
        "std": [0.5] * 3, "num_classes": len(LABELS), **parts,
    }  # fmt: skip
    write_json(
        out / "config.json",
        {
            "architecture": recipe.architecture,
            "num_classes": len(LABELS),
            "num_features": model.num_features,
            "label_names": list(LABELS),
            "pretrained_cfg": data,
            "model_args": recipe.shape,
        },
    )
    save_weights(half(model.state_dict()), out / "model.safetensors")


def read_student(folder: Path) -> nn.Module:
    """The trained model, in evaluation mode."""
    model: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return model.eval()
