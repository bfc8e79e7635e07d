"""The pocket world: what there is to see, and how one picture of it is drawn from a seed."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from . import glyphs, textures
from .paint import (
    COLOURS,
    FIELD,
    FINE,
    SIDE,
    STUDIO,
    STYLES,
    Layer,
    any_colour,
    background,
    colour,
    finish,
    paint,
    place,
)
from .parts import Points, oval
from .things import THINGS

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# Kept apart by construction: the first word of every picture's seed.
SPACES = {"pretraining": 0, "train": 1, "val": 2, "test": 3}


def _star(points: int, inner: float) -> Points:
    angles = np.radians(np.arange(2 * points) * 180 / points - 90)
    radius = np.where(np.arange(2 * points) % 2 == 0, 0.42, inner)
    return np.stack([0.5 + radius * np.cos(angles), 0.5 + radius * np.sin(angles)], axis=1)


def _regular(corners: int, start: float) -> Points:
    angles = np.radians(start + np.arange(corners) * 360 / corners)
    return np.stack([0.5 + 0.4 * np.cos(angles), 0.5 + 0.4 * np.sin(angles)], axis=1)


def _heart() -> Points:
    t = np.linspace(0, 2 * np.pi, 32)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([0.5 + x / 42, 0.48 + y / 42], axis=1)


OUTLINES: dict[str, Points] = {
    "circle": oval("main", 0.5, 0.5, 0.38, 0.38).points,
    "cross": np.array([
        (0.36, 0.12), (0.64, 0.12), (0.64, 0.36), (0.88, 0.36), (0.88, 0.64), (0.64, 0.64),
        (0.64, 0.88), (0.36, 0.88), (0.36, 0.64), (0.12, 0.64), (0.12, 0.36), (0.36, 0.36),
    ]),
    "diamond": np.array([(0.5, 0.08), (0.78, 0.5), (0.5, 0.92), (0.22, 0.5)]),
    "heart": _heart(),
    "hexagon": _regular(6, 0),
    "oval": oval("main", 0.5, 0.5, 0.42, 0.23).points,
    "rectangle": np.array([(0.1, 0.28), (0.9, 0.28), (0.9, 0.72), (0.1, 0.72)]),
    "square": np.array([(0.18, 0.18), (0.82, 0.18), (0.82, 0.82), (0.18, 0.82)]),
    "star": _star(5, 0.18),
    "triangle": np.array([(0.5, 0.12), (0.9, 0.84), (0.1, 0.84)]),
}  # fmt: skip

CLASSES: dict[str, tuple[str, ...]] = {
    "things": tuple(THINGS),
    "textures": tuple(textures.TEXTURES),
    "letters": tuple(string.ascii_uppercase),
    "shapes": tuple(OUTLINES),
    "digits": NUMBERS,
}


@dataclass(frozen=True)
class Scene:
    """What a picture shows, for those who write its caption."""

    family: str
    name: str
    style: str  # for things one of STYLES, for digits "written" or "printed", else ""
    colour: str  # the main colour's name, or ""


def draw(
    family: str, name: str, seed: Sequence[int], *, far: bool, style: str = ""
) -> tuple[NDArray[np.uint8], Scene]:
    """Draw one picture (32, 32, 3) of class `name`; the same seed gives the same pixels.

    `far` pictures come from a wider world than pre-training saw: other backgrounds, fonts, poses
    and colours, more blur and noise.
    """
    r = np.random.default_rng(seed)
    look = FIELD if far else STUDIO
    tint = ""
    if family == "things":
        thing = THINGS[name]
        style = style or str(r.choice(STYLES))
        tint = str(r.choice(thing.colours))
        picture = paint(thing.draw(r), tint, style, r, look)
        tint = tint if style in ("photo", "cartoon") else ""
    elif family == "textures":
        picture = textures.texture(name, r, look, far)
    elif family == "letters":
        picture = glyphs.inked(glyphs.typeset(name, r, look, far), r, look)
    elif family == "shapes":
        tint = style or str(r.choice(COLOURS))
        picture, style = _shape(name, tint, r, far), ""
    elif family == "digits":
        style = style or ("written" if r.random() < 0.75 else "printed")
        figure = str(NUMBERS.index(name))
        written = style == "written"
        mask = (
            glyphs.handwritten(figure, r, look) if written else glyphs.typeset(figure, r, look, far)
        )
        picture = glyphs.inked(mask, r, look, plain=0.5)
    else:
        raise ValueError(
            f"No family {family!r} in the pocket world: choose from {', '.join(CLASSES)}."
        )
    return finish(picture, r, look), Scene(family, name, style, tint)


def _shape(name: str, tint: str, r: Generator, far: bool) -> NDArray[np.float64]:
    look = FIELD if far else STUDIO
    points = place(OUTLINES[name], r, look, mirror=False)
    ink, layer = colour(r, tint, look.jitter), Layer()
    edge = any_colour(r)
    if far and r.random() < 0.5:  # an outline only
        layer.stroke(points, ink, r.uniform(0.05, 0.1), closed=True)
    else:
        layer.fill(points, ink)
        if r.random() < 0.3:
            layer.stroke(points, edge, 0.04, closed=True)
    painted, cover = layer.settle()
    scene = background(r, str(r.choice(look.backgrounds)))
    for _ in range(6):
        if np.abs(scene.mean(axis=(0, 1)) - ink).sum() > 0.6:
            break
        scene = background(r, str(r.choice(look.backgrounds)))
    return painted + (1 - cover) * scene


__all__ = ["CLASSES", "FINE", "NUMBERS", "OUTLINES", "SIDE", "SPACES", "STYLES", "Scene", "draw"]
