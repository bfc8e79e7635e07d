"""Letters and digits: set in the fonts that matplotlib ships, or drawn with a pen."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .paint import FINE, SIDE, Look, Mask, Picture, any_colour, background, blurred, place

STUDIO_FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Bold",
    "DejaVuSerif", "DejaVuSerif-Bold", "cmr10", "cmss10",
)  # fmt: skip
FIELD_FONTS = (  # never seen in any training
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta", "cmtt10", "cmb10",
    "cmmi10", "DejaVuSerif-BoldItalic", "DejaVuSansMono-BoldOblique",
)  # fmt: skip

# A digit's ways of being written: strokes, each the points (in percent) a smooth pen goes through.
DIGITS: dict[str, tuple[tuple[str, ...], ...]] = {
    "0": (
        ("50,10 28,25 24,55 36,86 56,90 74,66 74,34 62,13 48,11",),
        ("60,13 40,16 27,50 40,85 60,85 73,50 60,15",),
    ),
    "1": (
        (
            "32,30 44,20 52,10",
            "52,10 52,50 52,90",
        ),
        ("50,10 50,50 50,90",),
        (
            "34,28 52,10",
            "52,10 52,90",
            "34,90 70,90",
        ),
    ),
    "2": (
        (
            "28,30 36,13 56,10 70,25 64,47 44,70 26,88",
            "26,88 50,88 76,87",
        ),
        ("28,24 48,10 68,22 62,50 40,80 28,86 30,74 44,74 58,86 76,84",),
    ),
    "3": (
        (
            "28,20 46,10 66,18 66,36 46,48",
            "46,48 68,56 72,74 54,90 27,82",
        ),
        (
            "28,12 70,12",
            "70,12 46,42",
            "46,42 68,50 72,72 54,89 28,82",
        ),
    ),
    "4": (
        (
            "60,10 26,62",
            "26,62 80,62",
            "60,10 60,92",
        ),
        (
            "32,12 28,52",
            "28,52 76,50",
            "66,12 62,92",
        ),
    ),
    "5": (
        (
            "72,12 34,12",
            "34,12 31,46",
            "31,46 52,40 71,52 70,76 50,90 27,82",
        ),
        ("72,10 36,13 32,44 56,42 72,60 62,85 28,86",),
    ),
    "6": (
        ("64,10 42,26 28,56 34,84 54,91 71,76 66,56 48,50 31,64",),
        ("52,10 34,40 28,70 44,90 66,84 70,64 52,54 30,68",),
    ),
    "7": (
        (
            "26,12 74,12",
            "74,12 56,46 44,90",
        ),
        (
            "26,13 74,12",
            "74,12 54,50 44,90",
            "36,50 70,48",
        ),
        (
            "27,24 29,13",
            "29,13 74,13",
            "74,13 50,90",
        ),
    ),
    "8": (
        ("66,20 48,10 31,22 40,42 62,55 70,76 50,90 29,77 38,54 60,42 68,24 56,11",),
        (
            "50,10 32,26 50,46 68,26 50,10",
            "50,46 28,68 50,90 72,68 50,46",
        ),
    ),
    "9": (
        (
            "68,30 56,12 36,15 29,34 42,50 62,44 69,24",
            "69,24 68,60 60,91",
        ),
        (
            "70,18 48,10 30,28 44,50 66,40 70,20",
            "70,20 72,62 56,88 32,84",
        ),
    ),
}


@cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font that matplotlib ships, by its file's name."""
    spec = find_spec("matplotlib")  # its folder, without the cost of importing it
    if spec is None or spec.origin is None:
        raise RuntimeError(
            "The pocket world draws letters in matplotlib's fonts: install matplotlib."
        )
    fonts = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(str(fonts / f"{name}.ttf"), size)


