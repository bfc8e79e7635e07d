"""How the zero-shot model of a name-only transfer becomes the run's classifier, as a command."""

from __future__ import annotations

import shlex
from dataclasses import fields, replace
from pathlib import Path

from holdfast.anchors.weight_ensemble import WeightEnsemble
from holdfast.commands.settings import LoadSettings, TransferSettings
from holdfast.methods.base import Family
from holdfast.results import Verdict
from holdfast.runs import SETTINGS


def with_way_to_keep(found: Verdict, settings: TransferSettings, run: Path) -> Verdict:
    """The verdict of a run; one that advises the zero-shot model says how to get it.

    settings: of the run, in the folder `run`.
    """
    if found.decision != "keep":
        return found
    return replace(found, details=[*found.details, way_to_keep(settings, run)])


def way_to_keep(settings: TransferSettings, run: Path) -> str:
    """A sentence with the command that makes the zero-shot model the run's classifier.

    Where the method itself has no weight ensemble, whose alpha may change afterwards, the sentence
    has the command that names images with the zero-shot model.
    """
    again = ["holdfast", "transfer", "--config", str(run / SETTINGS), "--out", str(run)]
    added = any(isinstance(each, WeightEnsemble) for each in settings.anchors)
    own = settings.method.anchors(Family.TRANSFER)
    ensemble = next((each for each in own if isinstance(each, WeightEnsemble)), None)
    if ensemble is None or added:
        places = ["holdfast", "predict", settings.model, "PHOTOS"]
        places += ["--names", str(run / "model" / "classes.json")]
        if settings.pretrained != LoadSettings.pretrained:
            places += ["--pretrained", settings.pretrained]
        return f"To use it, without this run: {shlex.join(places)}"
    if ensemble.alpha == 0:
        return "That is what this run's classifier is: its alpha is 0."
    held = [f.name for f in fields(settings.method) if getattr(settings.method, f.name) is ensemble]
    option = ".".join(["--method", *held, "alpha"])
    return f"To keep it as this run's classifier: {shlex.join([*again, option, '0'])}"
