"""A small CLIP, trained on the captioned corpus and saved as open_clip reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.model import CLIP
from open_clip.transformer import PatchDropout
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTokenizer

from holdfast.files import write_json
from holdfast.settings import Optimisation
from holdfast.train import fit

from .corpus import Corpus
from .saving import half, save_weights
from .shuffle import Shuffled
from .tokenizer import CONTEXT, encode

WIDTH = 128
BATCH, STEPS = 256, 1800
HIDDEN = 0.5  # share of the patches left out of a training step, as in FLIP: half the work
MEAN, STD = (0.55, 0.55, 0.53), (0.3, 0.29, 0.29)
CLIP_OPTIMISATION = Optimisation(
    learning_rate=1e-3, weight_decay=0.1, warmup_steps=150, clip_norm=1.0, precision="bf16"
)


def config(vocabulary: int) -> dict[str, Any]:
    """What open_clip_config.json holds: 1.2 M parameters see, 0.7 M read."""
    return {
        "model_cfg": {
            "embed_dim": WIDTH,
            "vision_cfg": {
                "image_size": 32, "patch_size": 4, "width": WIDTH, "layers": 6, "head_width": 64,
            },
            "text_cfg": {
                "context_length": CONTEXT, "vocab_size": vocabulary, "width": WIDTH, "heads": 2,
                "layers": 3, "hf_tokenizer_name": "pocket",
            },
        },
        "preprocess_cfg": {
            "mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest",
        },
    }  # fmt: skip


def build_clip(vocabulary: int) -> CLIP:
    """A new, untrained model."""
    return CLIP(**config(vocabulary)["model_cfg"], output_dict=True)


def scaled_pixels(pictures: NDArray[np.uint8]) -> Tensor:
    """(n, 32, 32, 3) bytes -> (n, 3, 32, 32), as the model's own preprocessing gives them."""
    x = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 255
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def contrastive(model: CLIP, batch: tuple[Tensor, Tensor]) -> Iterator[dict[str, Tensor]]:
    """CLIP's symmetric cross-entropy. Each distinct caption is read once."""
    pictures, tokens = batch
    distinct, which = torch.unique(tokens, dim=0, return_inverse=True)
    image = model.encode_image(pictures, normalize=True).float()
    text = model.encode_text(distinct, normalize=True).float()[which]
    logits = model.logit_scale.exp() * image @ text.T
    target = torch.arange(len(logits))
    loss = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
    yield {"contrastive": loss}


def train_clip(
    data: Corpus, tokenizer: CLIPTokenizer, out: Path, steps: int = STEPS, seed: int = 0
) -> None:
    """Train from scratch and write the open_clip folder `out`, every 400 steps and at the end."""
    torch.manual_seed(seed)
    model = build_clip(len(tokenizer))
    model.visual.patch_dropout = PatchDropout(HIDDEN)  # no part of the saved configuration
    tokens = torch.from_numpy(encode(tokenizer, data.captions))

    def batch(index: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        return scaled_pixels(data.pictures[index]), tokens[index]

    def after_step(step: int, model: CLIP) -> None:
        with torch.no_grad():
            model.logit_scale.clamp_(max=np.log(100))
        if step % 400 == 399:
            save_clip(model, tokenizer, out)

    batches = Shuffled(len(tokens), BATCH, steps, seed, batch)
    with sdpa_kernel(SDPBackend.MATH):  # on a CPU, twice as fast as flash attention's backward
        fit(
            model,
            batches,
            contrastive,
            CLIP_OPTIMISATION,
            seed=seed,
            after_step=after_step,
            label="clip",
        )
    save_clip(model, tokenizer, out)


def save_clip(model: CLIP, tokenizer: CLIPTokenizer, out: Path) -> None:
    """Write the open_clip folder `out`: configuration, tokenizer and half-precision weights."""
    tokenizer.save_pretrained(out)
    write_json(out / "open_clip_config.json", config(len(tokenizer)))
    save_weights(half(model.state_dict()), out / "open_clip_model.safetensors")


def read_clip(folder: Path) -> CLIP:
    """The trained model, in evaluation mode."""
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    return model.eval()
