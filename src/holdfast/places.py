"""Models and files that users name -> the same as they hold from any folder: absolute."""

from __future__ import annotations

from pathlib import Path

from holdfast import builtin

LOCAL = "local-dir:"  # how open_clip and timm spell a folder
HUB = "hf-hub:"  # and a model on the Hugging Face Hub
TIMM = "timm/"  # whose owner there most of both libraries' weights have
FILE = "file:"  # how a teacher's file of embeddings is spelt


def absolute_path(place: Path | str) -> Path:
    """A path from the root, with the home folder for `~`."""
    return Path(place).expanduser().absolute()


def absolute_file(name: str) -> str:
    """A file that is there, absolute; what is none (a tag, a list's name) stays as it is."""
    return str(absolute_path(name)) if Path(name).expanduser().is_file() else name


def absolute_model(name: str) -> str:
    """A model or a teacher: the folder or file after `local-dir:` or `file:`, absolute.

    name: as users give it; `timm/NAME` is of the hub, and one of another kind stays as it is.
    """
    if name.startswith(TIMM):
        return f"{HUB}{name}"
    for prefix in (LOCAL, FILE):
        place = name.removeprefix(prefix)
        if place and place != name:
            return f"{prefix}{absolute_path(place)}"
    return name


def absolute_generators(names: str) -> str:
    """Text-to-image pipelines, separated by commas: the folders among them, absolute.

    names: as users give them. A folder whose own name has a comma is one pipeline.
    """
    parts = [names] if names and _is_folder(names) else [part.strip() for part in names.split(",")]
    return ",".join(str(absolute_path(part)) if _is_folder(part) else part for part in parts)


def _is_folder(name: str) -> bool:
    """Whether a pipeline's name is that of a folder; built-in names come first."""
    return bool(name) and builtin.generator(name) is None and Path(name).expanduser().is_dir()
