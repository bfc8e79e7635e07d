"""Files written so that a kill at any moment leaves the old one or the new one, never half."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from holdfast.errors import DamagedFile, HoldfastError

TEMPORARY = ".holdfast-tmp"
OLD = ".old"  # before TEMPORARY: a folder whose place another one is taking
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
CHECKSUM = "sha256"  # of the other values of a sealed JSON object
T = TypeVar("T")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and takes the place of `path`.

    An exception inside the block removes the temporary file and leaves `path` as it was. The mode
    is the one that the umask gives. Raises HoldfastError that names `path` if it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as handle:
            mode = os.fstat(handle.fileno()).st_mode & 0o7777
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.chmod(mode)  # safetensors writes 0600, which a shared folder cannot read
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: Exception) -> HoldfastError:
    """The error for a file or folder `path` that could not be written, because of `error`."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return HoldfastError(
        f"Cannot write {path}: {reason.rstrip('.')}; make room or choose another folder, and run "
        "the same command again."
    )


def sync_folder(folder: Path) -> None:
    """Make new names in `folder` last through a power cut, where the system can do that."""
    with suppress(OSError):  # Windows has no such thing
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def check_room(folder: Path, needed: float, what: str) -> None:
    """Raise HoldfastError unless `needed` bytes are free where `folder` is, or will be.

    what: that needs them, for the message.
    """
    place = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise HoldfastError(
            f"{what} needs {needed / 1e6:,.1f} MB in {folder}, and {free / 1e6:,.1f} MB are free; "
            "make room or choose another folder, and run the same command again."
        )


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in UTF-8, atomically.

    The bytes of a file's name that are no UTF-8 become escapes, which JSON reads back as they were.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, atomically. Raises ValueError for NaN."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` to `path` as `write_json` does, with a checksum for `read_sealed`.

    The checksum is of the content, as the last entry, `sha256`: how the text is laid out does not
    matter.
    """
    content = {name: each for name, each in value.items() if name != CHECKSUM}
    write_json(path, content | {CHECKSUM: json_checksum(content)})


def read_sealed(path: Path, *, limit_bytes: int = LIMIT_BYTES) -> dict[str, Any]:
    """The value that `write_sealed` wrote to `path`.

    limit_bytes: the largest file that is read. Raises DamagedFile for a file that cannot be read,
    or holds something else.
    """
    try:
        value = read_json(path, limit_bytes=limit_bytes)
    except HoldfastError as error:
        raise DamagedFile(str(error)) from None
    if not isinstance(value, dict) or CHECKSUM not in value:
        raise DamagedFile(f"{path} has no checksum: another program or version wrote it.")
    if value.pop(CHECKSUM) != json_checksum(value):
        raise DamagedFile(f"{path} is damaged or was edited: its checksum is not of its content.")
    return value


def json_checksum(value: Any) -> str:
    """SHA-256 of a `value` as JSON holds it, whatever the order of names in its objects."""
    # Keys that are no text become text in JSON, and are sorted as such.
    plain = json.loads(json.dumps(value))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def read_limited(path: Path, limit_bytes: int) -> bytes:
    """The bytes of the file `path`.

    Raises ValueError if it has more than `limit_bytes`, and OSError.
    """
    with path.open("rb") as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise ValueError(f"it has more than {limit_bytes:,} bytes")
    return data


def read_json(path: Path, *, limit_bytes: int = LIMIT_BYTES, strict: bool = True) -> Any:
    """The value of the JSON file `path`.

    limit_bytes: the largest file that is read. strict: NaN, and a name that stands twice in an
    object, are no JSON; other programs write them. Raises HoldfastError, with the reason, for a
    file that is larger or holds no JSON.
    """
    try:
        data = read_limited(path, limit_bytes)
        return parse_json(data) if strict else json.loads(data)
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


def read_typed(
    path: Path, kind: type[T], *, limit_bytes: int = LIMIT_BYTES, sealed: bool = False
) -> T:
    """The value of the JSON file `path` as an object of the type `kind`, such as a dataclass.

    limit_bytes: the largest file that is read. sealed: whether `write_sealed` must have written it.
    Fields that the type does not have are left out. Raises HoldfastError as `read_json` and
    `read_sealed` do, and for a value of another type, with the name of the field.
    """
    reader = read_sealed if sealed else read_json
    return as_type(reader(path, limit_bytes=limit_bytes), kind, path)


def as_type(value: Any, kind: type[T], path: Path) -> T:
    """A JSON `value` as an object of the type `kind`, such as a dataclass.

    path: where it is from, for messages. Raises HoldfastError for a value of another type, with the
    name of the field.
    """
    import msgspec  # not needed before

    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).replace("`", "").partition(" - at $")
        place = f" at {where.lstrip('.')}" if where else ""
        raise HoldfastError(f"{path} is not as it should be{place}: {what}.") from None


def append_bytes(path: Path, content: bytes, size: int) -> None:
    """Write `content` behind the first `size` bytes of the file `path`, and sync it.

    Raises HoldfastError, with those bytes alone in the file, if it cannot be written.
    """
    try:
        with path.open("ab") as handle:
            try:
                handle.truncate(size)
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            except OSError:
                os.ftruncate(handle.fileno(), size)
                raise
    except OSError as error:
        raise cannot_write(path, error) from None


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
    """Delete the temporary files and folders that a killed process left below `folder`.

    A folder that was being replaced, and is not there yet, comes back (`holdfast.sealed`).
    """
    for leftover in list(folder.rglob(f".*{TEMPORARY}")):
        name = leftover.name.removesuffix(TEMPORARY)
        place = leftover.with_name(name[1:].removesuffix(OLD))
        if name.endswith(OLD) and not place.exists():
            leftover.replace(place)
        elif leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
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
