"""Batches of images with a teacher's answers: from pixels, or from features computed before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.data.domains import DomainBatches
from holdfast.data.views import Renderer, View, Views

Ask = Callable[[Sequence[View]], Tensor]


@dataclass
class TaughtBatch:
    """Images of one step with the teacher's answers.

    images: (batch, 3, height, width), as the student wants them, or its features (batch, width)
    where only what follows the backbone learns; teacher_images: (batch, dim), the teacher's
    embeddings of the same images, empty for a method that does not use them; teacher_text:
    (batch, dim), those of their labels; labels: (batch,), for what learns from labels themselves.
    """

    images: Tensor
    teacher_images: Tensor
    teacher_text: Tensor
    labels: Tensor | None = None


def numbered(views: Views, index: int, number: int) -> View:
    """View `number` of an image among those that are stored; the first is the image itself.

    So the teacher's accuracy on the images as they are costs no query of its own, and one view is
    enough for a teacher that knows whole images only, such as a file.
    """
    return views.view(index, number) if number else views.whole(index)


def rounds(views: Views, indices: Sequence[int], count: int) -> list[list[View]]:
    """The stored views of some images: a list of all first ones, one of the second ..."""
    return [[numbered(views, index, number) for index in indices] for number in range(count)]


class ViewBatches:
    """Drawn views, rendered for the student, with the teacher's answers: batches for `fit`.

    draws: places in the list of all images, and numbers of views; ask: the teacher's embeddings of
    views, none where they are not used; text: embeddings of the classes (classes, dim); labels: of
    all images. Draws without stored views (`views` 0) take a view of their own each.
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

    def __call__(self, start: int = 0) -> Iterator[TaughtBatch]:
        chosen = numbered if self.draws.views else Views.view
        drawn = (
            (
                (draw.indices, seen := [chosen(self.views, i, n) for i, n in pairs]),
                seen,
            )
            for draw in self.draws(start)
            for pairs in [zip(draw.indices.tolist(), draw.numbers.tolist(), strict=True)]
        )
        place = self.text.device
        for (indices, seen), images in self.renderer.batches(drawn):
            labels = self.labels[indices].to(place)
            # Asked here and not when the views are prepared ahead, which may never be used.
            answers = self.ask(seen) if self.ask else torch.empty(len(seen), 0)
            yield TaughtBatch(images.to(place), answers.to(place), self.text[labels], labels)


@dataclass
class Known:
    """What is known of the stored views of some images, so that no pixel has to be read again.

    indices: (n,), places in the list of all images; features: (views, n, width), the student's;
    answers: (views, n, dim), the teacher's, dim 0 where they are not used.
    """

    indices: Tensor
    features: Tensor
    answers: Tensor


class FeatureBatches:
    """The same draws from features and answers that are known: batches for `fit`.

    Each step only gathers rows: no pixel, no backbone and no teacher.
    """

    def __init__(
        self, draws: DomainBatches, known: Sequence[Known], text: Tensor, labels: Tensor
    ) -> None:
        self.draws, self.text, self.labels = draws, text, labels.to(text.device)
        self.features = torch.cat([part.features for part in known], dim=1)
        self.answers = torch.cat([part.answers for part in known], dim=1)
        self.rows = torch.full((len(labels),), -1)
        indices = torch.cat([part.indices for part in known])
        self.rows[indices] = torch.arange(len(indices))

    def __len__(self) -> int:
        return len(self.draws)

    def __call__(self, start: int = 0) -> Iterator[TaughtBatch]:
        for draw in self.draws(start):
            rows = self.rows[draw.indices]
            labels = self.labels[draw.indices]
            yield TaughtBatch(
                self.features[draw.numbers, rows].to(self.text.device),
                self.answers[draw.numbers, rows].to(self.text.device),
                self.text[labels],
                labels,
            )
