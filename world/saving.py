"""Weights in half precision, written so that a kill leaves the old file or the new one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from holdfast.files import atomic_write


def half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy with floating-point tensors in half precision."""
    return {
        name: (t.half() if t.is_floating_point() else t).detach().clone()
        for name, t in tensors.items()
    }


def save_weights(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file, atomically."""
    with atomic_write(path) as temporary:
        save_file(
            {k: t.contiguous() for k, t in tensors.items()}, temporary, metadata={"format": "pt"}
        )
