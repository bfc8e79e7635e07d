"""Name-only transfer: RegFT (arXiv 2406.05432).

Fine-tune CLIP's image tower and a head built from text on generated images, with variance and
covariance regularisation against the gap between generated and real ones, then average the weights
with the original ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.data.batches import Batch, TrainingBatches
from holdfast.data.folders import LabelledImages, subset
from holdfast.errors import HoldfastError, UsageError
from holdfast.losses import covariance_loss, cross_entropy, variance_loss
from holdfast.models.classifier import Classifier
from holdfast.models.clip import CLIP
from holdfast.progress import progress
from holdfast.settings import Optimisation, TrainSettings
from holdfast.train import Objective, fit
from holdfast.weights import Weights, fisher_information, fisher_merge, interpolate

SWEEP = tuple(round(0.1 * i, 1) for i in range(11))
# What `--alpha auto` chooses from. Held-out generated images speak for the model that was tuned on
# their like, so they may only call for less of it than the paper's 0.5.
CANDIDATES = tuple(alpha for alpha in SWEEP if alpha <= 0.5)


def objective(settings: TrainSettings) -> Objective:
    """Cross-entropy + lambda_v·variance + lambda_c·covariance of the un-normalised embeddings."""

    def step(classifier: Classifier, batch: Batch) -> Iterator[dict[str, Tensor]]:
        device = classifier.head.weight.device
        z, logits = classifier(batch.images.to(device, non_blocking=True))
        labels = batch.labels.to(device, non_blocking=True)
        terms = {"cross_entropy": cross_entropy(logits, labels, settings.label_smoothing)}
        if z.requires_grad and (settings.variance or settings.covariance):
            terms["variance"] = settings.variance * variance_loss(z)
            terms["covariance"] = settings.covariance * covariance_loss(z)
        yield terms

    return step


def fine_tune(
    classifier: Classifier,
    data: LabelledImages,
    settings: TrainSettings,
    *,
    seed: int,
    checkpoint: Path | None = None,
    record: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Train the classifier in place with the checkpoint's own augmentation.

    The warmup is at most a fifth of the run: the papers' 500 steps would be all of a small one.
    """
    assert isinstance(classifier.tower, CLIP)
    classifier.visual.requires_grad_(settings.trainable == "all")
    batches = TrainingBatches(
        data,
        classifier.tower.augment,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        seed=seed,
        workers=settings.workers,
    )
    fit(
        classifier,
        batches,
        objective(settings),
        capped_warmup(settings, len(batches)),
        seed=seed,
        checkpoint=checkpoint,
        checkpoint_minutes=settings.checkpoint_minutes,
        record=record,
        label="fine-tuning",
    )


