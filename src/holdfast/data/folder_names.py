"""Names of folders <-> class names: matched, or made of what data sets call their folders."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from holdfast.errors import UsageError, did_you_mean
from holdfast.names import ClassNames, comparable, folder_problem, make_id, tidy
from holdfast.prompts import imagenet_clip_names

WORDNET = re.compile(r"n\d{8}")
BEHIND_WORDNET = re.compile(r"n\d{8}[-_. ]+(?=\S)")
NUMBER = re.compile(r"\d{1,5}[-_. ]+(?=.*[^\W\d_])")
HUMPS = re.compile(r"(?:[A-Z][a-z]+)+")


def in_words(folders: Sequence[str]) -> dict[str, str]:
    """{folder: class name} for names of folders as data sets have them.

    folders: those of all classes. `n01440764` is a WordNet id, of which the name is looked up;
    `n02085620-Chihuahua` and, where all folders are numbered so, `001.Black_footed_Albatross` lose
    what comes first; where all are like `AnnualCrop`, they are parted; `_` is a space.
    Names that would be those of two folders stay different from each other.
    """
    numbered = all(NUMBER.match(folder) for folder in folders)
    humps = all(HUMPS.fullmatch(folder) for folder in folders)
    found: dict[str, str] = {}
    for folder in folders:
        name = folder
        if WORDNET.fullmatch(folder):
            name = wordnet_names().get(folder, (folder,))[0]
        elif BEHIND_WORDNET.match(folder):
            name = BEHIND_WORDNET.sub("", folder, count=1)
        elif numbered:
            name = NUMBER.sub("", folder, count=1)
        elif humps:
            name = re.sub("(?<=[a-z])(?=[A-Z])", " ", folder)
        found[folder] = tidy(name.replace("_", " ")) or folder
    for again in (1, 2):  # of a WordNet id its second name, then the folder's own beside it
        count = Counter(map(comparable, found.values()))
        for folder, name in found.items():
            if count[comparable(name)] > 1 and name != tidy(folder.replace("_", " ")):
                others = wordnet_names().get(folder, ())
                found[folder] = others[again] if again < len(others) else f"{name} ({folder})"
    return found


def from_folders(folders: Iterable[str], words: bool = True) -> ClassNames:
    """Classes from the names of `folders`, which are their ids.

    words: whether names are made as by `in_words`; if not, they are those of the folders.
    Raises UsageError if the names cannot be used.
    """
    kept = list(folders)
    table = in_words(kept) if words else {folder: tidy(folder) or folder for folder in kept}
    forms: dict[str, str] = {}
    for folder in kept:
        other = forms.setdefault(comparable(table[folder]), folder)
        if other != folder:
            raise UsageError(
                f"The folders {other!r} and {folder!r} are both the class {table[folder]!r}; merge "
                "them or rename one."
            )
    ids = (make_id(folder) if folder_problem(folder) else folder for folder in kept)
    return ClassNames(tuple(table[folder] for folder in kept), tuple(ids))


def match_folders(
    folders: Iterable[str], classes: ClassNames, mapping: Mapping[str, str] | None = None
) -> dict[str, int]:
    """{folder: label}, matched by name, never by position.

    folders: names of class folders; as they are, or in words.
    classes: the classes. mapping: {"folder": "name"} for folders that are called otherwise.
    Raises UsageError if a folder matches no class, or if two folders match the same class.
    """
    matched: dict[int, str] = {}
    unknown: list[str] = []
    kept = sorted(folders)
    words: dict[str, str] = {}
    for folder in kept:
        if mapping and folder in mapping:
            label = classes.label(mapping[folder])
        else:
            label = classes.label(folder, folder=True)
            if label is None:
                words = words or in_words(kept)
                label = classes.label(words[folder])
        if label is None:
            unknown.append(folder)
            continue
        if label in matched:
            raise UsageError(
                f"The folders {matched[label]!r} and {folder!r} are both the class "
                f"{classes.names[label]!r}; merge them or rename one."
            )
        matched[label] = folder
    if unknown:
        shown = ", ".join(
            f"{folder!r}{did_you_mean(folder, classes.names)}" for folder in unknown[:5]
        )
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise UsageError(
            f"No class is called like the folders {shown}{more}; rename them, leave them out with "
            '--classes, or add a classes.json with {"folder": "class name"} beside them.'
        )
    return {folder: label for label, folder in matched.items()}


def picked(folders: Sequence[str], names: Mapping[str, str], wanted: Sequence[str]) -> list[str]:
    """The folders of the classes that are `wanted`.

    folders: of all classes. names: the class name of each folder. wanted: names of classes or of
    folders, several in one text with commas between them if need be; with a `-` before it a class
    is left out. Without any all are taken. Raises UsageError for one that no folder has.
    """
    table: dict[str, str] = {}
    for folder in folders:
        table.setdefault(comparable(folder), folder)
        table.setdefault(comparable(names[folder]), folder)

    def known(text: str) -> list[str]:
        whole = table.get(comparable(text))
        return [text] if whole else [part.strip() for part in text.split(",") if part.strip()]

    def found(text: str) -> str:
        folder = table.get(comparable(text))
        if folder is None:
            hint = did_you_mean(text, [*names.values(), *folders])
            raise UsageError(f"--classes names {text!r}, which no folder is called{hint}.")
        return folder

    taken, left = set(), set()
    for part in (part for text in wanted for part in known(text)):
        if comparable(part) not in table and part.startswith("-"):
            left.add(found(part[1:]))
        else:
            taken.add(found(part))
    return [f for f in folders if f not in left and (f in taken or not taken)]


@cache
def wordnet_names() -> dict[str, tuple[str, ...]]:
    """{WordNet id: its names}: those of CLIP's authors for the 1,000 of ImageNet come first."""
    package = importlib.util.find_spec("timm")
    assert package is not None and package.submodule_search_locations
    # Only these two files are read: importing the package takes seconds.
    folder = Path(package.submodule_search_locations[0]) / "data" / "_info"
    found: dict[str, tuple[str, ...]] = {}
    for line in (folder / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines():
        wordnet_id, _, names = line.partition("\t")
        found[wordnet_id] = tuple(name.strip() for name in names.split(","))
    ids = (folder / "imagenet_synsets.txt").read_text(encoding="utf-8").split()
    for wordnet_id, name in zip(ids, imagenet_clip_names(), strict=True):
        found[wordnet_id] = (name, *found.get(wordnet_id, ()))
    return found
