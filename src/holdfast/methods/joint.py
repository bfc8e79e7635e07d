"""Joint training: the upper reference of continual learning, all tasks at once."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.methods.base import Family, Method


@dataclass(frozen=True)
class Joint(Method):
    """Fine-tuning on the images of all tasks at once."""

    name = "joint"
    title = "Joint training"
    families = frozenset({Family.CONTINUAL})
