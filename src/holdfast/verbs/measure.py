"""`holdfast evaluate` and `holdfast predict`: what a saved classifier says of real images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from holdfast.data.batches import Batch, sequential_batches
from holdfast.data.folders import UnreadableImage, find_images, read_image, scan
from holdfast.errors import HoldfastError, UsageError
from holdfast.files import read_json, write_json
from holdfast.metrics import Scores, Verdict, decide, is_correct, score
from holdfast.models.classifier import Classifier, load_classifier, text_head
from holdfast.models.clip import load_clip
from holdfast.names import ClassNames
from holdfast.progress import progress
from holdfast.settings import EvaluateSettings, PredictSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Scores of a classifier on real images; for a run's folder also those of its zero-shot
    model, and the verdict between the two.
    """

    scores: Scores
    zero_shot: Scores | None = None
    verdict: Verdict | None = None

    def to_record(self) -> dict[str, Any]:
        """The scores as JSON types; what was not measured is left out."""
        found = {"scores": self.scores, "zero_shot": self.zero_shot, "verdict": self.verdict}
        return {name: value.to_record() for name, value in found.items() if value is not None}


def evaluate(settings: EvaluateSettings) -> Evaluation:
    """Score a saved classifier on a folder of real images; labels are matched by name."""
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
    with progress("evaluating", len(data)) as advance:
        logits, labels = answers(models, batches, advance)
    scores = [score(values, labels, classifier.classes.names) for values in logits]
    found = Evaluation(scores[0])
    if len(models) > 1:
        adapted, original = (is_correct(values, labels) for values in logits)
        found = Evaluation(scores[0], scores[1], decide(original, adapted))
    if settings.out is not None:
        write_json(settings.out, found.to_record())
    return found


def zero_shot(run: Path, classes: ClassNames, device: str) -> Classifier:
    """The model that a run started from, with its zero-shot head."""
    settings = read_json(run / "settings.json")
    clip = load_clip(settings["model"], settings["pretrained"], device, settings["seed"])
    return Classifier(clip, text_head(clip, read_json(run / "prompts.json")), classes).eval()


@torch.inference_mode()
def answers(
    models: Sequence[Classifier], batches: Iterable[Batch], advance: Callable[[int], None]
) -> tuple[list[Tensor], Tensor]:
    """Logits (n, classes) of each model, and labels (n,), decoding each image once."""
    logits: list[list[Tensor]] = [[] for _ in models]
    labels: list[Tensor] = []
    for batch in batches:
        images = batch.images.to(models[0].tower.device, non_blocking=True)
        for rows, model in zip(logits, models, strict=True):
            rows.append(model(images)[1].cpu())
        labels.append(batch.labels.clone())
        advance(len(batch.labels))
    if not labels:
        raise HoldfastError("None of the images could be read; look at the files named above.")
    return [torch.cat(rows) for rows in logits], torch.cat(labels)


def predict(settings: PredictSettings) -> list[tuple[Path, list[tuple[str, float]]]]:
    """The `top` most likely names of each image with their probabilities.

    Files that cannot be read are named in a warning and left out.
    """
    paths = find_images(settings.images)
    classifier = load_classifier(settings.classifier, settings.device)
    known = classifier.classes.names
    found = []
    for start in range(0, len(paths), settings.batch_size):
        opened: dict[Path, Image.Image] = {}
        for path in paths[start : start + settings.batch_size]:
            try:
                opened[path] = read_image(path)
            except UnreadableImage as error:
                logger.warning("%s It is skipped.", error)
        _, probabilities = classifier.predict(list(opened.values()))
        values, order = probabilities.topk(min(settings.top, len(known)), dim=-1)
        for path, row, shares in zip(opened, order.tolist(), values.tolist(), strict=True):
            found.append((path, [(known[i], p) for i, p in zip(row, shares, strict=True)]))
    if not found:
        raise HoldfastError("None of the images could be read; look at the files named above.")
    return found
