"""What is looked at before a pipeline of other people is loaded: none of it may run code."""

from __future__ import annotations

from pathlib import Path

from holdfast.errors import UsageError
from holdfast.files import read_json
from holdfast.foreign import CONFIG_BYTES, check_model_folder

LIBRARIES = ("diffusers", "transformers")  # that the parts of a pipeline may be from


def check_pipeline_folder(folder: Path) -> None:
    """Check a diffusers pipeline in `folder` before it is loaded.

    Its parts must be from diffusers or transformers: of anything else the library would import a
    module by that name. Raises UsageError for one that could run code, HoldfastError for files that
    cannot be read.
    """
    check_model_folder(folder)
    path = folder / "model_index.json"
    index = read_json(path, limit_bytes=CONFIG_BYTES, strict=False)
    if not isinstance(index, dict):
        raise UsageError(f"{path} describes no pipeline.")
    if not isinstance(index.get("_class_name"), str):
        raise UsageError(f"{path} names no pipeline of diffusers.")
    for part, said in index.items():
        if not isinstance(said, list) or said[:1] == [None]:
            continue
        library = said[0] if said else None
        if not isinstance(library, str) or not is_of_diffusers(library):
            raise UsageError(
                f"{path} takes its {part} from {library!r}; parts must be from "
                f"{' or '.join(LIBRARIES)}."
            )
        if (folder / part / f"{library}.py").exists():
            raise UsageError(f"{folder / part} holds code of its own, which is never run.")


def is_of_diffusers(library: str) -> bool:
    """Whether a part of a pipeline that is from `library` is from diffusers or transformers.

    The module of a pipeline, such as `stable_diffusion`, is a part of diffusers.
    """
    if library in LIBRARIES:
        return True
    from diffusers import pipelines  # takes a while, and is seldom needed

    return library.isidentifier() and hasattr(pipelines, library)
