"""Embeddings in files to which rows are only ever appended.

    about.json        whose they are, their width and type
    embeddings.f16    rows of little-endian float16
    keys              of each row 40 bytes: SHA-256 of the view or prompt it belongs to, and the
                      CRC-32 of the row, then of these 36 bytes, both little-endian

Rows are synced before their keys, and a row without a key does not count. So a kill at any moment
leaves whole entries, and what lies behind the last key is cut off by the next process that writes.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from holdfast.errors import DamagedFile, HoldfastError
from holdfast.files import append_bytes, as_type, read_sealed, write_sealed

ENTRY_BYTES = 40  # of the file of keys
RESTORE = "restore the folder from a copy, or remove it to ask the teacher again."


@dataclass(frozen=True)
class About:
    """What `about.json` says: whose embeddings they are, their width, their type, the version."""

    identity: str
    dim: int
    dtype: Literal["float16"]
    version: Literal[2]


class StoredRows:
    """The embeddings in a folder, found by their keys.

    folder: where the files are. identity: whose embeddings they are.
    `dim` is their width, None while there is none. One process at a time may write; others may
    read, and see new rows after `refresh`.

    Raises HoldfastError for a folder of another identity, or with files that do not fit.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder, self.identity = folder, identity
        self.dim: int | None = None
        self._places: dict[bytes, int] = {}
        self._sums: list[int] = []  # of the rows
        self._count = 0
        self.refresh()

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return self._count

    @property
    def _files(self) -> tuple[Path, Path]:
        return self.folder / "embeddings.f16", self.folder / "keys"

    def refresh(self) -> None:
        """Read what was added to the files since, also by other processes.

        Raises HoldfastError for files of another identity, or that do not fit, or are damaged.
        """
        rows, keys = self._files
        about = self.folder / "about.json"
        if about.exists():
            known = as_type(read_sealed(about), About, about)
            if known.identity != self.identity or known.dim < 1:
                raise HoldfastError(f"{about} tells of another teacher; give another folder.")
            self.dim = known.dim
        whole = keys.stat().st_size // ENTRY_BYTES if keys.exists() else 0
        if whole and self.dim is None:
            raise HoldfastError(f"{about} is gone, and {rows} cannot be read without it.")
        if whole < self._count:
            raise HoldfastError(f"{self.folder} was emptied while it was in use; start again.")
        if whole == self._count:
            return
        there = rows.stat().st_size // (2 * (self.dim or 1)) if rows.exists() else 0
        if there < whole:
            raise DamagedFile(f"{rows} holds {there:,} of {whole:,} rows; restore it from a copy.")
        with keys.open("rb") as file:
            file.seek(self._count * ENTRY_BYTES)
            for place in range(self._count, whole):
                entry = file.read(ENTRY_BYTES)
                if zlib.crc32(entry[:36]) != int.from_bytes(entry[36:], "little"):
                    raise DamagedFile(f"Entry {place + 1:,} of {keys} is damaged; {RESTORE}")
                self._places[entry[:32]] = place
                self._sums.append(int.from_bytes(entry[32:36], "little"))
        self._count = whole

    def cut_off(self) -> None:
        """Cut off what a killed process left behind the last whole entry."""
        sizes = (self._count * 2 * (self.dim or 0), self._count * ENTRY_BYTES)
        for path, size in zip(self._files, sizes, strict=True):
            if path.exists() and path.stat().st_size > size:
                os.truncate(path, size)

    def append(self, keys: Sequence[bytes], rows: Float[Tensor, "n dim"]) -> None:
        """Write rows and sync them, then their keys, 32 bytes each, in the same order.

        The first rows decide on the width of all. Raises HoldfastError if they cannot be written.
        """
        if self.dim is None:
            about = About(self.identity, rows.shape[1], "float16", 2)
            write_sealed(self.folder / "about.json", asdict(about))
            self.dim = rows.shape[1]
        stored = [row.tobytes() for row in rows.numpy().astype("<f2")]
        entries = b"".join(map(key_entry, keys, stored))
        places, sums = self._files
        append_bytes(places, b"".join(stored), self._count * 2 * self.dim)
        append_bytes(sums, entries, self._count * ENTRY_BYTES)
        self.refresh()

    def take(self, keys: Sequence[bytes]) -> Float[Tensor, "n dim"]:
        """The rows of `keys` in float32, L2-normalised.

        Raises KeyError for an unknown key, DamagedFile for a row that is not what was written.
        """
        dim = self.dim or 0
        if not keys:
            return torch.empty(0, dim)
        rows = np.memmap(self._files[0], "<f2", "r", shape=(self._count, dim))
        places = [self._places[key] for key in keys]
        taken = rows[places]
        for place, row in zip(places, taken, strict=True):
            if zlib.crc32(row) != self._sums[place]:
                raise DamagedFile(f"Row {place + 1:,} of {self._files[0]} is damaged; {RESTORE}")
        return F.normalize(torch.from_numpy(taken.astype(np.float32)), dim=1)


def key_entry(key: bytes, row: bytes) -> bytes:
    """The 40 bytes in the file of keys of a `key` (32 bytes) and its `row`, as it is stored."""
    entry = key + zlib.crc32(row).to_bytes(4, "little")
    return entry + zlib.crc32(entry).to_bytes(4, "little")
