"""Views of images: random crops and colours that can be drawn again, to the pixel.

A view depends on the bytes of the image, the number of the view and a seed alone. So its embedding
can be stored under a key, and every run that needs the same view finds it there. A view is
finished: models change its size, with their own interpolation, and normalise it; they cut nothing.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, permutations
from pathlib import Path
from typing import TypeVar

import torch
import torchvision.transforms.v2.functional as F
from PIL import Image
from torch import Tensor

from holdfast.data.decoding import CACHE_BYTES, Decoder, Transform
from holdfast.data.pictures import read_image
from holdfast.progress import progress
from holdfast.seen import SEEN
from holdfast.settings import ViewSettings

T = TypeVar("T")

SHAPE = 4 / 3  # of the widest and the highest crop, as torchvision's RandomResizedCrop has it
TRIES = 10  # crops it draws until one lies within the picture
ORDERS = tuple(permutations(("brightness", "contrast", "saturation", "hue")))


@dataclass(frozen=True, slots=True)
class ViewParameters:
    """What is done to a picture, in this order: crop, flip, change of colours, grayscale.

    size: largest side of the view, in pixels.
    area: smallest area of the crop, as a share of the picture's.
    place: seed of the rest of the crop, which depends on the picture's shape (see `crop_box`).
    flip: whether it is mirrored.
    brightness, contrast, saturation: factors. hue: turn, as a share of the circle.
    order: of those four changes, an index into ORDERS.
    grayscale: whether the colours are removed.
    """

    size: int
    area: float
    place: int
    flip: bool
    brightness: float
    contrast: float
    saturation: float
    hue: float
    order: int
    grayscale: bool


@dataclass(frozen=True)
class View:
    """One view of an image file.

    path: the file. digest: SHA-256 of its bytes. parameters: None is the whole picture as it is.
    """

    path: Path
    digest: str
    parameters: ViewParameters | None = None

    def image(self) -> Image.Image:
        """The RGB picture, the same pixels at every call. Raises UnreadableImage."""
        return render(read_image(self.path), self.parameters)

    @cached_property
    def key(self) -> str:
        """SHA-256 of what decides on the pixels: the file's bytes and the parameters."""
        # A dataclass's text holds every field, and a float's all of its digits.
        return hashlib.sha256(f"{self.digest} {self.parameters!r}".encode()).hexdigest()


def draw_parameters(settings: ViewSettings, digest: str, number: int, seed: int) -> ViewParameters:
    """The parameters of a view; they depend on the arguments alone.

    settings: limits of the random changes. digest: SHA-256 of the image file. number: of the view.
    seed: of all views.
    All random numbers come from one hash, so they are the same on every machine.
    """
    place, *draws = _uniform(f"view {seed} {number} {digest}", 8)
    flip, brightness, contrast, saturation, hue, order, grayscale = draws
    low, width = 1 - settings.jitter, 2 * settings.jitter
    return ViewParameters(
        size=settings.size,
        area=settings.crop,
        place=int(place * 2**32),
        flip=flip < settings.flip,
        brightness=low + width * brightness,
        contrast=low + width * contrast,
        saturation=low + width * saturation,
        hue=settings.hue * (2 * hue - 1),
        order=int(order * len(ORDERS)),
        grayscale=grayscale < settings.grayscale,
    )


def _uniform(source: str, count: int) -> list[float]:
    """Numbers within (0, 1), a function of the text `source`."""
    bits = hashlib.shake_256(source.encode()).digest(4 * count)
    return [(value + 0.5) / 2**32 for value in struct.unpack(f">{count}I", bits)]


def render(picture: Image.Image, parameters: ViewParameters | None) -> Image.Image:
    """The view of a decoded RGB `picture`: a square of at most `parameters.size` pixels a side.

    parameters: None gives the picture itself.
    """
    if parameters is None:
        return picture
    left, top, width, height = crop_box(picture.width, picture.height, parameters)
    # Enlarging is left to the models' own preprocessing: it would only blur the picture twice.
    side = min(parameters.size, max(width, height))
    view = F.resized_crop(picture, top, left, height, width, [side, side])
    if parameters.flip:
        view = F.horizontal_flip(view)
    for change in ORDERS[parameters.order]:
        if change != "hue" or parameters.hue:  # a turn by nothing would still round the colours
            view = getattr(F, f"adjust_{change}")(view, getattr(parameters, change))
    return F.to_grayscale(view, 3) if parameters.grayscale else view


