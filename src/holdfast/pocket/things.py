"""Twenty-four drawn things, each a list of parts.

A part says what is there, not how it looks: `holdfast.pocket.paint` paints the same parts as a
photo, a cartoon, a sketch, a silhouette or a neon sign. Every call draws new proportions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from .parts import Part, arc, box, curve, line, oval, poly, turned


@dataclass(frozen=True)
class Thing:
    """How a thing is drawn, and in which colours."""

    draw: Callable[[Generator], list[Part]]
    colours: tuple[str, ...]  # what "main" may be


def _house(r: Generator) -> list[Part]:
    w, eaves, top = r.uniform(0.26, 0.36), r.uniform(0.42, 0.52), r.uniform(0.12, 0.24)
    roof = str(r.choice(["red", "brown", "slate"]))
    door = r.uniform(0.36, 0.64)
    parts = [
        box("main", 0.5 - w, eaves, 0.5 + w, 0.9),
        poly(roof, (0.44 - w, eaves), (0.5, top), (0.56 + w, eaves)),
        box("brown", door - 0.07, 0.66, door + 0.07, 0.9),
        box("sky", 0.52 - w + 0.03, eaves + 0.08, 0.52 - w + 0.15, eaves + 0.2),
        box("sky", 0.48 + w - 0.15, eaves + 0.08, 0.48 + w - 0.03, eaves + 0.2),
    ]
    if r.random() < 0.5:
        parts.insert(0, box("slate", 0.5 + w * 0.45, top, 0.5 + w * 0.75, eaves))
    return parts


def _tree(r: Generator) -> list[Part]:
    w = r.uniform(0.04, 0.08)
    trunk = box("brown", 0.5 - w, 0.55, 0.5 + w, 0.94)
    if r.random() < 0.4:  # a fir
        half = r.uniform(0.22, 0.32)
        tiers = [(0.72, half), (0.52, half * 0.8), (0.34, half * 0.6)]
        return [trunk] + [
            poly("main", (0.5 - h, y), (0.5, y - 0.28), (0.5 + h, y)) for y, h in tiers
        ]
    size = r.uniform(0.17, 0.23)
    crowns = [(0.34, 0.44), (0.66, 0.44), (0.5, 0.28), (0.5, 0.46)]
    return [trunk] + [oval("main", x + r.uniform(-0.03, 0.03), y, size, size) for x, y in crowns]


def _car(r: Generator) -> list[Part]:
    roof, wheel = r.uniform(0.3, 0.4), r.uniform(0.085, 0.12)
    front, back = r.uniform(0.22, 0.32), r.uniform(0.68, 0.8)
    return [
        poly("main", (front, 0.54), (front + 0.1, roof), (back - 0.1, roof), (back, 0.54)),
        poly(
            "sky",
            (front + 0.06, 0.53),
            (front + 0.12, roof + 0.04),
            (0.49, roof + 0.04),
            (0.49, 0.53),
        ),
        poly(
            "sky",
            (0.53, 0.53),
            (0.53, roof + 0.04),
            (back - 0.12, roof + 0.04),
            (back - 0.06, 0.53),
        ),
        poly(
            "main",
            (0.06, 0.56),
            (0.12, 0.52),
            (0.9, 0.52),
            (0.95, 0.58),
            (0.95, 0.72),
            (0.06, 0.72),
        ),
        oval("black", 0.26, 0.73, wheel, wheel),
        oval("black", 0.74, 0.73, wheel, wheel),
        oval("silver", 0.26, 0.73, wheel * 0.45, wheel * 0.45),
        oval("silver", 0.74, 0.73, wheel * 0.45, wheel * 0.45),
    ]


def _boat(r: Generator) -> list[Part]:
    deck, mast, top = r.uniform(0.62, 0.7), r.uniform(0.42, 0.55), r.uniform(0.08, 0.2)
    hull = poly("main", (0.08, deck), (0.92, deck), (0.78, 0.88), (0.24, 0.88))
    sail = str(r.choice(["white", "cream", "red", "yellow"]))
    return [
        line("brown", 0.035, (mast, deck), (mast, top)),
        poly(sail, (mast + 0.04, top), (mast + 0.04, deck - 0.05), (0.86, deck - 0.05)),
        poly("white", (mast - 0.04, top + 0.1), (mast - 0.04, deck - 0.05), (0.16, deck - 0.05)),
        hull,
    ]


def _fish(r: Generator) -> list[Part]:
    h, tail = r.uniform(0.16, 0.25), r.uniform(0.12, 0.2)
    return [
        poly("main", (0.66, 0.5), (0.93, 0.5 - tail), (0.87, 0.5), (0.93, 0.5 + tail)),
        poly("orange", (0.36, 0.52 - h), (0.5, 0.42 - h), (0.58, 0.55 - h)),
        oval("main", 0.42, 0.5, 0.33, h),
        poly("orange", (0.42, 0.54), (0.56, 0.5), (0.55, 0.62)),
        arc("slate", 0.02, 0.2, 0.5, 0.08, h * 0.8, -60, 60),
        oval("white", 0.22, 0.46, 0.055, 0.055),
        oval("black", 0.21, 0.46, 0.028, 0.028),
    ]


def _bird(r: Generator) -> list[Part]:
    h, beak = r.uniform(0.16, 0.22), r.uniform(0.09, 0.15)
    return [
        line("brown", 0.025, (0.46, 0.7), (0.44, 0.9)),
        line("brown", 0.025, (0.56, 0.7), (0.56, 0.9)),
        poly("main", (0.68, 0.5), (0.97, 0.42 + r.uniform(0, 0.12)), (0.92, 0.62), (0.66, 0.66)),
        oval("main", 0.52, 0.57, 0.26, h),
        poly("orange", (0.2, 0.3), (0.19 - beak, 0.36), (0.2, 0.4)),
        oval("main", 0.31, 0.35, 0.13, 0.13),
        turned(oval("slate", 0.58, 0.55, 0.17, 0.09), r.uniform(-15, 25), 0.58, 0.55),
        oval("black", 0.27, 0.32, 0.026, 0.026),
    ]


def _cat(r: Generator) -> list[Part]:
    w, ear = r.uniform(0.28, 0.34), r.uniform(0.12, 0.22)
    parts = [
        poly("main", (0.5 - w, 0.5), (0.54 - w, 0.32 - ear), (0.47, 0.34)),
        poly("main", (0.5 + w, 0.5), (0.46 + w, 0.32 - ear), (0.53, 0.34)),
        oval("main", 0.5, 0.57, w, 0.29),
        oval("green", 0.38, 0.5, 0.06, 0.07),
        oval("green", 0.62, 0.5, 0.06, 0.07),
        oval("black", 0.38, 0.5, 0.022, 0.06),
        oval("black", 0.62, 0.5, 0.022, 0.06),
        poly("pink", (0.45, 0.63), (0.55, 0.63), (0.5, 0.69)),
    ]
    for side in (-1, 1):
        for tilt in (-0.04, 0.05):
            parts.append(
                line("white", 0.015, (0.5 + side * 0.1, 0.69), (0.5 + side * 0.42, 0.67 + tilt))
            )
    return parts


def _flower(r: Generator) -> list[Part]:
    petals, reach = int(r.integers(5, 8)), r.uniform(0.15, 0.19)
    parts = [
        line("green", 0.05, (0.5, 0.4), (0.5, 0.95)),
        turned(oval("green", 0.62, 0.76, 0.13, 0.05), -30, 0.62, 0.76),
    ]
    for k in range(petals):
        petal = oval("main", 0.5 + reach, 0.36, 0.12, 0.085)
        parts.append(turned(petal, 360 * k / petals + 10, 0.5, 0.36))
    return [*parts, oval("yellow" if r.random() < 0.6 else "brown", 0.5, 0.36, 0.085, 0.085)]


def _sun(r: Generator) -> list[Part]:
    radius, rays = r.uniform(0.19, 0.25), int(r.integers(8, 13))
    parts = []
    for k in range(rays):
        ray = poly("main", (0.53 + radius, 0.44), (0.94, 0.5), (0.53 + radius, 0.56))
        parts.append(turned(ray, 360 * k / rays, 0.5, 0.5))
    return [*parts, oval("main", 0.5, 0.5, radius, radius)]


def _moon(r: Generator) -> list[Part]:
    radius, bite = 0.37, r.uniform(0.14, 0.26)
    outer = curve(0.52, 0.5, radius, radius, 60, 300)
    inner = curve(0.52 + bite, 0.5, radius - bite * 0.55, outer[0, 1] - 0.5, 270, 90)
    parts = [Part(np.concatenate([outer, inner]), "main")]
    if r.random() < 0.5:
        parts.append(oval("cream", 0.28, 0.45, 0.04, 0.04))
    return parts


def _cup(r: Generator) -> list[Part]:
    top, w, taper = r.uniform(0.28, 0.4), r.uniform(0.22, 0.28), r.uniform(0.02, 0.09)
    x = 0.43
    return [
        arc("main", 0.06, x + w, 0.55, 0.17, 0.14, -90, 90),
        poly("main", (x - w, top), (x + w, top), (x + w - taper, 0.84), (x - w + taper, 0.84)),
        oval("main", x, 0.84, w - taper, 0.05),
        oval("cream", x, top, w, 0.065),
        oval("brown", x, top + 0.01, w * 0.82, 0.042),
    ]


def _umbrella(r: Generator) -> list[Part]:
    h, rim = r.uniform(0.32, 0.42), 0.5
    hook = arc("brown", 0.04, 0.44, 0.85, 0.06, 0.07, 0, 180)
    parts = [
        line("brown", 0.04, (0.5, 0.1), (0.5, 0.86)),
        hook,
        oval("main", 0.5, rim, 0.42, h, 180, 360),
    ]
    second = str(r.choice(["main", "white", "yellow"]))
    parts.append(Part(curve(0.5, rim, 0.15, h, 180, 360), second))
    return parts


def _key(r: Generator) -> list[Part]:
    radius, thick = r.uniform(0.13, 0.18), r.uniform(0.05, 0.075)
    parts = [
        arc("main", thick + 0.02, 0.25, 0.5, radius, radius, 0, 360),
        line("main", thick, (0.25 + radius, 0.5), (0.93, 0.5)),
    ]
    for x in (0.72, 0.82, 0.91)[: int(r.integers(2, 4))]:
        parts.append(line("main", thick, (x, 0.5), (x, 0.5 + r.uniform(0.12, 0.2))))
    return parts


def _bottle(r: Generator) -> list[Part]:
    w, neck, shoulder = r.uniform(0.13, 0.19), r.uniform(0.05, 0.075), r.uniform(0.34, 0.46)
    return [
        poly(
            "main", (0.5 - neck, 0.14), (0.5 + neck, 0.14), (0.5 + neck, shoulder - 0.08),
            (0.5 + w, shoulder + 0.06), (0.5 + w, 0.93), (0.5 - w, 0.93),
            (0.5 - w, shoulder + 0.06), (0.5 - neck, shoulder - 0.08),
        ),
        box("brown", 0.48 - neck, 0.06, 0.52 + neck, 0.14),
        box(str(r.choice(["cream", "white", "yellow"])), 0.5 - w, 0.58, 0.5 + w, 0.78),
    ]  # fmt: skip


def _chair(r: Generator) -> list[Part]:
    seat, top, leg = r.uniform(0.52, 0.6), r.uniform(0.08, 0.18), r.uniform(0.05, 0.07)
    return [
        line("brown", leg, (0.3, seat), (0.27, 0.94)),
        line("brown", leg, (0.7, seat), (0.75, 0.94)),
        line("brown", leg * 0.8, (0.4, seat), (0.4, 0.86)),
        line("brown", leg * 0.8, (0.62, seat), (0.62, 0.86)),
        line("main", leg, (0.3, seat), (0.25, top)),
        poly("main", (0.23, top), (0.33, top + 0.02), (0.36, seat - 0.12), (0.27, seat - 0.1)),
        poly(
            "main",
            (0.26, seat - 0.04),
            (0.72, seat - 0.04),
            (0.76, seat + 0.05),
            (0.28, seat + 0.05),
        ),
    ]


def _lamp(r: Generator) -> list[Part]:
    narrow, wide, rim = r.uniform(0.1, 0.17), r.uniform(0.26, 0.34), r.uniform(0.42, 0.5)
    return [
        line("slate", 0.05, (0.5, rim), (0.5, 0.86)),
        oval("slate", 0.5, 0.9, 0.2, 0.05),
        oval("yellow", 0.5, rim, 0.09, 0.09),
        poly(
            "main", (0.5 - narrow, 0.12), (0.5 + narrow, 0.12), (0.5 + wide, rim), (0.5 - wide, rim)
        ),
    ]


def _mushroom(r: Generator) -> list[Part]:
    w, h, rim = r.uniform(0.3, 0.4), r.uniform(0.3, 0.42), r.uniform(0.5, 0.58)
    parts = [
        poly("cream", (0.41, rim - 0.03), (0.59, rim - 0.03), (0.63, 0.92), (0.37, 0.92)),
        oval("main", 0.5, rim, w, h, 180, 360),
    ]
    for x, y in ((0.36, 0.12), (0.52, 0.24), (0.66, 0.11)):
        parts.append(oval("white", x, rim - y, 0.055, 0.045))
    return parts


def _apple(r: Generator) -> list[Part]:
    w, h = r.uniform(0.19, 0.23), r.uniform(0.27, 0.32)
    return [
        line("brown", 0.04, (0.5, 0.36), (0.54, 0.12)),
        turned(oval("green", 0.66, 0.2, 0.12, 0.05), -25, 0.66, 0.2),
        oval("main", 0.39, 0.58, w, h),
        oval("main", 0.61, 0.58, w, h),
        oval("white", 0.33, 0.48, 0.035, 0.06),
    ]


def _butterfly(r: Generator) -> list[Part]:
    up, low = r.uniform(0.17, 0.21), r.uniform(0.12, 0.16)
    spot = str(r.choice(["yellow", "white", "orange"]))
    parts = []
    for side in (-1, 1):
        x = 0.5 + side * 0.23
        parts += [
            turned(oval("main", x, 0.36, 0.21, up), side * -25, x, 0.36),
            turned(
                oval("main", 0.5 + side * 0.18, 0.67, 0.16, low), side * 30, 0.5 + side * 0.18, 0.67
            ),
            oval(spot, x + side * 0.03, 0.35, 0.07, 0.06),
            line("black", 0.02, (0.5, 0.32), (0.5 + side * 0.1, 0.12)),
        ]
    return [*parts, oval("black", 0.5, 0.52, 0.04, 0.25)]


def _rocket(r: Generator) -> list[Part]:
    w, fin = r.uniform(0.11, 0.15), r.uniform(0.12, 0.18)
    red = str(r.choice(["red", "orange", "blue"]))
    return [
        poly("orange", (0.5 - w * 0.8, 0.76), (0.5, 0.98), (0.5 + w * 0.8, 0.76)),
        poly(red, (0.5 - w, 0.52), (0.5 - w - fin, 0.82), (0.5 - w, 0.76)),
        poly(red, (0.5 + w, 0.52), (0.5 + w + fin, 0.82), (0.5 + w, 0.76)),
        poly("main", (0.5 - w, 0.3), (0.5 + w, 0.3), (0.5 + w, 0.78), (0.5 - w, 0.78)),
        poly(
            red,
            (0.5 - w, 0.31),
            (0.5 - w * 0.5, 0.15),
            (0.5, 0.05),
            (0.5 + w * 0.5, 0.15),
            (0.5 + w, 0.31),
        ),
        oval("sky", 0.5, 0.44, 0.065, 0.065),
    ]


def _snowman(r: Generator) -> list[Part]:
    low, mid, top = r.uniform(0.21, 0.26), r.uniform(0.15, 0.18), r.uniform(0.11, 0.13)
    y_mid = 0.93 - 2 * low - mid * 0.7
    y_top = y_mid - mid - top * 0.7
    return [
        line("brown", 0.025, (0.5 - mid, y_mid), (0.17, y_mid - 0.12)),
        line("brown", 0.025, (0.5 + mid, y_mid), (0.83, y_mid - 0.12)),
        oval("white", 0.5, 0.93 - low, low, low),
        oval("white", 0.5, y_mid, mid, mid),
        oval("white", 0.5, y_top, top, top),
        poly("orange", (0.5, y_top), (0.5, y_top + 0.05), (0.36, y_top + 0.04)),
        oval("black", 0.46, y_top - 0.03, 0.018, 0.018),
        oval("black", 0.55, y_top - 0.03, 0.018, 0.018),
        box("main", 0.5 - mid * 0.8, y_mid - mid - 0.01, 0.5 + mid * 0.8, y_mid - mid + 0.06),
        box("black", 0.5 - top, y_top - top - 0.02, 0.5 + top, y_top - top + 0.02),
        box("black", 0.5 - top * 0.6, y_top - top - 0.13, 0.5 + top * 0.6, y_top - top),
    ]


def _clock(r: Generator) -> list[Part]:
    radius = r.uniform(0.36, 0.42)
    hour, minute = r.uniform(0, 360, 2)
    parts = [
        oval("main", 0.5, 0.5, radius, radius),
        oval("cream", 0.5, 0.5, radius - 0.07, radius - 0.07),
    ]
    for k in range(12 if r.random() < 0.5 else 4):
        tick = line("black", 0.02, (0.5 + radius - 0.13, 0.5), (0.5 + radius - 0.09, 0.5))
        parts.append(turned(tick, 30 * k if len(parts) > 5 else 90 * k, 0.5, 0.5))
    parts.append(turned(line("black", 0.045, (0.5, 0.5), (0.66, 0.5)), hour, 0.5, 0.5))
    parts.append(turned(line("black", 0.03, (0.5, 0.5), (0.75, 0.5)), minute, 0.5, 0.5))
    return parts


def _book(r: Generator) -> list[Part]:
    top, lift = r.uniform(0.24, 0.32), r.uniform(0.05, 0.12)
    low = r.uniform(0.72, 0.8)
    parts = [
        poly(
            "main", (0.05, top), (0.5, top + lift), (0.95, top), (0.95, low + 0.04),
            (0.5, low + lift + 0.05), (0.05, low + 0.04),
        ),
        poly("cream", (0.1, top - 0.03), (0.5, top + lift), (0.5, low + lift), (0.1, low)),
        poly("white", (0.9, top - 0.03), (0.5, top + lift), (0.5, low + lift), (0.9, low)),
    ]  # fmt: skip
    for y in (0.12, 0.22, 0.32):
        parts.append(line("slate", 0.018, (0.16, top + y), (0.44, top + y + lift * 0.7)))
        parts.append(line("slate", 0.018, (0.84, top + y), (0.56, top + y + lift * 0.7)))
    return parts


def _cactus(r: Generator) -> list[Part]:
    thick, left, right = r.uniform(0.15, 0.2), r.uniform(0.42, 0.56), r.uniform(0.36, 0.5)
    arm = thick * 0.62
    return [
        line("main", arm, (0.5, left + 0.12), (0.25, left + 0.12), (0.25, left - 0.1)),
        line("main", arm, (0.5, right + 0.14), (0.75, right + 0.14), (0.75, right - 0.12)),
        line("main", thick, (0.5, 0.78), (0.5, 0.18)),
        oval("main", 0.5, 0.18, thick / 2, thick / 2),
        oval("main", 0.25, left - 0.1, arm / 2, arm / 2),
        oval("main", 0.75, right - 0.12, arm / 2, arm / 2),
        poly("terracotta", (0.3, 0.74), (0.7, 0.74), (0.64, 0.95), (0.36, 0.95)),
    ]


_BRIGHT = ("red", "blue", "green", "yellow", "orange", "purple", "pink")

THINGS: dict[str, Thing] = {
    "apple": Thing(_apple, ("red", "green", "yellow")),
    "bird": Thing(_bird, ("blue", "red", "brown", "yellow")),
    "boat": Thing(_boat, ("brown", "blue", "red", "green")),
    "book": Thing(_book, ("red", "blue", "brown", "green")),
    "bottle": Thing(_bottle, ("green", "brown", "blue")),
    "butterfly": Thing(_butterfly, ("orange", "blue", "purple", "pink")),
    "cactus": Thing(_cactus, ("green",)),
    "car": Thing(_car, _BRIGHT),
    "cat": Thing(_cat, ("orange", "grey", "brown")),
    "chair": Thing(_chair, ("brown", "red", "blue")),
    "clock": Thing(_clock, ("red", "brown", "blue", "grey")),
    "cup": Thing(_cup, _BRIGHT),
    "fish": Thing(_fish, ("blue", "orange", "red", "green", "purple")),
    "flower": Thing(_flower, ("red", "pink", "purple", "blue", "orange")),
    "house": Thing(_house, ("cream", "yellow", "pink", "grey")),
    "key": Thing(_key, ("yellow", "grey", "brown")),
    "lamp": Thing(_lamp, ("red", "green", "orange", "pink")),
    "moon": Thing(_moon, ("yellow", "cream", "grey")),
    "mushroom": Thing(_mushroom, ("red", "brown", "orange")),
    "rocket": Thing(_rocket, ("white", "grey", "cream")),
    "snowman": Thing(_snowman, ("red", "blue", "green")),
    "sun": Thing(_sun, ("yellow", "orange")),
    "tree": Thing(_tree, ("green", "orange")),
    "umbrella": Thing(_umbrella, _BRIGHT),
}
