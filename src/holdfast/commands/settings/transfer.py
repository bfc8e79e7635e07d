"""Settings of generate, transfer and demo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from holdfast.commands.settings.shared import (
    ANCHORS,
    CLASS_NAMES,
    CLASSES,
    DEVICE,
    DRY_RUN,
    EVERY_CHOICE,
    GENERATOR,
    LINKS,
    METHOD,
    MODEL,
    NAMES,
    PRETRAINED,
    SEED,
    AnyAnchors,
    AnyMethod,
    FolderNames,
    Links,
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


@dataclass(frozen=True)
class GenerateSettings(Settings):
    """Class names -> prompts -> a folder of generated images with a manifest."""

    names: AnyWords = setting(factory=list, help=NAMES, place=True)
    out: AnyPath = setting(
        Path("generated"),
        "Folder for the images; an interrupted run goes on where it stopped.",
        rank=True,
    )
    generator: str = setting(DEFAULT_GENERATOR, GENERATOR, rank=True, place=True)
    prompts: Given[PromptSettings, Values] = setting(
        factory=PromptSettings, help="Prompts of the images."
    )
    images: Given[ImageSettings, Values] = setting(
        factory=ImageSettings, help="How images are drawn."
    )
    seed: int = setting(0, EVERY_CHOICE, **SEED)
    device: str = setting("auto", DEVICE, free=True)
    dry_run: bool = setting(
        False, "Draw two images, print time and disk for the rest, and stop.", free=True, rank=True
    )


@dataclass(frozen=True)
class TransferSettings(Settings):
    """Class names -> generated images -> fine-tuned, ensembled, evaluated classifier (RegFT)."""

    names: AnyWords = setting(factory=list, help=NAMES, place=True)
    out: AnyPath = setting(Path("runs/transfer"), "The run's folder.", free=True, rank=True)
    model: str = setting("ViT-B-16", MODEL, rank=True, place=True)
    pretrained: str = setting("openai", PRETRAINED, place=True)
    generator: str = setting(DEFAULT_GENERATOR, GENERATOR, rank=True, place=True)
    folder: Given[Path | None, str] = setting(
        None,
        "Training images to use instead of generating any: a folder, table or archive in any "
        "layout of docs/data.md. Without names, its classes are those to learn.",
        rank=True,
    )
    evaluate: Given[Path | None, str] = setting(
        None,
        "Real images to report on, in any such layout; of splits the test images.",
        free=True,
        rank=True,
    )
    classes: AnyWords = setting(factory=list, help=CLASSES)
    class_names: FolderNames = setting("words", CLASS_NAMES)
    links: Links = setting("inside", LINKS)
    method: AnyMethod = setting(factory=RegFT, help=METHOD, rank=True)
    anchors: AnyAnchors = setting(factory=list, help=ANCHORS)
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
    dry_run: bool = setting(False, DRY_RUN, free=True, rank=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_family(self.method, Family.TRANSFER)


@dataclass(frozen=True)
class DemoSettings(Settings):
    """A method on the embedded world, through the commands that do it for real."""

    what: Literal["transfer", "distill", "continual"] = setting(
        "transfer",
        "`transfer`, from 113 class names to a verdict on drawings; `distill`, a small student for "
        "a style of picture that it never saw; `continual`, five tasks one after the other.",
    )
    out: Given[Path | None, str] = setting(
        None,
        "Folder for the run and its data; none is runs/demo, with the method's name for the other "
        "two.",
        rank=True,
    )
    seed: int = setting(0, EVERY_CHOICE, **SEED)
    device: str = setting("auto", DEVICE)
