"""One picture -> upright RGB: the only reader of pictures, be they files or open already."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import warnings
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from holdfast.archives import open_file
from holdfast.errors import HoldfastError

# Nothing else is tried: Pillow also reads formats that run code of their own, such as EPS.
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF", "HEIF")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
)
HEIF = (".heic", ".heif")  # where pillow-heif is installed
MAX_PIXELS = 2**26  # 256 MiB as Pillow keeps RGB; phones have up to 64 megapixels

Picture = Path | str | Image.Image


@cache
def suffixes() -> frozenset[str]:
    """The endings of files that are pictures, in lower case."""
    return frozenset((*SUFFIXES, *HEIF) if "HEIF" in formats() else SUFFIXES)


@cache
def formats() -> tuple[str, ...]:
    """Those of IMAGE_FORMATS that Pillow reads here; HEIF if the package pillow-heif is there."""
    Image.init()
    if "HEIF" not in Image.OPEN and importlib.util.find_spec("pillow_heif"):
        importlib.import_module("pillow_heif").register_heif_opener()
    return tuple(name for name in IMAGE_FORMATS if name in Image.OPEN)


class UnreadableImage(HoldfastError):  # noqa: N818 - reads better where it is caught
    """A file that is no whole image of a known format.

    path: the file. reason: what is wrong with it.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"Cannot read the image {self.path}: {self.reason}."


def read_image(source: Picture | BinaryIO) -> Image.Image:
    """A picture as upright 8-bit RGB; the same for a file and for what Pillow opened from it.

    source: a file's path, an open binary file, or a picture of Pillow's, which stays as it is.
    The rotation that a camera recorded is applied, 16 bits are scaled to 8, transparent parts
    become white, and of an animation the first frame is taken. Raises UnreadableImage for what
    cannot be read to its end or has more than MAX_PIXELS pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters in them is an error below
            if isinstance(source, Image.Image):
                return _upright_rgb(source, False)
            opened = open_file(Path(source)) if isinstance(source, Path | str) else source
            with contextlib.closing(opened), Image.open(opened, formats=formats()) as image:
                return _upright_rgb(image, True)
    except UnidentifiedImageError:
        raise UnreadableImage(_name(source), f"it is none of {', '.join(formats())}") from None
    except Exception as error:
        # A broken file makes decoders raise almost anything (struct.error, SyntaxError, ...).
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreadableImage(_name(source), reason.rstrip(".")) from None


def _upright_rgb(image: Image.Image, ours: bool) -> Image.Image:
    """ours: whether `image` may be changed in place, which saves a copy of a large picture."""
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS:,}")
    image.load()  # verify() passes files that were cut short
    # Pixels may be whole where the metadata is not.
    with contextlib.suppress(Exception):
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            if ours:
                ImageOps.exif_transpose(image, in_place=True)
            else:
                image = ImageOps.exif_transpose(image)
    return to_rgb(image)


def sendable(path: Path) -> tuple[str, bytes] | None:
    """Media type and bytes of a file that every reader sees as `read_image` does, else none.

    Such are upright RGB pictures in JPEG, PNG or WebP. path: a file that `read_image` can read;
    of its pixels none is looked at here.
    """
    with open_file(path) as opened:
        data = opened.read()
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP"))
    except UnidentifiedImageError:
        return None
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    frames = getattr(image, "n_frames", 1)
    if image.mode != "RGB" or turned or frames > 1 or image.has_transparency_data:
        return None
    return Image.MIME[str(image.format)], data


def _name(source: Picture | BinaryIO) -> Path:
    if isinstance(source, Image.Image):
        source = getattr(source, "filename", "")
    return Path(source) if isinstance(source, Path | str) and source else Path("(in memory)")


def to_rgb(image: Image.Image) -> Image.Image:
    """An `image` of any mode as 8-bit RGB: 16 bits are scaled, transparent parts become white.

    One that is RGB is returned itself. Raises ValueError for pixels whose range is unknown.
    """
    if image.mode.startswith("I"):
        # Pillow's own conversion clips at 255, which turns almost every 16-bit picture white.
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("its 32-bit pixels have no known range; save it with 8 or 16 bits")
        image = Image.fromarray((values.astype(np.uint32) // 257).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its floating-point pixels have no known range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
    return image if image.mode == "RGB" else image.convert("RGB")
