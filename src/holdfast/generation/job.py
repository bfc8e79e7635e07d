"""What is drawn: the prompt, the seed and the batch of each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.files import derive_seed
from holdfast.names import ClassNames
from holdfast.settings import DrawSettings

Place = tuple[int, int]  # an image's label and its index within the class


@dataclass(frozen=True)
class Job:
    """What is drawn.

    classes: the classes. prompts: of each class. counts: images of each class. settings: of the
    pipelines. seed: of all images.
    """

    classes: ClassNames
    prompts: Sequence[Sequence[str]]
    counts: Sequence[int]
    settings: DrawSettings
    seed: int

    def prompt(self, place: Place) -> str:
        """The prompt of the image at `place`."""
        prompts = self.prompts[place[0]]
        return prompts[place[1] % len(prompts)]

    def image_seed(self, place: Place, attempt: int) -> int:
        """The seed of one image; it does not depend on batches, order or other classes.

        place: of the image. attempt: how many flawed pictures of it were drawn before.
        """
        return derive_seed(self.seed, self.classes.ids[place[0]], place[1], attempt)

    def batches(self, turn: int, turns: int) -> list[list[Place]]:
        """The images of one generator, in batches; first images of all classes come first.

        turn: number of the generator. turns: how many generators take turns.
        The batches do not depend on which images exist already, since a picture that is drawn
        beside others can differ in its last bits.
        """
        indices = range(turn, max(self.counts), turns)
        places = [
            (label, index)
            for index in indices
            for label, count in enumerate(self.counts)
            if index < count
        ]
        size = self.settings.batch_size
        return [places[start : start + size] for start in range(0, len(places), size)]
