"""Drawings that are almost the same picture, found across teams.

Each picture, in grey on white, is cut to its ink and scaled to 32 x 32. Two pictures are near if
the 64 bits of their perceptual hashes differ in at most `BITS`, or if their 16 x 16 thumbnails
correlate by at least `CORRELATION`.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

BITS, CORRELATION = 4, 0.97


def exact(drawing: NDArray[np.uint8]) -> int:
    """The first eight bytes of the digest of a drawing (32, 32, 4), transparent pixels as zero."""
    clean = np.where(drawing[..., 3:] > 0, drawing, 0).astype(np.uint8)
    return int.from_bytes(hashlib.sha256(clean.tobytes()).digest()[:8], "little")


class Distinct:
    """Tells drawings that were there before: `new` is true for the first of each."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def new(self, drawing: NDArray[np.uint8], coloured: bool) -> bool:
        """Whether none like it was asked for; of plain drawings only the coverage counts."""
        code = exact(drawing if coloured else drawing * np.array([0, 0, 0, 1], np.uint8))
        first = code not in self.seen
        self.seen.add(code)
        return first


def normalised(pictures: NDArray[np.uint8], batch: int = 4096) -> Tensor:
    """(n, 32, 32, 4) straight RGBA -> ink 0..1 in its own frame (n, 32, 32)."""
    result = []
    for start in range(0, len(pictures), batch):
        chunk = torch.from_numpy(np.array(pictures[start : start + batch])).float() / 255
        alpha = chunk[..., 3]
        grey = (chunk[..., :3] * torch.tensor([0.299, 0.587, 0.114])).sum(-1)
        ink = alpha * (1 - 0.8 * grey)  # white paint is ink too, but light
        result.append(F.grid_sample(ink[:, None], _frames(alpha), align_corners=False)[:, 0])
    return torch.cat(result)


def _frames(alpha: Tensor) -> Tensor:
    """Sampling grids that cut out what is painted: (n, 32, 32, 2)."""
    n, side, _ = alpha.shape
    place = torch.arange(side).float()
    bounds = []
    for axis in (2, 1):  # columns seen, then rows
        seen = alpha.amax(dim=3 - axis) > 0.12
        low = torch.where(seen, place, torch.tensor(side * 1.0)).amin(1)
        high = torch.where(seen, place, torch.tensor(-1.0)).amax(1) + 1
        bounds.append((low, torch.maximum(high, low + 1)))
    (left, right), (top, bottom) = bounds
    half = torch.maximum(right - left, bottom - top) / 2  # keep the aspect
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = half * 2 / side
    theta[:, 0, 2] = (left + right) / side - 1
    theta[:, 1, 2] = (top + bottom) / side - 1
    return F.affine_grid(theta, [n, 1, side, side], align_corners=False)


def hashes(ink: Tensor) -> NDArray[np.uint64]:
    """Perceptual hashes: the signs of 64 low frequencies against their median. (n,)"""
    side = ink.shape[-1]
    wave = torch.cos(
        torch.pi / side * (torch.arange(side) + 0.5) * torch.arange(9).unsqueeze(1)
    )  # (9, side)
    parts = (wave @ ink @ wave.T).flatten(1)[:, 1:65]
    bits = (parts > parts.median(dim=1, keepdim=True).values).numpy()
    packed: NDArray[np.uint64] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return packed


def thumbnails(ink: Tensor) -> Tensor:
    """Unit vectors (n, 256) whose products are correlations."""
    small = F.avg_pool2d(ink[:, None], 2).flatten(1)
    return F.normalize(small - small.mean(1, keepdim=True), dim=1)


def signs(values: NDArray[np.uint64]) -> Tensor:
    """Hashes as vectors of -1 and 1: (n, 64); a product of 64 - 2 b means b bits differ."""
    bits = np.unpackbits(values.view(np.uint8).reshape(-1, 8), axis=1)
    return torch.from_numpy(bits).float() * 2 - 1


def nearest(
    ours: tuple[NDArray[np.uint64], Tensor], theirs: tuple[NDArray[np.uint64], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """For each of ours: fewest bits to any of theirs, highest correlation, and with which one."""
    bits, best, which = [], [], []
    a, b = signs(ours[0]), signs(theirs[0])
    for start in range(0, len(a), 2048):
        rows = slice(start, start + 2048)
        bits.append(((64 - (a[rows] @ b.T).amax(1)) / 2).round().int())
        value, index = (ours[1][rows] @ theirs[1].T).max(1)
        best.append(value)
        which.append(index)
    return torch.cat(bits), torch.cat(best), torch.cat(which)


def near(
    ours: tuple[NDArray[np.uint64], Tensor], theirs: tuple[NDArray[np.uint64], Tensor]
) -> NDArray[np.bool_]:
    """Which of ours are almost the same picture as any of theirs: (n,)."""
    bits, correlation, _ = nearest(ours, theirs)
    found: NDArray[np.bool_] = ((bits <= BITS) | (correlation >= CORRELATION)).numpy()
    return found
