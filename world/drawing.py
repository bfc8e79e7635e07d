"""Straight RGBA drawings -> RGB pictures: colours, backgrounds, small movements."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def colours(palette: NDArray[np.bool_], r: Generator) -> tuple[Tensor, Tensor]:
    """Ink and ground for each drawing: two (n, 3) in 0..1. Ink of coloured ones is not used."""
    n = len(palette)
    kind = r.random(n)
    ink, ground = r.random((n, 3)), r.random((n, 3))
    dark, light = r.random((n, 3)) * 0.3, 1 - r.random((n, 3)) * 0.2
    ink = np.where((kind < 0.5)[:, None], dark, ink)
    ground = np.where((kind < 0.5)[:, None], light, ground)
    ink = np.where((kind > 0.85)[:, None], light, ink)
    ground = np.where((kind > 0.85)[:, None], dark, ground)
    ground = np.where((palette & (kind < 0.75))[:, None], light, ground)
    weights = np.array([0.299, 0.587, 0.114])
    for _ in range(3):  # enough contrast
        weak = np.abs((ink - ground) @ weights) < 0.25
        ink[weak] = r.random((int(weak.sum()), 3))
    return torch.from_numpy(ink).float(), torch.from_numpy(ground).float()


def moved(drawings: Tensor, r: Generator, degrees: float, shift: float) -> Tensor:
    """Premultiplied (n, 4, 32, 32), turned, scaled and shifted (share of the side)."""
    n, side = len(drawings), drawings.shape[-1]
    angle = torch.from_numpy(r.uniform(-degrees, degrees, n) * math.pi / 180).float()
    scale = torch.from_numpy(1 / r.uniform(0.72, 1.08, n)).float()
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = scale * angle.cos()
    theta[:, 0, 1] = -scale * angle.sin()
    theta[:, 1, 0] = scale * angle.sin()
    theta[:, :, 2] = torch.from_numpy(r.uniform(-shift, shift, (n, 2)) * 2).float()
    grid = F.affine_grid(theta, [n, 4, side, side], align_corners=False)
    return F.grid_sample(drawings, grid, align_corners=False)


def premultiplied(pictures: NDArray[np.uint8]) -> Tensor:
    """(n, 32, 32, 4) bytes -> (n, 4, 32, 32) in 0..1, colours times alpha."""
    x = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 255
    return torch.cat([x[:, :3] * x[:, 3:], x[:, 3:]], dim=1)


def painted(x: Tensor, palette: NDArray[np.bool_], ink: Tensor, ground: Tensor) -> Tensor:
    """Premultiplied (n, 4, h, w) -> RGB (n, 3, h, w) in 0..1; plain drawings are inked."""
    alpha = x[:, 3:]
    own = torch.from_numpy(palette)[:, None, None, None]
    colour = torch.where(own, x[:, :3], ink[:, :, None, None] * alpha)
    return (colour + ground[:, :, None, None] * (1 - alpha)).clamp(0, 1)


def augmented(pictures: NDArray[np.uint8], palette: NDArray[np.bool_], r: Generator) -> Tensor:
    """Training pictures (n, 3, 32, 32) in 0..1: random colours, small movements."""
    x = moved(premultiplied(pictures), r, degrees=10, shift=0.09)
    return painted(x, palette, *colours(palette, r))


def plain(
    pictures: NDArray[np.uint8], palette: NDArray[np.bool_], seed: int, coloured: float = 0.3
) -> NDArray[np.uint8]:
    """Pictures as tasks have them (n, 32, 32, 3): dark on light, a share in other colours."""
    r = np.random.default_rng(seed)
    ink, ground = colours(palette, r)
    usual = torch.from_numpy(r.random(len(palette)) >= coloured)[:, None]
    ink = torch.where(usual, torch.tensor(0.1), ink)
    ground = torch.where(usual, torch.tensor(1.0), ground)
    x = painted(premultiplied(pictures), palette, ink, ground)
    result: NDArray[np.uint8] = (x * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return result


def shades(palette: NDArray[np.bool_], r: Generator) -> tuple[Tensor, Tensor]:
    """Ink and ground as the generator learns them: mostly dark on white, some white on dark or on a
    colour, some coloured on white; coloured drawings are on white. Two (n, 3) in 0..1."""
    n = len(palette)
    kind = r.random((n, 1))
    hue = r.random((n, 1)) * 2 * np.pi + np.array([[0, 2, 4]]) * np.pi / 3
    bright = 0.5 + 0.4 * np.cos(hue)
    ink = np.where(kind < 0.6, 0.1, np.where(kind < 0.8, bright * 0.8, 1.0))
    ground = np.where(kind < 0.8, 1.0, np.where(kind < 0.88, 0.12, bright * 0.7))
    ground = np.where(palette[:, None], 1.0, ground)
    return torch.from_numpy(ink).float(), torch.from_numpy(ground).float()
