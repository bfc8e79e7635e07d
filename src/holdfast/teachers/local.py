"""A teacher on this machine: any model that open_clip loads."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from holdfast.models.clip import CLIP, uncut
from holdfast.models.text import encode_text
from holdfast.teachers.teacher import unit_rows

if TYPE_CHECKING:
    from holdfast.data.views import View


class LocalTeacher:
    """An open_clip model in float32, with its own tokenizer, interpolation and normalisation.

    Nothing of a picture is cut off, since the student sees all of it too.

    clip: the model. batch: images or prompts at once. logit_scale: factor on cosine similarities;
    None takes the model's own. Several threads may use it at the same time.
    """

    free = False  # its queries are counted like a vendor's

    def __init__(self, clip: CLIP, batch: int = 32, logit_scale: float | None = None) -> None:
        self.clip = uncut(clip)
        self.name = clip.name
        self.batch = batch
        self.logit_scale = float(clip.logit_scale) if logit_scale is None else logit_scale
        self._turn = threading.Lock()

    @cached_property
    def identity(self) -> str:
        """SHA-256 of architecture, preprocessing and weights.

        The model's name is not part of it: a folder that moved holds the same model.
        """
        return f"open_clip {clip_digest(self.clip)}"

    def embed_images(self, views: Sequence[View]) -> Tensor:
        """Embeddings of `views`: (views, dim) float32 on the CPU, L2-normalised.

        Raises UnreadableImage.
        """
        rows = []
        with ThreadPoolExecutor() as pool:  # Pillow decodes and resizes outside Python's lock
            for start in range(0, len(views), self.batch):
                part = views[start : start + self.batch]
                rows.append(self.encode(list(pool.map(self._prepared, part))))
        return torch.cat(rows)

    def _prepared(self, view: View) -> Tensor:
        return self.clip.preprocess(view.image())

    @torch.no_grad()  # not inference mode: losses are computed with what is returned
    def encode(self, images: Sequence[Tensor]) -> Tensor:
        """Embeddings (n, dim) of preprocessed `images` (3, height, width), at most `batch` of them.

        Raises HoldfastError for embeddings that are not finite.
        """
        batch = torch.stack(list(images)).to(self.clip.device)
        with self._turn:
            rows = self.clip.model.encode_image(batch)
        return unit_rows(rows, self.name)

    def embed_text(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings of `prompts`: (prompts, dim) float32 on the CPU, L2-normalised."""
        with self._turn:  # a Hugging Face tokenizer fails when two threads use it at once
            rows = encode_text(self.clip, prompts, self.batch)
        return unit_rows(rows, self.name)


def clip_digest(clip: CLIP) -> str:
    """SHA-256 of the configuration, preprocessing and weights of the model `clip`, hexadecimal."""
    digest = hashlib.sha256(json.dumps(clip.config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(clip.model.state_dict().items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
