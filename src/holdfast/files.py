"""Files written so that a kill at any moment leaves the old one or the new one, never half."""

from __future__ import annotations

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


def read_yaml(path: Path, *, limit_bytes: int = 2**21) -> Any:
    """The value of the YAML file `path`; JSON is a part of YAML.

    limit_bytes: the largest file that is read. Only plain values are read. Raises HoldfastError as
    `read_json` does, and for anchors, with which a small file can hold a value of any size.
    """
    import yaml  # not needed before

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.peek_event()
            if getattr(event, "anchor", None) is not None:
                raise ValueError("it has an anchor (& or *); write the value out")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            pairs = [
                (self.construct_object(key, deep=True), self.construct_object(value, deep=deep))
                for key, value in node.value
            ]
            if odd := [key for key, _ in pairs if not isinstance(key, str)]:
                raise ValueError(f"{odd[0]!r} is no name; put it in quotation marks")
            return unique_names(pairs)

    try:
        data = read_limited(path, limit_bytes)
        try:
            return parse_json(data)  # a hundred times as fast
        except (json.JSONDecodeError, UnicodeDecodeError):
            return yaml.load(data.decode("utf-8-sig"), Loader)
    except RecursionError:
        reason = "it is nested too deeply"
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text"
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = "it is neither YAML nor JSON" + (f" in line {mark.line + 1}" if mark else "")
    except (ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise HoldfastError(f"{path} cannot be read: {reason}.")


def parse_json(data: bytes) -> Any:
    """The value of JSON text, given as its bytes `data`. Raises ValueError."""
    return json.loads(data, object_pairs_hook=unique_names, parse_constant=refuse_constant)


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
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
