"""Zero-shot: the lower reference, the model as it is."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.methods.base import Family, Method


@dataclass(frozen=True)
class ZeroShot(Method):
    """The model as it is; nothing learns."""

    name = "zero-shot"
    title = "Zero-shot"
    families = frozenset({Family.DISTILL, Family.CONTINUAL})
    trains = False
