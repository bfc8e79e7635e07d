"""Text head: fine-tuning from a head that starts as the text embeddings (as FLYP and RegFT do)."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.methods.base import Family, Method


@dataclass(frozen=True)
class TextHead(Method):
    """Student, projection and a head that starts as the text embeddings learn from the labels."""

    name = "text-head"
    title = "Text head"
    families = frozenset({Family.DISTILL})
