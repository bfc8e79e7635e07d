"""Models under training, as methods and anchors see them (`holdfast.anchors.base.Learner`)."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from holdfast.anchors.base import Answers
from holdfast.data.batches import Batch
from holdfast.losses import clip_logits
from holdfast.models.classifier import Head
from holdfast.models.clip import CLIP
from holdfast.models.text import image_embeddings, image_features, text_features

# Of CLIP; they stay as they are. No embedding comes from CoCa's decoder of captions.
FROZEN = ("logit_scale", "logit_bias", "text_decoder.")


logger = logging.getLogger(__name__)


def in_parts(encode: Callable[[Tensor], Tensor], rows: Tensor, parts: int) -> Tensor:
    """What `encode` makes of all rows, (n, ...), for the memory of one part of them.

    The embeddings are computed without a graph; a loss is over all of them; and where its gradients
    come back, each part is computed again, with a graph of its own (GradCache, arXiv 2101.06983).
    The weights' gradients are summed over the parts before they are added: one more copy of them.

    encode: rows -> embeddings, each from its own row alone. parts: how many; 1 keeps one graph.
    """
    parts = min(parts, len(rows))
    if parts <= 1 or not torch.is_grad_enabled():
        return encode(rows)
    made = [checkpoint(encode, part, use_reentrant=False) for part in rows.tensor_split(parts)]
    return torch.cat(made)


def set_checkpointing(module: nn.Module, on: bool) -> None:
    """Let the towers of a module keep what lies between their layers only, or all again.

    module: a learner. on: whether to. A warning says where no tower can.
    """
    able = False
    for part in module.modules():
        switch = getattr(part, "set_grad_checkpointing", None)
        if callable(switch):
            try:
                switch(on)
                able = True
            except AssertionError:  # of timm, for towers that cannot
                continue
    if on and not able:
        logger.warning("The model knows no gradient checkpointing; it is trained without.")


class Learning(nn.Module):
    """What learners have in common: a batch may go through their towers in `parts`."""

    parts = 1

    def learning(self) -> dict[str, Tensor]:
        """The parameters that learn, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}


class HeadLearner(Learning):
    """An image tower and a head over classes: name-only transfer and distillation.

    visual: (batch, 3, height, width) -> features (batch, dim). text: the teacher's embeddings of
    the classes, (classes, dim). logit_scale: the factor on cosine similarities.
    """

    trains_text = False

    def __init__(
        self,
        visual: nn.Module,
        head: Head,
        logit_scale: Tensor | float,
        text: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.visual, self.head = visual, head
        self.text = text
        self.logit_scale = torch.as_tensor(logit_scale, device=head.weight.device)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (batch, dim), not normalised, and logits (batch, classes), both in float32."""
        z = self.features(images)
        return z, self.head(z)

    def features(self, images: Tensor) -> Tensor:
        """Features of images, (batch, dim), not normalised."""
        # Once for all losses: their gradients are then added in float32, and not in bfloat16.
        return in_parts(lambda part: self.visual(part).float(), images, self.parts)

    def answers(self, batch: Batch) -> Answers:
        """Features, logits and labels of the new images of a step."""
        device = self.head.weight.device
        z, logits = self(batch.images.to(device, non_blocking=True))
        return Answers(z, logits, batch.labels.to(device, non_blocking=True))

    def teacher_logits(self, batch: Batch) -> Tensor:
        """What the teacher makes of the new images zero-shot: (batch, classes)."""
        assert self.text is not None and batch.teacher_images is not None
        return clip_logits(batch.teacher_images, self.text, self.logit_scale)

    def image_features(self, images: Tensor) -> Tensor:
        """Normalised embeddings of images, (batch, dim)."""
        return F.normalize(self.features(images), dim=-1)

    def text_features(self, tokens: Tensor) -> Tensor:
        """There is no text tower that learns."""
        raise NotImplementedError


class TwoTowerLearner(Learning):
    """A CLIP model that tells classes apart by their prompts: continual learning.

    tokens: (classes, context), of the prompt of each class. negatives: what an image is told apart
    from: the classes of the `task`, or those of its `batch`.
    """

    trains_text = True

    def __init__(self, clip: CLIP, tokens: Tensor, negatives: str = "task") -> None:
        super().__init__()
        self.model = clip.model
        self.tokens, self.negatives = tokens, negatives
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(not name.startswith(FROZEN))

    @property
    def logit_scale(self) -> Tensor:
        """exp of the learned logarithm: the factor on cosine similarities."""
        return self.model.logit_scale.exp()

    def answers(self, batch: Batch) -> Answers:
        """Features, logits and labels of the new images of a step."""
        tokens, labels = self.tokens, batch.labels
        if self.negatives == "batch":
            rows, labels = labels.unique(return_inverse=True)
            tokens = tokens[rows]
        device = self.model.logit_scale.device
        images = batch.images.to(device, non_blocking=True)
        z = in_parts(lambda part: image_embeddings(self.model, part), images, self.parts)
        text = self.text_features(tokens)
        logits = clip_logits(F.normalize(z, dim=-1), text, self.logit_scale)
        return Answers(z, logits, labels.to(device, non_blocking=True))

    def teacher_logits(self, batch: Batch) -> Tensor:
        """There is no teacher of the new images."""
        raise NotImplementedError

    def image_features(self, images: Tensor) -> Tensor:
        """Normalised embeddings of images, (batch, dim)."""
        return in_parts(lambda part: image_features(self.model, part), images, self.parts)

    def text_features(self, tokens: Tensor) -> Tensor:
        """Normalised embeddings of tokens (prompts, context): (prompts, dim)."""
        return in_parts(lambda part: text_features(self.model, part), tokens, self.parts)
