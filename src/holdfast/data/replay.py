"""What replayed images show: names that stand for pre-training, and the names of earlier tasks.

GIFT (arXiv 2503.04229) draws the name of each image uniformly from all of them. A task with few
names then gets few images; `balanced` gives every earlier task the same number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from holdfast.names import comparable

BASE = "pre-training"


@dataclass(frozen=True)
class Source:
    """Names of one origin.

    origin: `BASE` for pre-training, or the name of an earlier task.
    names: the class names. prompts: one for each name, in the same order.
    """

    origin: str
    names: tuple[str, ...]
    prompts: tuple[str, ...]


@dataclass(frozen=True)
class ReplayDraw:
    """What to generate.

    prompts: different from each other. counts: images of each prompt.
    """

    prompts: tuple[str, ...]
    counts: tuple[int, ...]


def draw_prompts(
    sources: Sequence[Source], count: int, how: Literal["uniform", "balanced"], seed: int
) -> ReplayDraw:
    """Draw prompts with replacement; the same arguments give the same prompts.

    sources: pre-training first, then the earlier tasks.
    count: images to draw for.
    how: `uniform` draws from all different prompts; `balanced` gives half of the images to
        pre-training and the other half in equal parts to the earlier tasks, uniform within each.
    seed: of the draw.
    """
    pool: dict[str, str] = {}  # prompts that differ in case or spaces only are one
    for source in sources:
        for prompt in source.prompts:
            pool.setdefault(comparable(prompt), prompt)
    random = np.random.default_rng(seed)
    if how == "uniform":
        keys = list(pool)
        drawn = [keys[i] for i in random.integers(len(keys), size=count)]
    else:
        drawn = []
        for source, share in zip(sources, shares(count, len(sources) - 1), strict=True):
            own = list(dict.fromkeys(comparable(prompt) for prompt in source.prompts))
            drawn += [own[i] for i in random.integers(len(own), size=share)]
    counted = Counter(drawn)  # in the order of their first drawing
    return ReplayDraw(tuple(pool[key] for key in counted), tuple(counted.values()))


def shares(count: int, tasks: int) -> list[int]:
    """How many of `count` images pre-training and each of `tasks` earlier tasks get, balanced."""
    if tasks == 0:
        return [count]
    half = count // 2
    return [count - half, *(half // tasks + (place < half % tasks) for place in range(tasks))]


def coverage(sources: Sequence[Source], prompts: Sequence[str]) -> list[dict[str, Any]]:
    """For each source: number of names, of names drawn, of images, and share of all images (0..1).

    sources: where the prompts come from. prompts: that of each image.
    An image whose prompt belongs to several sources counts for each of them, so the sum of the
    shares can be larger than one. It is smaller where captions belong to no source.
    """
    drawn = Counter(comparable(prompt) for prompt in prompts)
    rows = []
    for source in sources:
        own = {comparable(prompt) for prompt in source.prompts} & drawn.keys()
        images = sum(drawn[key] for key in own)
        rows.append(
            {
                "source": source.origin,
                "names": len(source.names),
                "names_drawn": len(own),
                "images": images,
                "share": images / max(1, len(prompts)),
            }
        )
    return rows


def images_of(source: Source, prompts: Sequence[str]) -> dict[int, int]:
    """{position of an image: index of its name in `source`}, for the images of that source.

    prompts: that of each image.
    """
    name = {comparable(prompt): index for index, prompt in enumerate(source.prompts)}
    keys = (comparable(prompt) for prompt in prompts)
    return {place: name[key] for place, key in enumerate(keys) if key in name}
