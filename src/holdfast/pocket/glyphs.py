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

# A digit's ways of being written: strokes, each a list of points a smooth pen goes through.
_Stroke = tuple[tuple[float, float], ...]
DIGITS: dict[str, tuple[tuple[_Stroke, ...], ...]] = {
    "0": (
        (((0.5, 0.1), (0.28, 0.25), (0.24, 0.55), (0.36, 0.86), (0.56, 0.9), (0.74, 0.66), (0.74, 0.34),
          (0.62, 0.13), (0.48, 0.11)),),
        (((0.6, 0.13), (0.4, 0.16), (0.27, 0.5), (0.4, 0.85), (0.6, 0.85), (0.73, 0.5), (0.6, 0.15)),),
    ),
    "1": (
        (((0.32, 0.3), (0.44, 0.2), (0.52, 0.1)), ((0.52, 0.1), (0.52, 0.5), (0.52, 0.9))),
        (((0.5, 0.1), (0.5, 0.5), (0.5, 0.9)),),
        (((0.34, 0.28), (0.52, 0.1)), ((0.52, 0.1), (0.52, 0.9)), ((0.34, 0.9), (0.7, 0.9))),
    ),
    "2": (
        (((0.28, 0.3), (0.36, 0.13), (0.56, 0.1), (0.7, 0.25), (0.64, 0.47), (0.44, 0.7), (0.26, 0.88)),
         ((0.26, 0.88), (0.5, 0.88), (0.76, 0.87))),
        (((0.28, 0.24), (0.48, 0.1), (0.68, 0.22), (0.62, 0.5), (0.4, 0.8), (0.28, 0.86), (0.3, 0.74),
          (0.44, 0.74), (0.58, 0.86), (0.76, 0.84)),),
    ),
    "3": (
        (((0.28, 0.2), (0.46, 0.1), (0.66, 0.18), (0.66, 0.36), (0.46, 0.48)),
         ((0.46, 0.48), (0.68, 0.56), (0.72, 0.74), (0.54, 0.9), (0.27, 0.82))),
        (((0.28, 0.12), (0.7, 0.12)), ((0.7, 0.12), (0.46, 0.42)),
         ((0.46, 0.42), (0.68, 0.5), (0.72, 0.72), (0.54, 0.89), (0.28, 0.82))),
    ),
    "4": (
        (((0.6, 0.1), (0.26, 0.62)), ((0.26, 0.62), (0.8, 0.62)), ((0.6, 0.1), (0.6, 0.92))),
        (((0.32, 0.12), (0.28, 0.52)), ((0.28, 0.52), (0.76, 0.5)), ((0.66, 0.12), (0.62, 0.92))),
    ),
    "5": (
        (((0.72, 0.12), (0.34, 0.12)), ((0.34, 0.12), (0.31, 0.46)),
         ((0.31, 0.46), (0.52, 0.4), (0.71, 0.52), (0.7, 0.76), (0.5, 0.9), (0.27, 0.82))),
        (((0.72, 0.1), (0.36, 0.13), (0.32, 0.44), (0.56, 0.42), (0.72, 0.6), (0.62, 0.85), (0.28, 0.86)),),
    ),
    "6": (
        (((0.64, 0.1), (0.42, 0.26), (0.28, 0.56), (0.34, 0.84), (0.54, 0.91), (0.71, 0.76), (0.66, 0.56),
          (0.48, 0.5), (0.31, 0.64)),),
        (((0.52, 0.1), (0.34, 0.4), (0.28, 0.7), (0.44, 0.9), (0.66, 0.84), (0.7, 0.64), (0.52, 0.54),
          (0.3, 0.68)),),
    ),
    "7": (
        (((0.26, 0.12), (0.74, 0.12)), ((0.74, 0.12), (0.56, 0.46), (0.44, 0.9))),
        (((0.26, 0.13), (0.74, 0.12)), ((0.74, 0.12), (0.54, 0.5), (0.44, 0.9)), ((0.36, 0.5), (0.7, 0.48))),
        (((0.27, 0.24), (0.29, 0.13)), ((0.29, 0.13), (0.74, 0.13)), ((0.74, 0.13), (0.5, 0.9))),
    ),
    "8": (
        (((0.66, 0.2), (0.48, 0.1), (0.31, 0.22), (0.4, 0.42), (0.62, 0.55), (0.7, 0.76), (0.5, 0.9),
          (0.29, 0.77), (0.38, 0.54), (0.6, 0.42), (0.68, 0.24), (0.56, 0.11)),),
        (((0.5, 0.1), (0.32, 0.26), (0.5, 0.46), (0.68, 0.26), (0.5, 0.1)),
         ((0.5, 0.46), (0.28, 0.68), (0.5, 0.9), (0.72, 0.68), (0.5, 0.46))),
    ),
    "9": (
        (((0.68, 0.3), (0.56, 0.12), (0.36, 0.15), (0.29, 0.34), (0.42, 0.5), (0.62, 0.44), (0.69, 0.24)),
         ((0.69, 0.24), (0.68, 0.6), (0.6, 0.91))),
        (((0.7, 0.18), (0.48, 0.1), (0.3, 0.28), (0.44, 0.5), (0.66, 0.4), (0.7, 0.2)),
         ((0.7, 0.2), (0.72, 0.62), (0.56, 0.88), (0.32, 0.84))),
    ),
}  # fmt: skip


@cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    spec = find_spec("matplotlib")  # its folder, without the cost of importing it
    if spec is None or spec.origin is None:
        raise RuntimeError("The pocket world draws letters in matplotlib's fonts: install matplotlib.")
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
    strokes = [np.array(stroke) for stroke in ways[int(r.integers(len(ways)))]]
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
