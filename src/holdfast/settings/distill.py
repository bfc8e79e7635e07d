"""Settings of distillation: the views that teacher and student see."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.settings.base import INFINITY, Settings


@dataclass(frozen=True)
class ViewSettings(Settings):
    """Random views of a picture, the same for teacher and student (DomainBed's augmentation).

    Args:
        size: side of a view in pixels; a crop smaller than that is not enlarged.
        crop: smallest area of a crop, as a share of the picture's.
        flip: probability of a mirror image.
        jitter: largest change of brightness, contrast and saturation, as a share.
        hue: largest turn of the hue, as a share of the colour circle.
        grayscale: probability of a view without colour.
    """

    limits = {
        "size": (8, INFINITY),
        "crop": (0.01, 1),
        "flip": (0, 1),
        "jitter": (0, 1),
        "hue": (0, 0.5),
        "grayscale": (0, 1),
    }

    size: int = 224
    crop: float = 0.7
    flip: float = 0.5
    jitter: float = 0.3
    hue: float = 0.3
    grayscale: float = 0.1
