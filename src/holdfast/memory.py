"""What a CLIP is trained with: the old model's answers, Fisher information, and batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from holdfast.anchors.base import Memory, ReplaySet, WeightAverage
from holdfast.data.batches import (
    Batch,
    ContinualBatches,
    FixedStepBatches,
    ImageDataset,
    sequential_batches,
)
from holdfast.device import autocast
from holdfast.evaluation import forward
from holdfast.files import derive_seed
from holdfast.learners import FROZEN, TwoTowerLearner, in_parts
from holdfast.losses import clip_logits
from holdfast.methods import Composition
from holdfast.models.clip import CLIP
from holdfast.models.text import encode_text, image_features, text_features, tokenize
from holdfast.settings import ContinualTrainSettings, Precision
from holdfast.train import capped_warmup, objective
from holdfast.weights import UNSEEN_IMPORTANCE, fisher_information, mean_normalised

PREFIX = "model."  # of the weights' names in a `TwoTowerLearner`


@torch.no_grad()
def build_replay_set(
    clip: CLIP,
    paths: Sequence[Path],
    prompts: Sequence[str] | None,
    *,
    batch_size: int,
    workers: int = 0,
    among: Sequence[str] = (),
    precision: Precision = "fp32",
) -> ReplaySet:
    """The replay set of images and the prompt of each, with what `clip` makes of them.

    among: further prompts that images are compared with; the only ones where the images have none
    of their own. precision: that of the training, or the first step would distil the difference of
    two precisions. Images that cannot be read are named in a warning and left out; HoldfastError if
    none is left.
    """
    unique = list(dict.fromkeys([*(prompts or ()), *among]))
    position = {prompt: index for index, prompt in enumerate(unique)}
    labels = [0] * len(paths) if prompts is None else [position[prompt] for prompt in prompts]
    tokens = tokenize(clip, unique)
    nothing = torch.empty(0)
    found = ReplaySet(list(paths), labels, unique, tokens, nothing, nothing)
    model = clip.model.eval()
    seen = forward(
        [lambda: lambda images: image_features(model, images)],
        sequential_batches(found, clip.preprocess, batch_size, workers),
        clip.device,
        total=len(found),
        label="asking the previous model",
        precision=precision,
    )
    with autocast(clip.device, precision):
        text = encode_text(clip, unique).cpu()
    kept = seen.indices.tolist()
    return replace(
        found,
        paths=[found.paths[i] for i in kept],
        labels=[labels[i] for i in kept],
        teacher_images=seen.rows[0],
        teacher_text=text,
    )


def replay_fisher(
    clip: CLIP,
    known: ReplaySet,
    *,
    over_all: bool,
    batch_size: int,
    workers: int,
    seed: int,
    parts: int = 1,
) -> dict[str, Tensor]:
    """Fisher information of each weight for telling the prompts of images (EWC, as GIFT scales it).

    One pass over `known`: the squared gradient of the mean log-likelihood of prompts drawn from the
    model itself, whose scores are independent with mean zero, so that a batch counts like the sum
    of its images. Divided by its mean over each tensor (arXiv 1612.00796).

    over_all: among all prompts, and not those of a batch. parts: in which a batch goes through the
    model. Returns {parameter's name: tensor}.
    """
    for name, parameter in clip.model.named_parameters():
        parameter.requires_grad_(not name.startswith(FROZEN))
    generator = torch.Generator().manual_seed(derive_seed(seed, "fisher"))

    def log_likelihood(model: Any, batch: Batch) -> Tensor:
        tokens = known.tokens if over_all else known.tokens[batch.labels.unique()]
        pictures = batch.images.to(clip.device)
        images = in_parts(lambda part: image_features(model, part), pictures, parts)
        text = in_parts(lambda part: text_features(model, part), tokens, parts)
        logits = clip_logits(images, text, clip.logit_scale)
        log_p = logits.log_softmax(dim=-1)
        drawn = torch.multinomial(log_p.detach().exp().cpu(), 1, generator=generator)
        return log_p.gather(1, drawn.to(clip.device)).mean()

    # Drawn images lie side by side by their prompts: as they are, a batch would hold few of them.
    order = torch.randperm(len(known), generator=generator).tolist()
    mixed = replace(
        known, paths=[known.paths[i] for i in order], labels=[known.labels[i] for i in order]
    )
    batches = sequential_batches(mixed, clip.preprocess, batch_size, workers)
    information = fisher_information(clip.model.eval(), log_likelihood, batches)
    return {
        name: mean_normalised(tensor)
        if tensor.any()
        else torch.full_like(tensor, UNSEEN_IMPORTANCE)
        for name, tensor in information.items()
    }


def with_prefix(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights under names that begin with `prefix`, as a learner has them."""
    return {f"{prefix}{name}": tensor for name, tensor in weights.items()}


def weights_of(clip: CLIP) -> dict[str, Tensor]:
    """A copy of all weights, on the CPU."""
    return {name: t.detach().to("cpu", copy=True) for name, t in clip.model.state_dict().items()}


def clip_memory(
    clip: CLIP,
    composition: Composition,
    images: tuple[Sequence[Path], Sequence[str] | None] | None,
    *,
    among: Sequence[str],
    initial: Callable[[], CLIP],
    train: ContinualTrainSettings,
    seed: int,
) -> Memory:
    """What the anchors of a CLIP's training look back to: answers, weights, Fisher information.

    clip: the model with the weights before the training. images: replayed images and the prompt of
        each, None for prompts of their own; without images nothing is asked. among: prompts that
        images without prompts of their own are compared with. initial: loads the initial model.
    """
    size, workers = train.replay_batch_size, train.workers
    replay: ReplaySet | None = None
    if images is not None:
        teacher = initial() if composition.teacher == "initial" else clip
        replay = build_replay_set(
            teacher,
            *images,
            batch_size=size,
            workers=workers,
            among=among,
            precision=train.precision,
        )

    def fisher() -> Mapping[str, Tensor]:
        assert replay is not None
        over = composition.distillation.over if composition.distillation else "batch"
        found = replay_fisher(
            clip,
            replay,
            over_all=over == "all",
            batch_size=min(size, len(replay)),
            workers=workers,
            seed=seed,
            parts=train.accumulation,
        )
        return with_prefix(found, PREFIX)

    def initial_weights() -> Mapping[str, Tensor]:
        return with_prefix(weights_of(initial()), PREFIX)

    return Memory(replay=replay, initial=initial_weights, fisher=fisher)


def clip_training(
    learner: TwoTowerLearner,
    clip: CLIP,
    images: ImageDataset,
    composition: Composition,
    memory: Memory,
    train: ContinualTrainSettings,
    seed: int,
) -> dict[str, Any]:
    """What `train.fit` takes beside a CLIP that learns, which has the weights before the training.

    images: those to learn, with their classes; memory: what the anchors look back to.
    """
    replay, workers = memory.replay, train.workers
    own = FixedStepBatches(
        images, clip.augment, train.batch_size, train.steps, derive_seed(seed, "task"), workers
    )
    replayed = None
    if replay is not None and composition.replays:
        replayed = FixedStepBatches(
            replay,
            clip.preprocess,
            min(train.replay_batch_size, len(replay)),
            train.steps,
            derive_seed(seed, "replay"),
            workers,
        )
    average = next(iter(composition.of(WeightAverage)), None)
    return {
        "batches": ContinualBatches(own, replayed),
        "objective": objective(composition, learner, memory, train.label_smoothing),
        "optimisation": capped_warmup(train, train.steps),
        "callback": average and average.tracker(learner, train.steps),
        "seed": seed,
        "label": "learning",
    }
