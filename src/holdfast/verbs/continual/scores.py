"""What a model scores on tasks: within each one's classes, and among those of all tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_calibration_error

from holdfast.data.batches import ImageDataset, sequential_batches
from holdfast.data.streams import Task
from holdfast.errors import HoldfastError
from holdfast.metrics import CALIBRATION_BINS, check_finite
from holdfast.models import CLIP, class_means, encode_text, image_features
from holdfast.names import comparable
from holdfast.progress import progress
from holdfast.settings import ContinualTrainSettings

EVALUATED = 128  # images at once
BLOCK = 1024  # images whose similarities with all classes are in memory at once


@dataclass(frozen=True)
class Exam:
    """Labelled images of one task, and the prompts of each class.

    split: which of the task's images they are; captions: whether the classes are captions.
    """

    name: str
    split: str
    data: ImageDataset
    classes: tuple[str, ...]
    prompts: Sequence[Sequence[str]]
    captions: bool = False


def exam(task: Task, *splits: Literal["train", "val", "test"]) -> Exam | None:
    """The first of the splits that the task has."""
    for split in splits:
        data = getattr(task, split)
        if data is not None:
            prompts = task.evaluation_prompts(data)
            return Exam(task.name, split, data, data.classes.names, prompts, task.captions)
    return None


@torch.inference_mode()
def measure(
    clip: CLIP,
    exams: Sequence[Exam],
    vocabulary: Sequence[tuple[str, Sequence[str]]],
    settings: ContinualTrainSettings,
) -> dict[str, dict[str, Any]]:
    """Scores of each exam by its name, each image seen once.

    vocabulary: (class name, prompts) of all tasks together. An answer among them is right if it
    has the label's name, whichever task it comes from; exams with other names, and captions, have
    no such score.
    """
    clip.model.eval()
    scale = clip.logit_scale.cpu()
    everything = class_text(clip, [prompts for _, prompts in vocabulary]) if vocabulary else None
    keys = {comparable(name): number for number, (name, _) in enumerate(vocabulary)}
    meaning = torch.tensor([keys[comparable(name)] for name, _ in vocabulary], dtype=torch.long)
    found: dict[str, dict[str, Any]] = {}
    with progress("evaluating", sum(len(each.data) for each in exams)) as advance:
        for each in exams:
            z, labels = embed(clip, each.data, settings, advance)
            found[each.name] = {
                "split": each.split,
                "images": len(labels),
                "union_top1": None,
                **within(z, class_text(clip, each.prompts), scale, labels),
            }
            own = [keys.get(comparable(name)) for name in each.classes]
            if everything is not None and not each.captions and None not in own:
                answers = meaning[(z @ everything.T).argmax(dim=1)]
                right = answers == torch.tensor(own)[labels]
                found[each.name]["union_top1"] = right.double().mean().item()
    return found


def within(z: Tensor, text: Tensor, scale: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy and calibration of images (n, dim) among the classes of their own task (c, dim).

    A block of images at a time: of captions there may be as many as images. Raises HoldfastError
    for embeddings that are not finite.
    """
    blocks = [(scale * part @ text.T).double().softmax(dim=1).max(dim=1) for part in z.split(BLOCK)]
    right = torch.cat([block.indices for block in blocks]) == labels
    sure = torch.cat([block.values for block in blocks]).clamp(max=1.0)
    check_finite(sure)
    count = labels.bincount(minlength=len(text))
    shares = labels[right].bincount(minlength=len(text))[count > 0] / count[count > 0]
    return {
        "top1": right.double().mean().item(),
        "mean_per_class": shares.double().mean().item(),
        "ece": binary_calibration_error(sure, right.long(), CALIBRATION_BINS).item(),
    }


def class_text(clip: CLIP, prompts: Sequence[Sequence[str]]) -> Tensor:
    """Normalised embedding of each class, the mean of its prompts': (classes, dim), on the CPU."""
    flat = encode_text(clip, [prompt for group in prompts for prompt in group])
    return class_means(flat, [len(group) for group in prompts]).cpu()


@torch.inference_mode()
def embed(
    clip: CLIP, data: ImageDataset, settings: ContinualTrainSettings, advance: Any
) -> tuple[Tensor, Tensor]:
    """Normalised embeddings (n, dim) and labels (n,) of the images that can be read."""
    rows: list[Tensor] = []
    labels: list[Tensor] = []
    batches = sequential_batches(data, clip.preprocess, EVALUATED, settings.workers)
    for batch in batches:
        rows.append(image_features(clip.model, batch.images.to(clip.device)).cpu())
        labels.append(batch.labels.clone())
        advance(len(batch.labels))
    if not rows:
        raise HoldfastError("None of the images to evaluate on could be read.")
    return torch.cat(rows), torch.cat(labels)
