"""Holdfast: adapt vision-language models to new work without losing what they know.

    import holdfast

    classifier = holdfast.transfer(["cat", "dog"], out="runs/pets")
    names, probabilities = classifier.predict(["a.jpg"])

Each verb takes the fields of its settings class as keywords; see `holdfast.settings`. Importing
this package is quick: a verb imports what it needs when it is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast import settings
from holdfast.errors import HoldfastError, UsageError

if TYPE_CHECKING:
    from holdfast.evaluate import Scores
    from holdfast.generate import Estimate
    from holdfast.models import Classifier

__all__ = [
    "HoldfastError",
    "UsageError",
    "evaluate",
    "generate",
    "load_classifier",
    "transfer",
]


def generate(names: Sequence[str], out: Path | str, **options: Any) -> Path | Estimate:
    """Generate images of the named classes into `out`; see `holdfast.settings.GenerateSettings`."""
    from holdfast import verbs

    return verbs.generate(settings.GenerateSettings(list(names), Path(out), **options))


def transfer(names: Sequence[str], out: Path | str, **options: Any) -> Classifier | Estimate:
    """Class names -> classifier, kept in `out`; see `holdfast.settings.TransferSettings`."""
    from holdfast import verbs

    return verbs.transfer(settings.TransferSettings(list(names), Path(out), **options))


def evaluate(classifier: Path | str, data: Path | str, **options: Any) -> Scores:
    """Score a saved classifier on real images; see `holdfast.settings.EvaluateSettings`."""
    from holdfast import verbs

    return verbs.evaluate(settings.EvaluateSettings(Path(classifier), Path(data), **options))


def load_classifier(folder: Path | str, device: str = "auto") -> Classifier:
    """A saved classifier; its `predict(images)` gives names and probabilities."""
    from holdfast import models

    return models.load_classifier(folder, device)
