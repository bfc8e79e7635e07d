"""What a name-only transfer would take: `holdfast transfer --dry_run`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from holdfast import names
from holdfast.anchors.weight_ensemble import CANDIDATES, SWEEP
from holdfast.commands.costs import (
    SOME_IMAGES,
    STEPS,
    RunCost,
    Work,
    seconds_per_image,
    stand_ins,
    timed_steps,
)
from holdfast.commands.transfer_images import hold_out
from holdfast.commands.transfer_prepare import TransferPlan
from holdfast.commands.transfer_train import train
from holdfast.data.folders import LabelledImages
from holdfast.data.replay import draw_prompts
from holdfast.generation import Estimate, estimate
from holdfast.models.classifier import Classifier, text_head
from holdfast.models.clip import CLIP
from holdfast.prompts import prompts_for
from holdfast.replay import base_source, count
from holdfast.runs import Run


def transfer_cost(plan: TransferPlan, clip: CLIP, real: LabelledImages | None) -> RunCost:
    """Time and disk of a run, from two drawn images, three steps and a few images.

    clip: the model. real: the images to report on. Nothing is left, and no language model is asked.
    """
    settings = plan.settings
    with TemporaryDirectory() as folder:
        example = Path(folder, "example.png")
        drawing = transfer_drawing(plan, example) if plan.draws else None
        paths = [example] if plan.own is None else plan.own.paths
        prompts = prompts_for(
            plan.classes, replace(settings.head_prompts or settings.prompts, llm_url=None)
        )
        classifier = Classifier(clip, text_head(clip, prompts), plan.classes).eval()
        step = transfer_step(plan, classifier, clip, paths, Path(folder, "run"))
        image = seconds_per_image(
            lambda images: classifier(images)[1],
            paths if real is None else real.paths,
            clip.preprocess,
            clip.device,
        )
    learnt, held_out = numbers_of_images(plan)
    if settings.images.clip_filter:
        learnt = round(learnt * (1 - settings.images.clip_filter))
    steps = -(-learnt // settings.train.batch_size) * settings.train.epochs
    asked = count(settings.replay) if plan.replays else 0
    passes = len(SWEEP) + 1 if plan.ensemble else 2
    work = (
        Work("training", "steps", steps, step),
        Work("asking the original model", "images", asked, image),
        Work("choosing alpha", "images", held_out * len(CANDIDATES), image),
        Work("evaluation", "images", passes * (len(real) if real else 0), image),
    )
    return RunCost(drawing, tuple(each for each in work if each.count))


def numbers_of_images(plan: TransferPlan) -> tuple[int, int]:
    """How many images are learnt from, and how many alpha is chosen with."""
    if plan.own is None:
        classes = len(plan.classes)
        held_out = plan.held_out_per_class if plan.holds_out else 0
        return classes * plan.settings.images.per_class, classes * held_out
    if not plan.holds_out:
        return len(plan.own), 0
    learnt, held_out_images = hold_out(plan.own)
    return len(learnt), len(held_out_images)


def transfer_drawing(plan: TransferPlan, example: Path | None = None) -> Estimate:
    """Time and disk for all images of a run: to train on, to choose alpha with, to replay.

    example: file for one of them.
    """
    settings = plan.settings
    found = Estimate(0, 0.0, 0.0)
    if plan.own is None:
        prompts = prompts_for(plan.classes, replace(settings.prompts, llm_url=None))
        per_class = sum(numbers_of_images(plan)) // len(plan.classes)
        found += estimate(
            plan.classes,
            prompts,
            [per_class] * len(plan.classes),
            settings.generator,
            settings.images,
            seed=settings.seed,
            device=settings.device,
            example=example,
        )
    if plan.replays and settings.replay.folder is None:
        draw = draw_prompts([base_source(settings.replay)], settings.replay.images, "uniform", 0)
        found += estimate(
            names.from_names(draw.prompts),
            [[prompt] for prompt in draw.prompts],
            draw.counts,
            settings.generator,
            settings.replay,
            seed=settings.seed,
            device=settings.device,
        )
    return found


def transfer_step(
    plan: TransferPlan, classifier: Classifier, clip: CLIP, paths: list[Path], folder: Path
) -> float:
    """The seconds of a step of the run's own training, on images in the place of those to come.

    paths: of images. folder: a new one for what the training writes.
    """
    settings = plan.settings
    batch = min(settings.train.batch_size, max(numbers_of_images(plan)[0], 1))
    replayed = folder.with_name("replayed")
    if plan.replays:
        replayed.mkdir()
        for place in range(SOME_IMAGES):  # each with a caption, as a user's own
            (replayed / f"{place}.png").write_bytes(paths[place % len(paths)].read_bytes())
            (replayed / f"{place}.txt").write_text(f"picture {place}")
    short = replace(
        settings,
        train=replace(settings.train, epochs=STEPS),
        replay=replace(settings.replay, folder=replayed if plan.replays else None),
    )
    images = stand_ins(paths, batch, plan.classes)
    short_plan = replace(plan, settings=short)
    with Run.open(folder, short, "transfer") as run, timed_steps() as each:
        train(run, classifier, clip, images, classifier.weights(), short_plan)
        return each()
