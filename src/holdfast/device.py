"""Which processor or accelerator to compute on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from holdfast.errors import UsageError


def pick_device(device: str) -> torch.device:
    """`auto` is the first accelerator there is, else the CPU; UsageError for an absent one.

    Lets matrix products of float32 use TF32, where the chosen GPU has it.
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
    """The plain kernel of attention on a CPU, which trains small transformers faster there."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
