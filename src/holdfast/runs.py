"""A run's folder: settings that reproduce it, environment, records."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from functools import wraps
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from holdfast.errors import UsageError
from holdfast.files import append_line, locked, read_json, read_lines, remove_leftovers, write_json

Given = TypeVar("Given")
Made = TypeVar("Made")
STARTED = {"settings.json", "environment.json"}
INPUTS = "inputs.json"
PACKAGES = (
    "holdfast torch torchvision open_clip_torch timm diffusers transformers accelerate safetensors "
    "pillow numpy"
).split()


def alone(verb: Callable[[Given], Made]) -> Callable[[Given], Made]:
    """A verb that has its settings' `out` for itself: HoldfastError while another process has it.

    A dry run writes nothing there and need not wait.
    """

    @wraps(verb)
    def run(settings: Given) -> Made:
        if getattr(settings, "dry_run", False):
            return verb(settings)
        with locked(settings.out):  # type: ignore[attr-defined]
            return verb(settings)

    return run


def plain(value: Any) -> Any:
    """`value` with paths as text, so that it can be written as JSON."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """("train.epochs", 10) and so on: settings under the names they have on the command line."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def open_run(
    folder: Path,
    settings: Any,
    free: Collection[str] = (),
    started: Collection[str] = STARTED,
) -> Path:
    """Create a run's folder, or open one that a run with the same settings left.

    Writes `settings.json`, which `--config` reads, and `environment.json`.
    free: settings that may differ from those of the existing run, because nothing that is kept
        depends on them.
    started: files of a run that has made nothing yet, and may go on with any settings and inputs.

    Raises UsageError that names what differs; the folder is then left as it was.
    """
    check_run(folder, settings, free, started)
    folder.mkdir(parents=True, exist_ok=True)
    if made_nothing(folder, started):
        (folder / INPUTS).unlink(missing_ok=True)
    write_json(folder / "settings.json", plain(asdict(settings)))
    if not (folder / "environment.json").exists():  # of the machine that trained
        write_json(folder / "environment.json", environment())
    return folder


def made_nothing(folder: Path, started: Collection[str] = STARTED) -> bool:
    """Whether a run's folder has no more than the files of a start."""
    return not folder.exists() or {e.name for e in folder.iterdir()} <= set(started)


def check_run(
    folder: Path,
    settings: Any,
    free: Collection[str] = (),
    started: Collection[str] = STARTED,
) -> None:
    """Raise UsageError where `open_run` may not open a folder with these settings."""
    wanted = plain(asdict(settings))
    written = folder / "settings.json"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give another folder with --out.")
    remove_leftovers(folder)
    # A run that failed before it made anything may be started again with other settings.
    if written.exists() and not made_nothing(folder, started):
        earlier = read_json(written)
        if not isinstance(earlier, dict):
            raise UsageError(f"{written} holds no settings; give another folder with --out.")
        old, new = dict(flat(earlier)), dict(flat(wanted))
        differing = [
            f"{key} ({old.get(key)!r} there, {new.get(key)!r} now)"
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key) and key.split(".")[0] not in free and key not in free
        ]
        if differing:
            raise UsageError(
                f"{folder} holds a run with other settings: {'; '.join(differing[:4])}"
                f"{' and more' if len(differing) > 4 else ''}; give another --out or remove it."
            )
    elif not written.exists() and folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty and holds no run; give another folder with --out.")


def check_inputs(run: Path, inputs: dict[str, str]) -> None:
    """Keep hashes of what a run was made from; UsageError if an earlier start had others."""
    path = run / INPUTS
    if not path.exists():
        write_json(path, inputs)
        return
    earlier = read_json(path)
    changed = [what for what, digest in inputs.items() if earlier.get(what) != digest]
    if changed:
        raise UsageError(
            f"{run} holds a run with other {' and '.join(changed)}; give another --out, "
            "or remove it."
        )


def environment() -> dict[str, Any]:
    """What the run ran on: versions, processors, accelerator."""
    import torch

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": versions,
        "command": sys.argv if sys.argv and sys.argv[0].endswith("holdfast") else None,
    }


class Records:
    """The lines of `records.jsonl`, one per training step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, record: dict[str, Any]) -> None:
        """Append one record."""
        append_line(self.path, record)

    def read(self) -> list[dict[str, Any]]:
        """The records in order of their step; of a step that a resumed run repeated, the last."""
        lines = [r for r in read_lines(self.path) if isinstance(r, dict) and "step" in r]
        return [r for _, r in sorted({r["step"]: r for r in lines}.items())]


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
