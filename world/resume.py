"""Put the committed half-precision checkpoints into `build/world`, so that trainings go on.

`python -m world.resume` after `corpus.render` and `split.split`. Optimisers start anew: their state
is not kept. `--save` writes the checkpoints from the states in `build/world`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from holdfast.pocket import icons
from holdfast.pocket.saving import half, save_weights

from .source import BUILD

CHECKPOINTS = Path(__file__).resolve().parent / "checkpoints"
VAE, UNET = CHECKPOINTS / "vae", CHECKPOINTS / "unet"
UNET_STEP = 869
TABLE = CHECKPOINTS / "clip-table.safetensors"  # vectors of the names, and the step


def save() -> None:
    """Write the checkpoints."""
    state = load_file(BUILD / "clip.safetensors")
    CHECKPOINTS.mkdir(exist_ok=True)
    save_weights(half({"table": state["table/table"]}) | {"step": state["step"]}, TABLE)
    shutil.copytree(BUILD / "diffusion" / "vae", VAE, dirs_exist_ok=True)
    shutil.copytree(BUILD / "diffusion" / "unet", UNET, dirs_exist_ok=True)


def restore() -> None:
    """Write the states, unless there are any."""
    if not (BUILD / "clip.safetensors").exists():
        kept = load_file(TABLE)
        weights = load_file(icons.path("clip") / "open_clip_model.safetensors")
        tensors = {"table/table": kept["table"].float(), "step": kept["step"]}
        for part in ("model", "average"):
            tensors |= {f"{part}/{k}": v.float() for k, v in weights.items()}
        save_weights(tensors, BUILD / "clip.safetensors")
        shutil.copytree(icons.path("clip"), BUILD / "clip", dirs_exist_ok=True)
        (BUILD / "tokenizer").mkdir(parents=True, exist_ok=True)
        for file in icons.path("clip").glob("tokenizer*"):
            shutil.copy(file, BUILD / "tokenizer")
    if not (BUILD / "vae.safetensors").exists():
        weights = load_file(VAE / "diffusion_pytorch_model.safetensors")
        tensors = {f"{p}/{k}": v.float() for p in ("model", "average") for k, v in weights.items()}
        tensors["step"] = torch.tensor(700)
        save_weights(tensors, BUILD / "vae.safetensors")
        shutil.copytree(VAE, BUILD / "diffusion" / "vae", dirs_exist_ok=True)
    if not (BUILD / "unet.safetensors").exists():
        weights = load_file(UNET / "diffusion_pytorch_model.safetensors")
        tensors = {f"{p}/{k}": v.float() for p in ("model", "average") for k, v in weights.items()}
        tensors["step"] = torch.tensor(UNET_STEP)
        save_weights(tensors, BUILD / "unet.safetensors")
        shutil.copytree(UNET, BUILD / "diffusion" / "unet", dirs_exist_ok=True)


if __name__ == "__main__":
    save() if "--save" in sys.argv else restore()
