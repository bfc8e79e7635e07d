"""`holdfast evaluate` and `holdfast predict`: what a saved classifier says of real images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from holdfast.commands.settings import EvaluateSettings, PredictSettings, TransferSettings
from holdfast.data.batches import sequential_batches
from holdfast.data.folders import LabelledImages, find_images, scan, without_images
from holdfast.data.pictures import UnreadableImage
from holdfast.errors import HoldfastError, UsageError
from holdfast.evaluation import classifier_logits
from holdfast.files import read_json, read_typed
from holdfast.metrics import decide, is_correct, score
from holdfast.models.classifier import Classifier, load_classifier, text_head
from holdfast.models.clip import load_clip
from holdfast.names import ClassNames
from holdfast.results import Evaluation, write_result
from holdfast.runs import SETTINGS, result_header

logger = logging.getLogger(__name__)


def evaluate(settings: EvaluateSettings) -> Evaluation:
    """Score a saved classifier on a folder of real images; labels are matched by name.

    Of a name-only transfer's folder also its zero-shot model is scored, and compared.

    Raises UsageError for a folder without a classifier and for class folders that it does not know,
    HoldfastError where no image can be read.
    """
    if settings.out is not None and settings.out.is_dir():
        raise UsageError(f"{settings.out} is a folder; give a file for the scores.")
    classifier = load_classifier(settings.classifier, settings.device)
    data = scan(settings.data, classifier.classes)
    models = [classifier]
    if (settings.classifier / "prompts.json").is_file():
        models.append(zero_shot(settings.classifier, classifier.classes, settings.device))
    batches = sequential_batches(
        data, classifier.tower.preprocess, settings.batch_size, settings.workers
    )
    seen = classifier_logits(models, batches, len(data), "evaluating")
    scores = [score(rows, seen.labels, classifier.names) for rows in seen.rows]
    right = [is_correct(rows, seen.labels) for rows in seen.rows]
    words = ["evaluate", str(settings.classifier), str(settings.data)]
    found = Evaluation(
        **result_header(f"{settings.classifier.name} on {settings.data.name}", settings, words),
        scores=scores[0],
        zero_shot=scores[1] if len(models) > 1 else None,
        verdict=decide(right[1], right[0]) if len(models) > 1 else None,
        notes=not_measured(data, seen.indices.tolist()),
    )
    if settings.out is not None:
        write_result(settings.out, found)
    return found


def not_measured(data: LabelledImages, read: Sequence[int]) -> list[str]:
    """Notes on images that could not be read, and on classes without any.

    read: positions of those that could.
    """
    known = set(read)
    broken = [path for place, path in enumerate(data.paths) if place not in known]
    notes = [f"{path} could not be read and was skipped." for path in broken]
    if missing := without_images(data):
        notes.append(f"Not measured, for want of real images: {', '.join(missing)}.")
    return notes


def zero_shot(run: Path, classes: ClassNames, device: str) -> Classifier:
    """The model that a name-only transfer started from, with its zero-shot head."""
    settings = TransferSettings.from_dict(read_json(run / SETTINGS))
    clip = load_clip(settings.model, settings.pretrained, device, settings.seed)
    prompts = read_typed(run / "prompts.json", list[list[str]])
    return Classifier(clip, text_head(clip, prompts), classes).eval()


def predict(settings: PredictSettings) -> list[tuple[Path, list[tuple[str, float]]]]:
    """The `top` most likely names of each image with their probabilities.

    Files that cannot be read are named in a warning and left out; HoldfastError if none is left.
    """
    paths = find_images(settings.images)
    classifier = load_classifier(settings.classifier, settings.device)
    known = classifier.names
    found = []
    rows = classifier.probabilities(paths, settings.batch_size, settings.workers)
    for path, row in zip(paths, rows, strict=True):
        if isinstance(row, UnreadableImage):
            logger.warning("%s It is skipped.", row)
            continue
        values, order = row.topk(min(settings.top, len(known)))
        pairs = zip(order.tolist(), values.tolist(), strict=True)
        found.append((path, [(known[i], share) for i, share in pairs]))
    if not found:
        raise HoldfastError("None of the images could be read; look at the files named above.")
    return found