def typeset(character: str, r: Generator, look: Look, far: bool) -> Mask:
    """How much of each pixel a printed character covers: (32, 32, 1)."""
    side = SIDE * FINE
    name = str(r.choice(FIELD_FONTS if far else STUDIO_FONTS))
    face = font(name, round(side * float(r.choice([0.7, 0.8, 0.9, 1.0])) * look.scale[1]))
    left, top, right, bottom = face.getbbox(character)
    image = Image.new("L", (side, side))
    dx, dy = r.uniform(-look.shift, look.shift, 2) * side
    corner = ((side - left - right) / 2 + dx, (side - top - bottom) / 2 + dy)
    ImageDraw.Draw(image).text(corner, character, 255, font=face)
    image = image.rotate(r.uniform(-look.turn, look.turn), Image.Resampling.BILINEAR)
    return np.asarray(image.reduce(FINE))[..., None] / 255.0


def _points(stroke: str) -> NDArray[np.float64]:
    return np.array([[float(n) / 100 for n in pair.split(",")] for pair in stroke.split()])


def _spline(points: NDArray[np.float64], fine: int = 8) -> NDArray[np.float64]:
    """A Catmull-Rom curve through the points: (n, 2) -> ((n - 1) * fine + 1, 2)."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    before, start, stop, after = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = np.linspace(0, 1, fine, endpoint=False)[:, None, None]
    curve = 0.5 * (
        2 * start
        + (stop - before) * t
        + (2 * before - 5 * start + 4 * stop - after) * t**2
        + (3 * start - before - 3 * stop + after) * t**3
    )
    return np.concatenate([curve.transpose(1, 0, 2).reshape(-1, 2), points[-1:]])


def handwritten(character: str, r: Generator, look: Look) -> Mask:
    """How much of each pixel a digit written with a pen covers: (32, 32, 1)."""
    ways = DIGITS[character]
    strokes = [_points(stroke) for stroke in ways[int(r.integers(len(ways)))]]
    slant, width, wobble = r.normal(0, 0.14), r.uniform(0.75, 1.25), r.uniform(0.01, 0.035)
    lengths = np.cumsum([len(s) for s in strokes])[:-1]
    points = np.concatenate(strokes)
    # Points shared by two strokes must wobble together: one displacement per distinct place.
    _, same = np.unique(points.round(3), axis=0, return_inverse=True)
    points = points + r.normal(0, wobble, (len(points), 2))[same.ravel()]
    points[:, 0] = (points[:, 0] - 0.5 - slant * (points[:, 1] - 0.5)) * width + 0.5
    points = place(points, r, look, mirror=False)
    thick = r.uniform(0.06, 0.15) * SIDE * FINE
    image = Image.new("L", (SIDE * FINE, SIDE * FINE))
    pen = ImageDraw.Draw(image)
    for stroke in np.split(points, lengths):
        path = _spline(stroke) * SIDE * FINE
        pen.line(path.ravel().tolist(), 255, round(thick), joint="curve")
        for x, y in (path[0], path[-1]):
            pen.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), 255)
    return np.asarray(image.reduce(FINE))[..., None] / 255.0


def inked(mask: Mask, r: Generator, look: Look, plain: float = 0.3) -> Picture:
    """A mask in one colour on a background it stands out from; sometimes just black and white."""
    if r.random() < plain:
        paper, ink = np.full(3, r.uniform(0.8, 1.0)), np.full(3, r.uniform(0, 0.25))
        if r.random() < 0.5:
            paper, ink = ink, paper
        return paper + (ink - paper) * mask
    scene = background(r, str(r.choice(look.backgrounds)))
    ground = scene.mean(axis=(0, 1))
    ink = any_colour(r)
    for _ in range(12):
        if np.abs(ink - ground).sum() > 0.9:
            break
        ink = any_colour(r)
    if r.random() < 0.25:  # a drop shadow
        scene = scene * (1 - 0.5 * blurred(np.roll(mask, (1, 1), (0, 1)), 0.8))
    return scene + (ink - scene) * mask
