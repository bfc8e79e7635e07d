"""Settings of prompts, drawn images, replayed images and views."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from holdfast.settings.base import Given, Settings, inherited, setting

# Stable Diffusion 1.5 in its community mirror; docs/models.md names licences and fallbacks.
DEFAULT_GENERATOR = "stable-diffusion-v1-5/stable-diffusion-v1-5"


@dataclass(frozen=True)
class PromptSettings(Settings):
    """How a class name becomes sentences."""

    templates: list[str] | str = setting(
        "a photo of a {}.",
        "Sentences with one `{}`; or the name of a list: `simple`, `imagenet` (7 and 80 templates "
        "of open_clip), or a data set's own (`digits`, `textures`, `aircraft`, ...).",
    )
    descriptions: Given[Path | None, str] = setting(
        None,
        'JSON file {"class name": ["sentence", ...]}, as CuPL publishes them; they replace the '
        "templates for the classes it names.",
    )
    llm_url: str | None = setting(
        None,
        "Base URL of an OpenAI-compatible service that writes the descriptions, for example "
        "http://localhost:8000/v1; its key is read from the variable OPENAI_API_KEY.",
    )
    llm_model: str | None = setting(None, "The model to ask there.")
    llm_count: int = setting(10, "Sentences to ask for, for each class.", low=1, high=1000)


@dataclass(frozen=True)
class DrawSettings(Settings):
    """How a prompt becomes an image (defaults of RegFT: guidance 5.0, 50 steps)."""

    guidance: float = setting(5.0, "Classifier-free guidance scale.", low=0)
    steps: int = setting(50, "Denoising steps.", low=1)
    batch_size: int = setting(
        8, "Images drawn at once; it does not change the pixels.", low=1, free=True
    )
    size: int | None = setting(
        None, "Side of the images in pixels; none is the pipeline's own size.", low=8
    )
    resize: int | None = setting(
        None,
        "Side in pixels that drawn pictures are resized to before they are stored (bicubic), such "
        "as the model's own input size; none stores them as drawn.",
        low=8,
    )
    precision: Literal["auto", "fp32", "fp16", "bf16"] = setting(
        "auto", "`fp16` or `bf16` on a GPU, `fp32` anywhere; `auto` picks fp16 on a GPU."
    )
    redraws: int = setting(
        5,
        "How often a black, flat or NaN image is drawn again with the next seed; one that stays so "
        "is counted as missing.",
        low=0,
        free=True,
    )
    safety_checker: bool = setting(
        False,
        "Keep the pipeline's safety checker, which paints what it refuses black; the papers' code "
        "has it off.",
    )


@dataclass(frozen=True)
class ImageSettings(DrawSettings):
    """How class names become images (RegFT: 64 a class)."""

    per_class: int = setting(64, "Images for each class.", low=1)
    clip_filter: float = setting(
        0.0,
        "Share of each class's images to drop, lowest zero-shot agreement first.",
        low=0,
        high=0.95,
    )


@dataclass(frozen=True)
class ReplaySettings(DrawSettings):
    """Images that stand for what the model knows (GIFT: 1,000 a task)."""

    images: int = setting(1000, "How many for each task; 0 replays nothing.", low=0)
    sampling: Literal["uniform", "balanced"] = setting(
        "uniform",
        "`uniform` draws their names from pre-training and all earlier tasks alike, as the paper "
        "does; `balanced` gives each earlier task the same number, and pre-training half.",
    )
    base: str = setting(
        "imagenet",
        "Names that stand for pre-training: `imagenet` (1,000 classes), `pocket`, a data set's "
        "(`names:cifar100`, ...), or a file.",
        place=True,
    )
    template: str = setting("a photo of a {}.", "The prompt of those names.")
    folder: Given[Path | None, str] = setting(
        None,
        "Images with captions to use instead of generating any: a metadata.jsonl or .csv there "
        "(file_name, text), a .txt beside each image, or what `holdfast generate` wrote.",
    )
    cache: Given[Path | None, str] = setting(
        None,
        "Folder for the generated images; several runs can share one. None keeps them with the "
        "task.",
        free=True,
    )
    guidance: float = inherited(
        DrawSettings,
        "guidance",
        7.5,
        "Classifier-free guidance scale; 7.5 is the pipelines' own default.",
    )


@dataclass(frozen=True)
class ViewSettings(Settings):
    """Random views of a picture, the same for teacher and student (DomainBed's augmentation)."""

    size: int = setting(
        224, "Side of a view in pixels; a crop smaller than that is not enlarged.", low=8
    )
    crop: float = setting(
        0.7, "Smallest area of a crop, as a share of the picture's.", low=0.01, high=1
    )
    flip: float = setting(0.5, "Probability of a mirror image.", low=0, high=1)
    jitter: float = setting(
        0.3, "Largest change of brightness, contrast and saturation, as a share.", low=0, high=1
    )
    hue: float = setting(
        0.3, "Largest turn of the hue, as a share of the colour circle.", low=0, high=0.5
    )
    grayscale: float = setting(0.1, "Probability of a view without colour.", low=0, high=1)
