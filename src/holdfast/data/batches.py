"""Labelled images -> batches whose content is a function of the step alone.

So a run that stops and goes on, or one with another number of workers, sees the same pixels.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from holdfast.data.folders import UnreadableImage, read_image
from holdfast.errors import HoldfastError
from holdfast.files import derive_seed

logger = logging.getLogger(__name__)

Transform = Callable[[Image.Image], Tensor]
CACHE_BYTES = 2**30  # decoded pictures kept in memory between epochs


class ImageDataset(Protocol):
    """Image files and an integer for each: `LabelledImages`, or images with their prompts."""

    @property
    def paths(self) -> list[Path]: ...

    @property
    def labels(self) -> list[int]: ...

    def __len__(self) -> int: ...


@dataclass
class Batch:
    """What one step learns from.

    images: (batch, 3, height, width), preprocessed, or (batch, width), features computed before,
        where only what follows the backbone learns.
    labels: (batch,), class indices; of replayed images, indices of their prompts.
    indices: (batch,), places in the data set that the images come from.
    teacher_images: (batch, dim), a teacher's embeddings of the images; none where no method asks.
    teacher_text: (batch, dim), a teacher's embeddings of the labels' texts.
    replay: a batch of replayed images, for continual learning.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    teacher_images: Tensor | None = None
    teacher_text: Tensor | None = None
    replay: Batch | None = None


@dataclass
class _Loaded:
    """One step as a worker hands it over: its batch if an image was left, and what was not read."""

    batch: Batch | None
    unreadable: list[UnreadableImage]

    def pin_memory(self) -> _Loaded:
        """Called by the loader, so that the copy to a GPU overlaps with computing."""
        if self.batch is not None:
            self.batch.images = self.batch.images.pin_memory()
        return self


