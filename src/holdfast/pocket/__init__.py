"""A small embedded world to try Holdfast on: captioned pictures, and models trained on them.

`path` finds the models: a CLIP (an open_clip folder), a text-to-image pipeline (a diffusers
folder) and two supervised students, a ResNet and a ViT (timm folders). `write_task` writes folders
of pictures to adapt them to. Everything was made by this package's own code: `python -m
holdfast.pocket.train all`.
"""

from __future__ import annotations

from pathlib import Path

from holdfast.errors import HoldfastError, UsageError

from .tasks import DATASETS, write_task

WEIGHTS = Path(__file__).parent / "weights"
MODELS = {
    "clip": "open_clip_model.safetensors",
    "diffusion": "model_index.json",
    "student": "model.safetensors",
    "student-vit": "model.safetensors",
}
STUDENTS = {"pocket": "student", "pocket-vit": "student-vit"}  # what users call them


def path(
    model: str, weights: Path = WEIGHTS, made_by: str = "python -m holdfast.pocket.train all"
) -> Path:
    """The folder of one of `MODELS` in `weights`, which the command `made_by` makes."""
    if model not in MODELS:
        raise UsageError(f"There is no pocket model {model!r}: choose from {', '.join(MODELS)}.")
    folder = weights / model
    if not (folder / MODELS[model]).exists():
        raise HoldfastError(
            f"The pocket model {model!r} is missing from {folder}; reinstall holdfast, "
            f"or train it with: {made_by}"
        )
    return folder


__all__ = ["DATASETS", "MODELS", "STUDENTS", "WEIGHTS", "path", "write_task"]
