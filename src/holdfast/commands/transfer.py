"""`holdfast transfer`: class names -> generated images -> classifier -> verdict.

out/settings.json, environment.json, inputs.json   what it was made from
out/descriptions.json, prompts.json                 what a language model wrote; the head's prompts
out/generated, held-out, replay                     images with their manifests
out/train.jsonl, train.safetensors                  a line for each step; the fine-tuned weights
out/model/                                          the classifier
out/result.json, report.html                        scores, verdict, costs
"""

from __future__ import annotations

from holdfast.commands.costs import RunCost
from holdfast.commands.settings import TransferSettings
from holdfast.commands.transfer_cost import transfer_cost
from holdfast.commands.transfer_images import (
    agreeing,
    image_counts,
    training_images,
    transfer_inputs,
)
from holdfast.commands.transfer_prepare import (
    TransferPlan,
    plan_transfer,
    with_lasting_paths,
)
from holdfast.commands.transfer_scores import Measured, alpha_result, measure, sample_paths
from holdfast.commands.transfer_train import choose, merging, train
from holdfast.files import write_sealed
from holdfast.generation import read_manifest
from holdfast.generation.sources import find_pipelines
from holdfast.models.classifier import Classifier, text_head
from holdfast.models.clip import CLIP, load_clip
from holdfast.prompts import prompts_for
from holdfast.results import Costs, ModelInfo, TransferResult
from holdfast.runs import HEAD_PROMPTS, Run, peak_memory
from holdfast.seen import SEEN


def transfer(settings: TransferSettings) -> Classifier | RunCost:
    """Class names -> generated images -> fine-tuned, ensembled, evaluated classifier.

    Everything is kept in the folder `settings.out`; run again with the same settings, it goes on
    where it stopped. A dry run returns what it would take instead, and leaves nothing.

    Raises UsageError or HoldfastError for what is wrong with the settings, folders and models,
    before the run's folder is made and anything is spent.
    """
    SEEN.recall(settings.out)
    plan = plan_transfer(settings)
    real = plan.real
    clip = load_clip(settings.model, settings.pretrained, settings.device, settings.seed)
    if plan.draws:
        find_pipelines(settings.generator)
    if settings.dry_run:
        return transfer_cost(plan, clip, real)
    plan = with_lasting_paths(plan)
    # What comes after the training may change.
    with Run.open(settings.out, plan.settings, "transfer", free=["method.alpha"]) as run:
        with run.clock("generation"):
            images, held_out = training_images(plan, run.folder)
        classifier = zero_shot_classifier(run, plan, clip)
        original, available = classifier.weights(), len(images)
        images = agreeing(images, classifier, plan)
        run.check_inputs(transfer_inputs(images, original, plan))

        stage = train(run, classifier, clip, images, original, plan)
        merge = merging(classifier, original, images, plan)
        choice = choose(classifier, merge, held_out, plan)
        measured, samples = Measured(), {"generated": sample_paths(images)}
        with run.clock("evaluation"):
            if real is not None:
                measured = measure(classifier, merge, choice.alpha, real, images, plan)
                samples["real"] = sample_paths(real)
        classifier.load_state_dict(merge(choice.alpha))
        about = {"method": settings.method.name, "model": clip.name, "alpha": choice.alpha}
        classifier.save(run.folder / "model", about)

        manifest = read_manifest(images.root) if plan.own is None else None
        note = manifest and manifest.missing_note
        models = plan.models(choice.alpha) if measured.by_alpha else {}
        run.finish(
            TransferResult(
                **run.header("Name-only transfer"),
                method=settings.method.name,
                method_title=settings.method.title,
                paper=settings.method.paper,
                classes=list(plan.classes.names),
                model=ModelInfo(
                    name=clip.name, parameters=sum(p.numel() for p in classifier.parameters())
                ),
                generator=settings.generator if plan.own is None else None,
                images=image_counts(plan, images, available, manifest),
                samples=samples,
                training=stage.curve(),
                alpha=alpha_result(choice, measured.by_alpha),
                scores={name: measured.by_alpha[alpha] for name, alpha in models.items()},
                verdict=measured.verdict,
                mistakes=measured.mistakes,
                diagnostics=measured.diagnostics,
                notes=[*plan.notes, *measured.notes, *([note] if note else [])],
                costs=Costs(
                    generation_seconds=run.seconds["generation"],
                    training_seconds=stage.seconds,
                    evaluation_seconds=run.seconds["evaluation"],
                    peak_memory_bytes=peak_memory(),
                ),
            )
        )
    return classifier


def zero_shot_classifier(run: Run, plan: TransferPlan, clip: CLIP) -> Classifier:
    """The model with the head of its prompts, which are written down."""
    prompts = prompts_for(
        plan.classes,
        plan.settings.head_prompts or plan.settings.prompts,
        run.folder / "descriptions.json",
    )
    write_sealed(run.folder / HEAD_PROMPTS, {"prompts": prompts})
    return Classifier(clip, text_head(clip, prompts), plan.classes).eval()
