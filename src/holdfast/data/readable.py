"""Files that are images, and images that are whole."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from holdfast.data.folders import LabelledImages, say, subset
from holdfast.data.pictures import UnreadableImage, read_image, suffixes
from holdfast.data.walk import Walk
from holdfast.errors import HoldfastError, UsageError
from holdfast.progress import progress
from holdfast.seen import SEEN


def find_images(places: Sequence[Path]) -> list[Path]:
    """The files among `places` and the images below its folders, in order.

    Raises UsageError for a place that does not exist, HoldfastError if there is no image at all.
    """
    found: list[Path] = []
    notes: list[str] = []
    for place in places:
        if not place.exists():
            raise UsageError(f"There is no image file or folder {str(place)!r}.")
        walk = Walk(place, follow=True)
        found += walk.images(place) if place.is_dir() else [place]
        notes += walk.notes()
    if not found:
        raise HoldfastError(
            f"There are no image files ({', '.join(sorted(suffixes()))}) in "
            f"{', '.join(map(str, places)) or 'what was given'}. {' '.join(notes)}".rstrip()
        )
    for note in notes:
        say(logging.WARNING, note)
    return found


def readable(data: LabelledImages) -> LabelledImages:
    """The images of `data` that can be decoded; the others are in `unreadable`, with the reason.

    Every image is decoded once, unless it is known from an earlier start; each that cannot be is
    named in a warning.
    """
    broken = unreadable_places(data.paths)
    if not broken:
        return data
    for place in broken:
        error = UnreadableImage(data.paths[place], broken[place])
        say(logging.WARNING, f"{error} It is skipped.")
    kept = subset(data, [place for place in range(len(data)) if place not in broken])
    reasons = tuple(f"{data.paths[place]}: {reason}" for place, reason in broken.items())
    return replace(kept, unreadable=(*data.unreadable, *reasons))


def problem_of(path: Path) -> str:
    """Why the image at `path` cannot be read, "" if it can; it is decoded unless that is known."""

    def find(path: Path) -> str:
        try:
            read_image(path)
        except UnreadableImage as error:
            return error.reason
        return ""

    return SEEN.problem(path, find)


def unreadable_places(paths: Sequence[Path]) -> dict[int, str]:
    """{position: reason} of the images among `paths` that cannot be read."""
    with progress("checking images", len(paths)) as advance, ThreadPoolExecutor() as pool:
        broken = {}
        for place, problem in enumerate(pool.map(problem_of, paths)):
            if problem:
                broken[place] = problem
            advance(1)
    return broken
