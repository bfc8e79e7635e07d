"""Images -> embeddings -> logits -> scores: the only such loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_calibration_error

from holdfast.data.batches import Batch, ImageDataset, sequential_batches
from holdfast.data.streams import Task
from holdfast.device import autocast
from holdfast.errors import HoldfastError
from holdfast.metrics import CALIBRATION_BINS, check_finite
from holdfast.models.classifier import Classifier
from holdfast.models.clip import CLIP
from holdfast.models.text import class_means, encode_text, image_features
from holdfast.names import comparable
from holdfast.progress import progress
from holdfast.results import TaskScores
from holdfast.settings import Precision

BATCH = 128  # images at once where nothing learns
BLOCK = 1024  # images whose similarities with all classes are in memory at once
CHUNK_BYTES = 2**29  # of preprocessed images that several models look at in turn

Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Outputs:
    """What several passes made of the same images, on the CPU.

    rows: of each pass, (n, width); labels, indices: (n,), of the images that could be read.
    """

    rows: list[Tensor]
    labels: Tensor
    indices: Tensor


@torch.no_grad()  # not inference mode: losses are computed with what is returned
def forward(
    passes: Sequence[Callable[[], Encode]],
    batches: Iterable[Batch],
    device: torch.device,
    *,
    total: int = 0,
    label: str = "",
    chunk_bytes: int = 0,
    precision: Precision = "fp32",
) -> Outputs:
    """Send each image through several passes, decoding and preprocessing it once.

    passes: each is called before its turn and gives the function to apply, (batch, 3, height,
        width) on the device -> (batch, width); so a pass may first load its weights.
    batches: preprocessed images, as `sequential_batches` gives them.
    total: number of images, for the progress bar called `label`; without a label there is none.
    chunk_bytes: preprocessed images that are held for all passes in turn; 0 is one batch.
    precision: of the passes; `auto` is bf16 on a CUDA GPU, as in training.

    Raises HoldfastError if no image can be read.
    """
    rows: list[list[Tensor]] = [[] for _ in passes]
    labels: list[Tensor] = []
    indices: list[Tensor] = []
    with progress(label, total) if label else nullcontext(lambda _: None) as advance:
        for chunk in chunks(batches, chunk_bytes):
            for made, start in zip(rows, passes, strict=True):
                encode = start()
                for batch in chunk:
                    images = batch.images.to(device, non_blocking=True)
                    with autocast(device, precision):
                        made.append(encode(images).float().cpu())
            # Copies: a loader's worker shares its memory through a file handle a tensor.
            labels += [batch.labels.clone() for batch in chunk]
            indices += [batch.indices.clone() for batch in chunk]
            advance(sum(len(batch.labels) for batch in chunk))
    if not labels:
        raise HoldfastError("None of the images could be read; look at the files named above.")
    return Outputs([torch.cat(made) for made in rows], torch.cat(labels), torch.cat(indices))


def chunks(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Batches in lists of about `size` bytes of images; single ones where it is 0."""
    held: list[Batch] = []
    filled = 0
    for batch in batches:
        held.append(batch)
        filled += batch.images.nbytes
        if filled >= size:
            yield held
            held, filled = [], 0
    if held:
        yield held


def classifier_logits(
    classifiers: Sequence[Classifier],
    batches: Iterable[Batch],
    total: int,
    label: str,
    precision: Precision = "fp32",
) -> Outputs:
    """Logits (n, classes) of several classifiers with the same preprocessing, in a `precision`."""
    passes = [lambda model=model: lambda images: model.eval()(images)[1] for model in classifiers]
    device = classifiers[0].device
    return forward(passes, batches, device, total=total, label=label, precision=precision)


def sweep(
    classifier: Classifier,
    merge: Callable[[float], Mapping[str, Tensor]],
    alphas: Sequence[float],
    batches: Iterable[Batch],
    *,
    total: int,
    label: str = "evaluating",
    precision: Precision = "fp32",
) -> tuple[dict[float, Tensor], Tensor, Tensor]:
    """Logits (n, classes) of the ensemble of each alpha; labels and indices (n,).

    merge: the weights of an alpha. precision: of the forward passes. Each image is decoded and
    preprocessed once.
    """
    classifier.eval()

    def ensemble(alpha: float) -> Callable[[], Encode]:
        def start() -> Encode:
            classifier.load_state_dict(merge(alpha))
            return lambda images: classifier(images)[1]

        return start

    found = forward(
        [ensemble(alpha) for alpha in alphas],
        batches,
        classifier.device,
        total=total,
        label=label,
        chunk_bytes=CHUNK_BYTES,
        precision=precision,
    )
    return dict(zip(alphas, found.rows, strict=True)), found.labels, found.indices


@dataclass(frozen=True)
class EvalSet:
    """Labelled images to measure on, and the prompts of each class.

    split: which images of a task they are; captions: whether the classes are captions.
    """

    name: str
    split: str
    data: ImageDataset
    classes: tuple[str, ...]
    prompts: Sequence[Sequence[str]]
    captions: bool = False


