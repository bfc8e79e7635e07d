"""`fit`, the only training loop. It knows nothing of methods: they hand it an objective.

An objective is a generator. For one batch it yields its losses in order, as named scalars; `fit`
back-propagates the sum of each before it resumes the generator, so only one graph is alive at a
time, and the objective can read the gradients in between:

    def objective(model, batch):                       # RegFT
        z, logits = model(batch.images)
        yield {
            "cross_entropy": cross_entropy(logits, batch.labels),
            "variance": 0.16 * variance_loss(z),
            "covariance": 0.02 * covariance_loss(z),
        }
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from holdfast.errors import HoldfastError
from holdfast.files import atomic_write, derive_seed
from holdfast.progress import progress
from holdfast.settings import Optimisation

Objective = Callable[[Any, Any], Iterator[dict[str, Tensor]]]


class Batches(Protocol):
    """The batches of a whole run: `len` is its number of steps, a call yields those from a step on.

    The batch of a step must depend on the step alone, so that a resumed run sees the same ones.
    """

    def __len__(self) -> int: ...

    def __call__(self, start: int) -> Iterator[Any]: ...


class Callback(Protocol):
    """What follows a training with a state of its own, such as an average of the weights.

    Its state is part of the checkpoint, in the same file, so it resumes as exactly as the weights.
    finished: nothing is left to follow; the training ends.
    """

    finished: bool

    def after_step(self, step: int, module: nn.Module) -> None: ...

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, and values that JSON can hold."""

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Take over what `state` gave."""


def fit(
    module: nn.Module,
    batches: Batches,
    objective: Objective,
    optimisation: Optimisation,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    checkpoint_minutes: float = 5.0,
    after_step: Callable[[int, nn.Module], None] | None = None,
    callback: Callback | None = None,
    record: Callable[[dict[str, Any]], None] | None = None,
    label: str = "training",
) -> None:
    """Train the parameters of `module` that require gradients, in place, on its own device.

    checkpoint: file to resume from if it exists, and to write every `checkpoint_minutes`. A run
        that was killed and started again ends with the same weights as one that was not: to the
        bit on a CPU with one thread, elsewhere up to the order of sums.
    after_step: called with (step, module) after each step.
    callback: follows the training, can end it, and is kept in the checkpoint.
    record: called with {"step", "losses": {name: value}, "learning_rate", "gradient_norm"}.

    Raises HoldfastError when a loss or gradient is not finite; the weights are then those before
    the step that failed.
    """
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[optimisation.optimizer]
    optimizer = kind(
        parameters.values(),
        lr=optimisation.learning_rate,
        weight_decay=optimisation.weight_decay,
        fused=True,
    )
    device = next(iter(parameters.values())).device
    bf16 = optimisation.precision == "bf16" or (
        optimisation.precision == "auto" and device.type == "cuda"
    )
    start, total = 0, len(batches)
    if checkpoint is not None and checkpoint.exists():
        start = load_checkpoint(checkpoint, module, parameters, optimizer, callback)
    saved = time.monotonic()
    module.train()
    for part in module.modules():
        if list(part.parameters()) and not any(p.requires_grad for p in part.parameters()):
            part.eval()  # what does not learn keeps its batch statistics too

    with progress(label, total, start) as advance:
        over = callback is not None and callback.finished  # before the last start stopped
        for step, batch in enumerate(() if over else batches(start), start):
            # Randomness is a function of (seed, step), so a resumed run draws the same numbers.
            torch.manual_seed(derive_seed(seed, "step", step))
            rate = learning_rate(step, total, optimisation)
            for group in optimizer.param_groups:
                group["lr"] = rate

            optimizer.zero_grad()
            losses: dict[str, Tensor] = {}
            pending = objective(module, batch)
            while True:
                with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                    terms = next(pending, None)
                if terms is None:
                    break
                torch.stack(list(terms.values())).sum().backward()
                losses |= {name: term.detach() for name, term in terms.items()}

            norm = nn.utils.clip_grad_norm_(
                parameters.values(), optimisation.clip_norm or math.inf
            ).item()
            if not math.isfinite(norm):
                raise HoldfastError(
                    f"The gradient of step {step} of {label} is not finite; lower the learning "
                    f"rate (now {optimisation.learning_rate:g}) or train in fp32."
                )
            optimizer.step()
            if after_step is not None:
                after_step(step, module)
            if callback is not None:
                callback.after_step(step, module)
            if record is not None:
                values = {name: value.item() for name, value in losses.items()}
                record(
                    {"step": step, "losses": values, "learning_rate": rate, "gradient_norm": norm}
                )
            advance(1)
            if checkpoint is not None and time.monotonic() - saved > 60 * checkpoint_minutes:
                save_checkpoint(checkpoint, step + 1, module, parameters, optimizer, callback)
                saved = time.monotonic()
            if callback is not None and callback.finished:
                break
    module.eval()


def learning_rate(step: int, total: int, optimisation: Optimisation) -> float:
    """Learning rate of a 0-based step: linear warmup, then cosine to zero (or constant)."""
    peak, warmup = optimisation.learning_rate, optimisation.warmup_steps
    if step < warmup:
        return peak * (step + 1) / warmup
    if optimisation.schedule == "constant":
        return peak
    return 0.5 * peak * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def save_checkpoint(
    path: Path,
    step: int,
    module: nn.Module,
    parameters: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    callback: Callback | None = None,
) -> None:
    """Write trainable weights, buffers, optimiser moments and the position as one file.

    With a callback, its state too.
    """
    tensors = {f"weight/{name}": p.detach() for name, p in parameters.items()}
    tensors |= {f"buffer/{name}": b for name, b in module.named_buffers()}
    for name, p in parameters.items():
        tensors |= {f"moment/{key}/{name}": t for key, t in optimizer.state[p].items()}
    about = {"step": str(step)}
    if callback is not None:
        followed, values = callback.state()
        tensors |= {f"callback/{name}": t for name, t in followed.items()}
        about["callback"] = json.dumps(values)
    with atomic_write(path) as temporary:
        save_file({name: t.contiguous() for name, t in tensors.items()}, temporary, about)


def load_checkpoint(
    path: Path,
    module: nn.Module,
    parameters: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    callback: Callback | None = None,
) -> int:
    """Put a checkpoint's state back; returns the step to go on from."""
    followed: dict[str, Tensor] = {}
    buffers = dict(module.named_buffers())
    try:
        with safe_open(path, framework="pt") as file, torch.no_grad():
            for key in file.keys():  # noqa: SIM118 (a safetensors file is no dict)
                group, _, name = key.partition("/")
                # A copy: what stays mapped to the file would keep Windows from replacing it.
                tensor = file.get_tensor(key).clone()
                if group == "moment":
                    moment, _, name = name.partition("/")
                    parameter = parameters[name]
                    optimizer.state[parameter][moment] = tensor.to(parameter.device)
                elif group == "callback":
                    followed[name] = tensor
                else:
                    (parameters if group == "weight" else buffers)[name].copy_(tensor)
            if callback is not None:
                callback.restore(followed, json.loads(file.metadata()["callback"]))
            return int(file.metadata()["step"])
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise HoldfastError(
            f"The checkpoint {path} does not fit this model ({error}); delete it to start over."
        ) from None
