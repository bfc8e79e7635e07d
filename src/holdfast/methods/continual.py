"""Continual learning of one task: GIFT (arXiv 2503.04229), and by its settings what it grew from.

A step has two graphs, one after the other. On a replay batch of generated images and their
prompts: distillation from the previous model, and alignment of images with prompts. Their squared
gradients say which weights the old knowledge needs, and the weights are pulled back accordingly.
Then, on a batch of the task, cross-entropy over its classes.

What the previous model says of the replay set is computed once, by `teach`; nothing else of it is
needed but its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from holdfast.averaging import PeriodicAverage
from holdfast.data.batches import (
    Batch,
    ContinualBatches,
    FixedStepBatches,
    ImageDataset,
    evaluation_batches,
)
from holdfast.errors import HoldfastError, UsageError
from holdfast.files import derive_seed
from holdfast.losses import (
    clip_logits,
    cross_entropy,
    distillation_loss,
    feature_mse,
    kl_loss,
    multi_positive_targets,
)
from holdfast.models.clip import CLIP
from holdfast.models.text import encode_text, image_features, text_features
from holdfast.progress import progress
from holdfast.settings import ContinualTrainSettings
from holdfast.train import Objective, fit
from holdfast.weights import (
    UNSEEN_IMPORTANCE,
    Importance,
    Weights,
    adaptive_importance,
    add_consolidation_grad,
    fisher_information,
    mean_normalised,
    uniform_importance,
)

FROZEN = ("logit_scale", "logit_bias")


@dataclass(frozen=True)
class ReplaySet:
    """Images with their prompts, and the previous model's embeddings of both, on the CPU.

    paths, labels: each image and its prompt, an index into `prompts`, which are all different (0
    for images without a prompt of their own); teacher_images: (images, dim), of the images without
    augmentation; teacher_text: (prompts, dim). Embeddings are normalised.
    """

    paths: list[Path]
    labels: list[int]
    prompts: list[str]
    teacher_images: Tensor
    teacher_text: Tensor

    def __len__(self) -> int:
        return len(self.paths)


@torch.no_grad()
def teach(
    clip: CLIP,
    paths: Sequence[Path],
    prompts: Sequence[str] | None,
    settings: ContinualTrainSettings,
    among: Sequence[str] = (),
) -> ReplaySet:
    """The replay set of images and the prompt of each, with what `clip` makes of them.

    among: further prompts that `distill_over: all` compares the images with; the only ones where
    the images have none of their own.
    Images that cannot be read are named in a warning and left out; HoldfastError if none is left.
    """
    unique = list(dict.fromkeys([*(prompts or ()), *among]))
    position = {prompt: index for index, prompt in enumerate(unique)}
    labels = [0] * len(paths) if prompts is None else [position[prompt] for prompt in prompts]
    found = ReplaySet(list(paths), labels, unique, torch.empty(0), torch.empty(0))
    model = clip.model.eval()
    rows: list[Tensor] = []
    kept: list[int] = []
    batches = evaluation_batches(
        found, clip.preprocess, settings.replay_batch_size, settings.workers
    )
    with progress("asking the previous model", len(found)) as advance:
        for batch in batches:
            rows.append(image_features(model, batch.images.to(clip.device)).cpu())
            kept += batch.indices.tolist()
            advance(len(batch.indices))
    if not rows:
        raise HoldfastError("None of the replay images could be read; look at the files named.")
    return replace(
        found,
        paths=[found.paths[i] for i in kept],
        labels=[labels[i] for i in kept],
        teacher_images=torch.cat(rows),
        teacher_text=encode_text(clip, unique).cpu(),
    )


def objective(
    tokens: Tensor,
    replay: ReplaySet | None,
    replay_tokens: Tensor | None,
    settings: ContinualTrainSettings,
    anchor: Weights,
    importance: Importance,
) -> Objective:
    """Replay losses, the pull toward `anchor`, then cross-entropy; on the CLIP model itself.

    tokens: (classes, context) of the prompts of the task; replay_tokens: (prompts, context).
    The pull is added to the gradients before the second graph is built, in closed form, so nothing
    of the first one is kept; the step yields its penalty as a number without a graph.
    """

    def step(model: Any, batch: Batch) -> Iterator[dict[str, Tensor]]:
        if batch.replay is not None and replays(settings):
            assert replay is not None and replay_tokens is not None
            yield replay_losses(model, batch.replay, replay, replay_tokens, settings)
        terms: dict[str, Tensor] = {}
        if settings.consolidation:
            learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
            strength = settings.consolidation
            terms["consolidation"] = add_consolidation_grad(anchor, learning, strength, importance)
        yield terms | {"cross_entropy": task_loss(model, batch, tokens, settings)}

    return step


def task_loss(model: Any, batch: Batch, tokens: Tensor, settings: ContinualTrainSettings) -> Tensor:
    """Cross-entropy of the images over the prompts of the task, or over those of the batch."""
    labels = batch.labels
    if settings.negatives == "batch":
        rows, labels = labels.unique(return_inverse=True)
        tokens = tokens[rows]
    device = model.logit_scale.device
    images = image_features(model, batch.images.to(device, non_blocking=True))
    logits = clip_logits(images, text_features(model, tokens), model.logit_scale.exp())
    return cross_entropy(logits, labels.to(device, non_blocking=True), settings.label_smoothing)


def replay_losses(
    model: Any,
    batch: Batch,
    replay: ReplaySet,
    tokens: Tensor,
    settings: ContinualTrainSettings,
) -> dict[str, Tensor]:
    """Distillation from the previous model and image-text alignment, each in both directions."""
    device = model.logit_scale.device
    scale = model.logit_scale.exp()
    taught_images = replay.teacher_images[batch.indices].to(device, non_blocking=True)
    rows, pairs = candidates(batch, replay, settings)
    taught_text = replay.teacher_text[rows].to(device, non_blocking=True)
    images, text = taught_images, taught_text
    if settings.learns != "text":
        images = image_features(model, batch.images.to(device, non_blocking=True))
    if settings.learns != "image":
        text = text_features(model, tokens[rows])
    pairs = pairs.to(device, non_blocking=True)
    logits = clip_logits(images, text, scale)  # (batch, prompts)
    paired = logits[:, pairs]  # (batch, batch): equal prompts stand there as often as their images
    losses: dict[str, Tensor] = {}
    if settings.distillation:
        taught = clip_logits(taught_images, taught_text, scale)
        if settings.distill_over == "batch":
            logits, taught = paired, taught[:, pairs]
            text, taught_text = text[pairs], taught_text[pairs]
        if settings.distill == "features":
            terms = {
                "image": feature_mse(images, taught_images),
                "text": feature_mse(text, taught_text),
            }
        else:
            terms = {
                "image": compare(logits, taught, settings),
                "text": compare(logits.T, taught.T, settings),
            }
        if settings.distill_sides == "image":
            del terms["text"]
        losses |= {f"distillation_{k}": settings.distillation * v for k, v in terms.items()}
    if settings.alignment:
        targets = multi_positive_targets(pairs)
        for side, scores in (("image", paired), ("text", paired.T)):
            loss = cross_entropy(scores, targets, settings.label_smoothing)
            losses[f"alignment_{side}"] = settings.alignment * loss
    return losses


def candidates(
    batch: Batch, replay: ReplaySet, settings: ContinualTrainSettings
) -> tuple[Tensor, Tensor]:
    """The prompts that a replay batch is compared with, each once, and which is each image's."""
    if settings.distill_over == "all":
        return torch.arange(len(replay.teacher_text)), batch.labels
    return batch.labels.unique(return_inverse=True)


