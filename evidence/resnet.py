"""A second student for the pages of evidence: a small ResNet, trained with labels on photos.

It learns what the pocket student learnt from, pictures of the pre-training world and no drawings,
for about three minutes on one core. timm's `resnet10t` with narrower stages.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from holdfast.pocket.shuffle import Shuffled
from holdfast.pocket.student import FAMILIES, LABELS, supervised
from holdfast.pocket.vae import scaled
from holdfast.pocket.world import CLASSES, SPACES, draw
from holdfast.settings import Optimisation
from holdfast.students import Student, StudentTower
from holdfast.train import fit

PER_CLASS, BATCH, STEPS, SEED = 200, 64, 900, 4
OPTIMISATION = Optimisation(
    learning_rate=2e-3, weight_decay=0.05, warmup_steps=50, clip_norm=1.0, precision="bf16"
)
SHAPE = {"channels": (32, 64, 128, 192), "output_stride": 16}
INPUT = {
    "input_size": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3, "crop_pct": 1.0,
    "interpolation": "bicubic", "fixed_input_size": False,
}  # fmt: skip


def photos() -> tuple[NDArray[np.uint8], Tensor]:
    """Pictures (n, 32, 32, 3) as pre-training saw them, and their labels (n,)."""
    names = [(family, name) for family in FAMILIES for name in CLASSES[family]]
    shown = [
        draw(
            family,
            name,
            # The corpus counts its pictures from 0 and uses three numbers: these are others.
            (SPACES["pretraining"], label, n, SEED),
            far=False,
            style="photo" if family == "things" else "",
        )[0]
        for label, (family, name) in enumerate(names)
        for n in range(PER_CLASS)
    ]
    return np.stack(shown), torch.arange(len(LABELS)).repeat_interleave(PER_CLASS)


def trained() -> nn.Module:
    """The network, with its classifier over 72 classes."""
    torch.manual_seed(SEED)
    model: nn.Module = timm.create_model(
        "resnet10t", num_classes=len(LABELS), pretrained_cfg_overlay=INPUT, **SHAPE
    )
    pictures, labels = photos()

    def batch(index: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        shift = np.random.default_rng((SEED, int(index[0]))).integers(-3, 4, 2)
        return scaled(pictures[index]).roll(tuple(shift.tolist()), (2, 3)), labels[index]

    fit(
        model,
        Shuffled(len(pictures), BATCH, STEPS, SEED, batch),
        supervised,
        OPTIMISATION,
        seed=SEED,
        label="resnet",
    )
    return model


def ensure(folder: Path) -> Path:
    """A timm folder with the trained network; it is made if it is not there."""
    if not (folder / "config.json").exists():
        model = trained()
        tower = StudentTower("resnet10t", Student(model, nn.Identity()), lambda image: image)
        tower.save(folder)
    return folder
