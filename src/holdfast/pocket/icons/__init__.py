"""A small embedded world of drawings that many design teams made, and models trained on them.

`path` finds the models: a CLIP (an open_clip folder), a text-to-image pipeline (a diffusers folder)
and supervised students (timm folders). `write_task` writes folders of drawings, by teams whose work
no model has seen. The scripts in the repository's folder `world` made all of it from a pinned
package of icons; `NOTICE.md` names every set, its author and its licence.
"""

from __future__ import annotations

from pathlib import Path

from holdfast import pocket
from holdfast.pocket import MODELS, STUDENTS

from .tasks import NOUNS, TASKS, Split, class_names, pictures, write_task

WEIGHTS = Path(__file__).parent / "weights"


def path(model: str) -> Path:
    """The folder of one of `MODELS`."""
    return pocket.path(model, WEIGHTS, "make world")


__all__ = [
    "MODELS", "NOUNS", "STUDENTS", "TASKS", "WEIGHTS", "Split", "class_names", "path", "pictures",
    "write_task",
]  # fmt: skip
