"""Files of a CLIP's weights, as trainings leave them -> the weights of an open_clip model.

Only tensors are read: safetensors, or torch's own format without any other object. What trainings
wrap around the weights is taken off: `state_dict`, averages (EMA), and the prefixes of wrappers.
"""

from __future__ import annotations

import json
import logging
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from holdfast.errors import HoldfastError

logger = logging.getLogger(__name__)

CONFIG = "open_clip_config.json"  # what open_clip calls a model's configuration
# Where trainings keep weights; an average of them comes first, as timm has it.
AVERAGED = ("state_dict_ema", "ema_state_dict", "model_ema", "ema")
PLAIN = ("state_dict", "model_state_dict", "model", "module")
WRAPPERS = ("module.", "_orig_mod.", "model.")  # of DDP, torch.compile, Lightning and others
OPENAI = ("input_resolution", "context_length", "vocab_size")  # beside OpenAI's own weights
POSITIONS = ("visual.positional_embedding", "positional_embedding", "text.positional_embedding")
PREPROCESS = ("mean", "std", "interpolation", "resize_mode")
NAMED = 2  # weights that an error names


@dataclass
class Checkpoint:
    """The weights in a file.

    path: the file. weights: by the names that open_clip gives them, or older ones. notes: other
    values beside them, such as the name of the training.
    """

    path: Path
    weights: dict[str, Tensor]
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def quick_gelu(self) -> bool:
        """Whether the file shows that its weights were trained with QuickGELU, as OpenAI's were.

        OpenAI's files have the sizes of their model beside the weights, and are in half precision
        but for the norms; a training of open_clip says its architecture in its name.
        """
        first, norm = (self.weights.get(key) for key in ("visual.conv1.weight", "ln_final.weight"))
        mixed = first is not None and norm is not None and first.dtype != norm.dtype
        said = f"{self.path.name} {self.notes.get('name', '')}".lower()
        own = all(key in self.notes for key in OPENAI)
        return own or mixed or "quickgelu" in said or "openai" in said


def read_checkpoint(path: Path) -> Checkpoint:
    """The weights of a file, whatever training wrote it.

    path: safetensors, or what `torch.save` wrote. Where there is an average of the weights (EMA)
    beside the last ones, it is taken, and a warning says so.

    Raises HoldfastError for a file that cannot be read, that holds other Python objects, whose
    reading could run code, or no weights.
    """
    value = _read(path)
    groups = {key: value[key] for key in (*AVERAGED, *PLAIN) if isinstance(value.get(key), dict)}
    notes = {key: each for key, each in value.items() if key not in groups}
    if groups:
        chosen = next(iter(groups))
        value = groups[chosen]
        nested = [value[key] for key in PLAIN if isinstance(value.get(key), dict)]
        value = nested[0] if nested else value
        if chosen in AVERAGED and len(groups) > 1:
            logger.warning(
                "%s holds averaged weights (%s) beside the last ones; the averaged ones are taken.",
                path,
                chosen,
            )
    weights = {key: each for key, each in value.items() if isinstance(each, Tensor)}
    notes |= {key: weights.pop(key) for key in (*OPENAI, "n_averaged") if key in weights}
    while weights and (wrapper := next((w for w in WRAPPERS if _all_start(weights, w)), None)):
        weights = {key.removeprefix(wrapper): tensor for key, tensor in weights.items()}
    if not weights:
        raise HoldfastError(
            f"{path} holds no weights by their names ({', '.join(map(str, list(value)[:5]))}); "
            "give the file of a model's state_dict."
        )
    return Checkpoint(path, weights, notes)


def _all_start(weights: Mapping[str, Tensor], prefix: str) -> bool:
    return all(key.startswith(prefix) for key in weights)


def _read(path: Path) -> dict[str, Any]:
    """What the file holds, by name."""
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                    raise HoldfastError(
                        f"{path} is a TorchScript archive, as OpenAI gave its models out, and "
                        "loading one can run code; where you trust it, take the weights out once: "
                        f"python -c \"import torch; torch.save(torch.jit.load('{path}', 'cpu')"
                        f".state_dict(), '{path.stem}-weights.pt')\", and give that file."
                    )
        value = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, SafetensorError, EOFError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise HoldfastError(f"The weights file {path} cannot be read: {reason}.") from None
    except HoldfastError:
        raise
    except Exception as error:  # torch's own kinds of it depend on its version
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({found[1]})" if found else ""
        raise HoldfastError(
            f"{path} holds other Python objects{what} than weights, and reading those could run "
            "code; save the model's state_dict alone, best as safetensors, and give that file."
        ) from None
    if not isinstance(value, dict):
        raise HoldfastError(
            f"{path} holds a {type(value).__name__} and no weights by their names; give the file "
            "of a model's state_dict."
        )
    return value


def published_facts(name: str) -> tuple[dict[str, Any], list[str]]:
    """What all published weights of an architecture have in common, and what they differ in.

    name: of the architecture, as open_clip knows it. Returns the values of `quick_gelu` and of the
    preprocessing that are the same for all of open_clip's tags, and the names of the others.
    """
    import open_clip

    tags = [
        open_clip.get_pretrained_cfg(name, tag)
        for tag in open_clip.list_pretrained_tags_by_model(name)
    ]
    facts: dict[str, Any] = {}
    for key in ("quick_gelu", *PREPROCESS):
        values = [tag.get(key) for tag in tags]
        if values and all(value == values[0] for value in values):
            facts[key] = values[0]
    config = open_clip.get_model_config(name) or {}
    if config.get("quick_gelu"):
        facts["quick_gelu"] = True
    return facts, [key for key in ("quick_gelu", *PREPROCESS) if tags and key not in facts]


