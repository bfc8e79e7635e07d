"""Folders that are replaced as a whole, with a checksum of each of their files.

`holdfast-checksums.json` holds the SHA-256 of each file, and one of itself. Files that are not in
it are the user's own: they are neither checked nor lost.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.errors import DamagedFile, HoldfastError, UsageError
from holdfast.files import (
    OLD,
    TEMPORARY,
    as_type,
    cannot_write,
    read_sealed,
    remove_leftovers,
    sha256,
    sync_folder,
    write_sealed,
)

SEAL = "holdfast-checksums.json"


@contextmanager
def replaced_folder(folder: Path, apart: Collection[str] = ()) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; on success it is sealed and takes its place.

    apart: files that have a checksum of their own and may change later.

    An exception inside the block leaves `folder` as it was. What the user put there comes along.
    Raises UsageError for a `folder` that holds something that was not written so; HoldfastError if
    it cannot be written.
    """
    if folder.exists() and not (folder / SEAL).is_file() and any(folder.iterdir()):
        raise UsageError(f"{folder} holds something else than a model; give a new folder.")
    folder = folder.absolute()
    new = folder.with_name(f".{folder.name}.{os.getpid()}{TEMPORARY}")
    old = folder.with_name(f".{folder.name}{OLD}{TEMPORARY}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if old.exists():  # of a start that was killed while it replaced the folder
            remove_leftovers(folder.parent)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        yield new
        write_seal(new, apart)
        if folder.exists():
            keep_others(folder, new)
            folder.replace(old)
        new.replace(folder)
        sync_folder(folder.parent)
    except OSError as error:
        if old.exists() and not folder.exists():
            old.replace(folder)
        raise cannot_write(folder, error) from None
    except HoldfastError as error:  # the user knows the folder by its own name
        if type(error) is not HoldfastError:
            raise
        raise HoldfastError(str(error).replace(str(new), str(folder))) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)


def keep_others(folder: Path, new: Path) -> None:
    """Copy to `new` what lies in `folder` and is not in its list of checksums."""
    if not (folder / SEAL).exists():
        return
    try:
        listed = set(listed_files(folder)) | {SEAL}
    except HoldfastError as error:
        raise HoldfastError(f"{error} Remove {folder} to write it anew.") from None
    for entry in folder.iterdir():
        if entry.name in listed or (new / entry.name).exists() or entry.name.endswith(TEMPORARY):
            continue
        if entry.is_dir() and not entry.is_symlink():
            if not any(name.startswith(f"{entry.name}/") for name in listed):
                shutil.copytree(entry, new / entry.name, symlinks=True)
        else:
            shutil.copy2(entry, new / entry.name, follow_symlinks=False)


def write_seal(folder: Path, apart: Collection[str] = ()) -> None:
    """Write the checksums of the files in `folder`, but for those `apart`."""
    own = {SEAL, *apart}
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in own)
    found = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
    write_sealed(folder / SEAL, {"files": found})


def listed_files(folder: Path) -> dict[str, str]:
    """{file: SHA-256} of what was sealed in `folder`. Raises DamagedFile."""
    return as_type(read_sealed(folder / SEAL).get("files"), dict[str, str], folder / SEAL)


def check_seal(folder: Path, *, needed: bool) -> None:
    """Raise DamagedFile unless the files in `folder` are those that were sealed.

    needed: whether the folder must have checksums; another program's has none.
    """
    if not needed and not (folder / SEAL).exists():
        return
    for name, digest in listed_files(folder).items():
        path = folder / name
        if ".." in path.parts or not path.is_file():
            raise DamagedFile(f"{folder} lacks {name}, which was written there; make it again.")
        if sha256(path) != digest:
            raise DamagedFile(f"{path} is damaged: its checksum is not that of its content.")
