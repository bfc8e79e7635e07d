"""`holdfast transfer`: class names -> generated images -> classifier -> verdict (RegFT)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from holdfast import names
from holdfast.data.batches import Batch, sequential_batches
from holdfast.data.folders import (
    LabelledImages,
    fingerprint,
    readable,
    scan,
    subset,
    without_images,
)
from holdfast.errors import UsageError
from holdfast.files import atomic_write, derive_seed, write_json
from holdfast.generation import Estimate, read_manifest
from holdfast.generation.pipeline import find
from holdfast.methods.transfer import (
    CANDIDATES,
    SWEEP,
    AlphaChoice,
    Merge,
    choose_alpha,
    fine_tune,
    fisher_weighted_merge,
    hold_out,
    keep_agreeing,
    linear_merge,
    spread,
    sweep,
)
from holdfast.metrics import Scores, decide, domain_gap, feature_diversity, is_correct, score
from holdfast.models.classifier import Classifier, text_head
from holdfast.models.clip import load_clip
from holdfast.models.tower import Tower, read_weights
from holdfast.names import ClassNames
from holdfast.prompts import expand_templates, prompts_for
from holdfast.report import write_report
from holdfast.runs import Records, alone, check_inputs, environment, open_run, peak_memory, plain
from holdfast.settings import GenerateSettings, PromptSettings, TrainSettings, TransferSettings
from holdfast.verbs.generate import generate
from holdfast.weights import Weights, digest

# Held-out images for `--alpha auto` are asked for in other words than the training images.
SECOND_STYLE = (
    "a picture of a {}.",
    "an image of a {}.",
    "a close photo of a {}.",
    "a photo of the {}.",
)
SAMPLES_PER_CLASS = 4
# What may change when a run goes on: what comes after training, and how fast it is done.
FREE = (
    *("out", "evaluate", "device", "dry_run", "alpha", "merge"),
    *("train.workers", "train.checkpoint_minutes", "images.batch_size", "images.redraws"),
)


@alone
def transfer(settings: TransferSettings) -> Classifier | Estimate:
    """Class names -> generated images -> fine-tuned, ensembled, evaluated classifier (RegFT).

    Everything is kept in the folder `settings.out`; run again with the same settings, it goes on
    where it stopped. A dry run returns time and disk instead, and leaves nothing.
    """
    classes = names.from_arguments(settings.names)
    # What can be wrong with the user's settings, folders and models is found before the run's
    # folder is made and anything is spent.
    check(settings, classes)
    own, unreadable = own_images(settings, classes)
    real = scan(settings.evaluate, classes) if settings.evaluate else None
    if settings.dry_run:
        return cost(settings)
    clip = load_clip(settings.model, settings.pretrained, settings.device, settings.seed)
    if own is None:
        find(settings.generator)
    settings = resolved(settings, classes)
    run = open_run(settings.out, settings, FREE)

    clock = [time.monotonic()]
    images, held_out = training_images(settings, classes, run, own)
    available = len(images)
    head_prompts = settings.head_prompts or settings.prompts
    prompts = prompts_for(classes, head_prompts, run / "descriptions.json")
    write_json(run / "prompts.json", prompts)
    classifier = Classifier(clip, text_head(clip, prompts), classes).eval()
    original = classifier.weights()
    if settings.images.clip_filter:
        _, logits, labels, indices = classifier.embed(evaluation(images, clip, settings.train))
        kept = keep_agreeing(logits, labels, settings.images.clip_filter)
        images = subset(images, indices[kept].tolist())
    check_inputs(run, inputs(images, original))
    clock.append(time.monotonic())
    records = Records(run / "records.jsonl")
    train(classifier, images, settings, run, records)
    clock.append(time.monotonic())
    merge = merging(classifier, original, images, settings)
    choice = choose(classifier, merge, held_out, settings)

    result: dict[str, Any] = {
        "title": "Name-only transfer",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": plain(asdict(settings)),
        "environment": environment(),
        "classes": list(classes.names),
        "model": {"name": clip.name, "parameters": sum(p.numel() for p in classifier.parameters())},
        "generator": None if own else {"name": settings.generator},
        "samples": {"generated": sample_paths(images)},
        "training": records.read(),
        "alpha": alpha_record(choice, {}),
        "images": {
            "requested": None if own else len(classes) * settings.images.per_class,
            "generated": available,
            "filtered": available - len(images),
            "redrawn": 0 if own else read_manifest(images.root).redraws,
            "unreadable": [str(path) for path in unreadable],
        },
        "notes": [],
    }
    if real is not None:
        result |= on_real_images(classifier, merge, choice, real, images, settings)
        result["samples"]["real"] = sample_paths(real)
    classifier.load_state_dict(merge(choice.alpha))
    about = {"method": "transfer", "model": clip.name, "alpha": choice.alpha}
    classifier.save(run / "model", about)
    result["costs"] = {
        "generation_seconds": clock[1] - clock[0],
        "training_seconds": clock[2] - clock[1],
        "peak_memory_bytes": peak_memory(),
    }
    write_json(run / "result.json", plain(result))
    write_report(plain(result), run / "report.html")
    return classifier


def check(settings: TransferSettings, classes: ClassNames) -> None:
    """Raise UsageError for what the settings' own limits cannot see."""
    if isinstance(settings.alpha, str) and settings.alpha != "auto":
        raise UsageError(f"alpha is {settings.alpha!r}; give a number from 0 to 1, or 'auto'.")
    if settings.dry_run and settings.folder:
        raise UsageError("With --folder nothing is generated, so a dry run has nothing to measure.")
    for prompts in (settings.prompts, settings.head_prompts):
        if prompts is not None:
            prompts_for(classes, replace(prompts, llm_url=None))


