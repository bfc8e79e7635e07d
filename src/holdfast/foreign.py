"""What is looked at before other people's model files are read: none of them may run code.

Python's pickle runs what a file says, and configurations can name code to load. So weights are
safetensors, or files of torch without TorchScript that torch's reader of plain weights takes, and
a configuration that names code is refused.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from holdfast.errors import HoldfastError, UsageError
from holdfast.files import read_json
from holdfast.sealed import check_seal

# Names of settings with which the libraries load Python files that come with a model.
CODE = ("auto_map", "custom_pipeline", "custom_pipelines", "trust_remote_code")
PICKLES = {".bin", ".pt", ".pth"}  # read where there are no safetensors
CONFIG_BYTES = 2**24  # of a configuration


def check_model_folder(folder: Path) -> None:
    """Raise HoldfastError for a model's `folder` whose files are damaged, or could run code."""
    check_seal(folder, needed=False)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix == ".json" and ("config" in path.name or path.name == "model_index.json"):
            check_config(read_json(path, limit_bytes=CONFIG_BYTES, strict=False), str(path))
        elif path.suffix in PICKLES and not any(path.parent.glob("*.safetensors")):
            check_weights_file(path)


def check_config(value: Any, source: str) -> None:
    """Raise UsageError for a configuration that names code of its own.

    value: the configuration, as JSON has it. source: where it is from, for the message.
    """
    for name, inner in named_values(value):
        if name in CODE and inner not in (None, False, [], {}):
            raise UsageError(
                f"{source} sets {name}, so its model would run code of its own; that is never "
                "done. Give a model that the libraries themselves can build."
            )


def named_values(value: Any) -> Iterator[tuple[str, Any]]:
    """All names with their values in a JSON `value`, however deep."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield from each.items()
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each


def check_weights_file(path: Path) -> None:
    """Raise HoldfastError unless `path` is a file of plain weights: safetensors, or torch's own.

    TorchScript and bare pickles are programs. An archive that is compressed, or has names that
    lead out of it, was not written by torch.
    """
    if path.suffix == ".safetensors":
        return
    problem = "it is no archive that torch.save writes, and a bare pickle can run code"
    try:
        with zipfile.ZipFile(path) as archive:
            names = [entry.filename for entry in archive.infolist()]
            packed = [e for e in archive.infolist() if e.compress_type != zipfile.ZIP_STORED]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        pass
    else:
        parts = [Path(name).parts for name in names]
        if any("code" in inner[1:-1] or inner[-1] == "constants.pkl" for inner in parts if inner):
            problem = "it is a TorchScript program"
        elif packed or any(".." in inner or Path(*inner).is_absolute() for inner in parts if inner):
            problem = "it is an archive that torch.save does not write"
        elif any(inner[-1] == "data.pkl" for inner in parts if inner):
            return
    raise HoldfastError(
        f"The weights {path} are not read: {problem}; give them as safetensors "
        "(safetensors.torch.save_file)."
    )


def never_ask() -> None:
    """Keep transformers from asking on standard input whether to run a model's code."""
    from transformers import dynamic_module_utils

    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0  # seconds to answer


@contextmanager
def without_network() -> Iterator[None]:
    """Inside the block nothing is fetched from the Hub; what is in its cache is used."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
