"""What the tasks are: names, categories for streams, domains; which drawings they consist of."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from .duplicates import Distinct, hashes, near, normalised, thumbnails
from .naming import CANONICAL
from .source import digest, icons
from .split import World
from .words import NOUNS

PER_NOUN = {"train": 8, "test": 16}
# category -> classes at most, drawings a class to train on and to test on at most, at least to test
CATEGORY_TASKS = {
    "flags": (40, 6, 6, 2), "logos": (30, 10, 10, 4), "files": (10, 12, 12, 4),
    "coins": (14, 12, 12, 4), "weather": (18, 12, 12, 4), "food": (32, 12, 12, 4),
    "faces": (24, 10, 10, 2),
}  # fmt: skip
STYLES = ("line", "solid", "duotone", "colour", "pixel", "freehand")
DOMAIN_CLASSES, PER_DOMAIN = 60, 15
# Two names of the same thing, or names that a drawing does not show.
LEFT_OUT = {
    "flags": {"flag of argentina", "flag of italy"},
    "logos": {"vector", "pi", "meta", "motion", "bitcoin", "ethereum", "home smile", "app store"},
    "files": {"gif", "doc", "file gif"},
    "coins": {"coins", "coin", "search dollar", "currency euro", "currency dollar", "dollar circle",
              "rupee", "dollar banknote", "dollar bill", "currency exchange", "coin stack"},
    "weather": {"cloud storm", "cloud bolt", "cloud with rain", "thunder", "cloud rain wind",
                "umbrella with rain drops", "leaf fluttering in wind", "fog", "snow"},
    "food": {"burger", "bowl food", "bowl rice", "hot beverage", "cocktail glass", "popsicle",
             "birthday cake", "egg fried"},
    "faces": {"face", "home smile", "robot face", "smile", "meh blank", "woman frowning",
              "man frowning", "laugh"},
}  # fmt: skip
# Flags that are not a country's: of regions, of languages.
_REGION = re.compile(r"^[a-z]{2}-\d+$|^ar$")
_NOT = (
    "piggy bank",
    "paper plane",
    "alarm clock",
    "sd card",
    "id card",
    "memory card",
    "user card",
)


@dataclass(frozen=True)
class Part:
    """The drawings of one split of a task: rows of the corpus and the class of each."""

    rows: list[int]
    labels: list[int]


def ordered(world: World, rows: np.ndarray) -> list[int]:
    """Rows in an order that has nothing to do with sets or names."""
    return sorted(
        map(int, rows),
        key=lambda i: digest("task", world.rows[i]["collection"], world.rows[i]["name"]),
    )


def pick(world: World, category: str, names: list[str], uses: tuple[str, ...], most: int) -> Part:
    """At most `most` drawings of each name, each once."""
    distinct = Distinct()
    rows: list[int] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        own = np.flatnonzero(
            np.isin(world.use, uses) & (world.category == category) & (world.group == name)
        )
        own = own[[not _REGION.match(world.rows[i]["name"]) or category != "flags" for i in own]]
        taken = [
            i
            for i in ordered(world, own)
            if distinct.new(world.pictures[i], bool(world.palette[i]))
        ][:most]
        rows += taken
        labels += [label] * len(taken)
    return Part(rows, labels)


def nouns(world: World) -> tuple[list[str], dict[str, Part]]:
    """Everyday things: drawings by development teams to learn from and to choose by; by test."""
    names, uses = list(NOUNS), {"train": "dev", "test": "test"}
    return names, {
        split: pick(world, "", names, (uses[split],), most) for split, most in PER_NOUN.items()
    }


def category_task(world: World, category: str) -> tuple[list[str], dict[str, Part]]:
    """A task of a stream: learnt from teams of pre-training and development, measured on test."""
    classes, train, test, least = CATEGORY_TASKS[category]
    of = world.category == category
    seen = Counter(world.group[of & np.isin(world.use, ("train", "dev"))].tolist())
    there = Counter(world.group[of & (world.use == "test")].tolist())
    good = [k for k in there if there[k] >= least and seen[k] >= 4 and k not in LEFT_OUT[category]]
    names = sorted(good, key=lambda k: (-min(there[k], test) - min(seen[k], train), k))[:classes]
    names.sort()
    return names, {
        "train": pick(world, category, names, ("train", "dev"), train),
        "test": pick(world, category, names, ("test",), test),
    }


def loosely_named(world: World) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Pixel and freehand drawings whose names end with a noun: (style, noun) -> (set, icon)."""
    words = {name: noun for name, noun in CANONICAL.items() if noun in NOUNS} | {
        n: n for n in NOUNS
    }
    found = defaultdict(list)
    for icon in icons():
        if icon.style not in ("pixel", "freehand") or icon.role == "train":
            continue
        parts = icon.noun.split()
        ends = [" ".join(parts[a:]) for a in range(len(parts))]
        noun = next((words[end] for end in ends if end in words), None)
        if noun and not any(end in icon.noun for end in _NOT):
            found[icon.style, noun].append((icon.collection, icon.name))
    return found


def unseen(world: World, drawn: np.ndarray) -> np.ndarray:
    """Which of some drawings (n, 32, 32, 4) are not nearly one of pre-training."""
    ink = normalised(drawn)
    rows = np.flatnonzero(world.use == "train")
    theirs = normalised(world.pictures[rows])
    return ~near((hashes(ink), thumbnails(ink)), (hashes(theirs), thumbnails(theirs)))
