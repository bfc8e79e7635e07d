"""Put the shipped half-precision weights into `build/world`, so that trainings go on from them.

`python -m world.resume` after `corpus.render` and `split.split`. Optimisers start anew: their state
is not kept. `--save` keeps the CLIP's vectors of the names, which are no part of its weights.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from holdfast import pocket

from .saving import half, save_weights
from .source import BUILD

TABLE = Path(__file__).resolve().parent / "checkpoints" / "clip-table.safetensors"  # and the step
STEPS = {"vae": 700, "unet": 10_600}  # that the shipped weights have behind them


def save() -> None:
    """Write the table."""
    state = load_file(BUILD / "clip.safetensors")
    save_weights(half({"table": state["table/table"]}) | {"step": state["step"]}, TABLE)


def restore() -> None:
    """Write the states, unless there are any."""
    if not (BUILD / "clip.safetensors").exists():
        kept = load_file(TABLE)
        table = {"table/table": kept["table"].float(), "step": kept["step"]}
        save_weights(
            table | twice(pocket.path("clip") / "open_clip_model.safetensors"),
            BUILD / "clip.safetensors",
        )
        shutil.copytree(pocket.path("clip"), BUILD / "clip", dirs_exist_ok=True)
        (BUILD / "tokenizer").mkdir(parents=True, exist_ok=True)
        for file in pocket.path("clip").glob("tokenizer*"):
            shutil.copy(file, BUILD / "tokenizer")
    for part, steps in STEPS.items():
        if not (BUILD / f"{part}.safetensors").exists():
            own = pocket.path("diffusion") / part
            weights = twice(own / "diffusion_pytorch_model.safetensors")
            weights["step"] = torch.tensor(steps)
            save_weights(weights, BUILD / f"{part}.safetensors")
            shutil.copytree(own, BUILD / "diffusion" / part, dirs_exist_ok=True)


def twice(path: Path) -> dict[str, torch.Tensor]:
    """Weights as those of the model and of its running average."""
    weights = load_file(path)
    return {f"{part}/{k}": v.float() for part in ("model", "average") for k, v in weights.items()}


if __name__ == "__main__":
    save() if "--save" in sys.argv else restore()