def compare(student: Tensor, teacher: Tensor, settings: ContinualTrainSettings) -> Tensor:
    """One direction of the distillation: (batch, candidates) logits of both."""
    if settings.distill == "contrastive":
        return distillation_loss(student, teacher, settings.temperature)
    return kl_loss(student, teacher, settings.temperature, settings.distill == "reverse_kl")


def static_importance(
    clip: CLIP, known: ReplaySet, settings: ContinualTrainSettings, seed: int
) -> dict[str, Tensor]:
    """Fisher information of each weight for telling the prompts of images, as `learn` takes it.

    One pass over `known`: the squared gradient of the mean log-likelihood of prompts drawn from the
    model itself, whose scores are independent with mean zero, so that a batch counts like the sum
    of its images. Divided by its mean over each tensor (EWC, arXiv 1612.00796, scaled as GIFT).
    """
    unfreeze(clip.model)
    tokens = clip.tokenizer(known.prompts)
    generator = torch.Generator().manual_seed(derive_seed(seed, "fisher"))

    def log_likelihood(model: Any, batch: Batch) -> Tensor:
        rows, _ = candidates(batch, mixed, settings)
        images = image_features(model, batch.images.to(clip.device))
        logits = clip_logits(images, text_features(model, tokens[rows]), clip.logit_scale)
        log_p = logits.log_softmax(dim=-1)
        drawn = torch.multinomial(log_p.detach().exp().cpu(), 1, generator=generator)
        return log_p.gather(1, drawn.to(clip.device)).mean()

    # Drawn images lie side by side by their prompts: as they are, a batch would hold few of them.
    order = torch.randperm(len(known), generator=generator)
    mixed = replace(
        known,
        paths=[known.paths[i] for i in order.tolist()],
        labels=[known.labels[i] for i in order.tolist()],
        teacher_images=known.teacher_images[order],
    )
    batches = evaluation_batches(
        mixed, clip.preprocess, settings.replay_batch_size, settings.workers
    )
    information = fisher_information(clip.model.eval(), log_likelihood, batches)
    return {
        name: mean_normalised(tensor)
        if tensor.any()
        else torch.full_like(tensor, UNSEEN_IMPORTANCE)
        for name, tensor in information.items()
    }