def capped_warmup(optimisation: Optimisation, steps: int) -> Optimisation:
    """The same optimisation with a warmup of at most a fifth of the steps."""
    return replace(optimisation, warmup_steps=min(optimisation.warmup_steps, steps // 5))


Merge = Callable[[float], dict[str, Tensor]]


def linear_merge(original: Weights, tuned: Weights) -> Merge:
    """alpha -> (1 - alpha)·original + alpha·tuned."""
    return lambda alpha: interpolate(original, tuned, alpha)


def fisher_weighted_merge(
    classifier: Classifier, original: Weights, tuned: Weights, images: Sequence[Tensor], seed: int
) -> Merge:
    """alpha -> the Fisher-weighted mean of both models, measured on generated `images`.

    images: each (1, 3, height, width), preprocessed. Labels are drawn from each model itself.
    """
    device = classifier.head.weight.device
    classifier.visual.requires_grad_(True)

    def log_likelihood(module: Any, image: Tensor) -> Tensor:
        log_probabilities = module(image.to(device))[1].log_softmax(dim=-1)[0]
        drawn = torch.multinomial(log_probabilities.detach().exp(), 1)
        return log_probabilities[drawn].squeeze()

    def information(weights: Weights) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        classifier.load_state_dict(weights)
        return fisher_information(classifier.eval(), log_likelihood, images)

    before, after = information(original), information(tuned)
    return lambda alpha: fisher_merge(original, tuned, before, after, alpha)


@torch.inference_mode()
def sweep(
    classifier: Classifier,
    merge: Merge,
    alphas: Sequence[float],
    batches: Iterable[Batch],
    *,
    total: int,
    chunk_bytes: int = 2**29,
    label: str = "sweeping alpha",
) -> tuple[dict[float, Tensor], Tensor, Tensor]:
    """Logits of the ensemble for each alpha, decoding and preprocessing each image once.

    Holds `chunk_bytes` of preprocessed images at a time and runs every ensemble over them.
    Returns {alpha: logits (n, classes)}, labels (n,) and indices (n,).
    """
    device = classifier.head.weight.device
    classifier.eval()
    logits: dict[float, list[Tensor]] = {alpha: [] for alpha in alphas}
    labels: list[Tensor] = []
    indices: list[Tensor] = []
    with progress(label, total) as advance:
        for chunk in chunks(batches, chunk_bytes):
            for alpha in alphas:
                classifier.load_state_dict(merge(alpha))
                logits[alpha] += [classifier(b.images.to(device))[1].cpu() for b in chunk]
            labels += [batch.labels.clone() for batch in chunk]
            indices += [batch.indices.clone() for batch in chunk]
            advance(sum(len(batch.labels) for batch in chunk))
    if not labels:
        raise HoldfastError("None of the evaluation images could be read.")
    return (
        {a: torch.cat(parts) for a, parts in logits.items()},
        torch.cat(labels),
        torch.cat(indices),
    )


def chunks(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Group batches into lists of about `size` bytes of images."""
    held: list[Batch] = []
    filled = 0
    for batch in batches:
        held.append(batch)
        filled += batch.images.nbytes
        if filled >= size:
            yield held
            held, filled = [], 0
    if held:
        yield held


@dataclass(frozen=True)
class AlphaChoice:
    """The weight of the fine-tuned model, how it was chosen and why.

    proxy: what `auto` measured without real images, per alpha.
    """

    alpha: float
    how: str
    why: str
    proxy: Mapping[float, float] = field(default_factory=dict)

    @staticmethod
    def fixed(alpha: float) -> AlphaChoice:
        """An alpha that the user set."""
        return AlphaChoice(alpha, "fixed", "set by the user")


def choose_alpha(logits: Mapping[float, Tensor], labels: Tensor) -> AlphaChoice:
    """The alpha that fits held-out generated images best, without any real one.

    The generator is believed as far as zero-shot confirms it: with the share s of images that
    zero-shot recognises as what was asked for, an image's target is s·(its label) + (1 - s)·(what
    zero-shot says of it), and the alpha with the smallest cross-entropy to these targets is taken.
    Cross-entropy and not accuracy, because fine-tuning makes a model too sure on images unlike
    its own. logits: {alpha: (n, classes)}, with alpha 0; labels: (n,). Of equals, the smallest.
    """
    original = logits[0.0].float()
    confirmed = (original.argmax(dim=-1) == labels).float().mean()
    asked = F.one_hot(labels, original.shape[1])
    targets = confirmed * asked + (1 - confirmed) * original.softmax(dim=-1)
    fit = {a: F.cross_entropy(x.float(), targets).item() for a, x in sorted(logits.items())}
    chosen = min(fit, key=lambda alpha: fit[alpha])
    why = (
        f"the best fit to {len(labels)} held-out images, of which zero-shot confirms "
        f"{confirmed.item():.0%}"
    )
    return AlphaChoice(chosen, "auto", why, fit)


def hold_out(data: LabelledImages, every: int = 5) -> tuple[LabelledImages, LabelledImages]:
    """Training images, and one in `every` of each class held out of them."""
    seen: dict[int, int] = defaultdict(int)
    parts: tuple[list[int], list[int]] = ([], [])
    for position, label in enumerate(data.labels):
        seen[label] += 1
        parts[seen[label] % every == 0].append(position)
    if not parts[1]:
        raise UsageError(
            f"Each class of the folder has fewer than {every} images, too few to choose alpha "
            "with; give --alpha a number."
        )
    return subset(data, parts[0]), subset(data, parts[1])


def spread(data: LabelledImages, count: int) -> LabelledImages:
    """At most `count` images, evenly spaced through the data and so through its classes."""
    if len(data.paths) <= count:
        return data
    return subset(data, [i * len(data.paths) // count for i in range(count)])


def keep_agreeing(logits: Tensor, labels: Tensor, share: float) -> list[int]:
    """Positions that stay when each class loses the `share` that zero-shot finds least like it.

    logits: (n, classes) of the zero-shot classifier; labels: (n,). Each class keeps one image.
    """
    agreement = logits.log_softmax(dim=-1).gather(1, labels[:, None])[:, 0]
    keep: list[int] = []
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        count = max(1, len(members) - round(share * len(members)))
        best = agreement[members].argsort(descending=True, stable=True)[:count]
        keep += members[best].tolist()
    return sorted(keep)
