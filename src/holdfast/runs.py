"""Folders that resume: a run with its settings and inputs, and its stages of training."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.errors import HoldfastError, UsageError
from holdfast.files import (
    LOCK,
    append_lines,
    atomic_write,
    locked,
    read_json,
    read_lines,
    remove_leftovers,
    write_json,
)
from holdfast.results import (
    Environment,
    KeptWeights,
    Result,
    StageResult,
    TrainingStep,
    ValidationPoint,
    write_result,
)
from holdfast.settings.base import Settings, flatten, free_fields, to_jsonable

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from holdfast.train import Callback

SETTINGS, INPUTS, RESULT, REPORT = "settings.json", "inputs.json", "result.json", "report.html"
STARTED = {SETTINGS, "environment.json", LOCK}  # of a run that has made nothing yet
PACKAGES = (
    "holdfast torch torchvision open_clip_torch timm diffusers transformers safetensors pillow numpy"
).split()
CURVE_POINTS = 240  # of a training in a result

# The words that the command line was called with, for the result of the run.
command_line: ContextVar[list[str] | None] = ContextVar("command_line", default=None)


class Run:
    """A run's folder while this process has it for itself; `Run.open` makes one."""

    def __init__(self, folder: Path, settings: Settings, verb: str) -> None:
        self.folder, self.settings, self.verb = folder, settings, verb
        self.seconds: dict[str, float] = {}

    @classmethod
    @contextmanager
    def open(
        cls,
        folder: Path,
        settings: Settings,
        verb: str,
        *,
        free: Collection[str] = (),
        bound: Collection[str] = (),
        preliminary: Collection[str] = (),
        keep_settings: bool = False,
    ) -> Iterator[Run]:
        """Make a run's folder, or go on with one that the same settings left.

        verb: the command, as the command line calls it. free: further settings that may differ
        from those of the earlier start; bound: those that may not, although their field is free.
        preliminary: files of a run that has made nothing yet, and may go on with any settings.
        keep_settings: leave the settings of the earlier start as they are written.

        Raises UsageError that names what differs, and leaves the folder as it was; HoldfastError
        if another process has the folder.
        """
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file; give another folder with --out.")
        started = STARTED | set(preliminary)
        with locked(folder):
            allowed = (set(free_fields(settings)) | set(free)) - set(bound)
            check_settings(folder, settings, allowed, started)
            remove_leftovers(folder)
            if made_nothing(folder, started):
                (folder / INPUTS).unlink(missing_ok=True)
            if not (keep_settings and (folder / SETTINGS).exists()):
                write_json(folder / SETTINGS, settings.to_json())
            if not (folder / "environment.json").exists():  # of the machine that trained
                write_json(folder / "environment.json", to_jsonable(environment()))
            yield cls(folder, settings, verb)

    def check_inputs(self, inputs: Mapping[str, str]) -> None:
        """Keep hashes of what the run is made from; UsageError if an earlier start had others."""
        path = self.folder / INPUTS
        if not path.exists():
            write_json(path, dict(inputs))
            return
        earlier = read_json(path)
        changed = [what for what, digest in inputs.items() if earlier.get(what) != digest]
        if changed:
            raise UsageError(
                f"{self.folder} holds a run with other {' and '.join(changed)}; give another "
                "--out, or remove it."
            )

    def stage(self, name: str, minutes: float = 5.0) -> Stage:
        """A training of the run, which resumes; minutes: between two checkpoints."""
        return Stage(self.folder, name, minutes)

    @contextmanager
    def clock(self, part: str) -> Iterator[None]:
        """Add the time inside the block to `seconds[part]`."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.monotonic() - start

    def header(self, title: str) -> dict[str, Any]:
        """The fields that all results have."""
        words = [*self.verb.split(), "--config", str(self.folder / SETTINGS)]
        return result_header(title, self.settings, words)

    def finish(self, result: Result) -> None:
        """Write the result and its report."""
        from holdfast.report import write_report  # not needed before

        write_result(self.folder / RESULT, result)
        write_report(result, self.folder / REPORT)


def result_header(title: str, settings: Settings, words: Sequence[str]) -> dict[str, Any]:
    """The fields that all results have.

    words: of the command that makes it again, where the command line was not asked.
    """
    return {
        "title": title,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["holdfast", *(command_line.get() or words)]),
        "settings": settings.to_json(),
        "environment": environment(),
    }


def made_nothing(folder: Path, started: Collection[str] = STARTED) -> bool:
    """Whether a run's folder has no more than the files of a start."""
    return not folder.exists() or {e.name for e in folder.iterdir()} <= set(started) | {INPUTS}


def check_settings(
    folder: Path,
    settings: Settings,
    free: Collection[str],
    started: Collection[str] = STARTED,
) -> None:
    """Raise UsageError where a folder holds a run with other settings, or something else."""
    written = folder / SETTINGS
    # A run that failed before it made anything may be started again with other settings.
    if written.exists() and not made_nothing(folder, started):
        earlier = read_json(written)
        if not isinstance(earlier, dict):
            raise UsageError(f"{written} holds no settings; give another folder with --out.")
        old, new = dict(flatten(earlier)), dict(flatten(settings.to_json()))
        differing = [
            f"{key} ({old.get(key)!r} there, {new.get(key)!r} now)"
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key) and key not in free and key.split(".")[0] not in free
        ]
        if differing:
            raise UsageError(
                f"{folder} holds a run with other settings: {'; '.join(differing[:4])}"
                f"{' and more' if len(differing) > 4 else ''}; give another --out or remove it."
            )
    elif not written.exists() and folder.exists() and {e.name for e in folder.iterdir()} - {LOCK}:
        raise UsageError(f"{folder} is not empty and holds no run; give another folder with --out.")


