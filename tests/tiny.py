"""Tiny, randomly initialised models in folders, so that tests run offline in seconds."""

import json
from pathlib import Path

import torch


def diffusion_folder(folder: Path, seed: int = 0) -> Path:
    """A StableDiffusionPipeline of some 30,000 parameters for 32 px images."""
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
    from transformers.models.clip.tokenization_clip import bytes_to_unicode
