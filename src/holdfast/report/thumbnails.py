"""Image files -> small images inside the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image, ImageOps

from holdfast.archives import open_file
from holdfast.errors import UsageError
from holdfast.report.blocks import Thumbnail

STORED_SIDE = 192  # pixels of a side, at most
SHOWN_SIDE = 96  # pixels of the page: half of them, for displays with twice as many
TINY = 64  # an image no larger than this keeps its pixels, which are shown with hard edges
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")


def thumbnail(path: Path, alt: str = "", caption: str = "") -> Thumbnail | None:
    """The image, made small, or None if it cannot be read.

    A tiny image is enlarged by a whole number, so that all of its pixels are squares of one size.
    """
    try:
        with open_file(path) as opened, Image.open(opened, formats=PICTURE_FORMATS) as image:
            tiny = max(image.size) <= TINY
            image.thumbnail(
                (STORED_SIDE, STORED_SIDE)
            )  # first, so that a large JPEG is decoded small
            small = _as_rgb(ImageOps.exif_transpose(image))
    except (OSError, ValueError, SyntaxError, UsageError, Image.DecompressionBombError):
        return None
    buffer = io.BytesIO()
    if tiny:
        small.save(buffer, "PNG", optimize=True)
        scale = round(SHOWN_SIDE / max(small.size))
        width, height = (scale * side for side in small.size)
    else:
        small.save(buffer, "JPEG", quality=80)
        width = height = SHOWN_SIDE
    kind = "png" if tiny else "jpeg"
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return Thumbnail(f"data:image/{kind};base64,{encoded}", width, height, tiny, alt, caption)


def _as_rgb(image: Image.Image) -> Image.Image:
    """RGB on white; 16-bit grey is scaled, because Pillow's own conversion clips it."""
    if image.mode.startswith("I"):
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    return image.convert("RGB")
