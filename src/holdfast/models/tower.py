"""What an image tower is, and the weights' file of a part of it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from holdfast.data.decoding import Transform
from holdfast.errors import DamagedFile, HoldfastError
from holdfast.tensor_files import read_tensors, write_tensors


@runtime_checkable
class Tower(Protocol):
    """An image tower with its own preprocessing: CLIP's, or a student's.

    visual: images (batch, 3, height, width) -> embeddings (batch, dim), not normalised.
    preprocess: RGB picture -> (3, height, width), as the checkpoint wants it for evaluation.
    kind: how `save` writes it, and so how it is loaded again.
    """

    kind: ClassVar[str]

    @property
    def name(self) -> str: ...

    @property
    def preprocess(self) -> Transform: ...

    @property
    def visual(self) -> nn.Module: ...

    @property
    def device(self) -> torch.device: ...

    def save(self, folder: Path) -> None:
        """Write the weights and what is needed to load them again to `folder`."""


def read_weights(path: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The tensors of the safetensors file `path` by name, on `device`.

    Raises HoldfastError if the file cannot be read as one, or is not what was written.
    """
    try:
        return read_tensors(path, device)[0]
    except DamagedFile as error:
        raise HoldfastError(f"{error} Delete it to make it again.") from None


def write_weights(module: nn.Module, path: Path) -> None:
    """Write the parameters and buffers of `module` as the safetensors file `path`, atomically."""
    write_tensors(path, module.state_dict())
