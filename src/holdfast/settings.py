"""Everything a user may set, with units and defaults. A paper's value is the default and says so.

No torch here: the command line builds itself from these classes and must start quickly.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar, Literal

from holdfast.errors import UsageError

Precision = Literal["auto", "fp32", "bf16"]

# Stable Diffusion 1.5 in its community mirror; docs/models.md names licences and fallbacks.
DEFAULT_GENERATOR = "stable-diffusion-v1-5/stable-diffusion-v1-5"


@dataclass(frozen=True)
class Settings:
    """What all settings share: text becomes a path where one is wanted, and numbers have limits."""

    limits: ClassVar[dict[str, tuple[float, float]]] = {}

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, str) and str(each.type) in ("Path", "Path | None"):
                object.__setattr__(self, each.name, Path(value))
        for name, (low, high) in self.limits.items():
            value = getattr(self, name)
            if isinstance(value, int | float) and not low <= value <= high:
                bounds = f"at least {low:g}" if high == INFINITY else f"from {low:g} to {high:g}"
                raise UsageError(f"{name} is {value}; it must be {bounds}.")


INFINITY = float("inf")
SEED = (0, 2**63 - 1)


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
class ImageSettings(Settings):
    """How prompts become images (defaults of RegFT: 64 images a class, guidance 5.0, 50 steps).

    Args:
        per_class: images per class.
        guidance: classifier-free guidance scale.
        steps: denoising steps.
        batch_size: images drawn at once; it does not change the pixels.
        size: side of the images in pixels; none is the pipeline's own size.
        precision: `fp16` or `bf16` on a GPU, `fp32` anywhere; `auto` picks fp16 on a GPU.
        redraws: how often a black, flat or NaN image is drawn again with the next seed.
        clip_filter: share of each class's images to drop, lowest zero-shot agreement first.
    """

    limits = {
        "per_class": (1, INFINITY),
        "guidance": (0, INFINITY),
        "steps": (1, INFINITY),
        "batch_size": (1, INFINITY),
        "size": (8, INFINITY),
        "redraws": (0, INFINITY),
        "clip_filter": (0, 0.95),
    }

    per_class: int = 64
    guidance: float = 5.0
    steps: int = 50
    batch_size: int = 8
    size: int | None = None
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    redraws: int = 5
    clip_filter: float = 0.0


@dataclass(frozen=True)
class Optimisation(Settings):
    """One optimiser run.

    Args:
        optimizer: AdamW, or Adam.
        learning_rate: peak of the schedule; the default suits real CLIP checkpoints.
        weight_decay: decoupled weight decay, on every parameter as in the papers' code.
        warmup_steps: steps of linear warmup.
        schedule: after the warmup, to zero along a cosine, or constant.
        clip_norm: largest gradient norm; 0 leaves gradients as they are.
        precision: `bf16` runs the forward pass under autocast, weights stay in fp32; `auto` does
            so on a CUDA GPU.
    """

    limits = {
        "learning_rate": (0, INFINITY),
        "weight_decay": (0, INFINITY),
        "warmup_steps": (0, INFINITY),
        "clip_norm": (0, INFINITY),
    }

    optimizer: Literal["adamw", "adam"] = "adamw"
    # Not the 1e-3 of RegFT's public code: WiSE-FT fine-tunes real CLIP checkpoints at 3e-5 with
    # batches of 512, FLYP and GIFT at 1e-5; Adam's square-root rule brings 3e-5 at a batch of 512
    # to 1.5e-5 at our 128.
    learning_rate: float = 1e-5
    weight_decay: float = 0.1
    warmup_steps: int = 500
    schedule: Literal["cosine", "constant"] = "cosine"
    clip_norm: float = 1.0
    precision: Precision = "auto"


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
    """The main job on the embedded world: from ten class names to a verdict on real digits.

    Args:
        out: folder for the run and its data.
        seed: of every random choice.
        device: `auto`, `cpu`, `cuda`, `mps`.
    """

    limits = {"seed": SEED}

    out: Path = Path("runs/demo")
    seed: int = 0
    device: str = "auto"
