"""CLIP models (open_clip), classifier heads built from text, and the classifier that joins them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from holdfast import names
from holdfast.data.batches import Batch
from holdfast.data.folders import read_image, to_rgb
from holdfast.device import pick_device
from holdfast.errors import HoldfastError, UsageError, did_you_mean
from holdfast.files import atomic_write, read_json, write_json
from holdfast.names import ClassNames

Transform = Callable[[Image.Image], Tensor]


class Tower(Protocol):
    """An image tower with its own preprocessing: CLIP's, or a student's.

    visual: (batch, 3, height, width) -> embeddings (batch, dim), not normalised.
    preprocess: of an RGB picture, as the checkpoint wants it for evaluation.
    kind: how `save` writes it, and so how it is loaded again.
    """

    kind: ClassVar[str]

    @property
    def name(self) -> str: ...

    @property
    def preprocess(self) -> Transform: ...

    @property
    def visual(self) -> nn.Module: ...

    @property
    def device(self) -> torch.device: ...

    def save(self, folder: Path) -> None: ...


@dataclass
class CLIP:
    """A two-tower model as open_clip loads it, with its own tokenizer and preprocessing.

    config: open_clip's `{"model_cfg", "preprocess_cfg"}`, what `local-dir:` needs to load it again.
    """

    name: str
    model: Any
    tokenizer: Any
    config: dict[str, Any]
    preprocess: Transform
    augment: Transform
    kind: ClassVar[str] = "open_clip"

    @property
    def visual(self) -> nn.Module:
        """The image tower with its projection."""
        return self.model.visual

    @property
    def device(self) -> torch.device:
        return self.model.logit_scale.device

    @property
    def logit_scale(self) -> Tensor:
        """exp of the learned logarithm: the factor on cosine similarities."""
        return self.model.logit_scale.detach().exp()

    def save(self, folder: Path) -> None:
        """Write an open_clip folder, which `local-dir:` loads here and in plain open_clip."""
        folder.mkdir(parents=True, exist_ok=True)
        if hasattr(self.tokenizer, "save_pretrained"):
            self.tokenizer.save_pretrained(folder)
        weights = {name: t.detach().contiguous() for name, t in self.model.state_dict().items()}
        with atomic_write(folder / "open_clip_model.safetensors") as temporary:
            save_file(weights, temporary)
        write_json(folder / "open_clip_config.json", self.config)


def load_clip(name: str, pretrained: str = "", device: str = "auto", seed: int = 0) -> CLIP:
    """Load a model in float32, evaluation mode.

    name: an open_clip architecture, `local-dir:FOLDER` or `hf-hub:ID`.
    pretrained: open_clip's tag or a weights file for an architecture; `random` initialises it
        from `seed`; ignored when the name carries its weights.

    Raises UsageError for unknown names and tags, HoldfastError for weights that are not here and
    cannot be fetched; both say what to do.
    """
    import open_clip
    from open_clip.factory import parse_model_name
    from open_clip.transform import PreprocessCfg, image_transform_v2

    try:
        schema, identifier = parse_model_name(name)
    except ValueError:
        raise UsageError(f"The model {name!r} names nothing; write what comes after it.") from None
    random = pretrained == "random"
    tag: dict[str, Any] = {}
    if schema is None:
        name = name.replace("/", "-")  # OpenAI's spelling, ViT-B/16
        tag = check_architecture(name, pretrained, random)
    elif random:
        raise UsageError(f"{name} brings its own weights; untrained ones need an architecture.")
    elif schema == "local-dir" and not (Path(identifier) / "open_clip_config.json").is_file():
        raise UsageError(
            f"{identifier} is no open_clip folder (it has no open_clip_config.json); give the "
            "folder that holds the configuration and the weights."
        )
    place = pick_device(device)
    try:
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = open_clip.create_model(
                name,
                pretrained=pretrained if schema is None and not random else None,
                force_quick_gelu=tag.get("quick_gelu", False),
                device=place,
                require_pretrained=not random,
            )
            model_cfg = open_clip.get_model_config(name)
            tokenizer = open_clip.get_tokenizer(name)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a broken weights file makes its reader raise almost anything
        raise HoldfastError(missing_weights(name, pretrained, schema, tag, error)) from None
    if tag.get("quick_gelu"):
        model_cfg["quick_gelu"] = True
    preprocess_cfg = dict(model.visual.preprocess_cfg)
    as_dataclass = PreprocessCfg(**preprocess_cfg)
    return CLIP(
        name=name if schema or not pretrained else f"{name} ({pretrained})",
        model=model.eval(),
        tokenizer=tokenizer,
        config={"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg},
        preprocess=image_transform_v2(as_dataclass, is_train=False),
        augment=image_transform_v2(as_dataclass, is_train=True),
    )


def check_architecture(name: str, pretrained: str, random: bool) -> dict[str, Any]:
    """open_clip's entry for a tag, {} for a file or random weights; UsageError if unknown."""
    import open_clip

    if open_clip.get_model_config(name) is None:
        hint = did_you_mean(name, open_clip.list_models())
        if Path(name).is_dir():
            hint = f" (did you mean local-dir:{name}?)"
        raise UsageError(
            f"open_clip knows no model {name!r}{hint}; give one of its names, local-dir:FOLDER, "
            "hf-hub:ID or pocket."
        )
    if random or Path(pretrained).is_file():
        return {}
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained not in tags:
        hint = f"it has {', '.join(tags)}" if tags else "it has none"
        raise UsageError(
            f"{name} has no pre-trained weights {pretrained!r}: {hint}; give one with --pretrained,"
            " or a weights file, or `random` for untrained weights."
        )
    return dict(open_clip.get_pretrained_cfg(name, pretrained))


