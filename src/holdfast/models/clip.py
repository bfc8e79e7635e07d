"""CLIP models, loaded by open_clip from its own names, from folders and from the hub."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from holdfast import builtin, foreign
from holdfast.device import pick_device
from holdfast.errors import HoldfastError, UsageError, did_you_mean, shortened
from holdfast.files import write_json
from holdfast.models.checkpoint import (
    CONFIG,
    PREPROCESS,
    Checkpoint,
    check_sibling,
    file_facts,
    published_facts,
    put_weights,
    read_checkpoint,
)
from holdfast.models.tower import Transform, try_tower, write_weights
from holdfast.places import absolute_file, absolute_model

WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")  # of files of weights
WEIGHTS = "open_clip_model.safetensors"  # what open_clip calls them in a folder


class ModelNotHere(HoldfastError):  # noqa: N818 - reads better where it is caught
    """A model whose weights are not on this machine and could not be fetched."""


@dataclass
class CLIP:
    """A two-tower model as open_clip loads it, with its own tokenizer and preprocessing.

    name: what users call it. model: open_clip's, whose `encode_image` and `encode_text` give
    embeddings (batch, dim). tokenizer: list of prompts -> tokens (prompts, context).
    config: open_clip's `{"model_cfg", "preprocess_cfg"}`, what `local-dir:` needs to load it again.
    preprocess, augment: RGB picture -> (3, height, width), for evaluation and for training.
    cut: prompts that were said to be longer than the text tower reads.
    """

    name: str
    model: Any
    tokenizer: Any
    config: dict[str, Any]
    preprocess: Transform
    augment: Transform
    cut: set[str] = field(default_factory=set, repr=False)
    kind: ClassVar[str] = "open_clip"

    @cached_property
    def visual(self) -> nn.Module:
        """The image tower with its projection, (batch, 3, height, width) -> (batch, dim)."""
        tower = self.model.visual
        # CoCa's also gives what its captioning part reads.
        return FirstOutput(tower) if getattr(tower, "output_tokens", False) else tower

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.logit_scale.device

    @property
    def logit_scale(self) -> Tensor:
        """The factor on cosine similarities, a scalar: exp of the learned logarithm."""
        return self.model.logit_scale.detach().exp()

    def save(self, folder: Path) -> None:
        """Write an open_clip `folder`, which `local-dir:` loads here and in plain open_clip."""
        folder.mkdir(parents=True, exist_ok=True)
        if hasattr(self.tokenizer, "save_pretrained"):
            self.tokenizer.save_pretrained(folder)
        write_weights(self.model, folder / WEIGHTS)
        write_json(folder / CONFIG, self.config)


@contextmanager
def _unsaid() -> Iterator[None]:
    """Without open_clip's warnings, which go to the root logger too: errors of ours say it."""
    root = logging.getLogger()

    def nothing(record: logging.LogRecord) -> bool:
        return False

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root.addFilter(nothing)
        try:
            yield
        finally:
            root.removeFilter(nothing)


