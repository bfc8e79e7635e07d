"""ERM: empirical risk minimisation, the baseline of domain generalisation (arXiv 2007.01434)."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.methods.base import Family, Method


@dataclass(frozen=True)
class ERM(Method):
    """Student and a new head learn from the labels."""

    name = "erm"
    title = "ERM"
    paper = "arXiv 2007.01434"
    families = frozenset({Family.DISTILL})
    head = "new"
