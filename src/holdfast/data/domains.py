"""Folders of several domains as in DomainBed: images, splits, and the images of each step."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from holdfast.data.folders import LabelledImages, relabel, scan, without_images
from holdfast.data.pictures import UnreadableImage, read_image
from holdfast.errors import HoldfastError, UsageError
from holdfast.files import derive_seed
from holdfast.names import ClassNames, comparable, is_ignored
from holdfast.progress import progress

logger = logging.getLogger(__name__)

HELD_OUT_SHARE = 0.2  # of each domain, for validation: DomainBed's share


@dataclass(frozen=True)
class Domains:
    """The images of several domains, domain after domain, with one list of classes.

    names: of the domains, sorted.
    images: of all domains.
    starts: positions in `images` where each domain begins; the last one is the number of images.
    unreadable: positions of the images that cannot be decoded.
    """

    names: tuple[str, ...]
    images: LabelledImages
    starts: tuple[int, ...]
    unreadable: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.names)

    def indices(self, domain: int) -> list[int]:
        """Positions in `images` of the readable images of the `domain` of that number."""
        return self._readable(range(*self.starts[domain : domain + 2]))

    def split(self, domain: int, trial_seed: int) -> tuple[list[int], list[int]]:
        """Positions in `images` of the (held-out, training) images of a domain.

        domain: its number. trial_seed: DomainBed's seed of the split.
        The split is DomainBed's. Unreadable images are left out after it, so that all others stay
        in their part.
        """
        start, end = self.starts[domain : domain + 2]
        held_out, training = domain_split(domain, end - start, trial_seed)
        return (
            self._readable(start + place for place in held_out),
            self._readable(start + place for place in training),
        )

    def _readable(self, indices: Iterable[int]) -> list[int]:
        return [index for index in indices if index not in self.unreadable]


def scan_domains(root: Path) -> Domains:
    """The images of `root/<domain>/<class>/**`; their pixels are not read.

    Domains are in the order of their names, the images of one in that of torchvision's ImageFolder.
    Classes are matched by name over all domains, and count in the order of their folders.

    Raises UsageError for fewer than two domains and for a domain that lacks a class, HoldfastError
    for a folder without images.
    """
    if not root.is_dir():
        raise UsageError(f"The folder of domains {str(root)!r} does not exist.")
    found = sorted(e.name for e in root.iterdir() if e.is_dir() and not is_ignored(e.name))
    if len(found) < 2:
        raise UsageError(
            f"{root} has {f'only the domain {found[0]!r}' if found else 'no domains'}; its images "
            "must lie in <domain>/<class name>/ for two domains or more."
        )
    parts = [_scan(root / name) for name in found]
    classes = _union(part.classes for part in parts)
    parts = [relabel(part, classes) for part in parts]
    for name, part in zip(found, parts, strict=True):
        if missing := without_images(part):
            what = f"the class {missing[0]!r}"
            if len(missing) > 1:
                more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
                what = f"the classes {', '.join(map(repr, missing[:5]))}{more}"
            raise UsageError(
                f"The domain {name!r} of {root} lacks {what}, which another domain has; add "
                "images there or remove it everywhere."
            )
    images = LabelledImages(
        [path for part in parts for path in part.paths],
        [label for part in parts for label in part.labels],
        classes,
        root,
    )
    return Domains(tuple(found), images, tuple(accumulate((len(p) for p in parts), initial=0)))


def _scan(domain: Path) -> LabelledImages:
    try:
        return scan(domain)
    except UsageError as error:
        raise UsageError(f"In the domain {domain}: {error}") from None


def _union(all_classes: Iterable[ClassNames]) -> ClassNames:
    """All classes, each spelt as the first that has it, in the order of their folders."""
    union: dict[str, tuple[str, str]] = {}
    for classes in all_classes:
        for class_id, name in zip(classes.ids, classes.names, strict=True):
            union.setdefault(comparable(name), (class_id, name))
    ids, names = zip(*sorted(union.values()), strict=True)
    return ClassNames(names, ids)


def domain_split(domain: int, count: int, trial_seed: int) -> tuple[list[int], list[int]]:
    """(held-out, training) positions of a domain's images: DomainBed's own split.

    domain: its number. count: of its images. trial_seed: DomainBed's seed of the split.
    """
    digest = hashlib.md5(str((trial_seed, domain)).encode(), usedforsecurity=False)
    places = list(range(count))
    np.random.RandomState(int(digest.hexdigest(), 16) % 2**31).shuffle(places)
    held_out = int(count * HELD_OUT_SHARE)
    return places[:held_out], places[held_out:]


def find_unreadable(domains: Domains) -> Domains:
    """The same `domains` with `unreadable` filled in: every image is decoded once.

    Each unreadable image is named in a warning. Raises HoldfastError for a domain in which no image
    can be read.
    """

    def problem(path: Path) -> UnreadableImage | None:
        try:
            read_image(path)
        except UnreadableImage as error:
            return error
        return None

    broken: set[int] = set()
    paths = domains.images.paths
    with progress("checking images", len(paths)) as advance, ThreadPoolExecutor() as pool:
        for place, error in enumerate(pool.map(problem, paths)):
            if error is not None:
                broken.add(place)
                logger.warning("%s It is skipped.", error)
            advance(1)
    checked = replace(domains, unreadable=frozenset(broken))
    for domain, name in enumerate(domains.names):
        if not checked.indices(domain):
            raise HoldfastError(
                f"No image of the domain {name!r} of {domains.images.root} can be read; see those "
                "named."
            )
    return checked


def evenly(indices: Sequence[int], count: int) -> list[int]:
    """Choose at most `count` of the `indices`, evenly spaced, and so over domains and classes.

    indices: (n,), positions in the list of all images.
    """
    count = min(count, len(indices))
    return [indices[i * len(indices) // count] for i in range(count)]


@dataclass(frozen=True)
class Draw:
    """The images of one step.

    indices: (batch,), positions in the list of all images. numbers: (batch,), of their views.
    """

    indices: Tensor
    numbers: Tensor


class DomainBatches:
    """Which images each step takes: some of each training domain, drawn with replacement.

    groups: of each training domain, the positions of its images.
    per_domain: images of each domain a step.
    steps: how many there are.
    views: stored views of an image, one of which is drawn; with 0 each drawn image has a view that
        no other has.
    seed: a draw depends on it and on the step alone.

    A call yields the draws from the 0-based step `start` on.
    """

    def __init__(
        self, groups: Sequence[Sequence[int]], per_domain: int, steps: int, views: int, seed: int
    ) -> None:
        self.groups = [torch.tensor(group) for group in groups]
        self.per_domain, self.steps, self.views, self.seed = per_domain, steps, views, seed

    def __len__(self) -> int:
        return self.steps

    def __call__(self, start: int = 0) -> Iterator[Draw]:
        return (self.draw(step) for step in range(start, self.steps))

    def draw(self, step: int) -> Draw:
        """The images of the 0-based `step`, domain after domain."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "draw", step))
        shape = (self.per_domain,)
        indices = torch.cat(
            [group[torch.randint(len(group), shape, generator=generator)] for group in self.groups]
        )
        if self.views:
            return Draw(indices, torch.randint(self.views, indices.shape, generator=generator))
        return Draw(indices, torch.arange(len(indices)) + step * len(indices))
