"""Trainings of a run that resume: a checkpoint while they run, their weights once they are done."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.errors import DamagedFile, HoldfastError
from holdfast.files import check_room, write_sealed
from holdfast.json_lines import append_lines, read_lines
from holdfast.lazy import tensor_files
from holdfast.results import KeptWeights, StageResult, TrainingStep, ValidationPoint

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from holdfast.train import Callback

NOT_FINITE = ".not-finite.json"
STALL = 0.01  # of the time of a training, for its checkpoints
CURVE_POINTS = 240  # of a training in a result


@dataclass
class Stage:
    """One training of a run: its checkpoint while it runs, its weights once it is done.

    <name>.checkpoint.safetensors    weights that learn, buffers, moments, callback, position;
                                     <name>.checkpoint-before.safetensors is the one before it
    <name>.safetensors               the weights that were kept, and what there is to say
    <name>.not-finite.json           there while a value that was not finite has stopped it
    <name>.jsonl                     a line for each step, written with each checkpoint

    minutes: between two checkpoints. about: what there is to say, once it is done.
    """

    folder: Path
    name: str
    minutes: float = 5.0
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lines: list[dict[str, Any]] = []
        self._saved = self._begun = time.monotonic()
        self._earlier_seconds = 0.0
        self._cost = 0.0  # seconds of the last checkpoint
        self._steps = 0  # that the records should have

    @property
    def weights(self) -> Path:
        """The file of the weights that were kept."""
        return self.folder / f"{self.name}.safetensors"

    @property
    def checkpoint(self) -> Path:
        """The file to go on from."""
        return self.folder / f"{self.name}.checkpoint.safetensors"

    @property
    def previous(self) -> Path:
        """The checkpoint before it, which is kept until the next is whole."""
        return self.folder / f"{self.name}.checkpoint-before.safetensors"

    @property
    def stopped(self) -> Path:
        """The file that says that a value was not finite."""
        return self.folder / f"{self.name}{NOT_FINITE}"

    @property
    def records(self) -> Path:
        """The file with a line for each step."""
        return self.folder / f"{self.name}.jsonl"

    @property
    def finished(self) -> bool:
        """Whether the training is done."""
        return self.weights.exists()

    @property
    def seconds(self) -> float:
        """Of training so far, over all starts."""
        if "seconds" in self.about:
            return float(self.about["seconds"])
        return self._earlier_seconds + time.monotonic() - self._begun

    def load_finished(self, module: nn.Module) -> bool:
        """Put the weights that were kept into the module, if the training is done.

        Raises HoldfastError for a file that is damaged, or holds weights of another model.
        """
        if not self.finished:
            return False
        try:
            kept, about = tensor_files.read_tensors(self.weights)
        except DamagedFile as error:
            raise HoldfastError(f"{error} Delete it to train again.") from None
        load_some(module, kept)
        self.about, self._steps = about, int(about.get("steps", 0))
        self._remove_checkpoints()
        return True

    def resume(
        self, module: nn.Module, optimizer: Optimizer, callback: Callback | None = None
    ) -> int:
        """Put the checkpoint's state back, if there is one; the 0-based step to go on with.

        Of a damaged checkpoint the one before it is taken, with a warning. Raises HoldfastError
        where neither can be read, or the checkpoint is of another model.
        """
        self._saved = self._begun = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        there = sum(p.stat().st_size for p in (self.checkpoint, self.previous) if p.exists())
        self.check_room(module, there)
        found = [path for path in (self.checkpoint, self.previous) if path.exists()]
        if not found and self.records.exists():
            logger.warning("The checkpoints of %s are gone; it starts over.", self.records)
        for path in found:
            try:
                tensors, about = tensor_files.read_tensors(path)
            except DamagedFile as error:
                if path == found[-1]:
                    raise HoldfastError(f"{error} Delete it to start over.") from None
                logger.warning("%s Training goes on from the checkpoint before it.", error)
                continue
            return self._restore(path, tensors, about, module, optimizer, callback)
        return 0

    def _restore(
        self,
        path: Path,
        tensors: Mapping[str, Tensor],
        about: Mapping[str, Any],
        module: nn.Module,
        optimizer: Optimizer,
        callback: Callback | None,
    ) -> int:
        import torch

        parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
        followed: dict[str, Tensor] = {}
        try:
            with torch.no_grad():
                for key, tensor in tensors.items():
                    group, _, name = key.partition("/")
                    if group == "moment":
                        moment, _, name = name.partition("/")
                        parameter = parameters[name]
                        optimizer.state[parameter][moment] = tensor.to(parameter.device)
                    elif group == "callback":
                        followed[name] = tensor
                    else:
                        (parameters if group == "weight" else buffers)[name].copy_(tensor)
            if callback is not None:
                callback.restore(followed, about["callback"])
            self._earlier_seconds = float(about["seconds"])
            self._steps = int(about["step"])
            return self._steps
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise HoldfastError(
                f"The checkpoint {path} does not fit this model ({error}); delete it to start over."
            ) from None

    def record(self, line: dict[str, Any]) -> None:
        """Take a line in; it is written with the next checkpoint."""
        self._lines.append(line)
        self._steps = max(self._steps, line["step"] + 1)

    def is_due(self) -> bool:
        """Whether it is time for a checkpoint: they take at most STALL of the time.

        With `minutes` 0 each step has one, whatever that takes.
        """
        wait = max(60 * self.minutes, self._cost / STALL) if self.minutes else 0.0
        return time.monotonic() - self._saved > wait

    def save(
        self, step: int, module: nn.Module, optimizer: Optimizer, callback: Callback | None = None
    ) -> None:
        """Write records, then weights that learn, buffers, moments and the position as one file.

        Killed between both, the next start repeats steps whose records are there, and later ones
        count.
        """
        begun = time.monotonic()
        self._write_records()
        parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        tensors = {f"weight/{name}": p.detach() for name, p in parameters.items()}
        tensors |= {f"buffer/{name}": b for name, b in module.named_buffers()}
        for name, p in parameters.items():
            tensors |= {f"moment/{key}/{name}": t for key, t in optimizer.state[p].items()}
        about: dict[str, Any] = {"step": step, "seconds": self.seconds}
        if callback is not None:
            followed, about["callback"] = callback.state()
            tensors |= {f"callback/{name}": t for name, t in followed.items()}
        check_room(self.folder, sum(map(size_of, tensors.values())), f"The checkpoint of {step}")
        tensor_files.write_tensors(self.checkpoint, tensors, about, self.previous)
        self.stopped.unlink(missing_ok=True)
        self._saved = time.monotonic()
        self._cost = self._saved - begun

    def check_room(self, module: nn.Module, there: int = 0) -> None:
        """Raise HoldfastError unless two checkpoints and the weights fit on the disk.

        there: bytes of checkpoints that will be replaced. Adam keeps two moments of each weight.
        """
        learns = sum(size_of(p) for p in module.parameters() if p.requires_grad)
        needed = 2 * (3 * learns) + learns + 3 * sum(map(size_of, module.buffers()))
        check_room(self.folder, needed - there, f"The training {self.name}")

    def note_not_finite(self, step: int) -> None:
        """Note that a value of `step` was not finite: the rate may be lowered to go on."""
        write_sealed(self.stopped, {"step": step})

    def finish(self, module: nn.Module, about: Mapping[str, Any]) -> None:
        """Keep the module's weights that learn, and its buffers, as the training's result."""
        self.about = {**about, "seconds": round(self.seconds, 3), "steps": self._steps}
        fixed = {name for name, p in module.named_parameters() if not p.requires_grad}
        kept = {name: t for name, t in module.state_dict().items() if name not in fixed}
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_records()
        tensor_files.write_tensors(self.weights, kept, self.about)
        self._remove_checkpoints()

    def result(self) -> StageResult:
        """What was kept, once the training is done; its callback must have said so."""
        kept = KeptWeights(**self.about["kept"])
        points = thinned([ValidationPoint(**each) for each in self.about["validations"]], kept.step)
        return StageResult(kept=kept, validations=points, seconds=self.seconds)

    def _write_records(self) -> None:
        append_lines(self.records, self._lines)
        self._lines = []

    def remove(self) -> None:
        """Delete what only the training needs, once what it was for is whole."""
        self.weights.unlink(missing_ok=True)
        self._remove_checkpoints()

    def _remove_checkpoints(self) -> None:
        for path in (self.checkpoint, self.previous, self.stopped):
            path.unlink(missing_ok=True)

    def curve(self) -> list[TrainingStep]:
        """Recorded steps, evenly spaced, the last among them.

        Of a step that a resumed run repeated, the later line counts. Lines that are gone or damaged
        are left out, with a warning.
        """
        lines = read_lines(self.records, leave_out=True)
        known = [r for _, r in sorted({int(r["step"]): r for r in lines if "step" in r}.items())]
        if len(known) < self._steps:
            logger.warning(
                "%s is damaged: %d of %d steps are gone, and the curve of the training lacks them.",
                self.records,
                self._steps - len(known),
                self._steps,
            )
        every = max(1, -(-len(known) // CURVE_POINTS))
        return [TrainingStep(**line) for line in known[::-every][::-1]]


def size_of(tensor: Tensor) -> int:
    """Bytes of a tensor's values."""
    return tensor.numel() * tensor.element_size()


def thinned(points: list[ValidationPoint], kept: int | None) -> list[ValidationPoint]:
    """Validations, evenly spaced where there are many; the last and the kept step among them."""
    every = max(1, -(-len(points) // CURVE_POINTS))
    last = len(points) - 1
    return [p for i, p in enumerate(points) if (last - i) % every == 0 or p.step == kept]


def load_some(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put weights of some of a module's parameters and buffers into it.

    Raises HoldfastError for weights of another model.
    """
    try:
        unknown = module.load_state_dict(dict(weights), strict=False).unexpected_keys
        problem = f"it has no {unknown[:3]}" if unknown else ""
    except RuntimeError as error:  # of another shape
        problem = " ".join(str(error).split()).rstrip(".")
    if problem:
        raise HoldfastError(f"The kept weights do not fit this model: {problem}.")
