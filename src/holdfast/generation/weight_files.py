"""Files of a pipeline's weights: fetched, in half precision where there are no others."""

from __future__ import annotations

import re
from pathlib import Path

VARIANT = re.compile(r"\.(\w+)\.(safetensors|bin)$")  # diffusion_pytorch_model.fp16.safetensors
HALF = "fp16"


def fetch(place: str, revision: str) -> Path:
    """The folder of a pipeline's files, from the cache or the hub.

    place: its hub id. revision: the commit. Raises what the hub raises where there are no files.
    """
    from diffusers import DiffusionPipeline

    found: Path | None = None
    try:
        found = Path(DiffusionPipeline.download(place, revision=revision))
        if not lacks_weights(found):
            return found
    except Exception as error:
        problem = error
    try:
        return Path(DiffusionPipeline.download(place, revision=revision, variant=HALF))
    except Exception:
        if found is None:
            raise problem from None
        return found


def lacks_weights(folder: Path) -> bool:
    """Whether a part of the pipeline in `folder` has a configuration and no weights."""
    return any(not weight_files(path.parent) for path in folder.glob("*/config.json"))


def only_variant(folder: Path) -> str | None:
    """The variant of a pipeline's weights, such as `fp16`, where a part has no others.

    folder: the pipeline's. None where each part has plain weights, or none at all.
    """
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        found = [VARIANT.search(name) for name in weight_files(part)]
        kinds = [match and match[1] for match in found]
        if kinds and None not in kinds:
            return HALF if HALF in kinds else kinds[0]
    return None


def weight_files(part: Path) -> list[str]:
    """The names of the files of weights in the folder of a `part` of a pipeline."""
    return [path.name for path in part.iterdir() if path.suffix in (".safetensors", ".bin")]
