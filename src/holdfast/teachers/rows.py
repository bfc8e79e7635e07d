"""Embeddings in files to which rows are only ever appended.

    about.json        whose they are, their width and type
    embeddings.f16    rows of little-endian float16
    keys              of each row 32 bytes: SHA-256 of the view or prompt it belongs to

Rows are synced before their keys, and a row without a key does not count. So a kill at any moment
leaves whole entries, and what lies behind the last key is cut off by the next process that writes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from holdfast.errors import HoldfastError
from holdfast.files import read_json, write_json

KEY_BYTES = 32


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

        Raises HoldfastError for files of another identity, or that do not fit.
        """
        rows, keys = self._files
        about = self.folder / "about.json"
        if about.exists():
            known = read_json(about)
            if known.get("identity") != self.identity:
                raise HoldfastError(f"{about} tells of another teacher; give another folder.")
            self.dim = known["dim"]
        whole = 0
        if keys.exists():
            if self.dim is None:
                raise HoldfastError(f"{about} is gone, and {rows} cannot be read without it.")
            whole = min(keys.stat().st_size // KEY_BYTES, rows.stat().st_size // (2 * self.dim))
        if whole < self._count:
            raise HoldfastError(f"{self.folder} was emptied while it was in use; start again.")
        if whole == self._count:
            return
        with keys.open("rb") as file:
            file.seek(self._count * KEY_BYTES)
            for place in range(self._count, whole):
                self._places[file.read(KEY_BYTES)] = place
        self._count = whole

    def cut_off(self) -> None:
        """Cut off what a killed process left behind the last whole entry."""
        sizes = (self._count * 2 * (self.dim or 0), self._count * KEY_BYTES)
        for path, size in zip(self._files, sizes, strict=True):
            if path.exists() and path.stat().st_size > size:
                os.truncate(path, size)

    def append(self, keys: Sequence[bytes], rows: Float[Tensor, "n dim"]) -> None:
        """Write rows and sync them, then their keys, 32 bytes each, in the same order.

        The first rows decide on the width of all.
        """
        if self.dim is None:
            about = {"identity": self.identity, "dim": rows.shape[1], "dtype": "float16"}
            write_json(self.folder / "about.json", about)
            self.dim = rows.shape[1]
        contents = rows.numpy().astype("<f2").tobytes(), b"".join(keys)
        for path, content in zip(self._files, contents, strict=True):
            with path.open("ab") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        self.refresh()

    def take(self, keys: Sequence[bytes]) -> Float[Tensor, "n dim"]:
        """The rows of `keys` in float32, L2-normalised. Raises KeyError for an unknown key."""
        dim = self.dim or 0
        if not keys:
            return torch.empty(0, dim)
        rows = np.memmap(self._files[0], "<f2", "r", shape=(self._count, dim))
        taken = rows[[self._places[key] for key in keys]]
        return F.normalize(torch.from_numpy(taken.astype(np.float32)), dim=1)
