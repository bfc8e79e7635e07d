"""What an image tower is, its trial on one picture, and the weights' file of a part of it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from holdfast.data.decoding import Transform
from holdfast.errors import DamagedFile, HoldfastError
from holdfast.tensor_files import read_tensors, write_tensors


@runtime_checkable
class Tower(Protocol):
    """An image tower with its own preprocessing: CLIP's, or a student's.

    visual: images (batch, channels, height, width) -> embeddings (batch, dim), not normalised.
    preprocess: RGB picture -> (channels, height, width), as the checkpoint wants it for evaluation.
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


@torch.no_grad()
def try_tower(tower: Tower) -> Float[Tensor, "1 dim"]:
    """The embedding of one grey picture: what can be wrong with a tower is found at once.

    tower: in evaluation mode. Called where a tower is loaded, before anything is spent on it.

    Raises HoldfastError if it does not turn a picture into one row of numbers.
    """
    try:
        picture = tower.preprocess(Image.new("RGB", (96, 64), (128, 128, 128)))
        row = tower.visual(picture[None].to(tower.device))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # towers written by others can fail in any way
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise HoldfastError(
            f"{tower.name} cannot look at a picture ({reason or type(error).__name__}); give "
            "another model."
        ) from None
    if not isinstance(row, Tensor) or row.dim() != 2 or len(row) != 1:
        shape = tuple(row.shape) if isinstance(row, Tensor) else type(row).__name__
        raise HoldfastError(
            f"{tower.name} gives {shape} for a picture and no row of features; give another model."
        )
    if not row.isfinite().all():
        raise HoldfastError(
            f"{tower.name} gives numbers that are not finite for a plain picture: its weights are "
            "damaged, or of another architecture; give another file."
        )
    return row.float()


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