def missing_weights(
    name: str, pretrained: str, schema: str | None, tag: dict[str, Any], error: Exception
) -> str:
    """One sentence on weights that could not be loaded, with the command that fetches them."""
    reason = " ".join(str(error).split())[:200].rstrip(".")
    place = tag.get("hf_hub", "") if schema is None else name.split(":", 1)[1]
    repository = "/".join(place.split("/")[:2])  # a tag may name a file after it
    if schema != "local-dir" and repository:
        return (
            f"The weights of {name} {pretrained} are not on this machine and could not be fetched "
            f"({reason}); on a machine with a network run `hf download {repository}`, or give a "
            "local folder as local-dir:FOLDER in its place."
        )
    return f"The model {name} {pretrained} could not be loaded: {reason}"


@torch.no_grad()
def encode_text(clip: CLIP, prompts: Sequence[str], batch_size: int = 256) -> Tensor:
    """Normalised text embeddings, (prompts, dim). Equal prompts are encoded once."""
    unique = list(dict.fromkeys(prompts))
    rows = []
    for start in range(0, len(unique), batch_size):
        rows.append(text_features(clip.model, clip.tokenizer(unique[start : start + batch_size])))
    position = {prompt: index for index, prompt in enumerate(unique)}
    return torch.cat(rows)[[position[prompt] for prompt in prompts]]


def image_features(model: Any, images: Tensor) -> Tensor:
    """Normalised embeddings of images on the model's device, (batch, dim) in float32."""
    return F.normalize(model.encode_image(images).float(), dim=-1)


def text_features(model: Any, tokens: Tensor) -> Tensor:
    """Normalised embeddings of tokens, (prompts, dim) in float32, on the model's device.

    tokens: (prompts, context) as the tokenizer gives them. They are cut right after the last end
    of a prompt where what follows cannot matter: with a causal mask, and pooling at that end.
    Other towers (SigLIP's) see the whole context. On a CPU a few long prompts among short ones are
    encoded apart from them.
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


def prompt_lengths(model: Any, tokens: Tensor) -> Tensor | None:
    """Tokens up to the end of each prompt, (prompts,); none if the tower looks further than that.

    tokens: (prompts, context).
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


GROUP_COST = 128  # tokens that a group of prompts must save; each walks through all weights again


def by_length(lengths: Tensor, order: Tensor | None = None) -> list[Tensor]:
    """Places of prompts in groups of similar length, so that short ones need little padding.

    A group is cut in two where that saves the most tokens, while it saves GROUP_COST.
    """
    order = lengths.argsort(stable=True) if order is None else order
    saved = torch.arange(1, len(order)) * (lengths[order[-1]] - lengths[order[:-1]])
    if not len(saved) or saved.max() < GROUP_COST:
        return [order]
    cut = int(saved.argmax()) + 1
    return [*by_length(lengths, order[:cut]), *by_length(lengths, order[cut:])]


class Head(nn.Linear):
    """Linear classifier: logits = W z/|z| + b, or W z + b where it does not normalise."""

    def __init__(self, dim: int, classes: int, normalise: bool = True) -> None:
        super().__init__(dim, classes)
        self.normalise = normalise

    def forward(self, z: Tensor) -> Tensor:
        """z: (batch, dim), not normalised; returns logits (batch, classes) in float32."""
        with torch.autocast(z.device.type, enabled=False):
            return super().forward(F.normalize(z.float(), dim=-1) if self.normalise else z.float())


def text_head(clip: CLIP, prompts: Sequence[Sequence[str]]) -> Head:
    """The zero-shot classifier: per class the normalised mean of its prompts' embeddings, times
    exp(logit_scale); bias 0 (a logit bias, as SigLIP has, is the same for all classes).

    prompts: those of each class.
    """
    flat = encode_text(clip, [prompt for group in prompts for prompt in group])
    return head_of(class_means(flat, [len(group) for group in prompts]), clip.logit_scale)


