"""Folders that resume: a run with its settings, its inputs and its result."""

from __future__ import annotations

import logging
import os
import platform
import shlex
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from holdfast.errors import DamagedFile, HoldfastError, UsageError
from holdfast.files import (
    LOCK,
    TEMPORARY,
    locked,
    read_sealed,
    read_typed,
    remove_leftovers,
    write_sealed,
)
from holdfast.results import Environment, Result, write_result
from holdfast.seen import NAME, SEEN
from holdfast.settings.base import Settings, flatten, free_fields, to_jsonable
from holdfast.stages import NOT_FINITE, Stage

SETTINGS, INPUTS, RESULT, REPORT = "settings.json", "inputs.json", "result.json", "report.html"
ENVIRONMENT = "environment.json"
HEAD_PROMPTS = "prompts.json"  # of the head that a name-only transfer starts from
STARTED = {SETTINGS, ENVIRONMENT, NAME}  # of a run that has made nothing yet
MENDS = ("learning_rate", "clip_norm", "precision")  # settings, against values not finite
PACKAGES = (
    "holdfast torch torchvision open_clip_torch timm diffusers transformers safetensors pillow "
    "numpy"
).split()

logger = logging.getLogger(__name__)

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
        Where a value that is not finite stopped a training, what can mend that is free too.
        preliminary: files of a run that has made nothing yet, and may go on with any settings.
        keep_settings: leave the settings of the earlier start as they are written.

        Raises UsageError that names what differs, and leaves the folder as it was; HoldfastError
        if another process has the folder.
        """
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file; give another folder with --out.")
        started = STARTED | set(preliminary)
        SEEN.recall(folder)
        allowed = (set(free_fields(settings)) | set(free)) - set(bound)
        if folder.is_dir() and any(folder.rglob(f"*{NOT_FINITE}")):
            known = (key for key, _ in flatten(settings.to_json()))
            allowed |= {key for key in known if key.split(".")[-1] in MENDS}
        check_settings(folder, settings, allowed, started)  # before the lock leaves a file there
        with locked(folder):
            check_settings(folder, settings, allowed, started)
            remove_leftovers(folder)
            new = made_nothing(folder, started)
            if new:
                (folder / INPUTS).unlink(missing_ok=True)
            if not (keep_settings and (folder / SETTINGS).exists()):
                write_sealed(folder / SETTINGS, settings.to_json())
            keep_environment(folder / ENVIRONMENT, new)
            yield cls(folder, settings, verb)

    def check_inputs(self, inputs: Mapping[str, str]) -> None:
        """Keep hashes of what the run is made from; UsageError if an earlier start had others.

        Raises HoldfastError if the hashes of an earlier start are gone or damaged.
        """
        SEEN.keep(self.folder)  # all inputs were read by now
        path = self.folder / INPUTS
        if not path.exists():
            # They are written before any training.
            if (self.folder / RESULT).exists() or any(self.folder.rglob("*.safetensors")):
                raise HoldfastError(
                    f"{path} is gone, so nobody can say what the run was made from; restore it, "
                    "or give another --out."
                )
            write_sealed(path, inputs)
            return
        earlier = read_typed(path, dict[str, str], sealed=True)
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

        written = write_result(self.folder / RESULT, result)
        write_report(written, self.folder / REPORT)


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
    return entries(folder) <= set(started) | {INPUTS}


def entries(folder: Path) -> set[str]:
    """What is in a folder, but for the lock and what a killed process left half-written."""
    listed = folder.iterdir() if folder.exists() else ()
    return {e.name for e in listed if e.name != LOCK and not e.name.endswith(TEMPORARY)}


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
        earlier = read_sealed(written)
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
    elif not written.exists() and entries(folder):
        raise UsageError(f"{folder} is not empty and holds no run; give another folder with --out.")


def keep_environment(path: Path, new: bool) -> None:
    """Write what a run is trained on to `path`, and leave there what an earlier start wrote.

    new: whether the run has made nothing yet. Else a file that is gone or damaged is named in a
    warning.
    """
    if path.exists() and not new:
        try:
            read_sealed(path)
        except DamagedFile as error:
            logger.warning("%s It is left as it is.", error)
        return
    if not new:
        logger.warning("%s was gone; it now tells of this machine.", path)
    write_sealed(path, to_jsonable(environment()))


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
