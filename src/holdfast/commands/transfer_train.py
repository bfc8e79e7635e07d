"""The training of a name-only transfer, what it looks back to, and the merge that ends it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from holdfast.anchors.base import Memory, WeightAverage
from holdfast.anchors.weight_ensemble import (
    CANDIDATES,
    FISHER_IMAGES,
    AlphaChoice,
    Merge,
    WeightEnsemble,
    choose_alpha,
    label_information,
)
from holdfast.commands.transfer_prepare import TransferPlan, evenly_spaced
from holdfast.data.batches import ContinualBatches, FixedStepBatches, TrainingBatches
from holdfast.data.folders import LabelledImages
from holdfast.evaluation import sweep
from holdfast.files import derive_seed
from holdfast.learners import HeadLearner
from holdfast.memory import build_replay_set, replay_fisher
from holdfast.models.classifier import Classifier
from holdfast.models.clip import CLIP
from holdfast.replay import base_source, replay_images
from holdfast.runs import Run
from holdfast.stages import Stage
from holdfast.train import capped_warmup, fit, objective
from holdfast.weights import Weights


def train(
    run: Run,
    classifier: Classifier,
    clip: CLIP,
    images: LabelledImages,
    original: Weights,
    plan: TransferPlan,
) -> Stage:
    """Fine-tune the classifier in place, or load the weights if an earlier start has.

    The checkpoint's own augmentation is applied to the images, and none to replayed ones.
    """
    settings, seed = plan.settings.train, plan.settings.seed
    stage = run.stage("train", settings.checkpoint_minutes)
    learner = HeadLearner(classifier.visual, classifier.head, clip.logit_scale)
    learner.visual.requires_grad_(settings.trainable == "all")
    if stage.load_finished(learner):
        return stage
    with run.clock("generation"):
        memory = transfer_memory(run, learner, clip, images, original, plan)
    own = TrainingBatches(
        images, clip.augment, settings.batch_size, settings.epochs, seed, settings.workers
    )
    replayed = None
    if memory.replay is not None and plan.composition.replays:
        replayed = FixedStepBatches(
            memory.replay,
            clip.preprocess,
            settings.replay_batch_size,
            len(own),
            derive_seed(seed, "replay"),
            settings.workers,
        )
    average = next(iter(plan.composition.of(WeightAverage)), None)
    fit(
        learner,
        ContinualBatches(own, replayed),
        objective(plan.composition, learner, memory, settings.label_smoothing),
        capped_warmup(settings, len(own)),
        seed=seed,
        stage=stage,
        callback=average and average.tracker(learner, len(own)),
        label="fine-tuning",
    )
    return stage


def transfer_memory(
    run: Run,
    learner: HeadLearner,
    clip: CLIP,
    images: LabelledImages,
    original: Weights,
    plan: TransferPlan,
) -> Memory:
    """What the anchors look back to: the original model, and what it makes of replayed images.

    They are drawn from the names that stand for pre-training, or the user's; or they are the
    training images themselves, which are compared with those names. Its Fisher information says
    nothing of the head, whose weights all count alike.
    """
    settings, composition = plan.settings, plan.composition
    size, workers = settings.train.replay_batch_size, settings.train.workers
    if not composition.asks_replay:
        return Memory(initial=lambda: original)
    source = base_source(settings.replay)
    if plan.replays:
        drawn = replay_images(
            [source],
            settings.replay,
            settings.generator,
            settings.device,
            settings.seed,
            run.folder,
        )
        asked, prompts = drawn.paths, drawn.prompts
    else:
        asked, prompts = images.paths, None
    replay = build_replay_set(
        clip,
        asked,
        prompts,
        batch_size=size,
        workers=workers,
        among=() if plan.replays else source.prompts,
        precision=settings.train.precision,
    )

    def fisher() -> Mapping[str, Tensor]:
        learns = {name: p.requires_grad for name, p in clip.model.named_parameters()}
        found = replay_fisher(
            clip,
            replay,
            over_all=composition.distillation is not None
            and composition.distillation.over == "all",
            batch_size=min(size, len(replay)),
            workers=workers,
            seed=settings.seed,
            parts=settings.train.accumulation,
        )
        for name, parameter in clip.model.named_parameters():
            parameter.requires_grad_(learns[name])
        head = {name: torch.ones_like(p) for name, p in learner.head.named_parameters("head")}
        return found | head

    return Memory(replay=replay, initial=lambda: original, fisher=fisher)


def merging(
    classifier: Classifier, original: Weights, images: LabelledImages, plan: TransferPlan
) -> Merge:
    """alpha -> weights between the original ones and the classifier's as it is now."""
    ensemble, tuned = plan.ensemble or WeightEnsemble(), classifier.weights()
    fisher = None
    if ensemble.merge == "fisher":
        some = evenly_spaced(images, FISHER_IMAGES)
        sample = [batch.images for batch in plan.in_order(some, classifier.tower, batch_size=1)]
        fisher = label_information(classifier, sample, plan.settings.seed)
    return ensemble.merging(original, tuned, fisher)


def choose(
    classifier: Classifier, merge: Merge, held_out: LabelledImages | None, plan: TransferPlan
) -> AlphaChoice:
    """The alpha that the user set, or the one that held-out generated images speak for."""
    if plan.ensemble is None:
        return AlphaChoice(1.0, "none", "the method has no weight ensemble")
    if held_out is None:
        alpha = float(plan.ensemble.alpha)
        if alpha == plan.default_alpha:
            return AlphaChoice(alpha, "default", "the default")
        return AlphaChoice(alpha, "user", "set by the user")
    batches = plan.in_order(held_out, classifier.tower)
    logits, labels, _ = sweep(
        classifier,
        merge,
        CANDIDATES,
        batches,
        total=len(held_out),
        label="choosing alpha",
        precision=plan.settings.train.precision,
    )
    return choose_alpha(logits, labels)