def crop_box(width: int, height: int, parameters: ViewParameters) -> tuple[int, int, int, int]:
    """(left, top, width, height) of the crop of a picture, in pixels.

    width, height: of the picture, in pixels. parameters: `area` and `place` of them are used.
    As torchvision's RandomResizedCrop: of crops with a uniform area and a log-uniform shape the
    first that lies within the picture, at a uniform place.
    """
    left, top, *draws = _uniform(f"crop {parameters.place}", 2 + 2 * TRIES)
    for first, second in zip(draws[::2], draws[1::2], strict=True):
        area = width * height * (parameters.area + (1 - parameters.area) * first)
        shape = SHAPE ** (2 * second - 1)
        wide, high = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < wide <= width and 0 < high <= height:
            return int(left * (width - wide + 1)), int(top * (height - high + 1)), wide, high
    # It falls back to the middle of a picture that is longer than SHAPE.
    wide, high = min(width, round(height * SHAPE)), min(height, round(width * SHAPE))
    return (width - wide) // 2, (height - high) // 2, wide, high


class Views:
    """The views of a list of image files; each file is hashed once.

    paths: the files. settings: limits of the random changes. seed: of all views; runs with the same
    one share the stored answers of a teacher.
    """

    def __init__(self, paths: Sequence[Path], settings: ViewSettings, seed: int) -> None:
        self.paths, self.settings, self.seed = list(paths), settings, seed
        self.digests = digests(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def view(self, index: int, number: int) -> View:
        """View `number` of the image at the position `index`."""
        digest = self.digests[index]
        parameters = draw_parameters(self.settings, digest, number, self.seed)
        return View(self.paths[index], digest, parameters)

    def whole(self, index: int) -> View:
        """The whole image at the position `index`, as it is."""
        return View(self.paths[index], self.digests[index])


def digest_of(path: Path) -> str:
    """SHA-256 of the bytes of the file `path`; "" if it cannot be opened, and so has no view."""
    try:
        return SEEN.digest(path)
    except OSError:
        return ""


def digests(paths: Sequence[Path]) -> list[str]:
    """SHA-256 of the bytes of each file of `paths`."""
    with progress("hashing images", len(paths)) as advance, ThreadPoolExecutor() as pool:
        found = []
        for digest in pool.map(digest_of, paths):
            found.append(digest)
            advance(1)
        return found


class Renderer:
    """Views -> tensors, by the preprocessing of one model.

    prepare: RGB picture -> (3, height, width): size, interpolation and normalisation alone.
    workers: threads, at most one for each processor; 0 renders in the calling thread.
        cache_bytes: memory for decoded pictures.
    """

    def __init__(
        self, prepare: Transform, workers: int = 0, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self.prepare, self.workers = prepare, workers
        self.decode = Decoder(cache_bytes)

    def one(self, view: View) -> Tensor:
        """One `view` as a tensor (3, height, width). Raises UnreadableImage."""
        return self.prepare(render(self.decode(view.path), view.parameters))

    def batches(self, batches: Iterable[tuple[T, Sequence[View]]]) -> Iterator[tuple[T, Tensor]]:
        """For each (item, views) of `batches`: (item, images (batch, 3, height, width)).

        With workers the next batch is rendered while this one is used. Raises UnreadableImage.
        """
        if not self.workers:
            for item, views in batches:
                yield item, torch.stack([self.one(view) for view in views])
            return
        with ThreadPoolExecutor(min(self.workers, os.cpu_count() or 1)) as pool:
            started = (
                (item, [pool.submit(self.one, view) for view in views]) for item, views in batches
            )
            waiting = deque(islice(started, 2))
            while waiting:
                item, pending = waiting.popleft()
                yield item, torch.stack([each.result() for each in pending])
                waiting.extend(islice(started, 1))
