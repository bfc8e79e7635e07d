"""The images that a name-only transfer learns from, generated or own."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from holdfast.commands.generate import generate
from holdfast.commands.settings import GenerateSettings, TransferSettings
from holdfast.commands.transfer_prepare import TransferPlan
from holdfast.data.folders import (
    LabelledImages,
    fingerprint,
    scan,
    subset,
)
from holdfast.errors import UsageError
from holdfast.evaluation import classifier_logits
from holdfast.files import derive_seed
from holdfast.generation import Manifest
from holdfast.models.classifier import Classifier
from holdfast.prompts import expand_templates
from holdfast.replay import pairs_digest
from holdfast.results import ImageCounts
from holdfast.settings import PromptSettings
from holdfast.weights import Weights, digest

# Held-out images for alpha=auto are asked for in other words than the training images.
SECOND_STYLE = (
    "a picture of a {}.",
    "an image of a {}.",
    "a close photo of a {}.",
    "a photo of the {}.",
)


def generation(settings: TransferSettings, out: Path) -> GenerateSettings:
    """The settings of the training images of a transfer run."""
    return GenerateSettings(
        names=settings.names,
        out=out,
        generator=settings.generator,
        prompts=settings.prompts,
        images=settings.images,
        seed=settings.seed,
        device=settings.device,
        dry_run=settings.dry_run,
    )


def training_images(
    plan: TransferPlan, folder: Path
) -> tuple[LabelledImages, LabelledImages | None]:
    """Images to train on, and with alpha=auto others to choose alpha with.

    Generated ones, in the run's folder, are held out in other words and from other seeds; of a
    user's own, a fifth. Raises UsageError where that leaves none.
    """
    settings = plan.settings
    if plan.own is not None:
        return hold_out(plan.own) if plan.holds_out else (plan.own, None)
    generate(generation(settings, folder / "generated"), folder / "descriptions.json")
    images = scan(folder / "generated", plan.classes)
    if not plan.holds_out:
        return images, None
    used = expand_templates(settings.prompts.templates)
    others = [template for template in SECOND_STYLE if template not in used]
    generate(
        replace(
            generation(settings, folder / "held-out"),
            prompts=PromptSettings(templates=others),
            images=replace(settings.images, per_class=plan.held_out_per_class),
            seed=derive_seed(settings.seed, "held-out"),
        )
    )
    return images, scan(folder / "held-out", plan.classes)


def hold_out(data: LabelledImages, every: int = 5) -> tuple[LabelledImages, LabelledImages]:
    """Training images, and one in `every` of each class held out of them.

    Raises UsageError if no class has so many.
    """
    seen: dict[int, int] = defaultdict(int)
    parts: tuple[list[int], list[int]] = ([], [])
    for position, label in enumerate(data.labels):
        seen[label] += 1
        parts[seen[label] % every == 0].append(position)
    if not parts[1]:
        raise UsageError(
            f"Each class of the folder has fewer than {every} images, too few to choose alpha "
            "with; give --method.ensemble.alpha a number."
        )
    return subset(data, parts[0]), subset(data, parts[1])


def keep_agreeing(logits: Tensor, labels: Tensor, share: float) -> list[int]:
    """Positions that stay when each class loses the `share` that zero-shot finds least like it.

    logits: (n, classes) of the zero-shot classifier; labels: (n,). Each class keeps one image.
    """
    agreement = logits.log_softmax(dim=-1).gather(1, labels[:, None])[:, 0]
    keep: list[int] = []
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        most = max(1, len(members) - round(share * len(members)))
        best = agreement[members].argsort(descending=True, stable=True)[:most]
        keep += members[best].tolist()
    return sorted(keep)


def agreeing(images: LabelledImages, classifier: Classifier, plan: TransferPlan) -> LabelledImages:
    """The images without those of each class that the zero-shot classifier finds least like it."""
    share = plan.settings.images.clip_filter
    if not share:
        return images
    batches, precision = plan.in_order(images, classifier.tower), plan.settings.train.precision
    found = classifier_logits([classifier], batches, len(images), "filtering", precision)
    logits, labels, indices = found.rows[0], found.labels, found.indices
    return subset(images, indices[keep_agreeing(logits, labels, share)].tolist())


def transfer_inputs(
    images: LabelledImages, original: Weights, plan: TransferPlan
) -> dict[str, str]:
    """Hashes of what a run is made from and its settings only name."""
    found = {
        "class names": hashlib.sha256(repr(images.classes).encode()).hexdigest(),
        "training images": fingerprint(images),
        "original weights or head prompts": digest(original),
    }
    if plan.replays:
        found["replayed images"] = pairs_digest(plan.settings.replay)
    return found


def image_counts(
    plan: TransferPlan, images: LabelledImages, available: int, manifest: Manifest | None
) -> ImageCounts:
    """How many images there were; available: before the filter that left `images`.

    manifest: of generated ones.
    """
    asked = len(plan.classes) * plan.settings.images.per_class
    return ImageCounts(
        requested=asked if manifest else None,
        generated=available,
        filtered=available - len(images),
        redrawn=manifest.redraws if manifest else 0,
        missing=len(manifest.missing) if manifest else 0,
        unreadable=list(plan.own.unreadable) if plan.own else [],
    )
