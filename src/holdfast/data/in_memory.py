"""What users have in the place of files -> single pictures: PIL images, arrays, tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from holdfast.errors import UsageError
from holdfast.settings import ImageInput


def each_picture(images: Any) -> Iterator[Any]:
    """The single images of what was given: one, or anything that yields some.

    images: a path, a PIL image, an array (height, width, channels) or a tensor (channels, height,
    width); or an iterable of those, such as a list, or an array with a dimension more.
    Raises UsageError for anything else.
    """
    if ImageInput.is_one(images):
        yield images
    elif isinstance(images, Iterable):
        yield from images
    else:
        raise UsageError(f"{images!r} is no image; give paths, PIL images, arrays or tensors.")


def as_picture(image: Any) -> Path | Image.Image:
    """One image, as `each_picture` gives it, as a path or a picture of Pillow's.

    Arrays and tensors hold bytes, or floating-point numbers from 0 to 1, with one, three or four
    channels or none. Raises UsageError for what is no image.
    """
    if isinstance(image, str | Path):
        return Path(image).expanduser()
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, Tensor):
        pixels = image.detach().cpu().numpy()
        pixels = pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels
        return Image.fromarray(as_bytes(pixels, "tensor"))
    if isinstance(image, np.ndarray):
        return Image.fromarray(as_bytes(image, "array"))
    raise UsageError(f"{image!r} is no image; give a path, a PIL image, an array or a tensor.")


def as_bytes(pixels: np.ndarray, what: str) -> np.ndarray:
    """`pixels` as bytes that Pillow knows.

    pixels: (height, width, channels), or (height, width). what: the word for it in a message.
    Raises UsageError for other shapes, types and ranges.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] in (3, 4)):
        order = "(channels, height, width)" if what == "tensor" else "(height, width, channels)"
        raise UsageError(
            f"A {what} of shape {pixels.shape} (height, width, channels) is no image; give {order} "
            "with one, three or four channels."
        )
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise UsageError(f"The pixels of the {what} are {pixels.dtype}; give uint8, or 0 to 1.")
    if not (pixels.min() >= 0 and pixels.max() <= 1):
        raise UsageError(
            f"The pixels of the {what} reach from {pixels.min():g} to {pixels.max():g}; give them "
            "before any normalisation: uint8, or floating-point numbers from 0 to 1."
        )
    return np.round(pixels * 255).astype(np.uint8)
