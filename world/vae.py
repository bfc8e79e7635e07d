"""The autoencoder of the text-to-image pipeline: pictures (3, 32, 32) to latents (8, 8, 8)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from .drawing import painted, premultiplied, shades
from .saving import half, save_weights
from .source import BUILD
from .split import World
from .state import Average, load_state, save_state

BATCH, SEED, RATE = 48, 1, 1e-3
EDGES, DIVERGENCE = 0.5, 1e-4


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


def load_vae(folder: Path) -> AutoencoderKL:
    """The trained model, in evaluation mode."""
    model: AutoencoderKL = AutoencoderKL.from_pretrained(folder)
    return model.eval()


def pictures(world: World, rows: NDArray[np.int64], seed: tuple[int, ...]) -> Tensor:
    """Drawings as the generator learns them, (n, 3, 32, 32) in -1..1: quiet colours, upright."""
    r = np.random.default_rng(seed)
    order = np.argsort(rows, kind="stable")
    drawn = world.pictures[rows[order]][np.argsort(order, kind="stable")]
    palette = world.palette[rows]
    return painted(premultiplied(drawn), palette, *shades(palette, r)) * 2 - 1


def loss(model: AutoencoderKL, x: Tensor) -> Tensor:
    """Absolute error of pixels and of their differences, and a light pull to a unit Gaussian."""
    posterior = model.encode(x).latent_dist
    error = model.decode(posterior.sample()).sample.float() - x
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    divergence = posterior.kl().float().mean() / posterior.mean[0].numel()
    return error.abs().mean() + EDGES * edges + DIVERGENCE * divergence


def train(out: Path, steps: int) -> None:
    """Train from scratch, or go on; write the diffusers folder `out`."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    world = World()
    rows = np.flatnonzero(world.use == "train")
    model = build_vae()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    average, start, state = Average(model, 0.998), 0, BUILD / "vae.safetensors"
    if state.exists():
        start, parts = load_state(state, optimizer)
        model.load_state_dict(parts["model"])
        average.weights = parts["average"]
    begun = saved = time.time()
    for step in range(start, steps):
        optimizer.param_groups[0]["lr"] = (
            RATE * min(1, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * step / steps))
        )
        r = np.random.default_rng((SEED, step))
        x = pictures(world, r.choice(rows, BATCH), (SEED, step, 1))
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(model, x)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(step, model)
        if step % 100 == 99:
            print(f"{step + 1} loss {value.item():.4f} {time.time() - begun:.0f}s", flush=True)
        if time.time() - saved > 240 or step + 1 == steps:
            saved = time.time()
            save_state(
                state, step + 1, optimizer, model=model.state_dict(), average=average.weights
            )
            save(average.weights, world, out)


@torch.no_grad()
def encoded(model: AutoencoderKL, chunks: Iterator[Tensor]) -> Tensor:
    """Latent means, not yet scaled: (n, 8, 8, 8)."""
    return torch.cat([model.encode(chunk).latent_dist.mean for chunk in chunks])


def save(weights: dict[str, Tensor], world: World, out: Path) -> None:
    """Save with the factor that gives latents unit variance, as the pipeline expects."""
    model = build_vae()
    model.load_state_dict(weights)
    rows = np.random.default_rng(SEED).choice(np.flatnonzero(world.use == "train"), 2048)
    x = pictures(world, rows, (SEED, 0, 2))
    factor = 1 / encoded(model.eval(), iter(x.split(256))).std().item()
    model.register_to_config(scaling_factor=factor)
    model.save_config(out)
    save_weights(half(model.state_dict()), out / "diffusion_pytorch_model.safetensors")


if __name__ == "__main__":
    train(BUILD / "diffusion" / "vae", int(sys.argv[1]))
