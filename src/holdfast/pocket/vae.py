"""A small autoencoder: pictures (3, 32, 32) to latents (8, 8, 8) and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from holdfast.settings import Optimisation
from holdfast.train import fit

from .corpus import Corpus
from .saving import half, save_weights
from .shuffle import Shuffled

BATCH, STEPS = 32, 4000
EDGES, DIVERGENCE = 0.5, 1e-4
VAE_OPTIMISATION = Optimisation(
    learning_rate=2e-3, weight_decay=0.0, warmup_steps=100, clip_norm=1.0, precision="bf16"
)


def build_vae() -> AutoencoderKL:
    """A new, untrained model of 0.4 M parameters."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 48),
        latent_channels=8,
        norm_num_groups=8,
        sample_size=32,
    )


def scaled(pictures: NDArray[np.uint8]) -> Tensor:
    """(n, 32, 32, 3) bytes -> (n, 3, 32, 32) in -1..1."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def reconstruction(model: AutoencoderKL, pictures: Tensor) -> Iterator[dict[str, Tensor]]:
    """Absolute error of pixels and of their differences, and a light pull to a unit Gaussian."""
    posterior = model.encode(pictures).latent_dist
    error = model.decode(posterior.sample()).sample.float() - pictures
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    divergence = posterior.kl().mean() / posterior.mean[0].numel()
    yield {"pixels": error.abs().mean(), "edges": EDGES * edges, "kl": DIVERGENCE * divergence}


def train_vae(data: Corpus, out: Path, seed: int = 1) -> None:
    """Train from scratch; write the diffusers folder `out`."""
    torch.manual_seed(seed)
    model = build_vae()

    def batch(index: NDArray[np.int64]) -> Tensor:
        return scaled(data.pictures[index])

    def after_step(step: int, model: AutoencoderKL) -> None:
        if step % 1000 == 999 and step + 1 < STEPS:
            save_vae(model, data, out)

    batches = Shuffled(len(data.captions), BATCH, STEPS, seed, batch)
    with sdpa_kernel(SDPBackend.MATH):  # on a CPU, flash attention's backward is slow
        fit(
            model,
            batches,
            reconstruction,
            VAE_OPTIMISATION,
            seed=seed,
            after_step=after_step,
            label="vae",
        )
    save_vae(model, data, out)


@torch.no_grad()
def encoded(model: AutoencoderKL, pictures: NDArray[np.uint8], batch: int = 512) -> Tensor:
    """Latent means, not yet scaled: (n, 8, 8, 8)."""
    chunks = [pictures[i : i + batch] for i in range(0, len(pictures), batch)]
    return torch.cat([model.encode(scaled(chunk)).latent_dist.mean for chunk in chunks])


def save_vae(model: AutoencoderKL, data: Corpus, out: Path) -> None:
    """Save with the factor that gives latents unit variance, as the pipeline expects."""
    factor = 1 / encoded(model, data.pictures[:2048]).std().item()
    model.register_to_config(scaling_factor=factor)
    model.save_config(out)
    save_weights(half(model.state_dict()), out / "diffusion_pytorch_model.safetensors")


def load_vae(folder: Path) -> AutoencoderKL:
    """The trained model, in evaluation mode."""
    model: AutoencoderKL = AutoencoderKL.from_pretrained(folder)
    return model.eval()
