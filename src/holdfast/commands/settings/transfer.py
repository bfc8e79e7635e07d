"""Settings of generate, transfer, evaluate, predict, report and demo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from holdfast.commands.settings.shared import (
    ANCHORS,
    DEVICE,
    EVERY_CHOICE,
    GENERATOR,
    IMAGES_AT_ONCE,
    METHOD,
    MODEL,
    NAMES,
    PRETRAINED,
    SEED,
    AnyAnchors,
    AnyMethod,
)
from holdfast.methods.base import Family, check_family
from holdfast.methods.regft import RegFT
from holdfast.settings import (
    DEFAULT_GENERATOR,
    AnyPath,
    AnyWords,
    Given,
    ImageSettings,
    PromptSettings,
    ReplaySettings,
    Settings,
    TrainSettings,
    Values,
    setting,
)
from holdfast.settings.training import WORKERS


@dataclass(frozen=True)
class GenerateSettings(Settings):
    """Class names -> prompts -> a folder of generated images with a manifest."""

    names: AnyWords = setting(factory=list, help=NAMES)
    out: AnyPath = setting(
        Path("generated"), "Folder for the images; an interrupted run goes on where it stopped."
    )
    generator: str = setting(DEFAULT_GENERATOR, GENERATOR, rank=True)
    prompts: Given[PromptSettings, Values] = setting(
        factory=PromptSettings, help="Prompts of the images."
    )
    images: Given[ImageSettings, Values] = setting(
        factory=ImageSettings, help="How images are drawn."
    )
    seed: int = setting(0, EVERY_CHOICE, **SEED)
    device: str = setting("auto", DEVICE, free=True)
    dry_run: bool = setting(
        False, "Draw two images, print time and disk for the rest, and stop.", free=True
    )


@dataclass(frozen=True)
class TransferSettings(Settings):
    """Class names -> generated images -> fine-tuned, ensembled, evaluated classifier (RegFT)."""

    names: AnyWords = setting(factory=list, help=NAMES)
    out: AnyPath = setting(Path("runs/transfer"), "The run's folder.", free=True, rank=True)
    model: str = setting("ViT-B-16", MODEL, rank=True)
    pretrained: str = setting("openai", PRETRAINED, rank=True)
    generator: str = setting(DEFAULT_GENERATOR, GENERATOR, rank=True)
    folder: Given[Path | None, str] = setting(
        None, "Training images to use instead of generating any (class folders).", rank=True
    )
    evaluate: Given[Path | None, str] = setting(
        None, "Folder of real images (class folders) to report on.", free=True, rank=True
    )
    method: AnyMethod = setting(factory=RegFT, help=METHOD, rank=True)
    anchors: AnyAnchors = setting(factory=list, help=ANCHORS, rank=True)
    prompts: Given[PromptSettings, Values] = setting(
        factory=PromptSettings, help="Prompts of the images."
    )
    head_prompts: Given[PromptSettings | None, Values] = setting(
        None, "Prompts of the classifier's head; none takes those of the images."
    )
    images: Given[ImageSettings, Values] = setting(
        factory=ImageSettings, help="How images are drawn."
    )
    replay: Given[ReplaySettings, Values] = setting(
        factory=ReplaySettings, help="Replayed images, where an anchor needs them."
    )
    train: Given[TrainSettings, Values] = setting(factory=TrainSettings, help="The training.")
    seed: int = setting(0, EVERY_CHOICE, **SEED)
    device: str = setting("auto", DEVICE, free=True)
    dry_run: bool = setting(
        False, "Draw two images, print time and disk for the rest, and stop.", free=True, rank=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_family(self.method, Family.TRANSFER)


@dataclass(frozen=True)
class EvaluateSettings(Settings):
    """A classifier's folder and a folder of real images -> accuracy, calibration, confusion."""

    classifier: AnyPath = setting(help="Folder of a classifier, or of a run.")
    data: AnyPath = setting(
        help="Folder of real images in class folders; labels are matched by name."
    )
    out: Given[Path | None, str] = setting(
        None, "File for the scores (JSON); none prints them only."
    )
    batch_size: int = setting(128, IMAGES_AT_ONCE, low=1)
    workers: int = setting(4, WORKERS, low=0)
    device: str = setting("auto", DEVICE)


@dataclass(frozen=True)
class PredictSettings(Settings):
    """A classifier's folder and images -> names and probabilities."""

    classifier: AnyPath = setting(help="Folder of a classifier, or of a run.")
    images: Given[list[Path], Sequence[Path | str] | Path | str] = setting(
        help="Image files, or folders of them."
    )
    top: int = setting(1, "How many names to print for each image.", low=1)
    batch_size: int = setting(32, IMAGES_AT_ONCE, low=1)
    workers: int = setting(4, WORKERS, low=0)
    device: str = setting("auto", DEVICE)


@dataclass(frozen=True)
class ReportSettings(Settings):
    """Make the report of a run again from its result."""

    run: AnyPath = setting(help="The run's folder.")
    out: Given[Path | None, str] = setting(
        None, "File for the page; none is report.html in the run's folder."
    )


@dataclass(frozen=True)
class DemoSettings(Settings):
    """A method on the embedded world, through the commands that do it for real."""

    what: Literal["transfer", "distill", "continual"] = setting(
        "transfer",
        "`transfer`, from ten class names to a verdict on real digits; `distill`, a small student "
        "for a style of picture that it never saw; `continual`, five tasks one after the other.",
    )
    out: Given[Path | None, str] = setting(
        None,
        "Folder for the run and its data; none is runs/demo, with the method's name for the other "
        "two.",
    )
    seed: int = setting(0, EVERY_CHOICE, **SEED)
    device: str = setting("auto", DEVICE)