class FirstOutput(nn.Module):
    """A tower that gives several things, as one that gives the first: the embeddings."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, images: Tensor) -> Tensor:
        """images: (batch, 3, height, width); returns embeddings (batch, dim), not normalised."""
        return self.tower(images)[0]


def load_clip(name: str, pretrained: str = "", device: str = "auto", seed: int = 0) -> CLIP:
    """Load a model in float32, evaluation mode.

    name: an open_clip architecture, `local-dir:FOLDER`, `hf-hub:ID`, or a built-in model.
    pretrained: open_clip's tag or a weights file for an architecture; `random` initialises it
        from `seed`; a tag is ignored when the name carries its weights.
    device: `auto`, or as torch names it.
    seed: of the weights of `random`.

    Raises UsageError for unknown names and tags and for a model that would run code of its own,
    HoldfastError for weights that are damaged, or are not here and cannot be fetched; all say what
    to do. Nothing is fetched for a folder.
    """
    import open_clip
    from open_clip.factory import parse_model_name
    from open_clip.transform import PreprocessCfg, image_transform_v2

    shown, name = name, builtin.model(name) or absolute_model(name)
    pretrained = absolute_file(pretrained)
    try:
        schema, identifier = parse_model_name(name)
    except ValueError:
        raise UsageError(f"The model {name!r} names nothing; write what comes after it.") from None
    random = pretrained == "random"
    tag: dict[str, Any] = {}
    file: Checkpoint | None = None
    built = name
    if schema is None:
        check_no_path(name)
        shown = built = name = name.replace("/", "-")  # OpenAI's spelling, ViT-B/16
        tag = check_architecture(name, pretrained, random)
        if Path(pretrained).suffix == ".npz":  # SigLIP's, as big_vision wrote it
            tag = published_facts(name)[0]
        elif not random and Path(pretrained).is_file():
            file = read_checkpoint(Path(pretrained))
            if (file.path.parent / CONFIG).is_file():
                check_sibling(file.path.parent, name)
                built = f"local-dir:{file.path.parent}"
            else:
                tag = file_facts(name, file)
    elif Path(pretrained).is_file():
        raise UsageError(
            f"{shown} brings its own weights; the file {pretrained} needs an architecture as the "
            "model, such as ViT-B-16."
        )
    elif random:
        raise UsageError(f"{shown} brings its own weights; untrained ones need an architecture.")
    elif schema == "local-dir" and not (Path(identifier) / CONFIG).is_file():
        raise UsageError(
            f"{identifier} is no open_clip folder (it has no {CONFIG}); give the folder that holds "
            "the configuration and the weights."
        )
    local: AbstractContextManager[None] = nullcontext()
    if schema == "local-dir":
        foreign.check_model_folder(Path(identifier))
        local = foreign.without_network()
    foreign.never_ask()
    place = pick_device(device)
    with_weights = file is None and not random
    try:
        torch.manual_seed(seed)
        with _unsaid(), local:
            model_cfg = open_clip.get_model_config(built)
            foreign.check_config(model_cfg, name)
            model = open_clip.create_model(
                built,
                pretrained=pretrained if with_weights and schema is None else None,
                load_weights=with_weights,
                force_quick_gelu=bool(tag.get("quick_gelu")),
                force_preprocess_cfg={key: tag[key] for key in PREPROCESS if key in tag},
                device=place,
                require_pretrained=with_weights,
                pretrained_text=False,  # a text tower without weights of its own is no CLIP
            )
            tokenizer = open_clip.get_tokenizer(built)
    except (torch.OutOfMemoryError, UsageError):
        raise
    except Exception as error:  # a broken weights file makes its reader raise almost anything
        kind = HoldfastError if schema == "local-dir" else ModelNotHere
        raise kind(missing_clip(name, pretrained, schema, tag, error)) from None
    if file is not None:
        put_weights(model, file, shown)
    if tag.get("quick_gelu"):
        model_cfg["quick_gelu"] = True
    preprocess_cfg = dict(model.visual.preprocess_cfg)
    as_dataclass = PreprocessCfg(**preprocess_cfg)
    clip = CLIP(
        name=shown if schema or not pretrained else f"{shown} ({pretrained})",
        model=model.eval(),
        tokenizer=tokenizer,
        config={"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg},
        preprocess=image_transform_v2(as_dataclass, is_train=False),
        augment=image_transform_v2(as_dataclass, is_train=True),
    )
    try_text(clip, try_tower(clip).shape[1])
    return clip


@torch.no_grad()
def try_text(clip: CLIP, width: int) -> None:
    """Let the text tower read one prompt: what can be wrong with it is found at once.

    clip: the model. width: of its image embeddings. Raises HoldfastError if its text tower fails,
    or gives embeddings of another width.
    """
    try:
        row = clip.model.encode_text(clip.tokenizer(["a photo"]).to(clip.device))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # tokenizers and towers of others can fail in any way
        reason = shortened(error)
        raise HoldfastError(
            f"{clip.name} cannot read a prompt ({reason or type(error).__name__}); give another "
            "model."
        ) from None
    if row.shape[1] != width:
        raise HoldfastError(
            f"{clip.name} gives images {width} numbers and text {row.shape[1]}, so they cannot be "
            "compared; give another model."
        )


def uncut(clip: CLIP) -> CLIP:
    """The same `clip` under a preprocessing that cuts nothing off: a square, whatever the shape.

    open_clip's own cuts the middle out of a picture that is longer than wide. The configuration,
    which is saved with the model and is part of a teacher's identity, says so.
    """
    from open_clip.transform import PreprocessCfg, image_transform_v2

    preprocess_cfg = {**clip.config["preprocess_cfg"], "resize_mode": "squash"}
    return replace(
        clip,
        config={**clip.config, "preprocess_cfg": preprocess_cfg},
        preprocess=image_transform_v2(PreprocessCfg(**preprocess_cfg), is_train=False),
    )


def check_no_path(name: str) -> None:
    """Raise UsageError for the path of a folder in the place of an architecture's `name`."""
    import open_clip

    if open_clip.get_model_config(name.replace("/", "-")) is None and Path(name).name != name:
        if Path(name).exists():
            raise UsageError(f"{name} is a path; write local-dir:{name} for an open_clip folder.")
        hint = did_you_mean(name.replace("/", "-"), open_clip.list_models())
        hint = hint or f" (did you mean hf-hub:{name}?)" * (name.count("/") == 1)
        raise UsageError(
            f"There is no folder {name!r}, and open_clip knows no model of that name{hint}."
        )


