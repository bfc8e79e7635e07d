"""The verbs of the command line and the library: the rooms put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from holdfast import names, pocket
from holdfast.data.batches import ImageBatch, evaluation_batches
from holdfast.data.folders import LabelledImages, find_images, scan
from holdfast.errors import UsageError
from holdfast.evaluate import Scores, domain_gap, feature_diversity, is_correct, score, verdict
from holdfast.files import replacing, write_json
from holdfast.generate import Estimate, estimate, generate_images, read_manifest
from holdfast.methods.transfer import (
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
    subset,
    sweep,
)
from holdfast.models import CLIP, Classifier, load_classifier, load_clip, text_head
from holdfast.names import ClassNames
from holdfast.progress import progress
from holdfast.prompts import expand_templates, prompts_for
from holdfast.report import write_report
from holdfast.runs import Records, environment, open_run, peak_memory, plain
from holdfast.settings import (
    DemoSettings,
    EvaluateSettings,
    GenerateSettings,
    ImageSettings,
    PredictSettings,
    PromptSettings,
    TrainSettings,
    TransferSettings,
)
from holdfast.weights import Weights

# Held-out images for `--alpha auto` are asked for in other words than the training images.
SECOND_STYLE = PromptSettings(templates="simple")
SAMPLES_PER_CLASS = 4


def generate(settings: GenerateSettings) -> Path | Estimate:
    """Class names -> prompts -> images in `settings.out`; or time and disk, for a dry run."""
    classes = names.from_arguments(settings.names)
    source = ",".join(
        str(pocket.path("diffusion")) if part.strip() == "pocket" else part.strip()
        for part in settings.generator.split(",")
    )
    seed, device = settings.seed, settings.device
    if settings.dry_run:
        prompts = prompts_for(classes, settings.prompts)
        return estimate(classes, prompts, source, settings.images, seed=seed, device=device)
    prompts = prompts_for(classes, settings.prompts, settings.out / "descriptions.json")
    generate_images(
        classes, prompts, settings.out, source, settings.images, seed=seed, device=device
    )
    return settings.out


def transfer(settings: TransferSettings) -> Classifier | Estimate:
    """Class names -> generated images -> fine-tuned, ensembled, evaluated classifier (RegFT).

    Everything is kept in the folder `settings.out`; run again with the same settings, it goes on
    where it stopped. A dry run returns time and disk instead, and leaves nothing.
    """
    classes = names.from_arguments(settings.names)
    check(settings)
    # What can be wrong with the user's folders and models is found before anything is spent.
    real = scan(settings.evaluate, classes) if settings.evaluate else None
    own = scan(settings.folder, classes) if settings.folder else None
    if settings.dry_run:
        estimated = generate(generation(settings, settings.out))
        assert isinstance(estimated, Estimate)
        return estimated
    clip = load(settings.model, settings.pretrained, settings.device, settings.seed)
    # Alpha and the merge come after training, unless they decide which images it may use.
    later = () if own else ("alpha", "merge")
    run = open_run(settings.out, settings, free=("out", "evaluate", "device", "dry_run", *later))

    head_prompts = settings.head_prompts or settings.prompts
    prompts = prompts_for(classes, head_prompts, run / "head-descriptions.json")
    classifier = Classifier(clip, text_head(clip, prompts), classes)
    original = classifier.weights()

    clock = [time.monotonic()]
    images, held_out = training_images(settings, classes, run, own)
    available = len(images)
    if settings.images.clip_filter:
        _, logits, labels, indices = classifier.embed(evaluation(images, clip, settings.train))
        kept = keep_agreeing(logits, labels, settings.images.clip_filter)
        images = subset(images, indices[kept].tolist())
    clock.append(time.monotonic())
    records = Records(run / "records.jsonl")
    unreadable = train(classifier, images, settings, run, records)
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


def check(settings: TransferSettings) -> None:
    """Raise UsageError for values that no type can exclude."""
    if settings.alpha != "auto" and not 0 <= settings.alpha <= 1:
        raise UsageError(f"alpha is {settings.alpha}; it must lie between 0 and 1, or be 'auto'.")
    if not 0 <= settings.images.clip_filter < 1:
        raise UsageError("images.clip_filter must be 0 (keep all images) or a share below 1.")
    for name in ("epochs", "batch_size"):
        if getattr(settings.train, name) < 1:
            raise UsageError(f"train.{name} must be at least 1.")
    for prompts in (settings.prompts, settings.head_prompts):
        if prompts is not None:
            expand_templates(prompts.templates)


def load(model: str, pretrained: str, device: str, seed: int) -> CLIP:
    """`load_clip`, with `pocket` for the embedded model."""
    name = f"local-dir:{pocket.path('clip')}" if model == "pocket" else model
    clip = load_clip(name, pretrained, device, seed)
    return replace(clip, name="pocket") if model == "pocket" else clip


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
    images = scan(generate_into(generation(settings, run / "generated")), classes)
    if not auto:
        return images, None
    few = replace(settings.images, per_class=max(8, settings.images.per_class // 4))
    second = replace(
        generation(settings, run / "held-out"),
        prompts=SECOND_STYLE,
        images=few,
        seed=settings.seed + 1,
    )
    return images, scan(generate_into(second), classes)


def generate_into(settings: GenerateSettings) -> Path:
    """`generate` for settings that are no dry run."""
    out = generate(settings)
    assert isinstance(out, Path)
    return out


def train(
    classifier: Classifier,
    images: LabelledImages,
    settings: TransferSettings,
    run: Path,
    records: Records,
) -> list[Path]:
    """Fine-tune, or load the weights if an earlier start of this run has; unreadable images."""
    finished, checkpoint = run / "fine-tuned.safetensors", run / "checkpoint.safetensors"
    if finished.exists():
        classifier.load_state_dict(load_file(finished, device=str(classifier.clip.device)))
        return []
    unreadable = fine_tune(
        classifier,
        images,
        settings.train,
        seed=settings.seed,
        checkpoint=checkpoint,
        record=records.add,
    )
    with replacing(finished) as temporary:
        save_file({name: t.contiguous() for name, t in classifier.weights().items()}, temporary)
    checkpoint.unlink(missing_ok=True)
    return unreadable


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
    some = evaluation(spread(images, 256), classifier.clip, settings.train, batch_size=1)
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
    batches = evaluation(held_out, classifier.clip, settings.train)
    logits, labels, _ = sweep(
        classifier, merge, SWEEP, batches, total=len(held_out), label="choosing alpha"
    )
    return choose_alpha(logits, labels)


def evaluation(
    data: LabelledImages, clip: CLIP, settings: TrainSettings, batch_size: int | None = None
) -> Iterator[ImageBatch]:
    """Batches in order, under the checkpoint's own evaluation preprocessing."""
    size = batch_size or settings.batch_size
    return evaluation_batches(data, clip.preprocess, size, settings.workers)


