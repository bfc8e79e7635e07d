"""Batches of images with a teacher's answers: from pixels, or from features computed before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.data.batches import Batch
from holdfast.data.domains import DomainBatches
from holdfast.data.views import Renderer, View, Views

Ask = Callable[[Sequence[View]], Tensor]
CHUNK = 128  # images at once where nothing learns


def numbered(views: Views, index: int, number: int) -> View:
    """View `number` of the stored views of the image at `index`; the first is the image itself.

    views: of all images. Since the first view is the image as it is, the teacher's accuracy costs
    no further query, and one view is enough for a teacher that knows whole images only (a file).
    """
    return views.view(index, number) if number else views.whole(index)


def rounds(views: Views, indices: Sequence[int], count: int) -> list[list[View]]:
    """The stored views of some images: a list of all first views, a list of all second views, ...

    views: of all images. indices: positions of the images. count: stored views of each image.
    """
    return [[numbered(views, index, number) for index in indices] for number in range(count)]


class ViewBatches:
    """Drawn views, rendered for the student, with the teacher's embeddings: batches for `fit`.

    draws: the images of each step; where no views are stored (`draws.views` is 0), each drawn image
        has a view that no other has.
    views: of all images. renderer: view -> tensor, as the student takes it.
    ask: views -> the teacher's embeddings (views, dim); None where they are not used.
    text: (classes, dim), the teacher's embeddings of the classes. labels: (n,), of all images.

    A call yields the batches from the 0-based step `start` on, on the device of `text`.
    """

    def __init__(
        self,
        draws: DomainBatches,
        views: Views,
        renderer: Renderer,
        ask: Ask | None,
        text: Tensor,
        labels: Tensor,
    ) -> None:
        self.draws, self.views, self.renderer = draws, views, renderer
        self.ask, self.text, self.labels = ask, text, labels

    def __len__(self) -> int:
        return len(self.draws)

    def __call__(self, start: int = 0) -> Iterator[Batch]:
        for (indices, seen), images in self.renderer.batches(self._drawn(start)):
            # Asked for here and not where views are prepared ahead, which may never be used.
            place = self.text.device
            answers = self.ask(seen).to(place) if self.ask else None
            labels = self.labels[indices].to(place)
            yield Batch(images.to(place), labels, indices, answers, self.text[labels])

    def _drawn(self, start: int) -> Iterator[tuple[tuple[Tensor, list[View]], list[View]]]:
        chosen = numbered if self.draws.views else Views.view
        for draw in self.draws(start):
            pairs = zip(draw.indices.tolist(), draw.numbers.tolist(), strict=True)
            seen = [chosen(self.views, index, number) for index, number in pairs]
            yield (draw.indices, seen), seen


@dataclass
class CachedFeatures:
    """Features and embeddings of the stored views of some images, so that no pixel is read again.

    indices: (n,), positions in the list of all images. features: (views, n, width), the student's.
    answers: (views, n, dim) in half precision, the teacher's; None where they are not used.
    """

    indices: Tensor
    features: Tensor
    answers: Tensor | None


class FeatureBatches:
    """The same draws from cached features and embeddings: batches for `fit`.

    draws: the images of each step. known: of each domain, in the order of the draws.
    text: (classes, dim), the teacher's embeddings of the classes. labels: (n,), of all images.
    A step only gathers rows; it needs no pixels, no backbone and no teacher.

    A call yields the batches from the 0-based step `start` on, on the device of `text`.
    """

    def __init__(
        self, draws: DomainBatches, known: Sequence[CachedFeatures], text: Tensor, labels: Tensor
    ) -> None:
        self.draws, self.known, self.text = draws, known, text
        self.labels = labels.to(text.device)
        self.rows = torch.full((len(labels),), -1)  # of each image in its domain's tensors
        for part in known:
            self.rows[part.indices] = torch.arange(len(part.indices))

    def __len__(self) -> int:
        return len(self.draws)

    def __call__(self, start: int = 0) -> Iterator[Batch]:
        place = self.text.device
        for draw in self.draws(start):
            rows = self.rows[draw.indices].split(self.draws.per_domain)
            numbers = draw.numbers.split(self.draws.per_domain)
            drawn = [*zip(self.known, numbers, rows, strict=True)]
            labels = self.labels[draw.indices]
            features = [part.features[number, row] for part, number, row in drawn]
            answers = [
                part.answers[number, row] for part, number, row in drawn if part.answers is not None
            ]
            yield Batch(
                torch.cat(features).to(place),
                labels,
                draw.indices,
                torch.cat(answers).to(place).float() if answers else None,
                self.text[labels],
            )


@dataclass
class TaughtImages:
    """Labelled images with their views, for one student and one teacher.

    views: of all images. labels: (n,), of all images. ask: views -> the teacher's embeddings
    (views, dim). text: (classes, dim), its embeddings of the classes, on the student's device.
    renderer: view -> tensor, as the student takes it; None where there is no student.
    """

    views: Views
    labels: Tensor
    ask: Ask
    text: Tensor
    renderer: Renderer | None

    def images(self, indices: Sequence[int], number: int = 0) -> Iterator[Batch]:
        """View `number` of the images at `indices`, in their order, CHUNK of them at a time.

        Number 0 is the image itself.
        """
        assert self.renderer is not None
        parts = [list(indices[start : start + CHUNK]) for start in range(0, len(indices), CHUNK)]
        seen = ((part, [numbered(self.views, i, number) for i in part]) for part in parts)
        for part, images in self.renderer.batches(seen):
            yield Batch(images, self.labels[part], torch.tensor(part))

    def batches(self, draws: DomainBatches, asks: bool) -> ViewBatches:
        """Batches for `fit`.

        draws: the images of each step. asks: whether with the teacher's embeddings of the views.
        """
        assert self.renderer is not None
        ask = self.ask if asks else None
        return ViewBatches(draws, self.views, self.renderer, ask, self.text, self.labels)

    def features(
        self,
        indices: Sequence[int],
        count: int,
        encode: Callable[[Iterator[Batch], int, str], Tensor],
        asks: bool,
        name: str,
    ) -> CachedFeatures:
        """The student's features of the stored views of some images, computed once.

        indices: positions of the images. count: stored views of each image.
        encode: (batches, number of images, label of the progress bar) -> features (n, width).
        asks: whether with the teacher's embeddings. name: of the images, for the label.
        """
        features, answers = [], []
        for number in range(count):  # always in the same batches, so to the bit the same
            label = f"features of {name}, view {number + 1} of {count}"
            features.append(encode(self.images(indices, number), len(indices), label))
            if asks:  # as exact as they are stored, in half the memory
                seen = [numbered(self.views, index, number) for index in indices]
                answers.append(self.ask(seen).half())
        known = torch.stack(answers) if asks else None
        return CachedFeatures(torch.tensor(indices), torch.stack(features), known)