def eval_set(task: Task, *splits: Literal["train", "val", "test"]) -> EvalSet | None:
    """The first of the splits that the task has; None for none."""
    for split in splits:
        data = getattr(task, split)
        if data is not None:
            prompts = task.evaluation_prompts(data)
            return EvalSet(task.name, split, data, data.classes.names, prompts, task.captions)
    return None


@dataclass(frozen=True)
class Embedded:
    """What a CLIP makes of evaluation sets, so that several scores need one look at the images.

    scale: the model's factor on cosine similarities. sets: each with its images' embeddings (n,
    dim), their labels (n,) and its classes' embeddings (classes, dim). names: class names of all
    tasks together; text: their embeddings (names, dim).
    """

    scale: Tensor
    sets: list[tuple[EvalSet, Tensor, Tensor, Tensor]]
    names: list[str]
    text: Tensor

    def scores(self, learnt: int = 0) -> dict[str, TaskScores]:
        """Scores of each set, by its name.

        learnt: how many of the first sets belong to tasks that were learnt so far; these have a
            class-incremental score, among the names of all of them.
        Where the task is not known, an answer is right if it has the label's name, whichever task
        it comes from; sets with names that are not among the others, and captions, have no such
        score.
        """
        so_far = [
            name for each, *_ in self.sets[:learnt] if not each.captions for name in each.classes
        ]
        found: dict[str, TaskScores] = {}
        for place, (each, z, labels, text) in enumerate(self.sets):
            words = () if each.captions else each.classes
            found[each.name] = TaskScores(
                split=each.split,
                images=len(labels),
                task_agnostic_top1=self._unknown(z, labels, words, self.names),
                class_incremental_top1=self._unknown(z, labels, words, so_far)
                if place < learnt
                else None,
                **within_task(z, text, self.scale, labels),
            )
        return found

    def right(self) -> dict[str, Tensor]:
        """Of each set, which images are named right where the task is known: (n,) of truth."""
        return {
            each.name: torch.cat([(part @ text.T).argmax(dim=1) for part in z.split(BLOCK)])
            == labels
            for each, z, labels, text in self.sets
        }

    def _unknown(
        self, z: Tensor, labels: Tensor, classes: Sequence[str], among: Sequence[str]
    ) -> float | None:
        """Accuracy among the names `among`, which are some of all; None if classes lack in them."""
        allowed = {comparable(name) for name in among}
        keys = {name: number for number, name in enumerate(sorted(allowed))}
        own = [keys.get(comparable(name)) for name in classes]
        if not own or None in own:
            return None
        places = [n for n, name in enumerate(self.names) if comparable(name) in allowed]
        meaning = torch.tensor([keys[comparable(self.names[n])] for n in places])
        answers = meaning[(z @ self.text[places].T).argmax(dim=1)]
        return (answers == torch.tensor(own)[labels]).double().mean().item()


def embed_sets(
    clip: CLIP,
    sets: Sequence[EvalSet],
    vocabulary: Sequence[tuple[str, Sequence[str]]] = (),
    workers: int = 0,
    precision: Precision = "fp32",
) -> Embedded:
    """What a CLIP makes of each set; each image is seen once.

    vocabulary: (class name, prompts) of all tasks together. precision: of the forward passes.
    """
    clip.model.eval()
    text = class_text(clip, [prompts for _, prompts in vocabulary], precision)
    found = []
    for each in sets:
        seen = forward(
            [lambda: lambda images: image_features(clip.model, images)],
            sequential_batches(each.data, clip.preprocess, BATCH, workers),
            clip.device,
            total=len(each.data),
            label=f"evaluating {each.name}",
            precision=precision,
        )
        own = class_text(clip, each.prompts, precision)
        found.append((each, seen.rows[0], seen.labels, own))
    return Embedded(clip.logit_scale.cpu(), found, [name for name, _ in vocabulary], text)


def within_task(z: Tensor, text: Tensor, scale: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy and calibration among the classes of a task.

    z: (n, dim) and text: (classes, dim), normalised; scale: a scalar; labels: (n,). A block of
    images at a time: of captions there may be as many as images. Raises HoldfastError for
    embeddings that are not finite.
    """
    blocks = [(scale * part @ text.T).double().softmax(dim=1).max(dim=1) for part in z.split(BLOCK)]
    right = torch.cat([block.indices for block in blocks]) == labels
    sure = torch.cat([block.values for block in blocks]).clamp(max=1.0)
    check_finite(sure)
    count = labels.bincount(minlength=len(text))
    shares = labels[right].bincount(minlength=len(text))[count > 0] / count[count > 0]
    return {
        "task_aware_top1": right.double().mean().item(),
        "task_aware_mean_per_class": shares.double().mean().item(),
        "task_aware_ece": binary_calibration_error(sure, right.long(), CALIBRATION_BINS).item(),
    }


def class_text(
    clip: CLIP, prompts: Sequence[Sequence[str]], precision: Precision = "fp32"
) -> Tensor:
    """Normalised embedding of each class, the mean of its prompts': (classes, dim), on the CPU.

    prompts: of each class. precision: of the forward passes.
    """
    if not prompts:
        return torch.empty(0)
    with autocast(clip.device, precision):
        flat = encode_text(clip, [prompt for group in prompts for prompt in group])
    return class_means(flat.float(), [len(group) for group in prompts]).cpu()