def own_images(
    settings: TransferSettings, classes: ClassNames
) -> tuple[LabelledImages | None, list[Path]]:
    """The user's own training images and those that cannot be read; UsageError for a class
    without any.
    """
    if settings.folder is None:
        return None, []
    images, broken = readable(scan(settings.folder, classes))
    if missing := without_images(images):
        raise UsageError(
            f"{settings.folder} has no readable image of {', '.join(map(repr, missing[:5]))}"
            f"{' and others' if len(missing) > 5 else ''}; add some, or leave the class out."
        )
    return images, broken


def cost(settings: TransferSettings) -> Estimate:
    """Time and disk for all images of a run, those to choose alpha with among them."""
    extra = held_out_per_class(settings) if settings.alpha == "auto" else 0
    counted = replace(settings.images, per_class=settings.images.per_class + extra)
    found = generate(replace(generation(settings, settings.out), images=counted))
    assert isinstance(found, Estimate)
    return found


def resolved(settings: TransferSettings, classes: ClassNames) -> TransferSettings:
    """The settings as they hold anywhere: names spelt out, paths absolute."""

    def absolute(path: Path | None) -> Path | None:
        return path and path.absolute()

    def with_absolute(prompts: PromptSettings) -> PromptSettings:
        return replace(prompts, descriptions=absolute(prompts.descriptions))

    # Ids of a names file cannot be spelt out; then the file itself is named.
    spelt = list(classes.names)
    if names.from_names(spelt) != classes:
        spelt = [str(Path(settings.names[0]).absolute())]
    return replace(
        settings,
        names=spelt,
        folder=absolute(settings.folder),
        evaluate=absolute(settings.evaluate),
        prompts=with_absolute(settings.prompts),
        head_prompts=settings.head_prompts and with_absolute(settings.head_prompts),
    )


def inputs(images: LabelledImages, original: Weights) -> dict[str, str]:
    """Hashes of what a run is made from and its settings only name: see `check_inputs`."""
    return {
        "class names": hashlib.sha256(repr(images.classes).encode()).hexdigest(),
        "training images": fingerprint(images),
        "original weights or head prompts": digest(original),
    }


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
    settings: TransferSettings, classes: ClassNames, run: Path, own: LabelledImages | None
) -> tuple[LabelledImages, LabelledImages | None]:
    """Images to train on, and with `--alpha auto` others to choose alpha with.

    Generated ones are held out in other words and from other seeds; of a user's own, a fifth.
    """
    auto = settings.alpha == "auto"
    if own is not None:
        return hold_out(own) if auto else (own, None)
    generate(generation(settings, run / "generated"), run / "descriptions.json")
    images = scan(run / "generated", classes)
    if not auto:
        return images, None
    used = expand_templates(settings.prompts.templates)
    others = [template for template in SECOND_STYLE if template not in used]
    second = replace(
        generation(settings, run / "held-out"),
        prompts=PromptSettings(templates=others),
        images=replace(settings.images, per_class=held_out_per_class(settings)),
        seed=derive_seed(settings.seed, "held-out"),
    )
    generate(second)
    return images, scan(run / "held-out", classes)


