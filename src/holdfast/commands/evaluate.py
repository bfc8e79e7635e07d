"""`holdfast evaluate`: what a ready classifier says of real images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from holdfast.commands.ready import ready_classifier
from holdfast.commands.settings import EvaluateSettings, TransferSettings
from holdfast.commands.transfer_keep import with_way_to_keep
from holdfast.data.batches import sequential_batches
from holdfast.data.folders import LabelledImages, scan_split, without_images
from holdfast.data.layouts import TO_MEASURE, Choice
from holdfast.data.readable import problem_of
from holdfast.errors import HoldfastError, UsageError
from holdfast.evaluation import classifier_logits
from holdfast.files import read_sealed, read_typed
from holdfast.foreign import without_network
from holdfast.metrics import is_correct, score, surest_mistakes
from holdfast.models.classifier import Classifier, text_head
from holdfast.models.clip import ModelNotHere, load_clip
from holdfast.names import ClassNames
from holdfast.results import Evaluation, Mistake, SetScores, write_result
from holdfast.runs import HEAD_PROMPTS, SETTINGS, result_header
from holdfast.verdicts import decide

logger = logging.getLogger(__name__)

MISTAKES = 24  # pictures of a report
MISTAKES_PER_CLASS = 4


def evaluate(settings: EvaluateSettings) -> Evaluation:
    """Score a ready classifier on folders of real images; labels are matched by name.

    Of a name-only transfer's folder also its zero-shot model is scored, and compared. A CLIP
    without names takes those of the first folder.

    Raises UsageError for what knows no names and for class folders that it does not know,
    HoldfastError where no image can be read.
    """
    if settings.out is not None and settings.out.is_dir():
        raise UsageError(f"{settings.out} is a folder; give a file for the scores.")
    if not settings.data:
        raise UsageError("No images are given; name a folder of class folders.")
    choice, first = Choice.of(settings), settings.data[0]
    classifier = ready_classifier(
        settings, lambda: scan_split(first, TO_MEASURE, None, choice).classes
    )
    sets = {
        name: scan_split(place, TO_MEASURE, classifier.classes, choice)
        for name, place in named(settings.data).items()
    }
    models, run = [classifier], Path(settings.classifier)
    scores: dict[str, SetScores] = {}
    notes: list[str] = []
    if (run / HEAD_PROMPTS).is_file():
        try:
            models.append(original(run, classifier.classes, settings.device))
        except ModelNotHere as error:
            notes.append(f"The zero-shot model was not compared: {error}")
            logger.warning("%s", notes[0])
    for name, data in sets.items():
        scores[name], read = on_images(models, data, settings)
        notes += [*data.notes, *not_measured(data, read)]
    name, found = next(iter(scores.items()))
    words = ["evaluate", settings.classifier, *map(str, settings.data)]
    title = f"{run.name if run.is_dir() else settings.classifier} on {name}"
    result = Evaluation(
        **result_header(title, settings, words),
        scores=found.scores,
        zero_shot=found.zero_shot,
        verdict=found.verdict,
        mistakes=found.mistakes,
        further={other: each for other, each in scores.items() if other != name},
        notes=notes,
    )
    if settings.out is not None:
        write_result(settings.out, result)
    return result


def named(folders: Sequence[Path]) -> dict[str, Path]:
    """The folders by their own names, or by their paths where two have one name."""
    short = [folder.absolute().name for folder in folders]
    several = len(set(short)) < len(folders)
    return {str(f) if several else name: f for f, name in zip(folders, short, strict=True)}


def on_images(
    models: Sequence[Classifier], data: LabelledImages, settings: EvaluateSettings
) -> tuple[SetScores, list[int]]:
    """Scores of the classifier, and of its zero-shot model if there is one, on a folder.

    Returns with them the positions of the images that could be read.
    """
    classifier = models[0]
    batches = sequential_batches(
        data, classifier.tower.preprocess, settings.batch_size, settings.workers
    )
    seen = classifier_logits(models, batches, len(data), "evaluating", settings.precision)
    scores = [score(rows, seen.labels, classifier.names) for rows in seen.rows]
    mistakes = mistakes_of(seen.rows[0], seen.labels, seen.indices, data)
    found = SetScores(scores=scores[0], mistakes=mistakes)
    if len(models) > 1:
        adapted, zero_shot = (is_correct(rows, seen.labels) for rows in seen.rows)
        verdict = decide(zero_shot, adapted, seen.labels, classifier.names)
        run = Path(settings.classifier)
        verdict = with_way_to_keep(verdict, settings_of(run), run)
        found = replace(found, zero_shot=scores[1], verdict=verdict)
    return found, seen.indices.tolist()


def mistakes_of(
    logits: Tensor, labels: Tensor, indices: Tensor, data: LabelledImages
) -> list[Mistake]:
    """Some images that a model was surest of and wrong about.

    logits: (n, classes); labels, indices: (n,), of the images of `data` that could be read.
    """
    names = data.classes.names
    return [
        Mistake(
            path=str(data.paths[int(indices[place])]),
            true=names[int(labels[place])],
            predicted=names[said],
            confidence=sure,
        )
        for place, said, sure in surest_mistakes(logits, labels, MISTAKES, MISTAKES_PER_CLASS)
    ]


def not_measured(data: LabelledImages, read: Sequence[int]) -> list[str]:
    """Notes on images that could not be read, and on classes without any.

    read: positions of those that could.
    """
    known = set(read)
    broken = [path for place, path in enumerate(data.paths) if place not in known]
    # Known from reading them just before.
    notes = [f"{path} could not be read and was skipped: {problem_of(path)}." for path in broken]
    if missing := without_images(data):
        notes.append(f"Not measured, for want of real images: {', '.join(missing)}.")
    return notes


def original(run: Path, classes: ClassNames, device: str) -> Classifier:
    """The model that a name-only transfer started from, with its zero-shot head.

    The run may be a stranger's: nothing that it names is fetched. Raises ModelNotHere for a model
    that is not on this machine, HoldfastError for files that cannot be read.
    """
    settings = settings_of(run)
    with without_network():
        clip = load_clip(settings.model, settings.pretrained, device, settings.seed)
    said = read_typed(run / HEAD_PROMPTS, dict[str, list[list[str]]], sealed=True)
    prompts = said.get("prompts", [])
    if len(prompts) != len(classes):
        raise HoldfastError(f"{run / HEAD_PROMPTS} is not of this run's {len(classes)} classes.")
    return Classifier(clip, text_head(clip, prompts), classes).eval()


def settings_of(run: Path) -> TransferSettings:
    """Of a name-only transfer in its folder."""
    return TransferSettings.from_dict(read_sealed(run / SETTINGS))
