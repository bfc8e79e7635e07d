"""Text-to-image pipelines of diffusers: find them and pin their version."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from holdfast import builtin
from holdfast.errors import HoldfastError, UsageError, require, shortened
from holdfast.generation.checks import check_pipeline_folder


@dataclass(frozen=True)
class PipelineSource:
    """A pipeline and the version of it that is used.

    place: a folder, or a hub id. name: what the manifest calls it; of a folder its own name, so
    that it may be moved. revision: the commit, or a hash of the folder's files.
    """

    place: str
    name: str
    revision: str

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}"


def find_pipelines(generator: str) -> list[PipelineSource]:
    """The pipelines named in a comma-separated list, pinned but not loaded.

    generator: folders, hub ids (`id@revision` pins one) and built-in names.
    Raises UsageError for what is neither a folder nor a hub id, HoldfastError for what is missing,
    also for diffusers itself.
    """
    require("diffusers", "generate")
    whole = Path(generator).expanduser().is_dir()  # a folder's name may hold a comma
    parts = [generator] if whole and generator else generator.split(",")
    places = [part.strip() for part in parts if part.strip()]
    if not places:
        raise UsageError("No generator is named; give the hub id or folder of a pipeline.")
    return [_find_one(place) for place in places]


def _find_one(place: str) -> PipelineSource:
    place = builtin.generator(place) or place
    folder = Path(place).expanduser()
    if folder.is_dir():
        if not (folder / "model_index.json").is_file():
            raise UsageError(
                f"The folder {place} holds no diffusers pipeline: it lacks a model_index.json."
            )
        check_pipeline_folder(folder)
        return PipelineSource(str(folder), folder.resolve().name, folder_hash(folder))
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?", place) or place.startswith("."):
        raise UsageError(f"The generator {place!r} is no folder here and no hub id (owner/name).")
    from huggingface_hub import hf_hub_download

    hub_id, _, revision = place.partition("@")
    try:
        index = hf_hub_download(hub_id, "model_index.json", revision=revision or None)
    except Exception as error:
        raise not_at_hand(hub_id, revision, error) from None
    # The cache keeps each commit in snapshots/<commit>/.
    return PipelineSource(hub_id, hub_id, Path(index).parent.name)


def folder_hash(folder: Path) -> str:
    """12 hex digits of a hash over every file below `folder`: name, size, and 1 MiB of each end.

    The ends differ between two trainings of one architecture, and gigabytes need not be read.
    """
    end = 2**20
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts):
            continue
        size = path.stat().st_size
        digest.update(f"{relative.as_posix()}\0{size}\0".encode())
        with path.open("rb") as handle:
            digest.update(handle.read(end))
            handle.seek(max(end, size - end))
            digest.update(handle.read())
    return digest.hexdigest()[:12]


def not_at_hand(hub_id: str, revision: str, error: Exception) -> HoldfastError:
    """What to say of a pipeline that is neither here nor could be fetched.

    hub_id: owner/name. revision: the pinned one, or "". error: why it could not be fetched.
    """
    pinned = f", revision={revision!r}" if revision else ""
    return HoldfastError(
        f"The generator {hub_id!r} is neither on this machine nor could it be fetched "
        f'({first_line(error)}); on a machine with a network run python -c "from diffusers import '
        f"DiffusionPipeline; DiffusionPipeline.download('{hub_id}'{pinned})\", or name a folder "
        "that holds a diffusers pipeline, or `pocket` for the small one that comes along."
    )


def first_line(error: Exception) -> str:
    """What a library said first, as a part of a sentence; error: the exception that it raised."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shortened(lines[0] if lines else type(error).__name__)
