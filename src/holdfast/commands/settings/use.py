"""Settings of what is done with finished models: load, evaluate, predict, report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.commands.settings.shared import (
    CLASS_NAMES,
    CLASSES,
    DEVICE,
    IMAGES_AT_ONCE,
    LINKS,
    PRETRAINED,
    FolderNames,
    Links,
)
from holdfast.settings import (
    AnyPath,
    AnyWords,
    ClassifierSource,
    Given,
    ImageInput,
    Precision,
    PromptSettings,
    Settings,
    Values,
    inherited,
    setting,
)
from holdfast.settings.training import WORKERS

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy as np
    from PIL import Image
    from torch import Tensor

    from holdfast.models.classifier import Classifier

    AnyClassifier: TypeAlias = str | Path | Classifier
    AnyPicture: TypeAlias = str | Path | Image.Image | np.ndarray | Tensor
    AnyPictures: TypeAlias = AnyPicture | Iterable[AnyPicture]
else:
    AnyClassifier = AnyPictures = Any

IMAGES = (
    "Image files, folders of them, patterns such as `photos/*.jpg`, or `-` for a list of paths on "
    "standard input; in Python also PIL images, arrays and tensors."
)


@dataclass(frozen=True)
class SourceSettings(Settings):
    """What a classifier comes from."""

    classifier: ClassifierSource = setting(
        help="Folder of a run, of a classifier, or of a model that keeps learning; or a CLIP with "
        "names: open_clip architecture, `local-dir:PATH`, `hf-hub:ID`, or `pocket`.",
    )


@dataclass(frozen=True)
class LoadSettings(SourceSettings):
    """A ready classifier from a run, a model that keeps learning, or a CLIP with class names."""

    # To type checkers, a field that is inherited cannot be given as another type.
    classifier: Given[ClassifierSource, AnyClassifier] = inherited(
        SourceSettings, "classifier", MISSING
    )
    device: str = setting("auto", DEVICE)
    names: AnyWords = setting(
        factory=list,
        help="Class names for a CLIP, which then names images zero-shot: separated by commas, or a "
        "file of them (.txt, .json).",
        rank=True,
        place=True,
    )
    tasks: AnyWords = setting(
        factory=list,
        help="Of a model that keeps learning, the tasks whose classes to tell apart, separated by "
        "commas; none takes those of all that it has learnt.",
        rank=True,
    )
    pretrained: str = setting("openai", PRETRAINED, place=True)
    prompts: Given[PromptSettings, Values] = setting(
        factory=PromptSettings, help="Prompts of the class names."
    )


@dataclass(frozen=True)
class EvaluatePlaces(SourceSettings):
    """What comes first in an evaluation."""

    data: list[Path] = setting(
        help="Real images, in any layout of docs/data.md; of splits the test images. Labels are "
        "matched by name."
    )


@dataclass(frozen=True)
class EvaluateSettings(LoadSettings, EvaluatePlaces):
    """A ready classifier and folders of real images -> accuracy, calibration, confusion."""

    classifier: Given[ClassifierSource, AnyClassifier] = inherited(
        SourceSettings, "classifier", MISSING
    )
    data: Given[list[Path], Sequence[Path | str] | Path | str] = inherited(
        EvaluatePlaces, "data", MISSING
    )
    out: Given[Path | None, str] = setting(
        None, "File for the scores (JSON); none prints them only.", rank=True
    )
    classes: AnyWords = setting(factory=list, help=CLASSES)
    class_names: FolderNames = setting("words", CLASS_NAMES)
    links: Links = setting("inside", LINKS)
    batch_size: int = setting(128, IMAGES_AT_ONCE, low=1)
    workers: int = setting(4, WORKERS, low=0)
    precision: Precision = setting(
        "auto", "Of the forward passes, as in training: `auto` is bf16 on a CUDA GPU, else fp32."
    )


@dataclass(frozen=True)
class PredictPlaces(SourceSettings):
    """What comes first in a prediction."""

    images: list[ImageInput] = setting(factory=list, help=IMAGES)


@dataclass(frozen=True)
class PredictSettings(LoadSettings, PredictPlaces):
    """A ready classifier and images -> names and probabilities."""

    classifier: Given[ClassifierSource, AnyClassifier] = inherited(
        SourceSettings, "classifier", MISSING
    )
    images: Given[list[ImageInput], AnyPictures] = setting(factory=list, help=IMAGES)
    files: Given[Path | None, str] = setting(
        None, "File with the path of an image a line; `-` is standard input.", rank=True
    )
    top: int = setting(1, "How many names to give each image.", low=1, rank=True)
    out: Given[Path | None, str] = setting(
        None, "File for the names: a table (.csv), or a JSON line for each (.jsonl).", rank=True
    )
    batch_size: int = setting(32, IMAGES_AT_ONCE, low=1)
    workers: int = setting(4, WORKERS, low=0)


@dataclass(frozen=True)
class ReportSettings(Settings):
    """Make the report of a run again from its result."""

    run: AnyPath = setting(help="The run's folder.")
    out: Given[Path | None, str] = setting(
        None, "File for the page; none is report.html in the run's folder.", rank=True
    )


@dataclass(frozen=True)
class CompareSettings(Settings):
    """Results of runs side by side: their numbers, and the settings in which they differ."""

    runs: Given[list[Path], Sequence[Path | str] | Path | str] = setting(
        help="Folders of finished runs, or files that `holdfast evaluate --out` wrote."
    )
