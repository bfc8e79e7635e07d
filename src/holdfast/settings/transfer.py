"""Settings of name-only transfer, and of what follows it: evaluation, prediction, the demo."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from holdfast.settings.base import INFINITY, SEED, Optimisation, Settings

# Stable Diffusion 1.5 in its community mirror; docs/models.md names licences and fallbacks.
DEFAULT_GENERATOR = "stable-diffusion-v1-5/stable-diffusion-v1-5"


@dataclass(frozen=True)
class PromptSettings(Settings):
    """How a class name becomes sentences.

    Args:
        templates: sentences with one `{}`; or the name of a list: `simple`, `imagenet` (7 and 80
            templates of open_clip), or a data set's own (`digits`, `textures`, `aircraft`, ...).
        descriptions: JSON file `{"class name": ["sentence", ...]}`, as CuPL publishes them; they
            replace the templates for the classes it names.
        llm_url: base URL of an OpenAI-compatible service that writes the descriptions, for example
            `http://localhost:8000/v1`; its key is read from the variable OPENAI_API_KEY.
        llm_model: the model to ask there.
        llm_count: sentences to ask for per class.
    """

    limits = {"llm_count": (1, 1000)}

    templates: list[str] | str = "a photo of a {}."
    descriptions: Path | None = None
    llm_url: str | None = None
    llm_model: str | None = None
    llm_count: int = 10


@dataclass(frozen=True)
class DrawSettings(Settings):
    """How a prompt becomes an image (defaults of RegFT: guidance 5.0, 50 steps).

    Args:
        guidance: classifier-free guidance scale.
        steps: denoising steps.
        batch_size: images drawn at once; it does not change the pixels.
        size: side of the images in pixels; none is the pipeline's own size.
        precision: `fp16` or `bf16` on a GPU, `fp32` anywhere; `auto` picks fp16 on a GPU.
        redraws: how often a black, flat or NaN image is drawn again with the next seed.
    """

    limits = {
        "guidance": (0, INFINITY),
        "steps": (1, INFINITY),
        "batch_size": (1, INFINITY),
        "size": (8, INFINITY),
        "redraws": (0, INFINITY),
    }

    guidance: float = 5.0
    steps: int = 50
    batch_size: int = 8
    size: int | None = None
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    redraws: int = 5


@dataclass(frozen=True)
class ImageSettings(DrawSettings):
    """How class names become images (RegFT: 64 a class).

    Args:
        per_class: images per class.
        clip_filter: share of each class's images to drop, lowest zero-shot agreement first.
    """

    limits = {**DrawSettings.limits, "per_class": (1, INFINITY), "clip_filter": (0, 0.95)}

    per_class: int = 64
    clip_filter: float = 0.0


@dataclass(frozen=True)
class TrainSettings(Optimisation):
    """Fine-tuning on the generated images (RegFT; values of its public code).

    Args:
        epochs: passes over the images.
        batch_size: images a step.
        label_smoothing: of the cross-entropy.
        variance: weight of the variance regulariser (lambda_v).
        covariance: weight of the covariance regulariser (lambda_c).
        trainable: image tower and head, or the head alone.
        workers: processes that decode images; 0 decodes in the training process.
        checkpoint_minutes: time between checkpoints, so the most that a kill can cost.
    """

    limits = {
        **Optimisation.limits,
        "epochs": (1, INFINITY),
        "batch_size": (1, INFINITY),
        "label_smoothing": (0, 0.99),
        "variance": (0, INFINITY),
        "covariance": (0, INFINITY),
        "workers": (0, INFINITY),
        "checkpoint_minutes": (0, INFINITY),
    }

    epochs: int = 10
    batch_size: int = 128
    label_smoothing: float = 0.0
    variance: float = 0.16
    covariance: float = 0.02
    trainable: Literal["all", "head"] = "all"
    workers: int = 4
    checkpoint_minutes: float = 5.0


@dataclass(frozen=True)
class GenerateSettings(Settings):
    """Class names -> prompts -> a folder of generated images with a manifest.

    Args:
        names: class names, or one file: a text file with a name a line, or JSON {"folder": "name"}.
        out: folder for the images; an interrupted run goes on where it stopped.
        generator: a text-to-image pipeline: hub id (`id@revision` pins it), folder, or `pocket`;
            several, separated by commas, take turns.
        seed: of every random choice.
        device: `auto`, `cpu`, `cuda`, `mps`.
        dry_run: draw two images, print time and disk for the rest, and stop.
    """

    limits = {"seed": SEED}

    names: list[str] = field(default_factory=list)
    out: Path = Path("generated")
    generator: str = DEFAULT_GENERATOR
    prompts: PromptSettings = field(default_factory=PromptSettings)
    images: ImageSettings = field(default_factory=ImageSettings)
    seed: int = 0
    device: str = "auto"
    dry_run: bool = False


@dataclass(frozen=True)
class TransferSettings(Settings):
    """Class names -> generated images -> fine-tuned, ensembled, evaluated classifier (RegFT).

    Args:
        names: class names, or one file: a text file with a name a line, or JSON {"folder": "name"}.
        out: the run's folder.
        model: open_clip architecture, `local-dir:PATH`, `hf-hub:ID`, or `pocket`.
        pretrained: open_clip's tag for its weights; empty for a model that carries its own.
        generator: a text-to-image pipeline: hub id (`id@revision` pins it), folder, or `pocket`;
            several, separated by commas, take turns.
        folder: training images to use instead of generating any (class folders).
        evaluate: folder of real images (class folders) to report on.
        alpha: weight of the fine-tuned model in the ensemble, 0 is the original; `auto` chooses it
            without any real image.
        merge: interpolate the weights linearly, or weigh each by its Fisher information.
        head_prompts: prompts of the classifier's head; none takes those of the images.
        seed: of every random choice.
        device: `auto`, `cpu`, `cuda`, `mps`.
        dry_run: draw two images, print time and disk for the rest, and stop.
    """

    limits = {"seed": SEED, "alpha": (0, 1)}

    names: list[str] = field(default_factory=list)
    out: Path = Path("runs/transfer")
    model: str = "ViT-B-16"
    pretrained: str = "openai"
    generator: str = DEFAULT_GENERATOR
    folder: Path | None = None
    evaluate: Path | None = None
    alpha: float | Literal["auto"] = 0.5
    merge: Literal["linear", "fisher"] = "linear"
    prompts: PromptSettings = field(default_factory=PromptSettings)
    head_prompts: PromptSettings | None = None
    images: ImageSettings = field(default_factory=ImageSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    seed: int = 0
    device: str = "auto"
    dry_run: bool = False


@dataclass(frozen=True)
class EvaluateSettings(Settings):
    """A classifier's folder and a folder of real images -> accuracy, calibration, confusion.

    Args:
        classifier: folder that `transfer` wrote, or a run folder.
        data: folder of real images in class folders; labels are matched by name.
        out: file for the scores (JSON); none prints them only.
        batch_size: images at once.
        workers: processes that decode images; 0 decodes in this process.
        device: `auto`, `cpu`, `cuda`, `mps`.
    """

    limits = {"batch_size": (1, INFINITY), "workers": (0, INFINITY)}

    classifier: Path
    data: Path
    out: Path | None = None
    batch_size: int = 128
    workers: int = 4
    device: str = "auto"


@dataclass(frozen=True)
class PredictSettings(Settings):
    """A classifier's folder and images -> names and probabilities.

    Args:
        classifier: folder that `transfer` wrote, or a run folder.
        images: image files, or folders of them.
        top: how many names to print per image.
        batch_size: images at once.
        device: `auto`, `cpu`, `cuda`, `mps`.
    """

    limits = {"top": (1, INFINITY), "batch_size": (1, INFINITY)}

    classifier: Path
    images: list[Path]
    top: int = 1
    batch_size: int = 128
    device: str = "auto"


@dataclass(frozen=True)
class DemoSettings(Settings):
    """A method on the embedded world, through the verbs that do it for real.

    Args:
        what: `transfer`, from ten class names to a verdict on real digits; `distill`, a small
            student for a style of picture that it never saw; `continual`, five tasks one after the
            other.
        out: folder for the run and its data; none is `runs/demo`, with the method's name for the
            other two.
        seed: of every random choice.
        device: `auto`, `cpu`, `cuda`, `mps`.
    """

    limits = {"seed": SEED}

    what: Literal["transfer", "distill", "continual"] = "transfer"
    out: Path | None = None
    seed: int = 0
    device: str = "auto"
