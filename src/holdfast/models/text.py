"""CLIP's embeddings of text and images, without computing what padding cannot change."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from holdfast.models.clip import CLIP

logger = logging.getLogger(__name__)

PROMPT_SHOWN = 80  # characters of a prompt in a warning
GROUP_COST = 128  # tokens that a group of prompts must save; each walks through all weights again


@torch.no_grad()
def encode_text(
    clip: CLIP, prompts: Sequence[str], batch_size: int = 256
) -> Float[Tensor, "prompts dim"]:
    """Normalised text embeddings in float32, on the model's device, without a graph.

    clip: the model. prompts: in the order of the rows; equal ones are encoded once.
    batch_size: prompts at once.
    """
    unique = list(dict.fromkeys(prompts))
    parts = tokenize(clip, unique).split(batch_size)
    rows = [text_features(clip.model, tokens) for tokens in parts]
    position = {prompt: index for index, prompt in enumerate(unique)}
    return torch.cat(rows)[[position[prompt] for prompt in prompts]]


def tokenize(clip: CLIP, prompts: Sequence[str]) -> Int[Tensor, "prompts context"]:
    """Tokens of prompts, as the text tower takes them.

    clip: the model. prompts: in the order of the rows. What is longer than the tower reads is cut,
    and a warning says how many prompts that are, with an example; each prompt is named once.
    """
    tokens = clip.tokenizer(list(prompts))
    found = cut_rows(clip.tokenizer, prompts, tokens)
    new = {prompts[row]: tokens[row] for row in found if prompts[row] not in clip.cut}
    if new:
        clip.cut.update(new)
        first = next(iter(new))
        same = len(new) - len(torch.stack(list(new.values())).unique(dim=0))
        logger.warning(
            "%d of %d prompts are longer than the %d tokens that %s reads, and their ends are cut, "
            "such as %r%s; shorten them.",
            len(new),
            len(prompts),
            tokens.shape[1],
            clip.name,
            first if len(first) <= PROMPT_SHOWN else f"{first[:PROMPT_SHOWN]}...",
            f" (what is left of {same} is the same as of another)" if same else "",
        )
    return tokens


def cut_rows(
    tokenizer: Any, prompts: Sequence[str], tokens: Int[Tensor, "prompts context"]
) -> list[int]:
    """The rows of prompts of which the end is cut.

    tokenizer: open_clip's. prompts: the texts. tokens: what it makes of them.
    """
    padding, length = tokenizer([""])[0, -1], tokens.shape[1]
    full = (tokens[:, -2] != padding).nonzero().flatten().tolist()
    if not full:
        return []
    # With room for one token more, a prompt that fits gets padding there and is the same before it.
    # Some tokenizers end a prompt that they cut as any other, and some pad with that end.
    more = tokenizer([prompts[row] for row in full], context_length=length + 1)
    fits = (more[:, :-1] == tokens[full]).all(dim=1) & (more[:, -1] == padding)
    return [row for row, whole in zip(full, fits.tolist(), strict=True) if not whole]


def class_means(
    text: Float[Tensor, "prompts dim"], counts: Sequence[int]
) -> Float[Tensor, "classes dim"]:
    """Normalised mean embedding of each class's prompts.

    text: normalised embeddings, those of a class side by side.
    counts: prompts of each class, in order.
    """
    return F.normalize(torch.stack([g.mean(dim=0) for g in text.split(list(counts))]), dim=-1)


def image_embeddings(
    model: Any, images: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch dim"]:
    """Embeddings in float32, not normalised.

    model: open_clip's; images: preprocessed, on the model's device.
    """
    # CoCa normalises unless it is told not to.
    return model.encode_image(images, normalize=False).float()


def image_features(
    model: Any, images: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch dim"]:
    """Normalised embeddings in float32.

    model: open_clip's; images: preprocessed, on the model's device.
    """
    return F.normalize(image_embeddings(model, images), dim=-1)


def text_features(
    model: Any, tokens: Int[Tensor, "prompts context"]
) -> Float[Tensor, "prompts dim"]:
    """Normalised embeddings of tokens in float32, on the model's device.

    model: open_clip's. tokens: as the tokenizer gives them.

    They are cut right after the last end of a prompt where what follows cannot matter: with a
    causal mask, and pooling at that end. Other towers (SigLIP's) see the whole context. On a CPU a
    few long prompts among short ones are encoded apart from them.
    """
    place = model.logit_scale.device
    lengths = prompt_lengths(model, tokens)
    if lengths is None:
        return F.normalize(_encode(model, {}, tokens.to(place)).float(), dim=-1)
    part = "text." if hasattr(model, "text") else ""
    tower = model.text if part else model
    groups = by_length(lengths) if place.type == "cpu" else [torch.arange(len(tokens))]
    rows = []
    for group in groups:
        end = int(lengths[group].max())
        shortened = {
            f"model.{part}positional_embedding": tower.positional_embedding[:end],
            f"model.{part}attn_mask": tower.attn_mask[:end, :end],
        }
        rows.append(_encode(model, shortened, tokens[group, :end].to(place)).float())
    back = torch.cat(groups).argsort().to(place)
    return F.normalize(torch.cat(rows)[back], dim=-1)


class _TextTower(nn.Module):
    """The text tower, as `functional_call` wants it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model.encode_text(tokens)


def _encode(model: Any, shortened: dict[str, Tensor], tokens: Tensor) -> Tensor:
    # In bf16 on a CPU the flash kernel's backward pass takes short prompts 4 to 9 times as long.
    slow = tokens.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    with sdpa_kernel(SDPBackend.MATH) if slow else nullcontext():
        return functional_call(_TextTower(model), shortened, (tokens,))


def prompt_lengths(
    model: Any, tokens: Int[Tensor, "prompts context"]
) -> Int[Tensor, " prompts"] | None:
    """Number of tokens up to the end of each prompt; None if the text tower looks further.

    model: open_clip's. tokens: as the tokenizer gives them.
    """
    tower = model.text if hasattr(model, "text") else model
    causal = isinstance(getattr(tower, "attn_mask", None), Tensor)
    if not causal or getattr(tower, "cls_emb", None) is not None:
        return None
    pooling = getattr(tower, "text_pool_type", getattr(tower, "pool_type", None))
    if pooling == "argmax":
        return tokens.argmax(dim=-1) + 1
    if pooling == "eos":
        end: Any = getattr(tower, "text_eos_id", getattr(tower, "eos_id", None))
        return tokens.eq(end).int().argmax(dim=-1) + 1
    return None


def by_length(
    lengths: Int[Tensor, " prompts"], order: Int[Tensor, " part"] | None = None
) -> list[Tensor]:
    """Places of prompts in groups of similar length, so that short ones need little padding.

    A group is cut in two where that saves the most tokens, while it saves GROUP_COST.
    lengths: tokens of each prompt.
    order: places of the prompts of one group, the shortest first; all of them by default.
    """
    order = lengths.argsort(stable=True) if order is None else order
    saved = torch.arange(1, len(order)) * (lengths[order[-1]] - lengths[order[:-1]])
    if not len(saved) or saved.max() < GROUP_COST:
        return [order]
    cut = int(saved.argmax()) + 1
    return [*by_length(lengths, order[:cut]), *by_length(lengths, order[cut:])]
