"""What drawing would cost: time and disk, from two images of each generator."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.generation.images import as_stored, encode_png
from holdfast.generation.job import Job
from holdfast.names import ClassNames
from holdfast.settings import DrawSettings


@dataclass(frozen=True)
class Estimate:
    """What drawing would cost.

    images: how many. seconds_per_image, bytes_per_image: measured on two images of each generator,
    which are not kept.
    """

    images: int
    seconds_per_image: float
    bytes_per_image: float

    def __add__(self, other: Estimate) -> Estimate:
        """What both together would cost."""
        images = self.images + other.images
        seconds, size = self.seconds + other.seconds, self.bytes + other.bytes
        return Estimate(images, seconds / max(1, images), size / max(1, images))

    @property
    def seconds(self) -> float:
        return self.images * self.seconds_per_image

    @property
    def bytes(self) -> float:
        return self.images * self.bytes_per_image

    def __str__(self) -> str:
        minutes, hours = self.seconds / 60, self.seconds / 3600
        duration = f"{hours:.1f} hours" if hours >= 2 else f"{minutes:.1f} minutes"
        return (
            f"{self.images:,} images would take about {duration} "
            f"({self.seconds_per_image:.2f} s each, one at a time) and "
            f"{self.bytes / 1e6:,.1f} MB of disk ({self.bytes_per_image / 1e3:,.0f} kB each)."
        )


def estimate(
    classes: ClassNames,
    prompts: Sequence[Sequence[str]],
    counts: Sequence[int],
    generator: str,
    settings: DrawSettings,
    *,
    seed: int,
    device: str = "auto",
    example: Path | None = None,
) -> Estimate:
    """Time and disk for `generate_images`, from two images of each generator.

    classes, prompts, counts, generator, settings, seed, device: as for `generate_images`.
    example: file for the last image; without it nothing is written.
    The first image warms up and only the second is timed. Drawn one at a time, they cost a GPU
    more than in batches, so there the estimate is an upper bound. Raises as `generate_images`.
    """
    from holdfast.generation import pipeline
    from holdfast.generation.sources import find_pipelines

    job = Job(classes, prompts, counts, settings, seed)
    chosen, precision = pipeline.pick(device, settings.precision)
    seconds: list[float] = []
    sizes: list[int] = []
    for source in find_pipelines(generator):
        with pipeline.loaded(source, chosen, precision, settings.safety_checker) as pipe:
            for place in ((0, 0), (1, 0)):
                start = time.perf_counter()
                picture = pipe.draw([job.prompt(place)], [job.image_seed(place, 0)], settings)[0]
                elapsed = time.perf_counter() - start
                data = encode_png(as_stored(picture, settings.resize))
                sizes.append(len(data))
            seconds.append(elapsed)
    if example is not None:
        example.write_bytes(data)
    return Estimate(sum(counts), sum(seconds) / len(seconds), sum(sizes) / len(sizes))