def held_out_per_class(settings: TransferSettings) -> int:
    """A quarter as many as to train on, and eight at least."""
    return max(8, settings.images.per_class // 4)


def train(
    classifier: Classifier,
    images: LabelledImages,
    settings: TransferSettings,
    run: Path,
    records: Records,
) -> None:
    """Fine-tune, or load the weights if an earlier start of this run has."""
    finished, checkpoint = run / "fine-tuned.safetensors", run / "checkpoint.safetensors"
    if finished.exists():
        classifier.load_state_dict(read_weights(finished, classifier.tower.device))
    else:
        fine_tune(
            classifier,
            images,
            settings.train,
            seed=settings.seed,
            checkpoint=checkpoint,
            record=records.add,
        )
        weights = {name: t.contiguous() for name, t in classifier.weights().items()}
        with atomic_write(finished) as temporary:
            save_file(weights, temporary)
    checkpoint.unlink(missing_ok=True)


def merging(
    classifier: Classifier,
    original: Weights,
    images: LabelledImages,
    settings: TransferSettings,
) -> Merge:
    """alpha -> weights between the original ones and the classifier's as it is now."""
    tuned = classifier.weights()
    if settings.merge == "linear":
        return linear_merge(original, tuned)
    some = evaluation(spread(images, 256), classifier.tower, settings.train, batch_size=1)
    sample = [batch.images for batch in some]
    return fisher_weighted_merge(classifier, original, tuned, sample, settings.seed)


def choose(
    classifier: Classifier,
    merge: Merge,
    held_out: LabelledImages | None,
    settings: TransferSettings,
) -> AlphaChoice:
    """The alpha that the user set, or the one that held-out generated images speak for."""
    if settings.alpha != "auto" or held_out is None:
        return AlphaChoice.fixed(float(settings.alpha))
    batches = evaluation(held_out, classifier.tower, settings.train)
    logits, labels, _ = sweep(
        classifier, merge, CANDIDATES, batches, total=len(held_out), label="choosing alpha"
    )
    return choose_alpha(logits, labels)


def evaluation(
    data: LabelledImages, tower: Tower, settings: TrainSettings, batch_size: int | None = None
) -> Iterator[Batch]:
    """Batches in order, under the checkpoint's own evaluation preprocessing."""
    size = batch_size or settings.batch_size
    return sequential_batches(data, tower.preprocess, size, settings.workers)


def on_real_images(
    classifier: Classifier,
    merge: Merge,
    choice: AlphaChoice,
    real: LabelledImages,
    generated: LabelledImages,
    settings: TransferSettings,
) -> dict[str, Any]:
    """The record's entries on real images: scores, alpha's curve, verdict, diagnostics."""
    tower, classes = classifier.tower, classifier.classes.names
    alphas = sorted({*SWEEP, choice.alpha})
    batches = evaluation(real, tower, settings.train)
    logits, labels, indices = sweep(
        classifier, merge, alphas, batches, total=len(real), label="evaluating"
    )
    by_alpha = {alpha: score(values, labels, classes) for alpha, values in logits.items()}
    read = set(indices.tolist())
    notes = [
        f"{p} could not be read and was skipped." for i, p in enumerate(real.paths) if i not in read
    ]
    if missing := without_images(real):
        notes.append(f"Not measured, for want of real images: {', '.join(missing)}.")
    if set(real.paths) & set(generated.paths):
        notes.append("Some images were trained on and measured on: the scores are too high.")
    return {
        "alpha": alpha_record(choice, by_alpha),
        "scores": {
            "zero-shot": by_alpha[0.0].to_record(),
            "fine-tuned": by_alpha[1.0].to_record(),
            "ensemble": by_alpha[choice.alpha].to_record(),
        },
        "verdict": asdict(
            decide(is_correct(logits[0.0], labels), is_correct(logits[choice.alpha], labels))
        ),
        "diagnostics": diagnostics(
            classifier, merge, choice.alpha, real, generated, settings.train
        ),
        "notes": notes,
    }


def alpha_record(choice: AlphaChoice, scores: dict[float, Scores]) -> dict[str, Any]:
    """The chosen alpha and the curve: what real images say of each, and what `auto` went by."""
    sweep_record = [
        {
            "alpha": alpha,
            "proxy": choice.proxy.get(alpha),
            "real_top1": scores[alpha].top1 if scores else None,
            "real_mean_per_class": scores[alpha].mean_per_class if scores else None,
            "ece": scores[alpha].ece if scores else None,
        }
        for alpha in sorted(scores or choice.proxy)
    ]
    return {
        "chosen": choice.alpha,
        "how": choice.how,
        "why": choice.why,
        "sweep": sweep_record,
    }


def diagnostics(
    classifier: Classifier,
    merge: Merge,
    alpha: float,
    real: LabelledImages,
    generated: LabelledImages,
    settings: TrainSettings,
) -> dict[str, Any]:
    """Domain gap and feature diversity as RegFT looks at them, on at most 1,000 images of a kind.

    The gap is the original model's; diversity is that of the original, the fine-tuned and the
    ensembled model.
    """
    models = {"zero-shot": 0.0, "fine-tuned": 1.0, "ensemble": alpha}
    features: dict[str, tuple[Tensor, Tensor]] = {}
    for kind, data in (("real", real), ("generated", generated)):
        batches = list(evaluation(spread(data, 1000), classifier.tower, settings))
        for model, weight in models.items():
            classifier.load_state_dict(merge(weight))
            z, _, labels, _ = classifier.embed(batches)
            features[f"{kind}, {model}"] = (z, labels)
    found: dict[str, Any] = {
        "diversity": {
            name: feature_diversity(*pair) for name, pair in features.items() if len(pair[0]) > 1
        }
    }
    pair = features["real, zero-shot"][0], features["generated, zero-shot"][0]
    if min(map(len, pair)) >= 4:  # two halves of two
        found["gap"] = domain_gap(*pair, seed=0)
    return found


def sample_paths(data: LabelledImages) -> dict[str, list[str]]:
    """The first few images of each class, for the report."""
    samples: dict[str, list[str]] = {name: [] for name in data.classes.names}
    for path, label in zip(data.paths, data.labels, strict=True):
        chosen = samples[data.classes.names[label]]
        if len(chosen) < SAMPLES_PER_CLASS:
            chosen.append(str(path))
    return samples
