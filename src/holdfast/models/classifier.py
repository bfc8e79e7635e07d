"""Classifiers: an image tower with a head over named classes, and the folder that holds one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from holdfast import names
from holdfast.data.decoding import picture_tensors
from holdfast.data.in_memory import as_picture, each_picture
from holdfast.data.pictures import UnreadableImage
from holdfast.errors import UsageError
from holdfast.files import read_typed, write_json
from holdfast.models.clip import CLIP, load_clip
from holdfast.models.student import StudentTower, load_student_folder
from holdfast.models.text import class_means, encode_text
from holdfast.models.tower import Tower, read_weights, write_weights
from holdfast.names import ClassNames
from holdfast.sealed import listed_files, replaced_folder

ABOUT, HEAD = "classifier.json", "head.safetensors"
NAMES_SHOWN = 5  # names of classes in a classifier's own text


class Head(nn.Linear):
    """Linear classifier: logits = W z/|z| + b, or W z + b where it does not normalise.

    dim: width of the embeddings; classes: their number.
    """

    def __init__(self, dim: int, classes: int, normalise: bool = True) -> None:
        super().__init__(dim, classes)
        self.normalise = normalise

    def forward(self, z: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch classes"]:
        """z: embeddings, not normalised; returns logits in float32."""
        with torch.autocast(z.device.type, enabled=False):
            return super().forward(F.normalize(z.float(), dim=-1) if self.normalise else z.float())


def text_head(clip: CLIP, prompts: Sequence[Sequence[str]]) -> Head:
    """The zero-shot classifier: per class the normalised mean of its prompts' embeddings, times
    exp(logit_scale); bias 0 (a logit bias, as SigLIP has, is the same for all classes).

    clip: the model. prompts: those of each class, in the order of the classes.
    """
    flat = encode_text(clip, [prompt for group in prompts for prompt in group])
    return head_of(class_means(flat, [len(group) for group in prompts]), clip.logit_scale)


def head_of(text: Float[Tensor, "classes dim"], logit_scale: Float[Tensor, ""] | float) -> Head:
    """The head whose weights are class embeddings times a factor on cosine similarities; bias 0.

    text: normalised embeddings, one of each class. logit_scale: exp of CLIP's learned logarithm.
    """
    head = Head(text.shape[1], len(text)).to(text.device)
    with torch.no_grad():
        head.weight.copy_(text * logit_scale)
        head.bias.zero_()
    return head


class Classifier(nn.Module):
    """An image tower with a head over named classes.

    tower: CLIP, or a student. head: over the tower's embeddings, a row of logits for each image.
    classes: the names, in the order of the logits. about: what is known of how it was made, by
    name: `model`, `method`, `alpha` ...; it is saved with the classifier.
    """

    def __init__(
        self,
        tower: Tower,
        head: Head,
        classes: ClassNames,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.visual = tower.visual
        self.head = head
        self.tower = tower
        self.classes = classes
        self.about = dict(about or {})

    @property
    def names(self) -> tuple[str, ...]:
        """The class names, in the order of the logits."""
        return self.classes.names

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.tower.device

    def __repr__(self) -> str:
        facts = [f"{key}={value}" for key, value in self._facts().items()]
        return f"Classifier({', '.join(facts)})"

    def _repr_html_(self) -> str:
        """The same for a notebook: a small table."""
        rows = (
            f"<tr><th style='text-align:left'>{escape(key)}</th>"
            f"<td style='text-align:left'>{escape(value)}</td></tr>"
            for key, value in self._facts().items()
        )
        return f"<table><caption>Classifier</caption>{''.join(rows)}</table>"

    def _facts(self) -> dict[str, str]:
        """What there is to say about it: model, classes, method and alpha if known, device."""
        count = len(self.names)
        some = ", ".join(map(repr, self.names[:NAMES_SHOWN])) + (
            ", ..." if count > NAMES_SHOWN else ""
        )
        about = self.about
        facts = {"model": str(about.get("model") or about.get("student") or self.tower.name)}
        facts["classes"] = f"{count} ({some})"
        if about.get("method"):
            facts["method"] = str(about["method"])
        if about.get("alpha") is not None:
            facts["alpha"] = f"{about['alpha']:g}"
        return facts | {"device": str(self.device)}

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch ..."], Float[Tensor, "batch classes"]]:
        """images: preprocessed, on the classifier's device.

        Returns the image embeddings before normalisation, and logits.
        """
        z = self.visual(images).float()
        return z, self.head(z)

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights of tower and head."""
        return {name: tensor.detach().clone() for name, tensor in self.state_dict().items()}

    @torch.inference_mode()
    def probabilities(
        self, images: Any, batch_size: int = 32, workers: int = 4
    ) -> Iterator[Tensor | UnreadableImage]:
        """The probabilities of each image, in order: a row (classes,) in the order of `names`.

        images: a path, a PIL image, an array (height, width, channels), a tensor (channels, height,
        width), or an iterable of those; arrays and tensors as `holdfast.data.in_memory` has them.
        There may be any number, since each is preprocessed as it is read and given up then.
        batch_size: images at once. workers: threads that read; 0 reads in this one. For an image
        that cannot be read there is the error. Raises UsageError for what is no image.
        """
        held: list[Tensor | UnreadableImage] = []

        def finished() -> Iterator[Tensor | UnreadableImage]:
            tensors = [each for each in held if isinstance(each, Tensor)]
            rows = iter(())
            if tensors:
                rows = iter(self(torch.stack(tensors).to(self.device))[1].softmax(dim=-1).cpu())
            for each in held:
                yield next(rows) if isinstance(each, Tensor) else each
            held.clear()

        pictures = map(as_picture, each_picture(images))
        for each in picture_tensors(pictures, self.tower.preprocess, workers):
            held.append(each)
            if len(held) == batch_size:
                yield from finished()
        yield from finished()

    def predict(
        self, images: Any, batch_size: int = 32, workers: int = 4
    ) -> tuple[list[str], Float[Tensor, "images classes"]]:
        """Names and probabilities of images.

        images, batch_size, workers: as for `probabilities`.
        Returns the most likely name of each image, and the probabilities of all classes in the
        order of `names`. Raises UnreadableImage for the first that is no whole image.
        """
        rows = []
        for row in self.probabilities(images, batch_size, workers):
            if isinstance(row, UnreadableImage):
                raise row
            rows.append(row)
        found = torch.stack(rows) if rows else torch.empty(0, len(self.names))
        return [self.names[i] for i in found.argmax(dim=-1)], found

    def save(self, folder: Path | str, about: Mapping[str, Any] | None = None) -> None:
        """Write the classifier to `folder`: the tower's own folder, with head and names beside it.

        folder: a new one, or one that was written so before; it is replaced as a whole.
        about: what else there is to say of it, as JSON types; it joins `self.about`.

        Raises UsageError for a folder that holds something else, HoldfastError for one that cannot
        be written.
        """
        folder = Path(folder).expanduser()
        self.about |= about or {}
        form = {"tower": self.tower.kind, "normalise": self.head.normalise}
        with replaced_folder(folder) as new:
            self.tower.save(new)
            write_weights(self.head, new / HEAD)
            self.classes.write(new)
            write_json(new / ABOUT, self.about | form)


