"""Training states as safetensors files, so that a training that was stopped goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .saving import save_weights


def save_state(
    path: Path, step: int, optimizer: torch.optim.Optimizer, **modules: dict[str, Tensor]
) -> None:
    """Write everything that a training needs to go on after `step` steps."""
    tensors = {f"{name}/{k}": v for name, part in modules.items() for k, v in part.items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{i}/{k}": torch.as_tensor(v) for k, v in state.items()}
    tensors["step"] = torch.tensor(step)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights({k: v.detach().clone() for k, v in tensors.items()}, path)


def load_state(path: Path, optimizer: torch.optim.Optimizer) -> tuple[int, dict[str, Any]]:
    """The step to go on from, and the modules' tensors; the optimizer is filled."""
    tensors = load_file(path)
    parts: dict[str, Any] = {}
    for key, value in tensors.items():
        name, _, rest = key.partition("/")
        if rest:
            parts.setdefault(name, {})[rest] = value
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in parts.pop("optimizer", {}).items():
        number, _, kind = key.partition("/")
        states.setdefault(int(number), {})[kind] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    return int(tensors["step"]), parts


class Average:
    """Running average of a module's weights (quicker while young)."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int, module: nn.Module) -> None:
        """Move toward the module's weights of now."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for key, value in module.state_dict().items():
            if value.is_floating_point():
                self.weights[key].lerp_(value, 1 - decay)
            else:
                self.weights[key].copy_(value)