def unfreeze(model: Any) -> None:
    """Let all weights learn but the logit scale and bias."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in FROZEN)


def learn(
    clip: CLIP,
    task: ImageDataset,
    prompts: Sequence[str],
    replay: ReplaySet | None,
    settings: ContinualTrainSettings,
    *,
    seed: int,
    fisher: Weights | None = None,
    checkpoint: Path | None = None,
    record: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Learn one task, in place; `clip` comes with the weights to be pulled toward.

    prompts: one for each class of the task; replay: from `teach` with the same model; fisher:
    importance for `importance: static`, computed from the replay set if it is not given.

    Raises UsageError for a replay set smaller than its batch, and for settings that need one.
    """
    check_replay(replay, settings, fisher)
    model = clip.model
    unfreeze(model)
    anchor: dict[str, Tensor] = {}
    importance: Importance = uniform_importance
    if settings.consolidation:
        learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
        anchor = {name: p.detach().clone() for name, p in learning.items()}
        importance = choose_importance(clip, replay, settings, fisher, seed)
    batches = ContinualBatches(
        FixedStepBatches(
            task,
            clip.augment,
            settings.batch_size,
            settings.steps,
            derive_seed(seed, "task"),
            settings.workers,
        ),
        None
        if replay is None or not replays(settings)
        else FixedStepBatches(
            replay,
            clip.preprocess,
            settings.replay_batch_size,
            settings.steps,
            derive_seed(seed, "replay"),
            settings.workers,
        ),
    )
    every = settings.average_every
    mean = PeriodicAverage(model, every, settings.steps) if every else None
    fit(
        model,
        batches,
        objective(
            clip.tokenizer(list(prompts)),
            replay,
            None if replay is None else clip.tokenizer(replay.prompts),
            settings,
            anchor,
            importance,
        ),
        replace(settings, warmup_steps=min(settings.warmup_steps, settings.steps // 5)),
        seed=seed,
        checkpoint=checkpoint,
        checkpoint_minutes=settings.checkpoint_minutes,
        callback=mean,
        record=record,
        label="learning",
    )
    if mean is not None:
        model.load_state_dict(mean.result(), strict=False)


def replays(settings: ContinualTrainSettings) -> bool:
    """Whether a step has losses on replay images."""
    return bool(settings.distillation or settings.alignment)


def check_replay(
    replay: ReplaySet | None, settings: ContinualTrainSettings, fisher: Weights | None
) -> None:
    """Raise UsageError where the settings and the replay set do not go together."""
    if replay is not None and len(replay) < settings.replay_batch_size:
        raise UsageError(
            f"The replay set has {len(replay)} images, fewer than the {settings.replay_batch_size} "
            "of a step; generate more, or lower replay_batch_size."
        )
    if not settings.consolidation:
        return
    if settings.importance == "adaptive" and (replay is None or not replays(settings)):
        raise UsageError(
            "importance: adaptive comes from the losses on replay images and there are none; give "
            "images, with distillation or alignment, or take importance: uniform, or "
            "consolidation: 0."
        )
    if settings.importance == "static" and replay is None and fisher is None:
        raise UsageError(
            "importance: static needs images that the previous model knows, and there are "
            "none; generate some, or take importance: uniform, or consolidation: 0."
        )


def choose_importance(
    clip: CLIP,
    replay: ReplaySet | None,
    settings: ContinualTrainSettings,
    fisher: Weights | None,
    seed: int,
) -> Importance:
    """What `settings.importance` scales the pull with."""
    if settings.importance == "uniform":
        return uniform_importance
    if settings.importance == "adaptive":
        return adaptive_importance
    if fisher is None:
        assert replay is not None
        fisher = static_importance(clip, replay, settings, seed)
    known = {name: tensor.to(clip.device) for name, tensor in fisher.items()}
    return lambda name, gradient: known[name]
