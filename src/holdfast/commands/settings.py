"""All settings of each command. No torch here, so that the command line starts quickly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from holdfast.anchors.base import Anchor
from holdfast.errors import UsageError
from holdfast.methods.base import Family, Method, check_family
from holdfast.methods.gift import GIFT
from holdfast.methods.regft import RegFT
from holdfast.methods.vl2v import VL2V
from holdfast.settings import (
    DEFAULT_GENERATOR,
    AverageSettings,
    ContinualTrainSettings,
    ImageSettings,
    PromptSettings,
    ReplaySettings,
    ServeSettings,
    Settings,
    StageSettings,
    TeacherSettings,
    TrainSettings,
    ViewSettings,
    setting,
)

__all__ = [
    "ContinualAddSettings",
    "ContinualRunSettings",
    "DemoSettings",
    "DistillSettings",
    "EvaluateSettings",
    "GenerateSettings",
    "PredictSettings",
    "ReportSettings",
    "ServeSettings",
    "TransferSettings",
]

SEED = {"low": 0, "high": 2**63 - 1}
NAMES = (
    'Class names, or one file: a text file with a name a line, or JSON {"folder": "name"}.'
)
MODEL = "open_clip architecture, `local-dir:PATH`, `hf-hub:ID`, or `pocket`."
PRETRAINED = "open_clip's tag for its weights; empty for a model that carries its own."
GENERATOR = (
    "A text-to-image pipeline: hub id (`id@revision` pins it), folder, or `pocket`; several, "
    "separated by commas, take turns."
)
DEVICE = "`auto`, `cpu`, `cuda`, `mps`."
EVERY_CHOICE = "Of every random choice."
METHOD = "What is trained, and what holds on to the old; its own settings follow below."
ANCHORS = (
    "Further anchors, as `name` or `name:setting=value`, separated by commas; see `holdfast "
    "anchors`."
)
MAX_DROP = (
    "Largest drop of accuracy that is accepted on what the model knew (0.02 is two points); none "
    "accepts any. If a task costs more, the new weights are averaged with the previous ones, as "
    "far as needed; if no average passes, nothing is written."
)
HELD_OUT = (
    "Folders or data sets of tasks that must not suffer (`pocket:things`), several in a list. "
    "Earlier tasks and pre-training count by their replayed images."
)
IMAGES_AT_ONCE = "Images at once."
DECODERS = "Processes that decode images; 0 decodes in this process."


@dataclass(frozen=True)
class GenerateSettings(Settings):
    """Class names -> prompts -> a folder of generated images with a manifest."""

    names: list[str] = setting(factory=list, help=NAMES)
    out: Path = setting(
        Path("generated"), "Folder for the images; an interrupted run goes on where it stopped."
    )
    generator: str = setting(DEFAULT_GENERATOR, GENERATOR, rank=True)
    prompts: PromptSettings = setting(factory=PromptSettings, help="Prompts of the images.")
    images: ImageSettings = setting(factory=ImageSettings, help="How images are drawn.")
    seed: int = setting(0, EVERY_CHOICE, **SEED)
    device: str = setting("auto", DEVICE, free=True)
    dry_run: bool = setting(
        False, "Draw two images, print time and disk for the rest, and stop.", free=True
    )


@dataclass(frozen=True)
class TransferSettings(Settings):
    """Class names -> generated images -> fine-tuned, ensembled, evaluated classifier (RegFT)."""

    names: list[str] = setting(factory=list, help=NAMES)
    out: Path = setting(Path("runs/transfer"), "The run's folder.", free=True, rank=True)
    model: str = setting("ViT-B-16", MODEL, rank=True)
    pretrained: str = setting("openai", PRETRAINED, rank=True)
    generator: str = setting(DEFAULT_GENERATOR, GENERATOR, rank=True)
    folder: Path | None = setting(
        None, "Training images to use instead of generating any (class folders).", rank=True
    )
    evaluate: Path | None = setting(
        None, "Folder of real images (class folders) to report on.", free=True, rank=True
    )
    method: Method = setting(factory=RegFT, help=METHOD, rank=True)
    anchors: list[Anchor] = setting(factory=list, help=ANCHORS, rank=True)
    prompts: PromptSettings = setting(factory=PromptSettings, help="Prompts of the images.")
    head_prompts: PromptSettings | None = setting(
        None, "Prompts of the classifier's head; none takes those of the images."
    )
    images: ImageSettings = setting(factory=ImageSettings, help="How images are drawn.")
    replay: ReplaySettings = setting(
        factory=ReplaySettings, help="Replayed images, where an anchor needs them."
    )
    train: TrainSettings = setting(factory=TrainSettings, help="The training.")
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

    classifier: Path = setting(help="Folder of a classifier, or of a run.")
    data: Path = setting(
        help="Folder of real images in class folders; labels are matched by name."
    )
    out: Path | None = setting(None, "File for the scores (JSON); none prints them only.")
    batch_size: int = setting(128, IMAGES_AT_ONCE, low=1)
    workers: int = setting(4, DECODERS, low=0)
    device: str = setting("auto", DEVICE)


@dataclass(frozen=True)
class PredictSettings(Settings):
    """A classifier's folder and images -> names and probabilities."""

    classifier: Path = setting(help="Folder of a classifier, or of a run.")
    images: list[Path] = setting(help="Image files, or folders of them.")
    top: int = setting(1, "How many names to print for each image.", low=1)
    batch_size: int = setting(128, IMAGES_AT_ONCE, low=1)
    device: str = setting("auto", DEVICE)


