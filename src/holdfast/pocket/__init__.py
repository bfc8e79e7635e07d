"""A small embedded world to try Holdfast on: drawings by many design teams, and models of them.

`path` finds the models: a CLIP (an open_clip folder), a text-to-image pipeline (a diffusers folder)
and two supervised students, a ResNet and a ViT (timm folders). `write_task` writes folders of
drawings, of `test` by teams whose work no model has seen. The scripts in the repository's folder
`world` made all of it from a pinned package of icons; `NOTICE.md` names every set, its author and
its licence, `CARD.md` tells what the models are and can do.
"""

from __future__ import annotations

from pathlib import Path

from holdfast.errors import HoldfastError, UsageError

from .tasks import NOUNS, TASKS, Split, class_names, pictures, splits, write_task

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
MODELS = {
    "clip": "open_clip_model.safetensors",
    "diffusion": "model_index.json",
    "student": "model.safetensors",
    "student-vit": "model.safetensors",
}
STUDENTS = {"pocket": "student", "pocket-vit": "student-vit"}  # what users call them


def path(model: str, weights: Path = WEIGHTS_FOLDER) -> Path:
    """The folder of one of `MODELS` in `weights`.

    Raises UsageError for another name, HoldfastError if its files are missing.
    """
    if model not in MODELS:
        raise UsageError(f"There is no pocket model {model!r}: choose from {', '.join(MODELS)}.")
    folder = weights / model
    if not (folder / MODELS[model]).exists():
        raise HoldfastError(
            f"The pocket model {model!r} is missing from {folder}; reinstall holdfast."
        )
    return folder


__all__ = [
    "MODELS", "NOUNS", "STUDENTS", "TASKS", "WEIGHTS_FOLDER", "Split", "class_names", "path",
    "pictures", "splits", "write_task",
]  # fmt: skip