@dataclass
class Stage:
    """One training of a run: its checkpoint while it runs, its weights once it is done.

    <name>.checkpoint.safetensors    weights that learn, buffers, moments, callback, position
    <name>.safetensors               the weights that were kept, and what there is to say
    <name>.jsonl                     a line for each step, written with the checkpoint

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

    @property
    def weights(self) -> Path:
        """The file of the weights that were kept."""
        return self.folder / f"{self.name}.safetensors"

    @property
    def checkpoint(self) -> Path:
        """The file to go on from."""
        return self.folder / f"{self.name}.checkpoint.safetensors"

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
        """Put the weights that were kept into the module, if the training is done."""
        from safetensors import safe_open

        if not self.finished:
            return False
        with safe_open(self.weights, "pt") as file:
            self.about = json.loads(file.metadata()["about"])
            load_some(module, {key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
        self.checkpoint.unlink(missing_ok=True)
        return True

    def resume(
        self, module: nn.Module, optimizer: Optimizer, callback: Callback | None = None
    ) -> int:
        """Put the checkpoint's state back, if there is one; the 0-based step to go on with."""
        import torch
        from safetensors import SafetensorError, safe_open

        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.checkpoint.exists():
            return 0
        parameters = dict(module.named_parameters())
        buffers = dict(module.named_buffers())
        followed: dict[str, Tensor] = {}
        try:
            with safe_open(self.checkpoint, framework="pt") as file, torch.no_grad():
                about = json.loads(file.metadata()["about"])
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
                    callback.restore(followed, about["callback"])
                self._earlier_seconds = float(about["seconds"])
                return int(about["step"])
        except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
            raise HoldfastError(
                f"The checkpoint {self.checkpoint} does not fit this model ({error}); delete it to "
                "start over."
            ) from None

    def record(self, line: dict[str, Any]) -> None:
        """Take a line in; it is written with the next checkpoint."""
        self._lines.append(line)

    def is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self._saved > 60 * self.minutes

    def save(
        self, step: int, module: nn.Module, optimizer: Optimizer, callback: Callback | None = None
    ) -> None:
        """Write weights that learn, buffers, moments and the position as one file; then records."""
        parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        tensors = {f"weight/{name}": p.detach() for name, p in parameters.items()}
        tensors |= {f"buffer/{name}": b for name, b in module.named_buffers()}
        for name, p in parameters.items():
            tensors |= {f"moment/{key}/{name}": t for key, t in optimizer.state[p].items()}
        about: dict[str, Any] = {"step": step, "seconds": self.seconds}
        if callback is not None:
            followed, about["callback"] = callback.state()
            tensors |= {f"callback/{name}": t for name, t in followed.items()}
        save_tensors(self.checkpoint, tensors, about)
        self._write_records()
        self._saved = time.monotonic()

    def finish(self, module: nn.Module, about: Mapping[str, Any]) -> None:
        """Keep the module's weights that learn, and its buffers, as the training's result."""
        self.about = {**about, "seconds": round(self.seconds, 3)}
        fixed = {name for name, p in module.named_parameters() if not p.requires_grad}
        kept = {name: t for name, t in module.state_dict().items() if name not in fixed}
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_records()
        save_tensors(self.weights, kept, self.about)
        self.checkpoint.unlink(missing_ok=True)

    def result(self) -> StageResult:
        """What was kept, once the training is done; its callback must have said so."""
        points = [ValidationPoint(**each) for each in self.about["validations"]]
        kept = KeptWeights(**self.about["kept"])
        return StageResult(kept=kept, validations=points, seconds=self.seconds)

    def _write_records(self) -> None:
        append_lines(self.records, self._lines)
        self._lines = []

    def remove(self) -> None:
        """Delete what only the training needs, once what it was for is whole."""
        for path in (self.weights, self.checkpoint):
            path.unlink(missing_ok=True)

    def curve(self) -> list[TrainingStep]:
        """Recorded steps, evenly spaced, the last among them.

        Of a step that a resumed run repeated, the later line counts.
        """
        lines = [r for r in read_lines(self.records) if isinstance(r, dict) and "step" in r]
        known = [r for _, r in sorted({r["step"]: r for r in lines}.items())]
        every = max(1, -(-len(known) // CURVE_POINTS))
        return [TrainingStep(**line) for line in known[::-every][::-1]]


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write a safetensors file; `about` is JSON in its header. A kill leaves the old or the new."""
    from safetensors.torch import save_file

    with atomic_write(path) as temporary:
        contiguous = {name: t.contiguous() for name, t in tensors.items()}
        save_file(contiguous, temporary, {"about": json.dumps(about)})


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


def environment() -> Environment:
    """What the run runs on: versions, processors, accelerator."""
    import torch

    packages = {}
    for package in PACKAGES:
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            continue
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        processors=os.cpu_count(),
        threads=torch.get_num_threads(),
        accelerator=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        packages=packages,
    )


def peak_memory() -> int:
    """The most memory this process has held so far, in bytes, on the GPU if it used one."""
    import torch

    if torch.cuda.is_available() and (peak := torch.cuda.max_memory_allocated()):
        return peak
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