@dataclass(frozen=True)
class ReportSettings(Settings):
    """Make the report of a run again from its result."""

    run: Path = setting(help="The run's folder.")
    out: Path | None = setting(None, "File for the page; none is report.html in the run's folder.")


@dataclass(frozen=True)
class DemoSettings(Settings):
    """A method on the embedded world, through the commands that do it for real."""

    what: Literal["transfer", "distill", "continual"] = setting(
        "transfer",
        "`transfer`, from ten class names to a verdict on real digits; `distill`, a small student "
        "for a style of picture that it never saw; `continual`, five tasks one after the other.",
    )
    out: Path | None = setting(
        None,
        "Folder for the run and its data; none is runs/demo, with the method's name for the other "
        "two.",
    )
    seed: int = setting(0, EVERY_CHOICE, **SEED)
    device: str = setting("auto", DEVICE)


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

    student: str = setting(
        "vit_base_patch16_224",  # the paper's
        "A timm model, `local-dir:FOLDER`, `hf-hub:ID`, `pocket` (a small ResNet) or `pocket-vit`; "
        "or `teacher`, the teacher's own image tower.",
        rank=True,
    )
    student_weights: Literal["pretrained", "random"] = setting(
        "pretrained", "Pre-trained ones, or `random` for an untrained student."
    )
    method: Method = setting(factory=VL2V, help=METHOD, rank=True)
    anchors: list[Anchor] = setting(factory=list, help=ANCHORS, rank=True)
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
    view: ViewSettings = setting(factory=ViewSettings, help="Random views.")
    store: Path = setting(Path("runs/answers"), "Folder of the teacher's answers.", free=True)
    max_queries: int | None = setting(
        None,
        "The most images and texts that this teacher may ever be asked; none is no limit.",
        low=0,
        free=True,
        rank=True,
    )
    prompts: PromptSettings = setting(factory=PromptSettings, help="Prompts of the classes.")
    selection: Literal["validation", "source"] = setting(
        "validation",
        "Select among several image weights by accuracy on the training domains' validation "
        "images, or by leaving out each training domain in turn (`source`).",
    )
    align: StageSettings = setting(factory=StageSettings, help="The first stage.")
    train: StageSettings = setting(factory=StageSettings, help="The last stage.")
    average: AverageSettings = setting(factory=AverageSettings, help="Weights that are kept.")
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
        "Threads that decode and crop images; 0 does it between the steps.",
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
        False, "Say how many queries the run needs, and stop.", free=True, rank=True
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


