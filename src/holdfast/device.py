"""Which processor or accelerator to compute on."""

from __future__ import annotations

import torch

from holdfast.errors import UsageError


def pick_device(device: str) -> torch.device:
    """`auto` is the first accelerator there is, else the CPU; UsageError for an absent one."""
    if device == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found if found is not None else torch.device("cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UsageError(
            f"The device {device!r} cannot be used on this machine; take 'auto' or 'cpu'."
        ) from None
    return chosen
