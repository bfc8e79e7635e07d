"""A teacher that is a file: embeddings that were computed before.

One safetensors file with two tensors of any floating type and the same width:

    images  (n, dim)    text  (m, dim)

and in its metadata, as text:

    images       JSON list of n keys: the SHA-256 of the image file's bytes (hexadecimal) for the
                 whole picture; `View.key` for an augmented view of it
    text         JSON list of m prompts, or class names
    identity     who computed them
    logit_scale  factor on cosine similarities (optional; 100 if absent)

`write_embeddings` writes one.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from torch import Tensor

from holdfast.errors import HoldfastError, UsageError, did_you_mean
from holdfast.files import sha256
from holdfast.teachers.teacher import LOGIT_SCALE, unit_rows
from holdfast.tensor_files import save_safetensors

if TYPE_CHECKING:
    from holdfast.data.views import View


class FileTeacher:
    """The embeddings in a file, found by the content of an image and the exact text of a prompt.

    path: the file. logit_scale: factor on cosine similarities; None takes the file's own, or 100.
    Raises UsageError for a file that does not exist or is no file of embeddings.
    """

    free = True
    batch = 1024  # rows are only copied

    def __init__(self, path: Path, logit_scale: float | None = None) -> None:
        if not path.is_file():
            raise UsageError(f"There is no file of embeddings {str(path)!r}.")
        self.path = path
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                self._tensors = {name: file.get_tensor(name) for name in ("images", "text")}
            self._rows = {name: _numbered(about[name]) for name in self._tensors}
            own = float(about.get("logit_scale", LOGIT_SCALE))
        except (SafetensorError, KeyError, ValueError, OSError, RecursionError) as error:
            raise UsageError(
                f"{path} is no file of embeddings ({' '.join(str(error).split())}); "
                "`holdfast.teachers.write_embeddings` writes one."
            ) from None
        for name, rows in self._rows.items():
            shape, wanted = self._tensors[name].shape, self._tensors["images"].shape[-1:]
            if shape != (len(rows), *wanted):
                raise UsageError(
                    f"{path}: the tensor {name!r} has the shape {tuple(shape)}, but its list "
                    f"names {len(rows)} different rows, and images have the width {list(wanted)}."
                )
        if not (math.isfinite(own) and own > 0):
            raise UsageError(f"{path}: its logit_scale is {own}; it must be a positive number.")
        self.name = about.get("identity") or path.name
        self.logit_scale = own if logit_scale is None else logit_scale

    @cached_property
    def identity(self) -> str:
        """SHA-256 of the file."""
        return f"file {sha256(self.path)}"

    def embed_images(self, views: Sequence[View]) -> Tensor:
        """Embeddings of `views`: (views, dim) float32 on the CPU, L2-normalised.

        Raises HoldfastError for a view that the file does not have.
        """
        keys = [view.digest if view.parameters is None else view.key for view in views]
        for view, key in zip(views, keys, strict=True):
            if key not in self._rows["images"]:
                what = "embedding" if view.parameters is None else "embedding of this random view"
                remedy = "" if view.parameters is None else " --views 1 asks about whole images."
                raise HoldfastError(
                    f"{self.path} holds no {what} of the image {view.path}; it holds "
                    f"{len(self._rows['images'])} images, and only what it holds can be used."
                    f"{remedy}"
                )
        return self._take("images", keys)

    def embed_text(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings of `prompts`: (prompts, dim) float32 on the CPU, L2-normalised.

        Raises HoldfastError for a prompt that the file does not have.
        """
        for prompt in prompts:
            if prompt not in self._rows["text"]:
                raise HoldfastError(
                    f"{self.path} holds no embedding of the text {prompt!r}"
                    f"{did_you_mean(prompt, self._rows['text'])}; texts must match exactly, "
                    "and the template '{}' asks for a class name alone."
                )
        return self._take("text", prompts)

    def _take(self, name: str, keys: Sequence[str]) -> Tensor:
        rows = self._tensors[name][[self._rows[name][key] for key in keys]]
        return unit_rows(rows, str(self.path))


def _numbered(text: str) -> dict[str, int]:
    keys = json.loads(text)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("a list of keys holds something else than text")
    return {key: row for row, key in enumerate(keys)}


def write_embeddings(
    path: Path | str,
    digests: Sequence[str],
    images: Tensor,
    prompts: Sequence[str],
    text: Tensor,
    identity: str,
    logit_scale: float = LOGIT_SCALE,
) -> None:
    """Write the file of embeddings `path`, which `file:PATH` then names as a teacher.

    digests: SHA-256 of each image file, or `View.key`. images: (n, dim), in their order.
    prompts: exact texts, or class names. text: (m, dim), in their order.
    identity: who computed the embeddings. logit_scale: factor on cosine similarities.

    Raises UsageError for shapes that do not match, for keys that come twice, and for numbers that
    are not finite.
    """
    for name, keys, rows in (("digests", digests, images), ("prompts", prompts, text)):
        if rows.shape != (len(keys), images.shape[-1]):
            raise UsageError(
                f"{len(keys)} {name} and images of shape {tuple(images.shape)} do not fit "
                f"embeddings of shape {tuple(rows.shape)}."
            )
        if len(set(keys)) < len(keys):
            twice = Counter(keys).most_common(1)[0][0]
            raise UsageError(f"Each key has one embedding, but {twice!r} comes twice in {name}.")
        if not rows.isfinite().all():
            raise UsageError(f"The embeddings of the {name} hold NaN or infinite numbers.")
    tensors = {"images": images.detach().contiguous(), "text": text.detach().contiguous()}
    about = {
        "images": json.dumps(list(digests)),
        "text": json.dumps(list(prompts), ensure_ascii=False),
        "identity": identity,
        "logit_scale": repr(float(logit_scale)),
    }
    save_safetensors(Path(path).expanduser(), tensors, about)