def holds_classifier(folder: Path) -> Path | None:
    """Where `Classifier.save` wrote: a classifier's `folder`, or `model` in a run's; or None."""
    return next((f for f in (folder, folder / "model") if (f / ABOUT).is_file()), None)


def load_classifier(folder: Path | str, device: str = "auto") -> Classifier:
    """Load what `Classifier.save` wrote, whatever tower it has, in evaluation mode.

    folder: a classifier's, or a run's. device: `auto`, or as torch names it.
    Raises UsageError if the folder holds none, DamagedFile for files that are not what was written.
    """
    place = holds_classifier(Path(folder))
    if place is None:
        raise UsageError(f"{folder} holds no classifier ({ABOUT} is missing).")
    listed_files(place)  # the tower's loader checks all of them
    about = read_typed(place / ABOUT, dict[str, Any])
    tower: Tower
    if about.pop("tower", None) == StudentTower.kind:
        tower = load_student_folder(place, device)
    else:
        tower = load_clip(f"local-dir:{place}", device=device)
    weights = read_weights(place / HEAD)
    classes, dim = weights["weight"].shape
    head = Head(dim, classes, about.pop("normalise", True))
    head.load_state_dict(weights)
    known = names.read_names(place / "classes.json")
    return Classifier(tower, head.to(tower.device), known, about).eval()
