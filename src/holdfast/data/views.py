"""Views of images: random crops and colours that can be drawn again, to the pixel.

What a view looks like is a function of the image's bytes, the view's number and a seed, so its
embedding can be stored under a key and found again by any run that wants the same view.
"""

from __future__ import annotations

import hashlib
import math
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

from holdfast.data.batches import CACHE_BYTES, Decoder, Transform
from holdfast.data.folders import read_image
from holdfast.files import sha256
from holdfast.progress import progress
from holdfast.settings import ViewSettings

T = TypeVar("T")

RATIO = 4 / 3  # the longest crop, wide or high, as torchvision's RandomResizedCrop has it
TRIES = 10  # crops it draws until one lies within the picture
ORDERS = tuple(permutations(("brightness", "contrast", "saturation", "hue")))
NUMBERS = struct.Struct(f">{2 * TRIES + 9}H")


@dataclass(frozen=True)
class ViewParameters:
    """What is done to a picture, in this order: crop, flip, jitter, grayscale; plain numbers.

    size: side of the view in pixels, at most.
    crops: candidates (area as a share of the picture's, width / height); the first that lies
        within the picture is taken, the whole picture if none does.
    left, top: place of the crop, from 0 (at the edge) to 1 (at the other edge).
    brightness, contrast, saturation: factors; hue: turn, as a share of the circle.
    order: the order of those four, an index into ORDERS.
    """

    size: int
    crops: tuple[tuple[float, float], ...]
    left: float
    top: float
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

    digest: SHA-256 of the file's bytes; parameters: none is the whole picture as it is.
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
    """The parameters of view `number` of an image, a function of the arguments alone.

    All randomness is one hash, so it is the same on every machine and in every order of images.
    """
    source = hashlib.shake_256(f"view {seed} {number} {digest}".encode()).digest(NUMBERS.size)
    draws = iter([(value + 0.5) / 65536 for value in NUMBERS.unpack(source)])  # within (0, 1)

    def between(low: float, high: float) -> float:
        return low + (high - low) * next(draws)

    # Rounded, since the last digit of a power is not the same on every machine.
    crops = tuple(
        (between(settings.crop, 1), round(RATIO ** between(-1, 1), 4)) for _ in range(TRIES)
    )
    return ViewParameters(
        size=settings.size,
        crops=crops,
        left=next(draws),
        top=next(draws),
        flip=next(draws) < settings.flip,
        brightness=between(1 - settings.jitter, 1 + settings.jitter),
        contrast=between(1 - settings.jitter, 1 + settings.jitter),
        saturation=between(1 - settings.jitter, 1 + settings.jitter),
        hue=between(-settings.hue, settings.hue),
        order=int(next(draws) * len(ORDERS)),
        grayscale=next(draws) < settings.grayscale,
    )


def render(picture: Image.Image, parameters: ViewParameters | None) -> Image.Image:
    """The view of a decoded RGB picture: (side, side) pixels, or the picture without parameters."""
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
    """(left, top, width, height) of the crop of a picture, in pixels."""
    for area, ratio in parameters.crops:
        wide = round(math.sqrt(area * width * height * ratio))
        high = round(math.sqrt(area * width * height / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left = int(parameters.left * (width - wide + 1))
            return left, int(parameters.top * (height - high + 1)), wide, high
    # torchvision falls back to the middle of a picture that is longer than RATIO.
    wide, high = min(width, round(height * RATIO)), min(height, round(width * RATIO))
    return (width - wide) // 2, (height - high) // 2, wide, high


class Views:
    """The views of a list of image files, each file hashed once.

    seed: of the views. Runs with the same one share what a teacher answered.
    """

    def __init__(self, paths: Sequence[Path], settings: ViewSettings, seed: int) -> None:
        self.paths, self.settings, self.seed = list(paths), settings, seed
        self.digests = digests(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def view(self, index: int, number: int) -> View:
        """View `number` of the image at a place in the list."""
        digest = self.digests[index]
        parameters = draw_parameters(self.settings, digest, number, self.seed)
        return View(self.paths[index], digest, parameters)

    def whole(self, index: int) -> View:
        """The image itself."""
        return View(self.paths[index], self.digests[index])

    def rounds(self, indices: Sequence[int], count: int) -> list[list[View]]:
        """Views 0 to count - 1 of some images: a list of the first views, one of the second ..."""
        return [[self.view(index, number) for index in indices] for number in range(count)]


def digests(paths: Sequence[Path]) -> list[str]:
    """SHA-256 of each file's bytes."""
    with progress("hashing images", len(paths)) as advance, ThreadPoolExecutor() as pool:
        found = []
        for digest in pool.map(sha256, paths):
            found.append(digest)
            advance(1)
        return found


class Renderer:
    """Views -> tensors of one model's own preprocessing.

    prepare: that model's preprocessing; it must draw nothing at random.
    workers: threads; with none everything happens in the calling one. Decoded pictures stay in
    memory while they fit into `cache_bytes`.
    """

    def __init__(
        self, prepare: Transform, workers: int = 0, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self.prepare, self.workers = prepare, workers
        self.decode = Decoder(cache_bytes)

    def one(self, view: View) -> Tensor:
        """(3, height, width) of one view. Raises UnreadableImage."""
        return self.prepare(render(self.decode(view.path), view.parameters))

    def batches(self, batches: Iterable[tuple[T, Sequence[View]]]) -> Iterator[tuple[T, Tensor]]:
        """For each (what belongs to it, views): the same and the views (batch, 3, height, width).

        With workers the next batch is prepared while this one is used.
        """
        if not self.workers:
            for item, views in batches:
                yield item, torch.stack([self.one(view) for view in views])
            return
        with ThreadPoolExecutor(self.workers) as pool:
            started = (
                (item, [pool.submit(self.one, view) for view in views]) for item, views in batches
            )
            waiting = deque(islice(started, 2))
            while waiting:
                item, pending = waiting.popleft()
                yield item, torch.stack([each.result() for each in pending])
                waiting.extend(islice(started, 1))
