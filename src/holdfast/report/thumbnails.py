"""Image files -> small images inside the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

SIDE = 96  # pixels
TINY = 64  # an image no larger than this keeps its pixels and is shown with hard edges
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


@dataclass(frozen=True)
class Thumbnail:
    """An image as a data URI, and whether it is enlarged with hard edges."""

    uri: str
    tiny: bool


def thumbnail(path: Path) -> Thumbnail | None:
    """The image at most 96 pixels wide and high, or None if it cannot be read."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            tiny = max(image.size) <= TINY
            image.thumbnail((SIDE, SIDE))  # first, so that a large JPEG is decoded small
            small = _as_rgb(ImageOps.exif_transpose(image))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    buffer = io.BytesIO()
    if tiny:
        small.save(buffer, "PNG", optimize=True)
    else:
        small.save(buffer, "JPEG", quality=85)
    kind = "png" if tiny else "jpeg"
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return Thumbnail(f"data:image/{kind};base64,{encoded}", tiny)


def _as_rgb(image: Image.Image) -> Image.Image:
    """RGB on white; 16-bit grey is scaled, because Pillow's own conversion clips it."""
    if image.mode.startswith("I"):
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    return image.convert("RGB")
