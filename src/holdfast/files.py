"""Files written so that a kill at any moment leaves the old one or the new one, never half."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from holdfast.errors import HoldfastError

TEMPORARY = ".holdfast-tmp"
LOCK = ".holdfast.lock"  # in a folder that a process writes to
LIMIT_BYTES = 2**28  # of a JSON file
# How a file begins that says in what its text is written; the longer marks come first.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
T = TypeVar("T")


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
    """Write `text` to `path` in UTF-8, atomically.

    The bytes of a file's name that are no UTF-8 become escapes, which JSON reads back as they were.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, atomically. Raises ValueError for NaN."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_limited(path: Path, limit_bytes: int) -> bytes:
    """The bytes of the file `path`.

    Raises ValueError if it has more than `limit_bytes`, and OSError.
    """
    with path.open("rb") as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise ValueError(f"it has more than {limit_bytes:,} bytes")
    return data


def read_json(path: Path, *, limit_bytes: int = LIMIT_BYTES) -> Any:
    """The value of the JSON file `path`.

    limit_bytes: the largest file that is read. Raises HoldfastError, with the reason, for a file
    that is larger or holds no JSON; NaN and a name that stands twice in an object are none.
    """
    try:
        return parse_json(read_limited(path, limit_bytes))
    except RecursionError:
        reason = "it is nested too deeply"
    except (ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise HoldfastError(f"{path} cannot be read as JSON: {reason}.")


def decode(data: bytes) -> str:
    """The text of a file's bytes `data`: UTF-8, or UTF-16 or 32 with a byte order mark.

    The mark is no part of it, and all ends of lines are line feeds. Raises ValueError for bytes
    that are no such text.
    """
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text; save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_plain_text(path: Path, *, limit_bytes: int = LIMIT_BYTES) -> str:
    """The text of the file `path`, as `decode` reads it: of any file that users write.

    limit_bytes: the largest file that is read. Raises HoldfastError, with the reason, for a file
    that is larger, cannot be read or holds no text.
    """
    try:
        return decode(read_limited(path, limit_bytes))
    except (ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise HoldfastError(f"{path} cannot be read: {reason}.")


def parse_json(data: bytes) -> Any:
    """The value of JSON, given as the bytes `data` of its text. Raises ValueError.

    Tabs and other control characters may stand within a text, as editors put them there.
    """
    return json.loads(
        decode(data),
        object_pairs_hook=unique_names,
        parse_constant=refuse_constant,
        strict=False,
    )


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of (name, value) `pairs`. Raises ValueError if a name stands there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has {max(names, key=names.count)!r} twice")
    return found


def refuse_constant(text: str) -> Any:
    """Raise ValueError for the `text` of NaN and infinities, which JSON has not."""
    raise ValueError(f"it holds {text}")


def read_typed(path: Path, kind: type[T], *, limit_bytes: int = LIMIT_BYTES) -> T:
    """The value of the JSON file `path` as an object of the type `kind`, such as a dataclass.

    limit_bytes: the largest file that is read. Fields that the type does not have are left out.
    Raises HoldfastError as `read_json` does, and for a value of another type, with the name of the
    field.
    """
    import msgspec  # not needed before

    value = read_json(path, limit_bytes=limit_bytes)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).replace("`", "").partition(" - at $")
        place = f" at {where.lstrip('.')}" if where else ""
        raise HoldfastError(f"{path} is not as it should be{place}: {what}.") from None


def append_lines(path: Path, values: Iterable[Any]) -> None:
    """Append `values` to the file `path`, a JSON line each, and sync them once.

    A kill may leave half a line, which `read_lines` ignores. Raises ValueError for NaN.
    """
    lines = [json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n" for value in values]
    if not lines:
        return
    with path.open("ab+") as handle:
        if handle.tell() > 0:
            handle.seek(-1, os.SEEK_END)
            if handle.read(1) != b"\n":
                handle.write(b"\n")
        handle.write("".join(lines).encode(errors="backslashreplace"))
        handle.flush()
        os.fsync(handle.fileno())


def read_lines(path: Path) -> list[Any]:
    """The JSON values of the lines of the file `path`; [] if there is no such file.

    Lines that are no whole JSON, as a kill may leave one, are left out.
    """
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
    """Keep other processes from writing to `folder`, which is made if it does not exist.

    The lock is on a file in the folder, so that it holds for other users and on other machines
    that share the folder. A killed process loses it; the file stays, for another lock on it would
    not be the same. Raises HoldfastError at once if another process has the lock, or if the folder
    cannot be written to.
    """
    from filelock import FileLock, Timeout

    # The mode lets other users of a shared folder lock it too.
    lock = FileLock(folder / LOCK, timeout=0, mode=0o666)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise HoldfastError(
            f"Another process is writing to {folder}; wait for it, or choose another folder."
        ) from None
    except OSError as error:
        reason = error.strerror or error
        raise HoldfastError(f"Cannot write to {folder}: {reason}; choose another folder.") from None
    try:
        yield
    finally:
        lock.release()


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that a killed process left below `folder`."""
    for leftover in folder.rglob(f".*{TEMPORARY}"):
        leftover.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """SHA-256 of the bytes of the file `path`, hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def derive_seed(*parts: object) -> int:
    """A 63-bit seed that depends on all `parts`: the run's seed, and names of what it is for."""
    text = "\x1f".join(str(part) for part in parts)
    data = text.encode(errors="surrogatepass")  # a folder's name may be no UTF-8
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 1