def check_architecture(name: str, pretrained: str, random: bool) -> dict[str, Any]:
    """open_clip's entry for the weights `pretrained` of the architecture `name`.

    It is {} for a weights file and for random weights. Raises UsageError for an architecture or a
    tag that open_clip does not know.
    """
    import open_clip

    if open_clip.get_model_config(name) is None:
        if Path(name).is_dir():
            raise UsageError(f"{name} is a folder; write local-dir:{name} for open_clip's.")
        hint = did_you_mean(name, open_clip.list_models())
        raise UsageError(
            f"There is no folder {name!r}, and open_clip knows no model of that name{hint}; give "
            "one of its names, local-dir:FOLDER, hf-hub:ID or pocket."
        )
    if random or Path(pretrained).is_file():
        return {}
    if Path(pretrained).suffix in WEIGHT_SUFFIXES or (pretrained and Path(pretrained).is_dir()):
        raise UsageError(
            f"The weights {pretrained} are {'a folder' if Path(pretrained).is_dir() else 'no file'}"
            "; give a file of weights, or a folder of open_clip as --model local-dir:FOLDER."
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained not in tags:
        hint = f"it has {', '.join(tags)}" if tags else "it has none"
        raise UsageError(
            f"{name} has no pre-trained weights {pretrained!r}: {hint}; give one with --pretrained,"
            " or a weights file, or `random` for untrained weights."
        )
    return dict(open_clip.get_pretrained_cfg(name, pretrained))


def missing_clip(
    name: str, pretrained: str, schema: str | None, tag: dict[str, Any], error: Exception
) -> str:
    """One sentence on weights that could not be loaded, with the command that fetches them.

    name, pretrained: as open_clip takes them. schema: `local-dir`, `hf-hub`, or None for an
    architecture. tag: open_clip's entry for the weights. error: why they could not be loaded.
    """
    reason = " ".join(str(error).split())[:200].rstrip(".")
    place = tag.get("hf_hub", "") if schema is None else name.split(":", 1)[1]
    repository = "/".join(place.split("/")[:2])  # a tag may name a file after it
    if schema != "local-dir" and repository:
        return (
            f"The weights of {name} {pretrained} are not on this machine and could not be fetched; "
            f"on a machine with a network run `hf download {repository}`, or give a local folder "
            f"as local-dir:FOLDER in its place ({reason})."
        )
    return f"The model {name} {pretrained} could not be loaded: {reason}"
