"""Which processor or accelerator to compute on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from holdfast.errors import UsageError


def pick_device(device: str) -> torch.device:
    """The device to compute on.

    device: `auto`, the first accelerator if there is one, else the CPU; or as torch names it.
    On a GPU that has TF32, matrix products of float32 use it from then on.

    Raises UsageError for a device that this machine does not have.
    """
    if device == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        chosen = found if found is not None else torch.device("cpu")
    else:
        try:
            chosen = torch.device(device)
            torch.zeros(1, device=chosen).item()
        except (RuntimeError, AssertionError, NotImplementedError):
            raise UsageError(
                f"The device {device!r} cannot be used on this machine; take 'auto' or 'cpu'."
            ) from None
    if chosen.type == "cuda":
        torch.set_float32_matmul_precision("high")
    return chosen


def attention(device: torch.device) -> AbstractContextManager[Any]:
    """A context in which attention on a CPU uses the plain kernel, where training is then faster.

    device: of the model; on other devices the context changes nothing.
    """
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Forward passes on `device` in a `precision`: `fp32`, `bf16`, or `auto`, bf16 on a CUDA GPU.

    What is compared with each other must be computed in the same one: the difference of two
    precisions would be taken for one of two models.
    """
    bf16 = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)
