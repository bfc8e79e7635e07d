"""Files of tensors: written whole with a checksum, and verified when they are read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from holdfast.errors import DamagedFile
from holdfast.files import atomic_write, cannot_write

# Of the one entry of a file's metadata: with several, their order and so the bytes would vary.
KEY = "holdfast"


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    about: Mapping[str, Any] | None = None,
    previous: Path | None = None,
) -> None:
    """Write tensors, of any device, as the safetensors file `path`. A kill leaves the old or new.

    about: values that JSON can hold, kept in the header with a checksum of both. previous: what an
    earlier file becomes, once the new one is on disk and can be opened.

    Raises HoldfastError, and leaves an earlier file as it was, if the file cannot be written.
    """
    ready = {name: t.detach().to("cpu").contiguous() for name, t in tensors.items()}
    text = json.dumps(about or {})
    metadata = {KEY: json.dumps({"about": text, "sha256": checksum(ready, text)})}
    save_safetensors(path, ready, metadata, previous)


def save_safetensors(
    path: Path,
    tensors: dict[str, Tensor],
    metadata: dict[str, str],
    previous: Path | None = None,
) -> None:
    """Write contiguous `tensors` and `metadata` as the safetensors file `path`, atomically.

    previous: as for `write_tensors`.

    Raises HoldfastError, and leaves an earlier file as it was, if the file cannot be written.
    """
    try:
        with atomic_write(path) as temporary:
            save_file(tensors, temporary, metadata)
            if previous is not None and path.exists():
                with temporary.open("rb+") as handle:
                    os.fsync(handle.fileno())
                with safe_open(temporary, "pt") as written:  # its header fits its length
                    assert written.metadata() == metadata
                path.replace(previous)
    except SafetensorError as error:  # of a full disk, too
        raise cannot_write(path, error) from None


def read_tensors(
    path: Path, device: torch.device | str = "cpu", *, ours: bool = True
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of the safetensors file `path` by name, and what was written beside them.

    device: where the tensors are put. ours: whether `write_tensors` must have written the file;
        else one without a checksum is read as it is.

    Raises DamagedFile for a file that cannot be read, or is not what was written.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            # Copies: what stays mapped to the file would keep Windows from replacing it.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
        said = json.loads(metadata.get(KEY, "{}"))
        text = said.get("about", "{}")
        if ours and not said:
            raise DamagedFile(f"{path} has no checksum: another program wrote it, or cut it short.")
        if said and said != {"about": text, "sha256": checksum(tensors, text)}:
            raise DamagedFile(f"{path} is damaged: its checksum is not that of its content.")
        about = json.loads(text)
    except (SafetensorError, OSError, ValueError, AttributeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DamagedFile(f"{path} cannot be read: {reason.rstrip('.')}.") from None
    return {name: t.to(device) for name, t in tensors.items()}, about


def checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    """SHA-256 of names, types, shapes and values of tensors on the CPU, and of a text."""
    found = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
