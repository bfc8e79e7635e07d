"""Parts that drawn things are made of, in unit coordinates (x right, y down)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # (n, 2)


@dataclass(frozen=True)
class Part:
    """A filled polygon, or a line where `width` is above zero (in units of the picture's side)."""

    points: Points
    colour: str  # a name in paint.PAINTS, or "main": the colour this thing was drawn in
    width: float = 0.0


def poly(colour: str, *corners: tuple[float, float]) -> Part:
    """A filled polygon."""
    return Part(np.array(corners, dtype=np.float64), colour)


def box(colour: str, left: float, top: float, right: float, bottom: float) -> Part:
    """An upright rectangle."""
    return poly(colour, (left, top), (right, top), (right, bottom), (left, bottom))


def curve(cx: float, cy: float, rx: float, ry: float, start: float, stop: float) -> Points:
    """Points along an ellipse between two angles (degrees, clockwise from the right)."""
    angles = np.radians(np.linspace(start, stop, max(6, int(abs(stop - start) / 18))))
    return np.stack([cx + rx * np.cos(angles), cy + ry * np.sin(angles)], axis=1)


def oval(
    colour: str, cx: float, cy: float, rx: float, ry: float, start: float = 0, stop: float = 360
) -> Part:
    """An ellipse, or the segment of one between two angles."""
    return Part(curve(cx, cy, rx, ry, start, stop), colour)


def line(colour: str, width: float, *corners: tuple[float, float]) -> Part:
    """A line through the corners."""
    return Part(np.array(corners, dtype=np.float64), colour, width)


def arc(
    colour: str, width: float, cx: float, cy: float, rx: float, ry: float, start: float, stop: float
) -> Part:
    """A line along part of an ellipse; angles as in `oval`."""
    return Part(curve(cx, cy, rx, ry, start, stop), colour, width)


def turned(part: Part, degrees: float, cx: float, cy: float) -> Part:
    """The part turned clockwise about a point."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    centre = np.array([cx, cy])
    return Part(
        (part.points - centre) @ np.array([[c, s], [-s, c]]) + centre, part.colour, part.width
    )
