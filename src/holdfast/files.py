"""Files written so that a kill at any moment leaves the old one or the new one, never half."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from holdfast.errors import HoldfastError

TEMPORARY = ".holdfast-tmp"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and takes the place of `path`.

    An exception inside the block removes the temporary file and leaves `path` as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.chmod(0o644)  # safetensors writes 0600, which a shared folder cannot read
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, atomically.

    The bytes of a file's name that are no UTF-8 become escapes, which JSON reads back as they were.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, atomically; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value of a JSON file. Raises HoldfastError if it holds none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise HoldfastError(f"{path} cannot be read as JSON: {reason}.") from None


def append_line(path: Path, value: Any) -> None:
    """Append one JSON line and sync it; `read_lines` ignores a line that a kill cut short."""
    with path.open("ab+") as handle:
        if handle.tell() > 0:
            handle.seek(-1, os.SEEK_END)
            if handle.read(1) != b"\n":
                handle.write(b"\n")
        line = json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"
        handle.write(line.encode(errors="backslashreplace"))
        handle.flush()
        os.fsync(handle.fileno())


def read_lines(path: Path) -> list[Any]:
    """The JSON values of a file of lines; lines cut short by a kill are left out."""
    if not path.exists():
        return []
    values = []
    for line in path.read_bytes().splitlines():
        try:
            values.append(json.loads(line))
        except ValueError:
            continue
    return values


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep this user's other processes on this machine from writing to `folder`.

    The lock lies among the system's temporary files, so that `folder` stays as it is; a killed
    process loses it. Raises HoldfastError at once if another process has it.
    """
    from filelock import FileLock, Timeout

    user = os.getuid() if hasattr(os, "getuid") else ""
    name = hashlib.sha256(str(folder.resolve()).encode("utf-8", "replace")).hexdigest()[:16]
    try:
        with FileLock(Path(tempfile.gettempdir(), f"holdfast-{user}-{name}.lock"), timeout=0):
            yield
    except Timeout:
        raise HoldfastError(
            f"Another process is writing to {folder}; wait for it, or choose another folder."
        ) from None


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that a killed process left below `folder`."""
    for leftover in folder.rglob(f".*{TEMPORARY}"):
        leftover.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from the run's seed and whatever tells this use of it from the others."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
