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
    from holdfast.generation import Estimate
    from holdfast.models.classifier import Classifier
    from holdfast.verbs import Evaluation, QueryPlan

__all__ = [
    "HoldfastError",
    "UsageError",
    "continual_add",
    "continual_run",
    "distill",
    "evaluate",
    "generate",
    "load_classifier",
    "predict",
    "transfer",
]
Names = Sequence[str]


def generate(names: Names | str, out: Path | str, **options: Any) -> Path | Estimate:
    """Generate images of the named classes into `out`; see `holdfast.settings.GenerateSettings`."""
    from holdfast import verbs

    return verbs.generate(settings.GenerateSettings(several(names), Path(out), **options))


def transfer(names: Names | str, out: Path | str, **options: Any) -> Classifier | Estimate:
    """Class names (or a file of them) -> classifier, kept in the folder `out`.

    The options are the fields of `holdfast.settings.TransferSettings`. With `dry_run=True` it
    returns an estimate of time and disk instead.
    """
    from holdfast import verbs

    return verbs.transfer(settings.TransferSettings(several(names), Path(out), **options))


def distill(data: Path | str, out: Path | str, **options: Any) -> dict[str, Any] | QueryPlan:
    """Folder of domains + teacher -> students in the folder `out`; returns `result.json`'s record.

    The options are the fields of `holdfast.settings.DistillSettings`. With `dry_run=True` it
    returns a plan of the queries instead.
    """
    from holdfast import verbs

    return verbs.distill(settings.DistillSettings(data=Path(data), out=Path(out), **options))


def evaluate(classifier: Path | str, data: Path | str, **options: Any) -> Evaluation:
    """Score a saved classifier on real images; see `holdfast.settings.EvaluateSettings`."""
    from holdfast import verbs

    return verbs.evaluate(settings.EvaluateSettings(Path(classifier), Path(data), **options))


def predict(
    classifier: Path | str, images: Sequence[Path | str] | Path | str, **options: Any
) -> list[tuple[Path, list[tuple[str, float]]]]:
    """(file, [(name, probability), ...]) for images; see `holdfast.settings.PredictSettings`."""
    from holdfast import verbs

    paths = [images] if isinstance(images, str | Path) else images
    chosen = settings.PredictSettings(Path(classifier), [Path(p) for p in paths], **options)
    return verbs.predict(chosen)


def continual_add(
    model: Path | str, task: Path | str, out: Path | str, **options: Any
) -> dict[str, Any]:
    """Add a task to a model that keeps learning; the new one comes into `out / "model"`.

    model: a model's name, or the folder of a model that tasks were added to. The options are the
    fields of `holdfast.settings.ContinualAddSettings`; returns what `result.json` holds.
    """
    from holdfast.verbs import continual

    return continual.add(settings.ContinualAddSettings(str(model), str(task), Path(out), **options))


def continual_run(stream: Path | str, out: Path | str, **options: Any) -> dict[str, Any]:
    """Learn a stream of tasks and measure each model on all of them.

    The options are the fields of `holdfast.settings.ContinualRunSettings`; returns what
    `result.json` holds.
    """
    from holdfast.verbs import continual

    return continual.run(settings.ContinualRunSettings(Path(stream), Path(out), **options))


def load_classifier(folder: Path | str, device: str = "auto") -> Classifier:
    """A saved classifier; its `predict(images)` gives names and probabilities."""
    from holdfast.models import classifier

    return classifier.load_classifier(folder, device)


def several(names: Names | str) -> list[str]:
    """A list of names; one piece of text is one name, or a file of names."""
    return [names] if isinstance(names, str) else [str(name) for name in names]
