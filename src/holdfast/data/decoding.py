"""Pictures -> tensors: decoded pictures in memory, and random numbers of their own."""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from holdfast.data.pictures import Picture, UnreadableImage, read_image

Transform = Callable[[Image.Image], Tensor]  # RGB picture -> (channels, height, width)
CACHE_BYTES = 2**30  # decoded pictures kept in memory between epochs


class Decoder:
    """Decodes image files and keeps the pictures in memory while they fit.

    room: bytes for the pictures.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.kept: dict[Path, Image.Image] = {}

    def __call__(self, path: Path) -> Image.Image:
        """The picture of the file `path`; do not change it in place. Raises UnreadableImage."""
        if path in self.kept:
            return self.kept[path]
        image = read_image(path)
        size = 4 * image.width * image.height  # Pillow keeps RGB in four bytes a pixel
        if size <= self.room:
            self.room -= size
            self.kept[path] = image
        return image


@contextmanager
def own_randomness() -> Iterator[Callable[[int], None]]:
    """Yield a function that seeds all generators a transform may use; put their states back after.

    torch.manual_seed would also reseed the accelerator, which the training step draws from.
    """
    states = random.getstate(), np.random.get_state(), torch.default_generator.get_state()

    def seed_with(seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)

    try:
        yield seed_with
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.default_generator.set_state(states[2])


def picture_tensors(
    pictures: Iterable[Picture], transform: Transform, workers: int
) -> Iterator[Tensor | UnreadableImage]:
    """Each picture as a tensor, in order; or the error for one that cannot be read.

    pictures: files, or pictures of Pillow's; they are asked for as they are needed.
    transform: RGB picture -> (3, height, width), without anything random.
    workers: threads, at most one for each processor; 0 reads in this one. Each holds one whole
    picture at a time, so that memory does not grow with the number of pictures.
    """

    def read(picture: Picture) -> Tensor | UnreadableImage:
        try:
            return transform(read_image(picture))
        except UnreadableImage as error:
            return error

    if not workers:
        yield from map(read, pictures)
        return
    workers = min(workers, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Tensor | UnreadableImage]] = deque()
        for picture in pictures:
            if isinstance(picture, Image.Image):
                picture.load()  # not by two threads, as it may be given twice
            waiting.append(pool.submit(read, picture))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
