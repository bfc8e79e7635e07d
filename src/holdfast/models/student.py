"""Vision students from timm: any architecture and width, each with its own preprocessing.

A student's image tower is a backbone with pooled features and, where it is to live in a teacher's
space, a linear projection into it. With a head it is a classifier, as CLIP's tower is.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from holdfast import builtin, foreign
from holdfast.device import pick_device
from holdfast.errors import HoldfastError, UsageError, did_you_mean, shortened
from holdfast.files import atomic_write
from holdfast.models.tower import Transform, read_weights, try_tower, write_weights
from holdfast.places import absolute_model


class Student(nn.Module):
    """A vision backbone and its projection into the teacher's embedding space.

    backbone: images -> features (batch, width). projection: features -> embeddings (batch, dim);
    an identity if there is none.
    """

    def __init__(self, backbone: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection = projection

    def forward(self, images: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch dim"]:
        """images: as the backbone takes them; returns embeddings, not normalised."""
        return self.projection(self.backbone(images))


PROJECTION = "projection.safetensors"
# What a student sees is a finished view: all of it, as a square. timm's evaluation cuts the middle
# out of it (81 % of the picture for a ViT, whose crop_pct is 0.9), as if it were a whole photo.
FINISHED = {"crop_pct": 1.0, "test_crop_pct": None, "crop_mode": "squash"}


@dataclass
class StudentTower:
    """A timm student as an image tower (see `holdfast.models.tower.Tower`).

    preprocess: only size, interpolation and normalisation; nothing is cut off.
    """

    name: str
    visual: Student
    preprocess: Transform
    kind: ClassVar[str] = "timm"

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.visual.parameters()).device

    def save(self, folder: Path) -> None:
        """Write a timm folder, which `local-dir:` loads here and in plain timm.

        Its configuration says that nothing is cut off, so that plain timm prepares pictures alike.
        The projection, if there is one, lies beside it in a file of its own.
        """
        from timm.models import save_for_hf

        with tempfile.TemporaryDirectory() as written:
            save_for_hf(self.visual.backbone, written, safe_serialization=True)
            for name in ("model.safetensors", "config.json"):
                with atomic_write(folder / name) as temporary:
                    shutil.copyfile(Path(written, name), temporary)
        projection = self.visual.projection
        if projection.state_dict():
            write_weights(projection, folder / PROJECTION)
        else:
            (folder / PROJECTION).unlink(missing_ok=True)


def load_student(
    name: str, dim: int | None, *, pretrained: bool = True, device: str = "auto", seed: int = 0
) -> StudentTower:
    """A timm model as a student, in evaluation mode.

    name: a timm architecture, with or without a tag, `local-dir:FOLDER`, `hf-hub:ID`, or a
        built-in student.
    dim: width of the space that a new linear projection leads to; none is no projection.
    pretrained: load the weights; without them they are initialised from `seed`.
    device: `auto`, or as torch names it.
    seed: of the projection, and of weights that are not loaded.

    Raises UsageError for unknown names and tags, HoldfastError for weights that are not here and
    cannot be fetched; both say what to do.
    """
    import timm

    check_student(name, pretrained)
    shown, name = name, builtin.student(name) or absolute_model(name)
    local: AbstractContextManager[None] = nullcontext()
    if name.startswith("local-dir:"):
        foreign.check_model_folder(Path(name.removeprefix("local-dir:")))
        local = foreign.without_network()
    torch.manual_seed(seed)
    try:
        with warnings.catch_warnings(), local:
            warnings.simplefilter("ignore")
            backbone = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a broken folder makes its reader raise almost anything
        raise HoldfastError(missing_student(name, error)) from None
    backbone.pretrained_cfg = {**backbone.pretrained_cfg, **FINISHED}
    config = timm.data.resolve_model_data_config(backbone)
    preprocess: Transform = timm.data.create_transform(**config, is_training=False)
    if takes_grey(backbone):
        preprocess = GreyTransform(preprocess)
    tower = StudentTower(
        name=shown if pretrained else f"{shown} (random)",
        visual=Student(backbone, nn.Identity()).to(pick_device(device)).eval(),
        preprocess=preprocess,
    )
    width = try_tower(tower).shape[1]
    if dim is not None:
        torch.manual_seed(seed)  # the same projection whether the backbone drew numbers or not
        tower.visual.projection = nn.Linear(width, dim).to(tower.device).eval()
    return tower


@dataclass(frozen=True)
class GreyTransform:
    """The preprocessing of a model that takes one channel.

    transform: that of three channels. Those of a grey picture are equal but for their
    normalisation, and their mean is taken.
    """

    transform: Transform

    def __call__(self, picture: Image.Image) -> Float[Tensor, "1 height width"]:
        """picture: RGB; returns its grey tensor."""
        return self.transform(picture.convert("L").convert("RGB")).mean(dim=0, keepdim=True)


def takes_grey(backbone: nn.Module) -> bool:
    """Whether the first convolution of a timm `backbone` takes one channel.

    timm's configuration often says three even then.
    """
    first = next((part for part in backbone.modules() if isinstance(part, nn.Conv2d)), None)
    return first is not None and first.in_channels == 1


def check_student(name: str, pretrained: bool) -> None:
    """Raise UsageError for a student whose name timm cannot know.

    name: as `load_student` takes it. pretrained: whether weights must be known too.
    """
    import timm

    name = builtin.student(name) or absolute_model(name)
    source, _, place = name.partition(":")
    if source in ("local-dir", "hf-hub"):
        if not place:
            raise UsageError(f"The student {name!r} names nothing; write what comes after it.")
        if source == "local-dir" and not Path(place, "config.json").is_file():
            raise UsageError(
                f"{place} is no timm folder (it has no config.json); give the folder that holds "
                "the configuration and the weights."
            )
        return
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        if Path(name).is_dir():
            raise UsageError(f"{name} is a folder; write local-dir:{name} for timm's.")
        hint = did_you_mean(name, timm.list_models())
        if name.count("/") == 1:
            hint = f" (did you mean hf-hub:{name}?)"
        raise UsageError(
            f"There is no folder {name!r}, and timm knows no model of that name{hint}; give one of "
            "its names, local-dir:FOLDER, hf-hub:ID, `pocket`, or `teacher` for the teacher's own "
            "image tower."
        )
    known = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in known:
        raise UsageError(
            f"{architecture} has no pre-trained weights {tag!r}: it has "
            f"{', '.join(known) or 'none'}; give one of them, or none for the first."
        )
    if pretrained and not known:
        raise UsageError(
            f"timm has no pre-trained weights of {architecture}; take another student, or "
            "--student_weights random."
        )


def missing_student(name: str, error: Exception) -> str:
    """One sentence on a student that could not be loaded, with the command that fetches it.

    name: as timm takes it. error: why it could not be loaded.
    """
    import timm

    reason = shortened(error)
    source, _, place = name.partition(":")
    if source == "local-dir":
        return f"The student {name} could not be loaded: {reason}."
    fetch = f"run `hf download {place}`"
    if source != "hf-hub":
        known = timm.get_pretrained_cfg(name)
        fetch = f"run `hf download {known.hf_hub_id}`" if known.hf_hub_id else f"load {known.url}"
    return (
        f"The weights of {name} are not on this machine and could not be fetched; on a machine "
        f"with a network {fetch}, or give a local folder with --student local-dir:FOLDER, or take "
        f"--student_weights random ({reason})."
    )


def load_student_folder(folder: Path, device: str = "auto") -> StudentTower:
    """The tower that `StudentTower.save` wrote to `folder`, in evaluation mode.

    device: `auto`, or as torch names it. Raises HoldfastError for files that cannot be read.
    """
    tower = load_student(f"local-dir:{folder}", None, device=device)
    if (folder / PROJECTION).exists():
        weights = read_weights(folder / PROJECTION, tower.device)
        out, width = weights["weight"].shape
        projection = nn.Linear(width, out, device=tower.device)
        projection.load_state_dict(weights)
        tower.visual.projection = projection.eval()
    return tower
