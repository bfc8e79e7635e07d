"""Two tiny towers and a replay batch, to write the losses of an anchor out by hand."""

import torch
import torch.nn.functional as F
from torch import nn

from holdfast.anchors.base import ReplayForward, ReplaySet
from holdfast.data.batches import Batch

SCALE = 5.0
TOKENS = torch.eye(4)  # of four prompts


def numbers(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Towers(nn.Module):
    """Images (batch, 3, 1, 1) and tokens (prompts, 4) -> normalised embeddings (..., 3)."""

    def __init__(self, trains_text=True):
        super().__init__()
        self.image, self.text = nn.Linear(3, 3), nn.Linear(4, 3)
        for seed, parameter in enumerate(self.parameters()):
            parameter.data = numbers(*parameter.shape, seed=seed)
        self.trains_text = trains_text
        self.logit_scale = torch.tensor(SCALE)

    def image_features(self, images):
        return F.normalize(self.image(images.flatten(1)), dim=-1)

    def text_features(self, tokens):
        return F.normalize(self.text(tokens), dim=-1)

    def learning(self):
        return dict(self.named_parameters())

    def learns(self, loss):
        """The towers that a loss has a gradient for."""
        self.zero_grad()
        loss.backward()
        return {
            name.split(".")[0]
            for name, p in self.named_parameters()
            if p.grad is not None and p.grad.any()
        }


REPLAY = ReplaySet(
    paths=list(range(6)),
    labels=[2, 0, 2, 3, 1, 0],
    prompts=["a", "b", "c", "d"],
    tokens=TOKENS,
    teacher_images=F.normalize(numbers(6, 3, seed=10), dim=-1),
    teacher_text=F.normalize(numbers(4, 3, seed=11), dim=-1),
)
# Images 4, 0, 2 and 1 of the set, whose prompts are b, c, c and a; d is in no image.
PLACES = torch.tensor([4, 0, 2, 1])
LABELS = torch.tensor([1, 2, 2, 0])
IMAGES = numbers(4, 3, 1, 1, seed=12)


def seen(learner, over="batch", order=(0, 1, 2, 3)):
    """What a learner and the old model make of the batch, whose images come in some order."""
    order = list(order)
    batch = Batch(IMAGES[order], LABELS[order], PLACES[order])
    return ReplayForward(learner, batch, REPLAY, over)


def similarities(learner, new_images=True, new_text=True, over="batch"):
    """(logits of the learner, logits of the old model), (4, prompts), with plain loops.

    over: `batch` has a column for the prompt of each image, `all` one for each prompt.
    new_images, new_text: the embeddings that are the learner's.
    """
    columns = LABELS.tolist() if over == "batch" else range(4)
    z, text = learner.image_features(IMAGES), learner.text_features(TOKENS)
    old_z, old_text = REPLAY.teacher_images[PLACES], REPLAY.teacher_text
    new, old = torch.empty(4, len(columns)), torch.empty(4, len(columns))
    for row in range(4):
        for column, prompt in enumerate(columns):
            image = z[row] if new_images else old_z[row]
            words = text[prompt] if new_text else old_text[prompt]
            new[row, column] = SCALE * (image * words).sum()
            old[row, column] = SCALE * (old_z[row] * old_text[prompt]).sum()
    return new, old
