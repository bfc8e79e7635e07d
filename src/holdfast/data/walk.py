"""Walks through folders of images, and what they leave out: counted, so that it can be said."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from holdfast.data.pictures import HEIF, suffixes

# Folders that programs and devices leave behind, and beginnings of files that they do.
LEFTOVERS = {
    *("__macosx", "__pycache__", "@eadir", "#recycle", "#snapshot", "$recycle.bin"),
    *("lost+found", "system volume information", "thumbnails"),
}
LEFTOVER_FILES = ("synofile_thumb", "synophoto_thumb", "thumbs.db", "desktop.ini")


def is_leftover(name: str) -> bool:
    """Whether the `name` is of a folder or file of other programs, never data: `.git`, `@eaDir`."""
    folded = name.casefold()
    return name.startswith(".") or folded in LEFTOVERS or folded.startswith(LEFTOVER_FILES)


class Walk:
    """Lists folders and images below `root`.

    follow: whether links that lead out of `within` are followed; those that lead upward never are.
    within: `root`, or a folder around it.
    """

    def __init__(self, root: Path, follow: bool = False, within: Path | None = None) -> None:
        self.root, self.follow = root, follow
        self._real = os.path.realpath(within or root)
        self._left: Counter[str] = Counter()

    def folders(self, folder: Path) -> list[str]:
        """Names of the folders in `folder` that can be classes, splits or domains, sorted."""
        return sorted(entry.name for entry in self._entries(folder) if entry.is_dir())

    def loose(self, folder: Path) -> None:
        """Count the images that lie in `folder` itself, beside its class folders."""
        for entry in self._entries(folder, quiet=True):
            if _suffix(entry.name) in suffixes() and not entry.is_dir():
                self._left["images beside the class folders"] += 1

    def images(self, folder: Path) -> list[Path]:
        """The images below `folder` in torchvision's order: folder by folder, then by name."""
        found: list[tuple[str, list[str]]] = []
        waiting, seen = [str(folder)], set()
        while waiting:
            place = waiting.pop()
            real = os.path.realpath(place)
            if real in seen:
                continue
            seen.add(real)
            files: list[str] = []
            for entry in self._entries(Path(place)):
                if entry.is_dir():
                    waiting.append(entry.path)
                elif _suffix(entry.name) in suffixes():
                    files.append(entry.name)
                else:
                    self._left[_unread(_suffix(entry.name))] += 1
            found.append((place, sorted(files)))
        return [Path(place, name) for place, files in sorted(found) for name in files]

    def notes(self) -> list[str]:
        """What was left out so far, a sentence for each kind with its count."""
        return [f"{self.root}: {kind} left out: {n:,}." for kind, n in sorted(self._left.items())]

    def _entries(self, folder: Path, quiet: bool = False) -> Iterator[os.DirEntry[str]]:
        left: Counter[str] = Counter() if quiet else self._left
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_leftover(entry.name):
                    # Hidden files that are no images are on every disk, and nobody misses them.
                    if entry.is_dir():
                        left[f"folders {entry.name} (another program's)"] += 1
                    elif _suffix(entry.name) in suffixes():
                        left["hidden images and thumbnails"] += 1
                elif not entry.is_symlink() or self._may_follow(entry, str(folder), left):
                    yield entry

    def _may_follow(self, entry: os.DirEntry[str], folder: str, left: Counter[str]) -> bool:
        target = os.path.realpath(entry.path)
        if _within(os.path.realpath(folder), target):
            left["links that lead upward"] += 1
            return False
        if not self.follow and not _within(target, self._real):
            left["links that lead outside of it (--links follow takes them)"] += 1
            return False
        return True


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()


def _unread(suffix: str) -> str:
    """What files are that are no images here, in words."""
    why = "read where pillow-heif is installed" if suffix in HEIF else "no format that is read here"
    return f"files {suffix or 'without a suffix'} ({why})"
