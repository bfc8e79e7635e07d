"""Labelled images -> batches. What is in a batch depends on the seed and the step alone.

So a run that was stopped and started again sees the same pixels, and so does one with another
number of workers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from holdfast.data.decoding import CACHE_BYTES, Decoder, Transform, own_randomness
from holdfast.data.loading import alive, load
from holdfast.data.pictures import UnreadableImage, read_image
from holdfast.errors import HoldfastError
from holdfast.files import derive_seed
from holdfast.seen import SEEN

logger = logging.getLogger(__name__)


class ImageDataset(Protocol):
    """Image files with an integer each: `LabelledImages`, or images with the index of a prompt.

    paths: (n), the files. labels: (n), the integers.
    """

    @property
    def paths(self) -> list[Path]: ...

    @property
    def labels(self) -> list[int]: ...

    def __len__(self) -> int: ...


@dataclass
class Batch:
    """What one step learns from.

    images: (batch, 3, height, width), preprocessed; or (batch, width), features that were computed
        before, where the backbone does not learn.
    labels: (batch,), class indices; of replayed images, indices of their prompts.
    indices: (batch,), positions of the images in their data set.
    teacher_images: (batch, dim), a teacher's embeddings of the images; None where no method uses
        them.
    teacher_text: (batch, dim), a teacher's embeddings of the texts of the labels.
    replay: a batch of replayed images, in continual learning.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    teacher_images: Tensor | None = None
    teacher_text: Tensor | None = None
    replay: Batch | None = None


@dataclass
class _Loaded:
    """One step as a worker returns it.

    batch: None if none of its images could be read. unreadable: the images that could not.
    """

    batch: Batch | None
    unreadable: list[UnreadableImage]

    def pin_memory(self) -> _Loaded:
        """Called by the loader, so that the copy to a GPU overlaps with computing."""
        if self.batch is not None:
            self.batch.images = self.batch.images.pin_memory()
        return self


class TrainingBatches(Dataset):
    """All batches of a training: `len` is the number of steps, a call yields the batches.

    The order of an epoch depends on (seed, epoch) alone, the augmentation of an image on
    (seed, epoch, index). The last batch of an epoch may be smaller. An image that cannot be read is
    replaced by the next one in the epoch's order, so that no step is lost; `unreadable` has the
    files that could not be read so far.

    data: the images. transform: RGB picture -> (3, height, width), the augmentation.
    batch_size: images a step. epochs: passes over the data. seed: of order and augmentation.
    workers: processes that decode; 0 decodes in this process, and keeps decoded pictures in memory
    while they fit into `cache_bytes`.

    A call takes `start`, the 0-based step of the first batch. It raises HoldfastError if no image
    at all can be read.
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
        """Batches in one pass over the data."""
        return -(-len(self.data) // self.batch_size)

    def __len__(self) -> int:
        return self.steps_per_epoch * self.epochs

    def __call__(self, start: int = 0) -> Iterator[Batch]:
        for loaded in load(self, range(start, len(self)), self.workers):
            _warn(loaded.unreadable, self.unreadable)
            if loaded.batch is None:
                raise HoldfastError("None of the training images can be read; see those named.")
            yield loaded.batch

    def places(self, step: int) -> Iterator[tuple[int, int]]:
        """(epoch, position in its order) of each image of the 0-based `step`."""
        epoch, position = divmod(step, self.steps_per_epoch)
        first = position * self.batch_size
        for place in range(first, min(first + self.batch_size, len(self.data))):
            yield epoch, place

    def __getitem__(self, step: int) -> _Loaded:
        failed: dict[int, UnreadableImage] = {}
        indices: list[int] = []
        images: list[Tensor] = []
        with own_randomness() as seed_with:
            for epoch, place in self.places(step):
                order = epoch_order(len(self.data), self.seed, epoch)
                for offset in range(len(order)):
                    alive()
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
    """`steps` batches of the same size: the last batch of an epoch takes images of the next one.

    data, transform, seed, workers: as for `TrainingBatches`. batch_size: images a step; all images
    where there are fewer. steps: batches in all.
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
        """(epoch, position in its order) of each image of the 0-based `step`."""
        for place in range(step * self.batch_size, (step + 1) * self.batch_size):
            yield divmod(place, len(self.data))


class ContinualBatches:
    """The batches of a task, each with a batch of replayed images if there are any.

    task, replay: of the same number of steps; without `replay`, batches have none. A call takes
    `start`, the 0-based step of the first batch.
    """

    def __init__(self, task: TrainingBatches, replay: FixedStepBatches | None) -> None:
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
    """The images once, in their order.

    data: the images. transform: RGB picture -> (3, height, width). batch_size: images a batch.
    """

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
            alive()
            try:
                images.append(self.transform(read_image(self.data.paths[index])))
                indices.append(index)
            except UnreadableImage as error:
                failed.append(error)
        return _collate(self.data, images, indices, failed)


def sequential_batches(
    data: ImageDataset, transform: Transform, batch_size: int, workers: int = 0
) -> Iterator[Batch]:
    """Every image once, in order.

    data: the images. transform: RGB picture -> (3, height, width). batch_size: images a batch.
    workers: processes that decode; 0 decodes in this process.

    Images that cannot be read are skipped and named in a warning; `Batch.indices` has the others.
    """
    dataset = SequentialBatches(data, transform, batch_size)
    skipped: set[Path] = set()
    for loaded in load(dataset, range(len(dataset)), workers):
        _warn(loaded.unreadable, skipped)
        if loaded.batch is not None:
            yield loaded.batch
    if skipped:
        logger.warning("%d of %d images could not be read.", len(skipped), len(data))


@lru_cache(maxsize=4)
def epoch_order(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The order of `count` images in the 0-based `epoch`: depends on `seed` and `epoch` alone."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return tuple(torch.randperm(count, generator=generator).tolist())


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
            SEEN.note_problem(error.path, error.reason)
            logger.warning("%s It is skipped.", error)
