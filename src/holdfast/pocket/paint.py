"""From parts to pixels: colours, backgrounds, five styles, and what a camera does to a picture.

A foreground is drawn by PIL four times too large and averaged down; everything else is numpy on
32 x 32 pixels. Pictures are float arrays (32, 32, 3) in 0..1 until `finish` rounds them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .parts import Part, Points

SIDE = 32
FINE = 4  # supersampling
Picture = NDArray[np.float64]  # (32, 32, 3)
Mask = NDArray[np.float64]  # (32, 32, 1)

PAINTS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (242, 133, 30),
    "yellow": (244, 208, 50),
    "green": (52, 152, 72),
    "blue": (44, 96, 204),
    "purple": (132, 62, 170),
    "pink": (240, 130, 180),
    "brown": (128, 80, 44),
    "black": (28, 28, 32),
    "white": (246, 246, 246),
    "grey": (140, 142, 148),
    "silver": (196, 200, 206),
    "slate": (88, 94, 108),
    "cream": (242, 228, 196),
    "sky": (158, 206, 238),
    "terracotta": (196, 98, 60),
}
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
STYLES = ("photo", "cartoon", "sketch", "silhouette", "neon")

_ROWS, _COLS = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1) - 0.5


@dataclass(frozen=True)
class Look:
    """How far pictures vary. Pre-training sees STUDIO only; downstream pictures are FIELD."""

    turn: float  # degrees either way
    scale: tuple[float, float]
    shift: float  # of the side
    blur: tuple[float, float]  # standard deviation in pixels
    noise: tuple[float, float]  # standard deviation, of 1
    cast: float  # white balance: how far each channel's gain may leave 1
    exposure: float  # how far gain may leave 1
    jitter: float  # of a colour's channels, of 1
    backgrounds: tuple[str, ...]


STUDIO = Look(
    turn=10, scale=(0.74, 1.0), shift=0.06, blur=(0.0, 0.5), noise=(0.0, 0.04), cast=0.06,
    exposure=0.12, jitter=0.06, backgrounds=("plain", "gradient", "horizon", "spotlight"),
)  # fmt: skip
FIELD = Look(
    turn=15, scale=(0.66, 1.0), shift=0.08, blur=(0.2, 0.55), noise=(0.02, 0.06), cast=0.12,
    exposure=0.2, jitter=0.08, backgrounds=("bokeh", "shelf", "cloth", "cloudy", "gradient"),
)  # fmt: skip


def colour(r: Generator, name: str, jitter: float) -> NDArray[np.float64]:
    """A named colour as this picture has it: (3,) in 0..1."""
    return np.clip(np.array(PAINTS[name]) / 255 + r.normal(0, jitter, 3), 0, 1)


def any_colour(r: Generator, low: float = 0.0, high: float = 1.0) -> NDArray[np.float64]:
    """A colour with no name: (3,)."""
    return r.uniform(low, high, 3)


def smooth(r: Generator, cells: int) -> NDArray[np.float64]:
    """Cloudy noise (32, 32) in 0..1: `cells` x `cells` random values, enlarged."""
    grid = Image.fromarray(r.integers(0, 256, (cells, cells), dtype=np.uint8))
    return np.asarray(grid.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) / 255.0


def blurred(picture: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Gaussian blur of (32, 32, channels), edges repeated."""
    if sigma < 0.15:
        return picture
    reach = max(1, int(np.ceil(2.5 * sigma)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    index = np.clip(np.arange(SIDE)[:, None] + np.arange(-reach, reach + 1), 0, SIDE - 1)
    matrix = np.zeros((SIDE, SIDE))
    np.add.at(matrix, (np.arange(SIDE)[:, None], index), kernel)
    rows = (matrix @ picture.reshape(SIDE, -1)).reshape(picture.shape)
    columns: NDArray[np.float64] = np.matmul(matrix, rows)
    return columns


def background(r: Generator, kind: str, low: float = 0.15, high: float = 0.95) -> Picture:
    """(32, 32, 3) without the thing. The kinds are what `Look.backgrounds` lists."""
    a, b = any_colour(r, low, high), any_colour(r, low, high)
    if kind == "plain":
        return np.broadcast_to(a, (SIDE, SIDE, 3)).copy()
    angle = r.uniform(0, 2 * np.pi)
    slope = _COLS * np.cos(angle) + _ROWS * np.sin(angle) + 0.5
    if kind == "gradient":
        t = np.clip(slope, 0, 1)
    elif kind == "horizon":
        t = 1 / (1 + np.exp(-60 * (_ROWS - r.uniform(0.0, 0.35))))
    elif kind == "spotlight":
        t = np.clip(
            2.2 * ((_COLS - r.uniform(-0.2, 0.2)) ** 2 + (_ROWS - r.uniform(-0.3, 0.1)) ** 2), 0, 1
        )
    elif kind == "bokeh":
        t = np.zeros((SIDE, SIDE))
        for x, y, size, light in r.uniform([-0.5, -0.5, 0.06, 0.2], [0.5, 0.5, 0.2, 0.8], (9, 4)):
            t = np.maximum(t, light * ((_COLS - x) ** 2 + (_ROWS - y) ** 2 < size**2))
    elif kind == "shelf":
        t = 0.5 + 0.5 * np.sign(np.sin(r.uniform(9, 16) * _COLS + r.uniform(0, 6)))
        t = np.where(r.uniform(0.2, 0.4) < _ROWS, 0.15 + 0.2 * slope, 0.5 * t)
    elif kind == "cloth":
        wave = r.uniform(14, 26)
        t = 0.5 + 0.28 * np.sin(wave * slope) + 0.12 * np.sin(2.3 * wave * (_COLS - _ROWS))
    else:  # cloudy
        t = smooth(r, int(r.integers(4, 8)))
    return a + (b - a) * t[..., None]


def place(points: Points, r: Generator, look: Look, mirror: bool) -> Points:
    """Turn, scale, mirror and shift unit points as one picture's camera sees them."""
    angle = np.radians(r.uniform(-look.turn, look.turn))
    size, squeeze = r.uniform(*look.scale), r.uniform(0.9, 1.1)
    shift = r.uniform(-look.shift, look.shift, 2)
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.array([[c, s], [-s, c]]) * size * np.array([[squeeze], [1 / squeeze]])
    if mirror and r.random() < 0.5:
        matrix[:, 0] *= -1
    moved: Points = (points - 0.5) @ matrix + 0.5 + shift
    return moved


def placed(parts: list[Part], r: Generator, look: Look, mirror: bool = True) -> list[Part]:
    """Parts as one picture's camera sees them."""
    lengths = np.cumsum([len(p.points) for p in parts])[:-1]
    moved = np.split(place(np.concatenate([p.points for p in parts]), r, look, mirror), lengths)
    return [Part(points, p.colour, p.width) for points, p in zip(moved, parts, strict=True)]


class Layer:
    """A transparent drawing, four times too large."""

    def __init__(self) -> None:
        self.image = Image.new("RGBA", (SIDE * FINE, SIDE * FINE))
        self.pen = ImageDraw.Draw(self.image)

    def fill(self, points: Points, rgb: NDArray[np.float64]) -> None:
        self.pen.polygon(self._pixels(points), fill=_ink(rgb))

    def stroke(self, points: Points, rgb: NDArray[np.float64], width: float, closed: bool) -> None:
        pixels = self._pixels(points)
        thick = max(1, round(width * SIDE * FINE))
        self.pen.line(pixels + pixels[:2] if closed else pixels, _ink(rgb), thick, joint="curve")

    def _pixels(self, points: Points) -> list[float]:
        flat: list[float] = (points * (SIDE * FINE)).ravel().tolist()
        return flat

    def settle(self) -> tuple[Picture, Mask]:
        """Colour times cover (32, 32, 3), and cover (32, 32, 1)."""
        small = np.asarray(self.image.reduce(FINE)) / 255.0
        return small[..., :3], small[..., 3:]


def _ink(rgb: NDArray[np.float64]) -> tuple[int, int, int, int]:
    red, green, blue = (np.clip(rgb, 0, 1) * 255).astype(int).tolist()
    return red, green, blue, 255


def paint(parts: list[Part], main: str, style: str, r: Generator, look: Look) -> Picture:
    """Paint parts in a style: (32, 32, 3) in 0..1, before `finish`."""
    parts = placed(parts, r, look)
    painter = {
        "photo": _photo,
        "cartoon": _cartoon,
        "sketch": _sketch,
        "silhouette": _silhouette,
        "neon": _neon,
    }[style]
    return painter(parts, main, r, look)


def _photo(parts: list[Part], main: str, r: Generator, look: Look) -> Picture:
    layer, inks = Layer(), _inks(parts, main, r, look.jitter)
    light = r.uniform(-0.035, 0.035), r.uniform(-0.05, -0.01)
    for part in parts:
        ink = inks[part.colour]
        if part.width:
            layer.stroke(part.points, ink * 0.8, part.width, closed=False)
            continue
        centre = part.points.mean(axis=0)
        for shrink, gain in ((1.0, 0.68), (0.84, 0.92), (0.5, 1.12)):  # darker towards the rim
            lit = centre + (part.points - centre) * shrink + np.array(light) * (1 - shrink) * 2
            layer.fill(lit, ink * gain)
    colour_, cover = layer.settle()
    scene = background(r, str(r.choice(look.backgrounds)))
    shade = blurred(np.roll(cover, (2, 2), (0, 1)), 1.2)
    scene = scene * (1 - 0.45 * shade * (1 - cover))
    surface = 1 + r.uniform(0.1, 0.3) * (smooth(r, 12)[..., None] - 0.5)
    return colour_ * surface + (1 - cover) * scene


def _cartoon(parts: list[Part], main: str, r: Generator, look: Look) -> Picture:
    layer, inks = Layer(), _inks(parts, main, r, look.jitter * 0.7)
    outline, dark = r.uniform(0.03, 0.05), np.full(3, r.uniform(0, 0.12))
    for part in parts:
        ink = np.clip(inks[part.colour] * 1.15, 0, 1)
        if part.width:
            layer.stroke(part.points, dark, part.width + outline, closed=False)
            layer.stroke(part.points, ink, part.width * 0.7, closed=False)
        else:
            layer.fill(part.points, ink)
            layer.stroke(part.points, dark, outline, closed=True)
    colour_, cover = layer.settle()
    return colour_ + (1 - cover) * any_colour(r, 0.55, 1.0)


def _sketch(parts: list[Part], main: str, r: Generator, look: Look) -> Picture:
    layer, paper, lead = (
        Layer(),
        np.full(3, r.uniform(0.82, 0.98)),
        np.full(3, r.uniform(0.15, 0.4)),
    )
    thin = r.uniform(0.015, 0.03)
    for part in parts:
        for stroke in range(2):
            points = part.points + r.normal(0, 0.006, part.points.shape)
            if part.width:
                layer.stroke(points, lead, max(thin, part.width * 0.4), closed=False)
                continue
            if stroke == 0:
                layer.fill(points, paper)  # hides what lies behind, as a careful hand would
            layer.stroke(points, lead, thin, closed=True)
    colour_, cover = layer.settle()
    grain = 0.05 * (r.random((SIDE, SIDE, 1)) - 0.5)
    return colour_ + (1 - cover) * paper * np.array([1, 0.99, 0.95]) + grain


def _silhouette(parts: list[Part], main: str, r: Generator, look: Look) -> Picture:
    layer, light = Layer(), r.random() < 0.2
    ink = any_colour(r, 0.85, 1.0) if light else any_colour(r, 0.0, 0.2)
    for part in parts:
        if part.width:
            layer.stroke(part.points, ink, part.width, closed=False)
        else:
            layer.fill(part.points, ink)
    colour_, cover = layer.settle()
    kind = "gradient" if r.random() < 0.5 else "plain"
    scene = background(r, kind, 0.1, 0.4) if light else background(r, kind, 0.6, 1.0)
    return colour_ + (1 - cover) * scene


def _neon(parts: list[Part], main: str, r: Generator, look: Look) -> Picture:
    layer, inks = Layer(), _inks(parts, main, r, look.jitter)
    night = any_colour(r, 0.0, 0.14)
    tube, other = r.uniform(0.03, 0.045), any_colour(r, 0.0, 1.0)
    for part in parts:
        glow = inks[part.colour] if part.colour == "main" else np.maximum(inks[part.colour], other)
        glow = np.clip(0.25 + 1.1 * glow / max(glow.max(), 0.3), 0, 1)
        layer.stroke(part.points, glow, max(tube, part.width * 0.35), closed=not part.width)
    colour_, cover = layer.settle()
    halo = blurred(colour_, r.uniform(1.3, 2.2))
    return np.maximum(colour_ + (1 - cover) * night, night + 1.1 * halo)


def _inks(
    parts: list[Part], main: str, r: Generator, jitter: float
) -> dict[str, NDArray[np.float64]]:
    """One colour for each name used, so that all "main" parts of a picture agree."""
    names = dict.fromkeys(part.colour for part in parts)
    return {name: colour(r, main if name == "main" else name, jitter) for name in names}


def finish(picture: Picture, r: Generator, look: Look) -> NDArray[np.uint8]:
    """The camera: exposure, white balance, blur and noise; then 8 bits (32, 32, 3)."""
    gain = 1 + r.uniform(-look.exposure, look.exposure) + r.uniform(-look.cast, look.cast, 3)
    seen = blurred(np.clip(picture, 0, 1) * gain, r.uniform(*look.blur))
    seen = seen + r.normal(0, r.uniform(*look.noise), (SIDE, SIDE, 3))
    return (np.clip(seen, 0, 1) * 255 + 0.5).astype(np.uint8)
