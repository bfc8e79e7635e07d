"""Images inside of tar files, as WebDataset packs them: read where they lie, never unpacked.

An image in an archive has a path as if the archive were a folder: `shards/0001.tar/000123.jpg`.
"""

from __future__ import annotations

import io
import os
import tarfile
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from holdfast.errors import UsageError

ARCHIVE = ".tar"
COMPRESSED = (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip")


def members(archive: Path) -> dict[str, tuple[int, int]]:
    """{name: (first byte, bytes)} of the files in a tar file, in its order.

    archive: the file; it is read once for as long as it stays as it is. Links and names that lead
    out of it are left out. Raises UsageError for a file that is no plain tar file.
    """
    state = archive.stat()
    return _members(archive, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _members(archive: Path, size: int, changed: int) -> dict[str, tuple[int, int]]:
    try:
        with tarfile.open(archive, "r:") as opened:
            return {
                member.name: (member.offset_data, member.size)
                for member in opened
                if member.isreg() and not member.name.startswith("/")
                if ".." not in member.name.split("/")
            }
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise UsageError(
            f"{archive} is no plain tar file ({error}); pack it without compression, or unpack it."
        ) from None


def place_of(path: Path) -> tuple[Path, str] | None:
    """(archive, name in it) of a `path` through a tar file; None for any other path."""
    text = str(path)
    if f"{ARCHIVE}{os.sep}" not in text:  # this is asked of every image
        return None
    end = text.find(f"{ARCHIVE}{os.sep}")
    while end >= 0:
        archive = Path(text[: end + len(ARCHIVE)])
        if archive.is_file():
            return archive, text[end + len(ARCHIVE) + 1 :]
        end = text.find(f"{ARCHIVE}{os.sep}", end + 1)
    return None


def open_file(path: Path) -> BinaryIO:
    """The file at `path`, which may lie in an archive, open for reading. Raises OSError."""
    place = place_of(path)
    if place is None:
        return path.open("rb")
    archive, name = place
    found = members(archive).get(name)
    if found is None:
        raise FileNotFoundError(2, "No such file in the archive", str(path))
    with archive.open("rb") as opened:
        opened.seek(found[0])
        return io.BytesIO(opened.read(found[1]))


def state_of(path: Path) -> tuple[int, int]:
    """(bytes, time of the last change in ns) of a file, which may lie in an archive.

    Raises OSError for one that does not exist.
    """
    place = place_of(path)
    if place is None:
        state = path.stat()
        return state.st_size, state.st_mtime_ns
    archive, name = place
    if name not in members(archive):
        raise FileNotFoundError(2, "No such file in the archive", str(path))
    return members(archive)[name][1], archive.stat().st_mtime_ns
