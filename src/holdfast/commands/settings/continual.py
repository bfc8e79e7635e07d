"""Settings of `holdfast continual add` and `holdfast continual run`."""

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
    HELD_OUT,
    LINKS,
    MAX_DROP,
    METHOD,
    MODEL,
    PRETRAINED,
    SEED,
    AnyAnchors,
    AnyMethod,
    FolderNames,
    Links,
)
from holdfast.errors import UsageError
from holdfast.methods.base import Family, check_family
from holdfast.methods.gift import GIFT
from holdfast.settings import (
    DEFAULT_GENERATOR,
    AnyPath,
    AnyWords,
    ContinualTrainSettings,
    Given,
    ReplaySettings,
    Settings,
    Values,
    setting,
)


@dataclass(frozen=True)
class ContinualAddSettings(Settings):
    """One more task for a model: its folder -> a new folder of the model that knows it too."""

    model: Given[str, Path] = setting(
        help="Folder of a model with its tasks so far, as this command writes it; or for the first "
        "task an open_clip architecture, `local-dir:PATH`, `hf-hub:ID`, or `pocket`.",
        free=True,  # the run's inputs know its weights
        place=True,
    )
    task: Given[str, Path] = setting(
        help="Folder of the task, with train and, if there are, val and test, each of class "
        "folders or of images with captions; or a data set (`pocket:digits`).",
        rank=True,
        place=True,
    )
    out: AnyPath = setting(
        Path("runs/task"),
        "Folder to write; the model comes into its folder `model`.",
        free=True,
        rank=True,
    )
    name: str | None = setting(None, "What the task is called; none is its folder's name.")
    classes: AnyWords = setting(factory=list, help=CLASSES)
    class_names: FolderNames = setting("words", CLASS_NAMES)
    names: str = setting(
        "",
        'File of the class names, {"folder": "name"} in JSON, or a data set\'s as the papers have '
        "them (names:eurosat); empty takes them from the folders.",
        place=True,
    )
    links: Links = setting("inside", LINKS)
    templates: list[str] | str = setting(
        "a photo of a {}.",
        "Sentences with one `{}`, or a list's name: the first trains, all evaluate.",
    )
    pretrained: str = setting("openai", PRETRAINED, free=True, place=True)
    method: AnyMethod = setting(factory=GIFT, help=METHOD, rank=True)
    anchors: AnyAnchors = setting(factory=list, help=ANCHORS)
    generator: str = setting(DEFAULT_GENERATOR, GENERATOR, rank=True, place=True)
    per_class: int | None = setting(
        None, "Images for each class and split of a data set that is drawn.", low=1
    )
    max_drop: float | None = setting(None, MAX_DROP, low=0, high=1, rank=True)
    held_out: AnyWords = setting(factory=list, help=HELD_OUT, place=True)
    replay: Given[ReplaySettings, Values] = setting(factory=ReplaySettings, help="Replayed images.")
    train: Given[ContinualTrainSettings, Values] = setting(
        factory=ContinualTrainSettings, help="The training."
    )
    seed: int = setting(0, EVERY_CHOICE, **SEED)
    device: str = setting("auto", DEVICE, free=True)
    dry_run: bool = setting(False, DRY_RUN, free=True, rank=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_family(self.method, Family.CONTINUAL)
        if self.method.name in ("zero-shot", "joint"):
            raise UsageError(f"The method {self.method.name!r} is for a stream; give another one.")


@dataclass(frozen=True)
class ContinualRunSettings(Settings):
    """A stream of tasks, one after the other: the accuracy on each task after each."""

    stream: AnyPath = setting(
        help="File that lists the tasks (YAML or JSON): folders or data sets (`pocket:digits`), "
        "each with a name, templates and training settings of its own if needed; or `pocket` or "
        "`pocket-2`, two orders of the embedded world's tasks."
    )
    out: AnyPath = setting(Path("runs/stream"), "The run's folder.", free=True, rank=True)
    model: str = setting("ViT-B-16", MODEL, free=True, rank=True, place=True)
    pretrained: str = setting("openai", PRETRAINED, free=True, place=True)
    method: AnyMethod = setting(factory=GIFT, help=METHOD, rank=True)
    anchors: AnyAnchors = setting(factory=list, help=ANCHORS)
    generator: str = setting(DEFAULT_GENERATOR, GENERATOR, rank=True, place=True)
    max_drop: float | None = setting(None, MAX_DROP, low=0, high=1, rank=True, free=True)
    held_out: AnyWords = setting(factory=list, help=HELD_OUT, free=True, place=True)
    split: Literal["val", "test"] = setting(
        "test",
        "The split of every task to measure on: `val` for choices, `test` for the end.",
        free=True,
    )
    class_names: FolderNames = setting("words", CLASS_NAMES)
    links: Links = setting("inside", LINKS)
    replay: Given[ReplaySettings, Values] = setting(factory=ReplaySettings, help="Replayed images.")
    train: Given[ContinualTrainSettings, Values] = setting(
        factory=ContinualTrainSettings, help="The training."
    )
    seed: int = setting(0, EVERY_CHOICE, **SEED)
    device: str = setting("auto", DEVICE, free=True)
    dry_run: bool = setting(False, DRY_RUN, free=True, rank=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_family(self.method, Family.CONTINUAL)