def file_facts(name: str, checkpoint: Checkpoint) -> dict[str, Any]:
    """Activation and preprocessing of weights in a file that has no configuration beside it.

    name: of the architecture; checkpoint: the weights. What neither the architecture's published
    weights nor the file tell is left out, which means open_clip's defaults, and a warning says so.
    """
    facts, unknown = published_facts(name)
    if "quick_gelu" in unknown and checkpoint.quick_gelu:
        facts["quick_gelu"] = True
        unknown.remove("quick_gelu")
    if unknown:
        said = {"quick_gelu": "their activation", "resize_mode": "how pictures are resized"}
        what = dict.fromkeys(said.get(key, "mean and deviation of pictures") for key in unknown)
        quick = f"; for QuickGELU give --model {name}-quickgelu" if "quick_gelu" in unknown else ""
        logger.warning(
            "%s does not say %s, in which the published weights of %s differ: open_clip's "
            "defaults are taken%s, or put the model's %s beside the file.",
            checkpoint.path,
            " and ".join(what),
            name,
            quick,
            CONFIG,
        )
    return facts


def check_sibling(folder: Path, name: str) -> None:
    """Warn where the configuration in a folder is of another architecture than `name`.

    folder: with an open_clip configuration, which is what counts. Raises HoldfastError for one that
    cannot be read.
    """
    import open_clip

    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]
        differs = [
            f"{tower}.{key} {config[tower][key]}, not {value}"
            for tower, part in (open_clip.get_model_config(name) or {}).items()
            if tower in ("vision_cfg", "text_cfg")
            for key, value in part.items()
            if key in config[tower] and key != "image_size" and config[tower][key] != value
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HoldfastError(
            f"{path}, beside the weights, is no configuration of open_clip "
            f"({type(error).__name__}: {error}); mend it, or move the weights away from it."
        ) from None
    if differs:
        logger.warning(
            "%s, beside the weights, describes another model than %s (%s); it is followed.",
            path,
            name,
            "; ".join(differs[:NAMED]),
        )


def put_weights(model: nn.Module, checkpoint: Checkpoint, name: str) -> None:
    """Load the weights of a file, a `checkpoint`, into an open_clip `model` called `name`.

    Older names are translated, and positions of another image size interpolated, with a warning.
    Raises HoldfastError for weights of another model.
    """
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    weights = convert_state_dict(model, dict(checkpoint.weights))
    if not hasattr(model, "positional_embedding"):
        weights = convert_to_custom_text_state_dict(weights)
    elif "text.positional_embedding" in weights:  # the other way round
        weights = {key.removeprefix("text."): tensor for key, tensor in weights.items()}
    own = model.state_dict()
    for key in ("logit_scale", "logit_bias"):
        if key in own and key in weights and weights[key].numel() == 1:
            weights[key] = weights[key].reshape(own[key].shape)
    if "logit_bias" in own:  # of SigLIP; one for all, so without it nothing changes
        weights.setdefault("logit_bias", torch.zeros_like(own["logit_bias"]))
    weights.pop("text.transformer.embeddings.position_ids", None)  # of older transformers
    _fit_positions(model, weights, checkpoint.path)
    missing = [key for key in own if key not in weights]
    unknown = [key for key in weights if key not in own]
    shapes = [
        f"{key} {tuple(weights[key].shape)}, not {tuple(own[key].shape)}"
        for key in own
        if key in weights and weights[key].shape != own[key].shape
    ]
    parts = [
        f"{len(found)} {what} ({'; '.join(found[:NAMED])}{', ...' if len(found) > NAMED else ''})"
        for what, found in (
            (f"of {len(own)} are missing", missing),
            ("have another shape", shapes),
            ("are unknown", unknown),
        )
        if found
    ]
    if parts:
        raise HoldfastError(
            f"{checkpoint.path} does not hold the weights of {name}: {', '.join(parts)}; "
            f"{_advice(weights)}."
        )
    model.load_state_dict(weights)


def _advice(weights: Mapping[str, Tensor]) -> str:
    """What to do about weights that do not fit."""
    if any("lora_" in key for key in weights):
        return "merge its LoRA adapters into the model first"
    if any(key.startswith(("vision_model.", "text_model.")) for key in weights):
        return "it has the names of transformers' own CLIP; convert it to open_clip's first"
    return "give the architecture that it was trained with, with --model"


def _fit_positions(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Interpolate positions of another number, where the model can."""
    from open_clip.model import resize_pos_embed, resize_text_pos_embed

    own = model.state_dict()
    for key in POSITIONS:
        if key not in own or key not in weights:
            continue
        found, wanted = tuple(weights[key].shape), tuple(own[key].shape)
        if found[0] != wanted[0] and found[1:] == wanted[1:]:
            resize = resize_pos_embed if key.startswith("visual.") else resize_text_pos_embed
            resize(weights, model)
            logger.warning(
                "%s has %d positions in %s and the model %d: they are interpolated.",
                path,
                found[0],
                key,
                wanted[0],
            )