def class_means(text: Tensor, counts: Sequence[int]) -> Tensor:
    """Normalised mean embedding of each class's prompts: (prompts, dim) -> (classes, dim).

    counts: prompts of each class, in order.
    """
    return F.normalize(torch.stack([g.mean(dim=0) for g in text.split(list(counts))]), dim=-1)


def head_of(text: Tensor, logit_scale: Tensor | float) -> Head:
    """The head whose weights are class embeddings (classes, dim) times exp(logit_scale); bias 0."""
    head = Head(text.shape[1], len(text)).to(text.device)
    with torch.no_grad():
        head.weight.copy_(text * logit_scale)
        head.bias.zero_()
    return head


class Classifier(nn.Module):
    """An image tower with a head over named classes."""

    def __init__(self, tower: Tower, head: Head, classes: ClassNames) -> None:
        super().__init__()
        self.visual = tower.visual
        self.head = head
        self.tower = tower
        self.classes = classes

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images: (batch, 3, height, width), preprocessed.

        Returns the image embeddings before normalisation (batch, dim), and logits (batch, classes).
        """
        z = self.visual(images).float()
        return z, self.head(z)

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights of tower and head."""
        return {name: tensor.detach().clone() for name, tensor in self.state_dict().items()}

    @torch.inference_mode()
    def embed(self, batches: Iterable[Batch]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Embeddings (n, dim), logits (n, classes), labels (n,) and indices (n,), on the CPU."""
        rows: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        for batch in batches:
            z, logits = self(batch.images.to(self.tower.device, non_blocking=True))
            # Copies: a loader's worker shares its memory through a file handle a tensor.
            rows.append((z.cpu(), logits.cpu(), batch.labels.clone(), batch.indices.clone()))
        if not rows:
            raise HoldfastError("None of the images could be read; look at the files named above.")
        z, logits, labels, indices = (torch.cat(column) for column in zip(*rows, strict=True))
        return z, logits, labels, indices

    @torch.inference_mode()
    def predict(
        self, images: Sequence[Image.Image | str | Path], batch_size: int = 128
    ) -> tuple[list[str], Tensor]:
        """Names and probabilities of images (PIL images or files).

        Returns the most likely name of each image, and probabilities (images, classes) in the
        order of `classes.names`. Raises UnreadableImage for a file that is no whole image.
        """
        rows = []
        for start in range(0, len(images), batch_size):
            opened = [
                to_rgb(image) if isinstance(image, Image.Image) else read_image(Path(image))
                for image in images[start : start + batch_size]
            ]
            tensors = torch.stack([self.tower.preprocess(image) for image in opened])
            rows.append(self(tensors.to(self.tower.device))[1].softmax(dim=-1).cpu())
        probabilities = torch.cat(rows) if rows else torch.empty(0, len(self.classes.names))
        return [self.classes.names[i] for i in probabilities.argmax(dim=-1)], probabilities

    def save(self, folder: Path, about: dict[str, Any]) -> None:
        """Write the classifier: the tower's own folder, with head and names beside it.

        `classifier.json` comes last: a folder that has it is whole.
        """
        (folder / "classifier.json").unlink(missing_ok=True)
        self.tower.save(folder)
        with atomic_write(folder / "head.safetensors") as temporary:
            head = {name: t.detach().contiguous() for name, t in self.head.state_dict().items()}
            save_file(head, temporary)
        self.classes.write(folder)
        form = {"tower": self.tower.kind, "normalise": self.head.normalise}
        write_json(folder / "classifier.json", about | form)


def read_weights(path: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises HoldfastError if it holds none."""
    try:
        return load_file(path, device=str(device))
    except (SafetensorError, OSError) as error:
        raise HoldfastError(
            f"{path} cannot be read ({error}); delete it to make it again."
        ) from None


def find_classifier(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Where `Classifier.save` wrote, and what `classifier.json` says there.

    folder: a classifier's, or a run's. Raises UsageError if it holds none.
    """
    if not (folder / "classifier.json").is_file() and (folder / "model").is_dir():
        folder = folder / "model"
    if not (folder / "classifier.json").is_file():
        raise UsageError(
            f"{folder} holds no classifier (classifier.json is missing); give the folder that "
            "`holdfast transfer` or `holdfast distill` wrote."
        )
    return folder, read_json(folder / "classifier.json")


def assemble(folder: Path, tower: Tower, normalise: bool = True) -> Classifier:
    """A loaded tower with the head and the names that `Classifier.save` put beside it."""
    weights = read_weights(folder / "head.safetensors")
    head = Head(weights["weight"].shape[1], weights["weight"].shape[0], normalise)
    head.load_state_dict(weights)
    return Classifier(tower, head.to(tower.device), names.read(folder / "classes.json")).eval()
