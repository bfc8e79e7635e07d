"""Folders of several domains as in DomainBed: images, splits, and the images of each step."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from holdfast.data.folders import (
    LabelledImages,
    log_layout,
    relabel,
    say,
    scan_part,
    without_images,
)
from holdfast.data.layouts import Choice, Layout, Part, look, one_part
from holdfast.data.pictures import UnreadableImage
from holdfast.data.readable import unreadable_places
from holdfast.data.tables import find_rows
from holdfast.data.walk import Walk
from holdfast.errors import HoldfastError, UsageError
from holdfast.files import derive_seed
from holdfast.names import ClassNames, comparable

logger = logging.getLogger(__name__)

HELD_OUT_SHARE = 0.2  # of each domain, for validation: DomainBed's share


@dataclass(frozen=True)
class Domains:
    """The images of several domains, domain after domain, with one list of classes.

    names: of the domains, sorted.
    images: of all domains.
    starts: positions in `images` where each domain begins; the last one is the number of images.
    unreadable: {position: reason} of the images that cannot be decoded.
    """

    names: tuple[str, ...]
    images: LabelledImages
    starts: tuple[int, ...]
    unreadable: Mapping[int, str] = field(default_factory=dict)

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


def scan_domains(root: Path, settings: Any = None) -> Domains:
    """The images of `root/<domain>/<class>/**`; their pixels are not read.

    root: the folder; or a table with a column `domain`. settings: of a command, which say how it is
    read. A domain may also be a table of labels or a folder of archives.
    Domains are in the order of their names, the images of one in that of torchvision's ImageFolder.
    Classes are matched by name over all domains, and count in the order of their folders.

    Raises UsageError for fewer than two domains, for splits or classes in their place, and for a
    domain that lacks a class; HoldfastError for a folder without images.
    """
    choice = Choice.of(settings)
    places = _places(root, choice)
    found = sorted(places)
    parts = [_scan(root, name, places[name], choice) for name in found]
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
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )
    return Domains(tuple(found), images, tuple(accumulate((len(p) for p in parts), initial=0)))


def _places(root: Path, choice: Choice) -> dict[str, Part]:
    """Where the images of each domain are, by its name."""
    layout = look(root, choice)
    if layout.kind == "splits":
        raise UsageError(
            f"{root} holds splits ({', '.join(layout.parts)}), and no domains; a distillation "
            "holds out a fifth of each domain itself, so give a folder of domains."
        )
    if layout.kind == "domains" and layout.parts[next(iter(layout.parts))].rows is not None:
        return layout.parts
    if not root.is_dir() or layout.kind == "generated":
        raise UsageError(f"{root} has one set of images only; domains must be two or more.")
    walk = Walk(root, choice.links == "follow")
    found = walk.folders(root)
    for note in walk.notes():
        say(logging.WARNING, note)
    if len(found) < 2:
        raise UsageError(
            f"{root} has {f'only the domain {found[0]!r}' if found else 'no domains'}; its images "
            "must lie in <domain>/<class name>/ for two domains or more."
        )
    if not any(walk.folders(root / name) or find_rows(root / name) for name in found):
        raise UsageError(
            f"{root} holds classes and no domains: there are no folders in {found[0]!r} and the "
            "others; its images must lie in <domain>/<class name>/."
        )
    parts = {name: look_whole(root / name, choice) for name in found}
    return {name: replace(part, within=root) for name, part in parts.items()}


def look_whole(domain: Path, choice: Choice) -> Part:
    """The images of one `domain`; choice: how it is read.

    Raises UsageError for splits, and for domains in it.
    """
    layout = look(domain, choice)
    if layout.kind == "splits":
        raise UsageError(
            f"The domain {domain} holds splits ({', '.join(layout.parts)}) where its classes "
            "should be; a distillation holds out a fifth itself, so put class folders there."
        )
    return one_part(layout, ())[1]


def _scan(root: Path, name: str, part: Part, choice: Choice) -> LabelledImages:
    try:
        data = scan_part(part, None, choice)
    except UsageError as error:
        raise UsageError(f"In the domain {root / name}: {error}") from None
    log_layout(Layout(root / name, "table" if part.rows else "classes", {"": part}), {"": data})
    return data


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

    paths = domains.images.paths
    broken = unreadable_places(paths)
    for place, reason in broken.items():
        logger.warning("%s It is skipped.", UnreadableImage(paths[place], reason))
    checked = replace(domains, unreadable=broken)
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
