"""Settings of `holdfast distill`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Literal

from holdfast.commands.settings.shared import (
    ANCHORS,
    CLASS_NAMES,
    CLASSES,
    DEVICE,
    LINKS,
    METHOD,
    SEED,
    AnyAnchors,
    AnyMethod,
    FolderNames,
    Links,
)
from holdfast.errors import UsageError
from holdfast.methods.base import Family, check_family
from holdfast.methods.vl2v import VL2V
from holdfast.settings import (
    AnyPath,
    AnyWords,
    AverageSettings,
    Given,
    PromptSettings,
    Settings,
    StageSettings,
    TeacherSettings,
    Values,
    ViewSettings,
    inherited,
    setting,
)
from holdfast.settings.training import WORKERS


@dataclass(frozen=True)
class DistillPlaces(Settings):
    """What comes first in a distillation."""

    data: Path = setting(help="Folder of domains, `data/<domain>/<class>/` with the images.")
    out: Path = setting(
        Path("runs/distill"),
        "The run's folder; an interrupted run goes on where it stopped.",
        free=True,
        rank=True,
    )


@dataclass(frozen=True)
class DistillSettings(TeacherSettings, DistillPlaces):
    """Labelled images of several domains and a teacher -> a student for domains nobody saw yet.

    VL2V-ADiP (arXiv 2310.08255): align, distill, predict. With the teacher's own tower as the
    student it is VL2V-SD.
    """

    # To type checkers, a field that is inherited cannot be given as another type.
    data: AnyPath = inherited(DistillPlaces, "data", MISSING)
    out: AnyPath = inherited(DistillPlaces, "out", Path("runs/distill"))
    student: str = setting(
        "vit_base_patch16_224.augreg_in21k_ft_in1k",  # the paper's; not timm's default weights
        "A timm model, `local-dir:FOLDER`, `hf-hub:ID`, `pocket` (a small ResNet) or `pocket-vit`; "
        "or `teacher`, the teacher's own image tower.",
        rank=True,
        place=True,
    )
    student_weights: Literal["pretrained", "random"] = setting(
        "pretrained", "Pre-trained ones, or `random` for an untrained student."
    )
    classes: AnyWords = setting(factory=list, help=CLASSES)
    class_names: FolderNames = setting("words", CLASS_NAMES)
    links: Links = setting("inside", LINKS)
    method: AnyMethod = setting(factory=VL2V, help=METHOD, rank=True)
    anchors: AnyAnchors = setting(factory=list, help=ANCHORS, rank=True)
    held_out: str = setting(
        "none",
        "Domain to leave out of training and to test on; `all` leaves out each in turn; `none` "
        "trains on all domains, for deployment.",
        rank=True,
    )
    trials: int = setting(1, "Repetitions with seeds one apart.", low=1, high=1000)
    views: int = setting(
        10,
        "Views of each image whose answers are stored; 0 asks for a new view in each step.",
        low=0,
        high=10000,
        rank=True,
    )
    view: Given[ViewSettings, Values] = setting(factory=ViewSettings, help="Random views.")
    store: AnyPath = setting(Path("runs/answers"), "Folder of the teacher's answers.", free=True)
    max_queries: int | None = setting(
        None,
        "The most images and texts that this teacher may ever be asked; none is no limit.",
        low=0,
        free=True,
        rank=True,
    )
    prompts: Given[PromptSettings, Values] = setting(
        # The paper's template has no full stop, CLIP's own has one.
        factory=lambda: PromptSettings(templates="a photo of a {}"),
        help="Prompts of the classes.",
    )
    selection: Literal["validation", "source"] = setting(
        "validation",
        "Select among several image weights by accuracy on the training domains' validation "
        "images, or by leaving out each training domain in turn (`source`).",
    )
    align: Given[StageSettings, Values] = setting(factory=StageSettings, help="The first stage.")
    train: Given[StageSettings, Values] = setting(factory=StageSettings, help="The last stage.")
    average: Given[AverageSettings, Values] = setting(
        factory=AverageSettings, help="Weights that are kept."
    )
    sample: int = setting(
        1000,
        "Images whose answers are looked at first, to say whether distilling is worth it.",
        low=0,
        free=True,
    )
    advice_only: bool = setting(
        False, "Ask for that sample, say what it tells, and stop.", free=True
    )
    spot_check: int = setting(
        0,
        "Answers of earlier runs to ask for again before anything else is asked.",
        low=0,
        free=True,
    )
    teacher_scores: Literal["stored", "all"] = setting(
        "stored",
        "Measure the teacher where its answers are stored, or ask for `all` images that the "
        "student is tested on.",
    )
    workers: int = setting(
        4,
        WORKERS,
        low=0,
        high=256,
        free=True,
    )
    checkpoint_minutes: float = setting(
        5.0, "Minutes between checkpoints, so the most that a kill can cost.", low=0, free=True
    )
    seed: int = setting(0, "Of the first trial.", **SEED)
    device: str = setting("auto", DEVICE, free=True)
    dry_run: bool = setting(
        False, "Say how many queries and how long the run takes, and stop.", free=True, rank=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_family(self.method, Family.DISTILL)
        if not self.method.candidates():
            raise UsageError("image_weight is an empty list; it must hold one value or more.")
        if self.selection == "source" and len(self.method.candidates()) == 1:
            raise UsageError(
                "--selection source needs several values of --method.image_weight to select from, "
                "such as [0.1,0.5,0.9]."
            )
