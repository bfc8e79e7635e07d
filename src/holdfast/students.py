"""Vision students from timm: any architecture and width, each with its own preprocessing.

A student's image tower is a backbone with pooled features and, where it is to live in a teacher's
space, a linear projection into it. With a head it is a classifier, as CLIP's tower is.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from holdfast.device import pick_device
from holdfast.errors import HoldfastError, UsageError, did_you_mean
from holdfast.files import atomic_write
from holdfast.models import (
    Classifier,
    Transform,
    assemble,
    find_classifier,
    load_clip,
    read_weights,
)


class Student(nn.Module):
    """A vision backbone and its projection into the teacher's embedding space.

    Batch normalisation keeps its statistics while training, as the paper does: the batches of a
    few domains would replace those of the pre-training.
    """

    def __init__(self, backbone: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection = projection

    def forward(self, images: Tensor) -> Tensor:
        """images: (batch, 3, height, width); returns embeddings (batch, dim), not normalised."""
        return self.projection(self.backbone(images))

    def train(self, mode: bool = True) -> Student:
        """Training mode for all but batch normalisation."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


@dataclass
class StudentTower:
    """A timm student as an image tower (see `models.Tower`)."""

    name: str
    visual: Student
    preprocess: Transform
    kind: ClassVar[str] = "timm"

    @property
    def device(self) -> torch.device:
        return next(self.visual.parameters()).device

    def save(self, folder: Path) -> None:
        """Write a timm folder, which `local-dir:` loads here and in plain timm.

        The projection, if there is one, lies beside it as `projection.safetensors`.
        """
        from timm.models import save_for_hf

        with tempfile.TemporaryDirectory() as written:
            save_for_hf(self.visual.backbone, written, safe_serialization=True)
            for name in ("model.safetensors", "config.json"):
                with atomic_write(folder / name) as temporary:
                    shutil.copyfile(Path(written, name), temporary)
        projection = self.visual.projection.state_dict()
        if not projection:
            (folder / "projection.safetensors").unlink(missing_ok=True)
            return
        with atomic_write(folder / "projection.safetensors") as temporary:
            save_file({k: t.detach().contiguous() for k, t in projection.items()}, temporary)


def load_student(
    name: str, dim: int | None, *, pretrained: bool = True, device: str = "auto", seed: int = 0
) -> StudentTower:
    """A timm model as a student, in evaluation mode.

    name: a timm architecture, with or without a tag, `local-dir:FOLDER` or `hf-hub:ID`.
    dim: width of the space that a new linear projection leads to; none is no projection.
    pretrained: load the weights; without them they are initialised from `seed`.

    Raises UsageError for unknown names and tags, HoldfastError for weights that are not here and
    cannot be fetched; both say what to do.
    """
    import timm

    check_student(name, pretrained)
    torch.manual_seed(seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            backbone = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a broken folder makes its reader raise almost anything
        raise HoldfastError(missing_weights(name, error)) from None
    config = timm.data.resolve_model_data_config(backbone)
    backbone = backbone.eval()
    projection: nn.Module = nn.Identity()
    if dim is not None:
        torch.manual_seed(seed)  # the same projection whether the backbone drew numbers or not
        projection = nn.Linear(feature_width(backbone), dim)
    return StudentTower(
        name=name if pretrained else f"{name} (random)",
        visual=Student(backbone, projection).to(pick_device(device)).eval(),
        preprocess=timm.data.create_transform(**config, is_training=False),
    )


@torch.inference_mode()
def feature_width(backbone: nn.Module) -> int:
    """Width of the pooled features, as the backbone itself gives them."""
    import timm

    size = timm.data.resolve_model_data_config(backbone)["input_size"]
    place = next(backbone.parameters()).device
    return int(backbone(torch.zeros(1, *size, device=place)).shape[-1])


def check_student(name: str, pretrained: bool) -> None:
    """Raise UsageError for a student whose name timm cannot know."""
    import timm

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
        hint = did_you_mean(name, timm.list_models())
        if Path(name).is_dir():
            hint = f" (did you mean local-dir:{name}?)"
        raise UsageError(
            f"timm knows no model {name!r}{hint}; give one of its names, local-dir:FOLDER, "
            "hf-hub:ID, `pocket`, or `teacher` for the teacher's own image tower."
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


def missing_weights(name: str, error: Exception) -> str:
    """One sentence on a student that could not be loaded, with the command that fetches it."""
    import timm

    reason = " ".join(str(error).split())[:200].rstrip(".")
    source, _, place = name.partition(":")
    if source == "local-dir":
        return f"The student {name} could not be loaded: {reason}."
    fetch = f"run `hf download {place}`"
    if source != "hf-hub":
        known = timm.get_pretrained_cfg(name)
        fetch = f"run `hf download {known.hf_hub_id}`" if known.hf_hub_id else f"load {known.url}"
    return (
        f"The weights of {name} are not on this machine and could not be fetched ({reason}); on a "
        f"machine with a network {fetch}, or give a local folder with "
        "--student local-dir:FOLDER, or take --student_weights random."
    )


def load_student_folder(folder: Path, device: str = "auto") -> StudentTower:
    """What `StudentTower.save` wrote."""
    tower = load_student(f"local-dir:{folder}", None, device=device)
    if (folder / "projection.safetensors").exists():
        weights = read_weights(folder / "projection.safetensors", tower.device)
        out, width = weights["weight"].shape
        projection = nn.Linear(width, out, device=tower.device)
        projection.load_state_dict(weights)
        tower.visual.projection = projection.eval()
    return tower


def load_classifier(folder: Path | str, device: str = "auto") -> Classifier:
    """Load what `Classifier.save` wrote, whatever tower it has.

    folder: a classifier's, or a run's. Raises UsageError if it holds none.
    """
    place, about = find_classifier(Path(folder))
    tower: Any
    if about.get("tower") == StudentTower.kind:
        tower = load_student_folder(place, device)
    else:
        tower = load_clip(f"local-dir:{place}", device=device)
    return assemble(place, tower, about.get("normalise", True))
