"""One trial of a distillation: a seed, the domains to learn from, and the one to be tested on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast import results
from holdfast.commands import distill_plan as plan
from holdfast.commands import distill_scores as measure
from holdfast.experiment import Experiment, measured
from holdfast.files import read_typed, write_sealed
from holdfast.methods.base import Family, Method, compose
from holdfast.models.classifier import Classifier
from holdfast.runs import Run
from holdfast.settings.base import to_jsonable
from holdfast.teachers.store import EmbeddingStore
from holdfast.training_run import TrainingRun


def run_trial(
    run: Run, experiment: Experiment, store: EmbeddingStore, trial: plan.Trial
) -> results.TrialResult:
    """Train a trial's student, score it and keep its classifier; or read what was kept.

    Of several image weights each is trained in a folder of its own, and the best is taken: by the
    accuracy of its student on the training domains' validation images, or by that on each training
    domain of a student that did not see it.
    """
    settings, domains = experiment.settings, experiment.domains
    folder = run.folder / trial.folder(settings, domains)
    done = folder / "trial.json"
    if done.exists():
        return read_typed(done, results.TrialResult, sealed=True)
    experiment.forget(trial.seed)
    seconds: dict[Path, float] = {}

    def trained(
        method: Method, sources: Sequence[int], place: Path
    ) -> tuple[TrainingRun, Classifier]:
        training = TrainingRun(experiment, trial.seed, sources, place)
        classifier = training.train(compose(method, settings.anchors, Family.DISTILL))
        seconds[place] = sum(stage.seconds for stage in training.stages.values())
        return training, classifier

    methods = settings.method.candidates()
    weights: list[Any] = [getattr(method, "image_weight", None) for method in methods]
    candidates, chosen, place = [], 0, folder / "training"
    if len(methods) > 1:
        places = [folder / f"weight-{weight:g}" for weight in weights]
        for method, weight, where in zip(methods, weights, places, strict=True):
            if settings.selection == "validation":
                shares = [trained(method, trial.sources, where)[0].accuracy]
            else:
                shares = []
                for domain in trial.sources:
                    others = [d for d in trial.sources if d != domain]
                    _, student = trained(method, others, where / f"without-{domains.names[domain]}")
                    indices = domains.split(domain, trial.seed)[1]
                    logits = experiment.logits(student, indices)
                    shares.append(measured(logits, experiment.taught.labels[indices]).accuracy)
            accuracy = sum(shares) / len(shares)
            candidates.append(results.Candidate(image_weight=weight, accuracy=accuracy))
        chosen = max(range(len(methods)), key=lambda n: candidates[n].accuracy)  # first of equals
        if settings.selection == "validation":
            place = places[chosen]
    held_out = None if trial.held_out is None else domains.names[trial.held_out]
    classifier, about = None, dict[str, Any](student=results.TowerInfo())
    if settings.method.trains:
        training, classifier = trained(methods[chosen], trial.sources, place)
        name = {"method": settings.method.name, "student": classifier.tower.name}
        classifier.save(folder / "model", {**name, "held_out": held_out})
        image = next(experiment.taught.images(plan.places_to_learn(domains, [trial])[:1])).images
        about = {
            "image_weight": weights[chosen],
            "stages": training.stages,
            "student": measure.size_and_speed(classifier.visual, image.to(experiment.device)),
            "classifier": str((folder / "model").relative_to(run.folder)),
        }
    begun = time.monotonic()
    result = results.TrialResult(
        seed=trial.seed,
        held_out=held_out,
        sources=[domains.names[d] for d in trial.sources],
        candidates=candidates,
        scores=measure.trial_scores(experiment, store, trial, classifier),
        training_seconds=sum(seconds.values()),
        evaluation_seconds=time.monotonic() - begun,
        **about,
    )
    write_sealed(done, to_jsonable(result))
    return result
