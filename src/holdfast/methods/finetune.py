"""Plain fine-tuning: the loss on the new thing, and no anchor."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.methods.base import Family, Method


@dataclass(frozen=True)
class FineTuning(Method):
    """Cross-entropy with the labels, and no anchor."""

    name = "finetune"
    title = "Fine-tuning"
    families = frozenset({Family.TRANSFER, Family.CONTINUAL})