def on_real_images(
    classifier: Classifier,
    merge: Merge,
    choice: AlphaChoice,
    real: LabelledImages,
    generated: LabelledImages,
    settings: TransferSettings,
) -> dict[str, Any]:
    """The record's entries on real images: scores, alpha's curve, verdict, diagnostics."""
    clip, classes = classifier.clip, classifier.classes.names
    alphas = sorted({*SWEEP, choice.alpha})
    batches = evaluation(real, clip, settings.train)
    logits, labels, indices = sweep(
        classifier, merge, alphas, batches, total=len(real), label="evaluating"
    )
    by_alpha = {alpha: score(values, labels, classes) for alpha, values in logits.items()}
    read = set(indices.tolist())
    return {
        "alpha": alpha_record(choice, by_alpha),
        "scores": {
            "zero-shot": by_alpha[0.0].to_record(),
            "fine-tuned": by_alpha[1.0].to_record(),
            "ensemble": by_alpha[choice.alpha].to_record(),
        },
        "verdict": asdict(
            verdict(is_correct(logits[0.0], labels), is_correct(logits[choice.alpha], labels))
        ),
        "diagnostics": diagnostics(
            classifier, merge, choice.alpha, real, generated, settings.train
        ),
        "notes": [
            f"{path} could not be read and was skipped."
            for index, path in enumerate(real.paths)
            if index not in read
        ],
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
        batches = list(evaluation(spread(data, 1000), classifier.clip, settings))
        for model, weight in models.items():
            classifier.load_state_dict(merge(weight))
            z, _, labels, _ = classifier.embed(batches)
            features[f"{kind}, {model}"] = (z, labels)
    found: dict[str, Any] = {
        "diversity": {name: feature_diversity(*pair) for name, pair in features.items()}
    }
    pair = features["real, zero-shot"][0], features["generated, zero-shot"][0]
    if min(map(len, pair)) >= 4:  # two halves of two
        found["gap"] = domain_gap(*pair, seed=0)
    return found


def counted(batches: Iterator[ImageBatch], advance: Callable[[int], None]) -> Iterator[ImageBatch]:
    """The same batches, counting their images on a progress bar."""
    for batch in batches:
        yield batch
        advance(len(batch.labels))


def sample_paths(data: LabelledImages) -> dict[str, list[str]]:
    """The first few images of each class, for the report."""
    samples: dict[str, list[str]] = {name: [] for name in data.classes.names}
    for path, label in zip(data.paths, data.labels, strict=True):
        chosen = samples[data.classes.names[label]]
        if len(chosen) < SAMPLES_PER_CLASS:
            chosen.append(str(path))
    return samples


def evaluate(settings: EvaluateSettings) -> Scores:
    """Score a saved classifier on a folder of real images; labels are matched by name."""
    classifier = load_classifier(settings.classifier, settings.device)
    data = scan(settings.data, classifier.classes)
    batches = evaluation_batches(
        data, classifier.clip.preprocess, settings.batch_size, settings.workers
    )
    with progress("evaluating", len(data)) as advance:
        _, logits, labels, _ = classifier.embed(counted(batches, advance))
    scores = score(logits, labels, classifier.classes.names)
    if settings.out is not None:
        write_json(settings.out, scores.to_record())
    return scores


def predict(settings: PredictSettings) -> list[tuple[Path, list[tuple[str, float]]]]:
    """The `top` most likely names of each image with their probabilities."""
    paths = find_images(settings.images)
    classifier = load_classifier(settings.classifier, settings.device)
    top = min(settings.top, len(classifier.classes))
    _, probabilities = classifier.predict(paths, settings.batch_size)
    values, order = probabilities.topk(top, dim=-1)
    return [
        (path, [(classifier.classes.names[i], p) for i, p in zip(row, ps, strict=True)])
        for path, row, ps in zip(paths, order.tolist(), values.tolist(), strict=True)
    ]


def demo(settings: DemoSettings) -> tuple[TransferSettings, Classifier]:
    """From ten class names to a verdict on real digits, on the embedded world."""
    real = settings.out / "real-digits"
    if not (real / "classes.json").exists():
        pocket.write_task("digits", real, None, "all")
    run = TransferSettings(
        names=[str(real / "classes.json")],
        out=settings.out / "run",
        model="pocket",
        generator="pocket",
        evaluate=real,
        images=ImageSettings(steps=20, batch_size=64),
        train=TrainSettings(learning_rate=3e-4, workers=0),
        seed=settings.seed,
        device=settings.device,
    )
    classifier = transfer(run)
    assert isinstance(classifier, Classifier)
    return run, classifier
