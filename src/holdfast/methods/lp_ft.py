"""LP-FT: a linear probe, then fine-tuning from it (arXiv 2202.10054)."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.methods.base import Family, Method, Phase


@dataclass(frozen=True)
class LPFT(Method):
    """First the new head alone learns, then student and head."""

    name = "lp-ft"
    title = "LP-FT"
    paper = "arXiv 2202.10054"
    families = frozenset({Family.DISTILL})
    head = "new"
    phases = (Phase("probe", part="head", draws="align"), Phase("train"))