class Decoder:
    """Decoded pictures by path, kept in memory while they fit into `room` bytes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.kept: dict[Path, Image.Image] = {}

    def __call__(self, path: Path) -> Image.Image:
        """The picture, not to be changed in place. Raises UnreadableImage."""
        if path in self.kept:
            return self.kept[path]
        image = read_image(path)
        size = 4 * image.width * image.height  # Pillow keeps RGB in four bytes a pixel
        if size <= self.room:
            self.room -= size
            self.kept[path] = image
        return image


class TrainingBatches(Dataset):
    """All batches of a run: `len` is its number of steps, a call yields those from a step on.

    The order of an epoch is a function of (seed, epoch), the randomness of an image's augmentation
    one of (seed, epoch, index); the last batch of an epoch may be smaller. The place of an image
    that cannot be read is taken by the next one in the epoch's order, so that no step is lost;
    `unreadable` names what was met so far. Without workers, decoded pictures stay in memory while
    they fit into `cache_bytes`.

    Raises HoldfastError when no image at all can be read.
    """

    def __init__(
        self,
        data: ImageDataset,
        transform: Transform,
        batch_size: int,
        epochs: int,
        seed: int,
        workers: int = 0,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.data, self.transform = data, transform
        self.batch_size, self.epochs, self.seed, self.workers = batch_size, epochs, seed, workers
        self.unreadable: set[Path] = set()
        # Each worker would fill a memory of its own.
        self.decode = Decoder(0 if workers else cache_bytes)

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.data) // self.batch_size)

    def __len__(self) -> int:
        return self.steps_per_epoch * self.epochs

    def __call__(self, start: int = 0) -> Iterator[Batch]:
        for loaded in _load(self, range(start, len(self)), self.workers):
            _warn(loaded.unreadable, self.unreadable)
            if loaded.batch is None:
                raise HoldfastError("None of the training images can be read; see those named.")
            yield loaded.batch

    def places(self, step: int) -> Iterator[tuple[int, int]]:
        """(epoch, place in its order) of each image of a step."""
        epoch, position = divmod(step, self.steps_per_epoch)
        first = position * self.batch_size
        for place in range(first, min(first + self.batch_size, len(self.data))):
            yield epoch, place

    def __getitem__(self, step: int) -> _Loaded:
        failed: dict[int, UnreadableImage] = {}
        indices: list[int] = []
        images: list[Tensor] = []
        with _own_randomness() as seed_with:
            for epoch, place in self.places(step):
                order = epoch_order(len(self.data), self.seed, epoch)
                for offset in range(len(order)):
                    index = order[(place + offset) % len(order)]
                    if index in failed:
                        continue
                    try:
                        picture = self.decode(self.data.paths[index])
                    except UnreadableImage as error:
                        failed[index] = error
                        continue
                    seed_with(derive_seed(self.seed, "augmentation", epoch, index))
                    images.append(self.transform(picture))
                    indices.append(index)
                    break
        return _collate(self.data, images, indices, list(failed.values()))


class FixedStepBatches(TrainingBatches):
    """Exactly `steps` batches of one size: an epoch's end is filled up from the next epoch.

    Batches are as large as the data where that is smaller.
    """

    def __init__(
        self,
        data: ImageDataset,
        transform: Transform,
        batch_size: int,
        steps: int,
        seed: int,
        workers: int = 0,
    ) -> None:
        super().__init__(data, transform, min(batch_size, len(data)), 1, seed, workers)
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def places(self, step: int) -> Iterator[tuple[int, int]]:
        """(epoch, place in its order) of each image of a step."""
        for place in range(step * self.batch_size, (step + 1) * self.batch_size):
            yield divmod(place, len(self.data))


class ContinualBatches:
    """The batches of a task, each with one of the replay set if there is one."""

    def __init__(self, task: FixedStepBatches, replay: FixedStepBatches | None) -> None:
        self.task, self.replay = task, replay

    def __len__(self) -> int:
        return len(self.task)

    def __call__(self, start: int = 0) -> Iterator[Batch]:
        if self.replay is None:
            yield from self.task(start)
        else:
            for task, replay in zip(self.task(start), self.replay(start), strict=True):
                yield replace(task, replay=replay)


class SequentialBatches(Dataset):
    """The images once, in their order."""

    def __init__(self, data: ImageDataset, transform: Transform, batch_size: int) -> None:
        self.data, self.transform, self.batch_size = data, transform, batch_size

    def __len__(self) -> int:
        return -(-len(self.data) // self.batch_size)

    def __getitem__(self, step: int) -> _Loaded:
        first = step * self.batch_size
        failed: list[UnreadableImage] = []
        indices: list[int] = []
        images: list[Tensor] = []
        for index in range(first, min(first + self.batch_size, len(self.data))):
            try:
                images.append(self.transform(read_image(self.data.paths[index])))
                indices.append(index)
            except UnreadableImage as error:
                failed.append(error)
        return _collate(self.data, images, indices, failed)


def sequential_batches(
    data: ImageDataset, transform: Transform, batch_size: int, workers: int = 0
) -> Iterator[Batch]:
    """Every image once, in order, each decoded once.

    What cannot be read is skipped and named in a warning; `indices` tells what is left.
    """
    dataset = SequentialBatches(data, transform, batch_size)
    skipped: set[Path] = set()
    for loaded in _load(dataset, range(len(dataset)), workers):
        _warn(loaded.unreadable, skipped)
        if loaded.batch is not None:
            yield loaded.batch
    if skipped:
        logger.warning("%d of %d images could not be read.", len(skipped), len(data))


@lru_cache(maxsize=4)
def epoch_order(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The permutation of `count` images in an epoch, a function of (seed, epoch)."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return tuple(torch.randperm(count, generator=generator).tolist())


def _load(
    dataset: TrainingBatches | SequentialBatches, steps: range, workers: int
) -> Iterator[_Loaded]:
    """The items `steps` of a dataset, in order; each worker prepares whole steps."""
    if not workers:
        return (dataset[step] for step in steps)
    # The items are whole batches already: batch_size=None hands them over as they are. With a
    # generator of its own the loader draws nothing from the one that training uses.
    own = torch.Generator()
    return iter(
        DataLoader(
            dataset,
            batch_size=None,
            sampler=steps,
            num_workers=min(workers, os.cpu_count() or 1),
            generator=own,
            pin_memory=torch.cuda.is_available(),
        )
    )


def _collate(
    data: ImageDataset, images: list[Tensor], indices: list[int], failed: list[UnreadableImage]
) -> _Loaded:
    if not images:
        return _Loaded(None, failed)
    labels = torch.tensor([data.labels[index] for index in indices])
    return _Loaded(Batch(torch.stack(images), labels, torch.tensor(indices)), failed)


def _warn(errors: list[UnreadableImage], known: set[Path]) -> None:
    for error in errors:
        if error.path not in known:
            known.add(error.path)
            logger.warning("%s It is skipped.", error)


@contextmanager
def _own_randomness() -> Iterator[Callable[[int], None]]:
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
