"""Twelve textures: functions of turned and scaled coordinates that say how light each point is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from .paint import SIDE, Look, Picture, any_colour, smooth

Field = NDArray[np.floating[Any]]
SUPERSAMPLING = 2  # supersampling
_V, _U = np.mgrid[0 : SIDE * SUPERSAMPLING, 0 : SIDE * SUPERSAMPLING] / SUPERSAMPLING  # pixels


def _fract(x: Field) -> Field:
    return x % 1.0


def _cloud(r: Generator, cells: int) -> Field:
    return np.kron(smooth(r, cells), np.ones((SUPERSAMPLING, SUPERSAMPLING)))


def _stripes(u: Field, v: Field, r: Generator) -> Field:
    return (_fract(u) < r.uniform(0.35, 0.65)).astype(float)


def _checkerboard(u: Field, v: Field, r: Generator) -> Field:
    return (np.floor(u) + np.floor(v)) % 2


def _polka_dots(u: Field, v: Field, r: Generator) -> Field:
    u = u + 0.5 * (np.floor(v) % 2) if r.random() < 0.5 else u
    size = r.uniform(0.2, 0.36)
    return ((_fract(u) - 0.5) ** 2 + (_fract(v) - 0.5) ** 2 < size**2).astype(float)


def _bricks(u: Field, v: Field, r: Generator) -> Field:
    row = np.floor(v)
    column = u * 0.5 + 0.5 * (row % 2)
    joint = r.uniform(0.1, 0.2)
    tone = 0.75 + 0.25 * np.sin(12.9 * np.floor(column) + 78.2 * row)
    return tone * ((_fract(v) > joint) & (_fract(column) > joint / 2))


def _wood_grain(u: Field, v: Field, r: Generator) -> Field:
    bend = r.uniform(0.8, 1.8) * _cloud(r, 4) + 0.05 * r.random() * u * u
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (v + bend))
    return rings**1.5 * 0.8 + 0.2 * _fract(7 * v + 0.2 * _cloud(r, 9))


def _marble(u: Field, v: Field, r: Generator) -> Field:
    drift = 2.6 * _cloud(r, 4) + 1.1 * _cloud(r, 8) + 0.5 * _cloud(r, 14)
    return 1 - np.abs(np.sin(np.pi * (0.35 * u + drift))) ** r.uniform(0.25, 0.5)


def _grid(u: Field, v: Field, r: Generator) -> Field:
    thick = r.uniform(0.12, 0.25)
    return ((_fract(u) < thick) | (_fract(v) < thick)).astype(float)


def _zigzag(u: Field, v: Field, r: Generator) -> Field:
    tooth = 2 * np.abs(_fract(u * 0.5) - 0.5) * r.uniform(1.2, 2.0)
    return (_fract(v + tooth) < 0.5).astype(float)


def _scales(u: Field, v: Field, r: Generator) -> Field:
    best = np.zeros_like(u)
    for k in (1, 0):  # the upper row first: lower scales hide behind it
        row = np.floor(v * 2) + k
        across = _fract(u + 0.5 * (row % 2)) - 0.5
        distance = np.sqrt(across**2 + (v - row / 2) ** 2)
        best = np.where(distance < 0.56, np.clip(distance / 0.56, 0, 1) ** 2, best)
    return best


def _honeycomb(u: Field, v: Field, r: Generator) -> Field:
    height = np.sqrt(3.0)
    edge = np.full_like(u, 9.0)
    for shift in (0.0, 0.5):
        x, y = _fract(u + shift) - 0.5, (_fract(v / height + shift) - 0.5) * height
        far = np.maximum(np.abs(x), 0.5 * np.abs(x) + 0.5 * height * np.abs(y))
        edge = np.minimum(edge, far)
    return (edge > 0.5 - r.uniform(0.07, 0.12)).astype(float)


def _woven(u: Field, v: Field, r: Generator) -> Field:
    over = (np.floor(u) + np.floor(v)) % 2 == 0
    along = np.where(over, _fract(u), _fract(v))
    across = np.where(over, _fract(v), _fract(u))
    strand = np.abs(across - 0.5) < 0.38
    return np.where(strand, 0.35 + 0.65 * np.sin(np.pi * along) * np.where(over, 1.0, 0.7), 0.0)


def _speckle(u: Field, v: Field, r: Generator) -> Field:
    spots = np.zeros_like(u)
    for x, y, size in r.uniform([0, 0, 0.5], [SIDE, SIDE, 1.3], (int(r.integers(45, 90)), 3)):
        spots[(_U - x) ** 2 + (_V - y) ** 2 < size**2] = 1.0
    return spots


TEXTURES: dict[str, Callable[[Field, Field, Generator], Field]] = {
    "bricks": _bricks,
    "checkerboard": _checkerboard,
    "grid": _grid,
    "honeycomb": _honeycomb,
    "marble": _marble,
    "polka dots": _polka_dots,
    "scales": _scales,
    "speckle": _speckle,
    "stripes": _stripes,
    "wood grain": _wood_grain,
    "woven": _woven,
    "zigzag": _zigzag,
}


def texture(name: str, r: Generator, look: Look, far: bool) -> Picture:
    """A texture in two random colours; `far` ones are finer, fainter and unevenly lit."""
    angle, cell = r.uniform(-0.5, 0.5) * np.pi, r.uniform(4.0, 7.5) if far else r.uniform(4.5, 9.0)
    if name in ("scales", "zigzag", "bricks"):
        angle *= 0.4
    u, v = _U - SIDE / 2, _V - SIDE / 2
    if far:  # seen at a slant
        lean = 1 + r.uniform(-0.012, 0.012) * u + r.uniform(-0.012, 0.012) * v
        u, v = u / lean, v / lean
    c, s = np.cos(angle) / cell, np.sin(angle) / cell
    light = TEXTURES[name](c * u + s * v + r.uniform(0, 9), c * v - s * u + r.uniform(0, 9), r)
    a, b = any_colour(r), any_colour(r)
    for _ in range(8):
        if np.abs(a - b).sum() > (0.6 if far else 0.9):
            break
        b = any_colour(r)
    picture = a + (b - a) * light[..., None]
    if far:
        slope = r.uniform(-0.4, 0.4, 2)
        picture = (
            picture * (1 + slope[0] * (_U / SIDE - 0.5) + slope[1] * (_V / SIDE - 0.5))[..., None]
        )
        picture = picture * (0.75 + 0.5 * _cloud(r, 4)[..., None])
    image = (np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return np.asarray(Image.fromarray(image).reduce(SUPERSAMPLING)) / 255.0