@dataclass(frozen=True)
class ContinualAddSettings(Settings):
    """One more task for a model: its folder -> a new folder of the model that knows it too."""

    model: str = setting(
        help="Folder of a model with its tasks so far, as this command writes it; or for the first "
        "task an open_clip architecture, `local-dir:PATH`, `hf-hub:ID`, or `pocket`.",
        free=True,  # the run's inputs know its weights
    )
    task: str = setting(
        help="Folder of the task, with train and, if there are, val and test, each of class "
        "folders or of images with captions; or a data set (`pocket:digits`).",
        rank=True,
    )
    out: Path = setting(
        Path("runs/task"),
        "Folder to write; the model comes into its folder `model`.",
        free=True,
        rank=True,
    )
    name: str | None = setting(None, "What the task is called; none is its folder's name.")
    templates: list[str] | str = setting(
        "a photo of a {}.",
        "Sentences with one `{}`, or a list's name: the first trains, all evaluate.",
    )
    pretrained: str = setting("openai", PRETRAINED, free=True)
    method: Method = setting(factory=GIFT, help=METHOD, rank=True)
    anchors: list[Anchor] = setting(factory=list, help=ANCHORS, rank=True)
    generator: str = setting(DEFAULT_GENERATOR, GENERATOR, rank=True)
    per_class: int | None = setting(
        None, "Images for each class and split of a data set that is drawn.", low=1
    )
    max_drop: float | None = setting(None, MAX_DROP, low=0, high=1, rank=True)
    held_out: list[str] = setting(factory=list, help=HELD_OUT)
    replay: ReplaySettings = setting(factory=ReplaySettings, help="Replayed images.")
    train: ContinualTrainSettings = setting(factory=ContinualTrainSettings, help="The training.")
    seed: int = setting(0, EVERY_CHOICE, **SEED)
    device: str = setting("auto", DEVICE, free=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_family(self.method, Family.CONTINUAL)
        if self.method.name in ("zero-shot", "joint"):
            raise UsageError(f"The method {self.method.name!r} is for a stream; give another one.")


@dataclass(frozen=True)
class ContinualRunSettings(Settings):
    """A stream of tasks, one after the other: the accuracy on each task after each."""

    stream: Path = setting(
        help="File that lists the tasks (YAML or JSON): folders or data sets (`pocket:digits`), "
        "each with a name, templates and training settings of its own if needed; or `pocket` or "
        "`pocket-2`, two orders of the embedded world's tasks."
    )
    out: Path = setting(Path("runs/stream"), "The run's folder.", free=True, rank=True)
    model: str = setting("ViT-B-16", MODEL, free=True, rank=True)
    pretrained: str = setting("openai", PRETRAINED, free=True)
    method: Method = setting(factory=GIFT, help=METHOD, rank=True)
    anchors: list[Anchor] = setting(factory=list, help=ANCHORS, rank=True)
    generator: str = setting(DEFAULT_GENERATOR, GENERATOR, rank=True)
    max_drop: float | None = setting(None, MAX_DROP, low=0, high=1, rank=True, free=True)
    held_out: list[str] = setting(factory=list, help=HELD_OUT, free=True)
    split: Literal["val", "test"] = setting(
        "test",
        "The split of every task to measure on: `val` for choices, `test` for the end.",
        free=True,
    )
    replay: ReplaySettings = setting(factory=ReplaySettings, help="Replayed images.")
    train: ContinualTrainSettings = setting(factory=ContinualTrainSettings, help="The training.")
    seed: int = setting(0, EVERY_CHOICE, **SEED)
    device: str = setting("auto", DEVICE, free=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_family(self.method, Family.CONTINUAL)
