"""A small vision transformer trained with labels, as students come from timm: it reads no text."""

from __future__ import annotations

from collections.abc import Iterator
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
from .saving import half, save_tensors
from .shuffle import Shuffled
from .vae import scaled
from .world import CLASSES, Scene

FAMILIES = ("things", "textures", "letters", "shapes")  # no digits
LABELS = tuple(f"{family}/{name}" for family in FAMILIES for name in CLASSES[family])
BATCH, STEPS = 128, 1400
OPTIMISATION = Optimisation(
    learning_rate=1e-3, weight_decay=0.05, warmup_steps=100, clip_norm=1.0, precision="bf16"
)
ARCHITECTURE = "vit_tiny_patch16_224"
SHAPE: dict[str, Any] = {
    "img_size": 32, "patch_size": 4, "embed_dim": 96, "depth": 4, "num_heads": 3,
    "num_classes": len(LABELS),
}  # fmt: skip


def build() -> nn.Module:
    """A new, untrained model."""
    model: nn.Module = timm.create_model(ARCHITECTURE, **SHAPE)
    return model


def taught(scene: Scene) -> bool:
    """Photos only, as in ImageNet: no drawings of things, no digits."""
    return scene.family in FAMILIES and scene.style in ("", "photo")


def supervised(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Cross-entropy with smoothed labels."""
    pictures, labels = batch
    yield {"cross_entropy": F.cross_entropy(model(pictures).float(), labels, label_smoothing=0.1)}


def train_student(data: Corpus, out: Path, seed: int = 3) -> None:
    """Train from scratch; write the timm folder `out`."""
    torch.manual_seed(seed)
    model = build()
    chosen = np.array([i for i, scene in enumerate(data.scenes) if taught(scene)])
    names = [f"{data.scenes[i].family}/{data.scenes[i].name}" for i in chosen]
    labels = torch.tensor([LABELS.index(name) for name in names])

    def batch(index: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        pictures = scaled(data.pictures[chosen[index]])
        shift = np.random.default_rng((seed, int(index[0]))).integers(-3, 4, 2)  # a small jitter
        return pictures.roll(tuple(shift.tolist()), (2, 3)), labels[index]

    batches = Shuffled(len(chosen), BATCH, STEPS, seed, batch)
    with sdpa_kernel(SDPBackend.MATH):
        fit(model, batches, supervised, OPTIMISATION, seed=seed, label="student")
    save_student(model, out)


def save_student(model: nn.Module, out: Path) -> None:
    """Write the timm folder `out`."""
    data = {
        "input_size": [3, 32, 32], "fixed_input_size": True, "interpolation": "bicubic",
        "crop_pct": 1.0, "crop_mode": "center", "mean": [0.5] * 3, "std": [0.5] * 3,
        "num_classes": len(LABELS), "first_conv": "patch_embed.proj", "classifier": "head",
    }  # fmt: skip
    write_json(
        out / "config.json",
        {
            "architecture": ARCHITECTURE,
            "num_classes": len(LABELS),
            "num_features": SHAPE["embed_dim"],
            "label_names": list(LABELS),
            "pretrained_cfg": data,
            "model_args": {k: v for k, v in SHAPE.items() if k != "num_classes"},
        },
    )
    save_tensors(half(model.state_dict()), out / "model.safetensors")


def load_student(folder: Path) -> nn.Module:
    """The trained model, in evaluation mode."""
    model: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return model.eval()
