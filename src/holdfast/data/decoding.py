"""One image file -> one tensor: decoded pictures in memory, and random numbers of their own."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from holdfast.data.folders import read_image

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
