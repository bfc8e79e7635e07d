"""`fit`, the only training loop, and the step that every method is a composition of.

An objective is a generator. For one batch it yields its losses in order, as named scalars; `fit`
back-propagates the sum of each before it resumes the generator, so only one graph is alive at a
time, and the objective can read and change the gradients in between.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from holdfast.anchors.base import (
    FeatureLoss,
    Learner,
    Memory,
    ReplayForward,
    ReplayLoss,
    WeightPull,
)
from holdfast.data.batches import Batch
from holdfast.device import autocast
from holdfast.errors import HoldfastError
from holdfast.files import derive_seed
from holdfast.learners import Learning, set_checkpointing
from holdfast.methods.base import Composition
from holdfast.progress import progress
from holdfast.settings import Optimisation
from holdfast.signals import held_signals
from holdfast.stages import Stage, load_some

logger = logging.getLogger(__name__)

Objective = Callable[[Any, Any], Iterator[dict[str, Tensor]]]
# Called with a training's label after each of its steps, where somebody measures their time.
step_clock: ContextVar[Callable[[str], None] | None] = ContextVar("step_clock", default=None)


class NotFinite(HoldfastError):  # noqa: N818 - reads better where it is caught
    """A loss, a gradient or a weight that is NaN or infinite."""


class StepTerms(dict[str, Tensor]):
    """The losses of one graph by name; measures: scalars beside them that are only recorded."""

    measures: Mapping[str, Tensor] = MappingProxyType({})


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

    def after_step(self, step: int, module: nn.Module) -> None:
        """Look at the weights after a step."""

    def result(self) -> dict[str, Tensor]:
        """The weights to go on with, of some of the parameters."""

    def about(self) -> dict[str, Any]:
        """What there is to say of them, called when they are in the module."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, and values that JSON can hold."""

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Take over what `state` gave."""


def objective(
    composition: Composition, learner: Learner, memory: Memory, label_smoothing: float = 0.0
) -> Objective:
    """A method and its anchors as one step: replay losses, pulls, then the loss on the new batch.

    The replay losses have a graph of their own, which is gone before the next one is built. Pulls
    are added to the gradients in closed form, and may read what the replay losses left there; the
    step yields their penalties as numbers without a graph.

    memory: what the anchors look back to. Call it before the training changes the weights.
    """
    method = composition.method
    replay_losses: list[ReplayLoss] = composition.of(ReplayLoss)
    feature_losses: list[FeatureLoss] = composition.of(FeatureLoss)
    pulls: dict[str, Callable[[], Tensor]] = {
        anchor.name: anchor.start(learner, memory) for anchor in composition.of(WeightPull)
    }
    distillation = composition.distillation
    over = distillation.over if distillation else "batch"

    def step(learner: Learner, batch: Batch) -> Iterator[dict[str, Tensor]]:
        if batch.replay is not None and replay_losses:
            assert memory.replay is not None
            seen = ReplayForward(learner, batch.replay, memory.replay, over)
            replayed = StepTerms()
            for replay_loss in replay_losses:
                replayed |= replay_loss.replay_losses(seen)
            replayed.measures = {k: v for a in replay_losses for k, v in a.measures(seen).items()}
            yield replayed
        terms = {name: pull() for name, pull in pulls.items()}
        answers = learner.answers(batch)
        terms |= method.new_loss(learner, answers, batch, label_smoothing)
        for feature_loss in feature_losses:
            terms |= feature_loss.feature_losses(answers, batch)
        yield terms

    return step


def fit(
    module: nn.Module,
    batches: Batches,
    objective: Objective,
    optimisation: Optimisation,
    *,
    seed: int = 0,
    stage: Stage | None = None,
    callback: Callback | None = None,
    after_step: Callable[[int, nn.Module], None] | None = None,
    label: str = "training",
) -> None:
    """Train the parameters of `module` that require gradients, in place, on its own device.

    stage: where the training is kept. One that is done is loaded; one that was stopped goes on
        from its checkpoint, and ends with the same weights as one that was not: to the bit on a
        CPU with one thread, elsewhere up to the order of sums.
    callback: follows the training, can end it, and says which weights are kept.
    after_step: called with (step, module) after each step.

    Ctrl-C and TERM wait for the end of the step, and for a checkpoint. So does what ends a step:
    images or a teacher that fail, memory that runs out.

    Raises NotFinite when a loss or gradient is not finite; the weights are then those before the
    step that failed, and if they are finite a checkpoint has them.
    """
    if stage is not None and stage.load_finished(module):
        module.eval()
        return
    parameters = [p for p in module.parameters() if p.requires_grad]
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[optimisation.optimizer]
    optimizer = kind(
        parameters,
        lr=optimisation.learning_rate,
        weight_decay=optimisation.weight_decay,
        fused=True,
    )
    total = len(batches)
    start = 0 if stage is None else stage.resume(module, optimizer, callback)
    training_mode(module, optimisation.batch_statistics)
    if isinstance(module, Learning):
        module.parts = optimisation.accumulation
    if optimisation.grad_checkpointing:
        set_checkpointing(module, True)

    def keep(step: int, error: BaseException) -> None:
        """Save the state before `step`, which `error` ended."""
        if stage is None:
            return
        try:
            if step > start and is_finite(parameters, optimizer):
                stage.save(step, module, optimizer, callback)
            if isinstance(error, NotFinite):
                stage.note_not_finite(step)
        except HoldfastError as second:
            logger.warning("%s", second)

    with progress(label, total, start) as advance, held_signals() as stop:
        over = callback is not None and callback.finished  # before the last start stopped
        source = iter(() if over else batches(start))
        for step in itertools.count(start):  # until the batches end
            # Randomness is a function of (seed, step), so a resumed run draws the same numbers.
            torch.manual_seed(derive_seed(seed, "step", step))
            rate = learning_rate(step, total, optimisation)
            for group in optimizer.param_groups:
                group["lr"] = rate
            try:
                with stop.at_once():  # a batch may take long, and the state is whole
                    batch = next(source, None)
                if batch is None:
                    break
                optimizer.zero_grad()
                values, measures, norm = compute_gradients(
                    module, batch, objective, parameters, optimisation, f"step {step} of {label}"
                )
            except BaseException as error:
                keep(step, error)
                raise
            optimizer.step()
            if after_step is not None:
                after_step(step, module)
            if callback is not None:
                callback.after_step(step, module)
            advance(1)
            if (tick := step_clock.get()) is not None:
                tick(label)
            if stage is not None:
                about: dict[str, Any] = {"learning_rate": rate, "gradient_norm": norm}
                if measures:
                    about["measures"] = {name: value.item() for name, value in measures.items()}
                stage.record({"step": step, "losses": values} | about)
                if stage.is_due() or stop.signal is not None:
                    check_state_finite(parameters, optimizer, label)
                    stage.save(step + 1, module, optimizer, callback)
            if stop.signal is not None:
                stop.now()
            if callback is not None and callback.finished:
                break
    if optimisation.grad_checkpointing:
        set_checkpointing(module, False)
    check_state_finite(parameters, optimizer, label)
    module.eval()
    said: dict[str, Any] = {}
    if callback is not None:
        load_some(module, callback.result())
        said = callback.about()
    if stage is not None:
        stage.finish(module, said)


def compute_gradients(
    module: nn.Module,
    batch: Any,
    objective: Objective,
    parameters: list[nn.Parameter],
    optimisation: Optimisation,
    where: str,
) -> tuple[dict[str, float], dict[str, Tensor], float]:
    """Leave the gradients of a batch's losses in the parameters; losses, measures, and the norm.

    module: learns. batch: what `objective` takes. parameters: those of `module` that learn; their
    gradients are clipped as `optimisation` says. where: the step, for messages.

    Raises NotFinite, with the buffers as they were, where a loss or the norm is not finite.
    """
    moved = list(module.buffers()) if optimisation.batch_statistics == "learn" else []
    buffers = [buffer.clone() for buffer in moved]
    losses: dict[str, Tensor] = {}
    measures: dict[str, Tensor] = {}
    try:
        pending = objective(module, batch)
        while True:
            with autocast(parameters[0].device, optimisation.precision):
                terms = next(pending, None)
            if terms is None:
                break
            torch.stack(list(terms.values())).sum().backward()
            losses |= {name: term.detach() for name, term in terms.items()}
            measures |= getattr(terms, "measures", {})
        norm = nn.utils.clip_grad_norm_(parameters, optimisation.clip_norm or math.inf).item()
        values = {name: value.item() for name, value in losses.items()}
        if not all(map(math.isfinite, (norm, *values.values()))):
            what = "gradient" if all(map(math.isfinite, values.values())) else "loss"
            raise NotFinite(
                f"The {what} of {where} is not finite; lower the learning rate (now "
                f"{optimisation.learning_rate:g}) or train in fp32, and run the same command again "
                "to go on from the step before."
            )
    except BaseException:
        for buffer, earlier in zip(moved, buffers, strict=True):
            buffer.copy_(earlier)
        raise
    return values, measures, norm


def is_finite(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> bool:
    """Whether all weights and moments are finite numbers."""
    moments = (t for state in optimizer.state.values() for t in state.values())
    return all(bool(tensor.isfinite().all()) for tensor in (*parameters, *moments))


def check_state_finite(
    parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, label: str
) -> None:
    """Raise NotFinite unless all weights and moments are finite; nothing else is ever saved."""
    if not is_finite(parameters, optimizer):
        raise NotFinite(
            f"The weights of {label} are no longer finite; lower the learning rate, and run the "
            "same command again to go on from the last checkpoint."
        )


def training_mode(module: nn.Module, batch_statistics: str) -> None:
    """Training mode, but for parts that do not learn, and for batch normalisation.

    batch_statistics: `keep` leaves those of the pre-training, also where the rest of the layer
        learns: the batches of a new task would replace them, whatever the learning rate. `learn`
        lets them follow the batches.
    """
    module.train()
    for part in module.modules():
        frozen = list(part.parameters()) and not any(p.requires_grad for p in part.parameters())
        keeps = batch_statistics == "keep" and isinstance(part, _BatchNorm)
        if frozen or keeps:
            part.eval()


def capped_warmup(optimisation: Optimisation, steps: int) -> Optimisation:
    """The same optimisation with a warmup of at most a fifth of the steps.

    The papers' 500 steps would be all of a small training.
    """
    return replace(optimisation, warmup_steps=min(optimisation.warmup_steps, steps // 5))


def learning_rate(step: int, total: int, optimisation: Optimisation) -> float:
    """Learning rate of a 0-based step: linear warmup, then cosine to zero (or constant)."""
    peak, warmup = optimisation.learning_rate, optimisation.warmup_steps
    if step < warmup:
        return peak * (step + 1) / warmup
    if optimisation.schedule == "constant":
        return peak
    return 0.5 * peak * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
