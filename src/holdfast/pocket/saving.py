"""Weights and configurations, written so that a kill leaves the old file or the new one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from holdfast.files import read_json, replacing, write_json


def half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy with floating-point tensors in half precision."""
    return {
        name: (t.half() if t.is_floating_point() else t).detach().clone().contiguous()
        for name, t in tensors.items()
    }


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})


__all__ = ["half", "read_json", "save_tensors", "torch", "write_json"]
