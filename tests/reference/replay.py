"""Run Holdfast on a recorded trajectory of a paper's public code and print the differences.

    python tests/reference/replay.py FILE.npz

Exit code 0 if losses agree within 2e-4 (relative where they exceed 1) and each weight within
0.1 % of the distance it travelled. `in_proj_bias` is compared without its key third, which has no
true gradient: Adam turns its rounding into steps.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch import Tensor

from holdfast.data.batches import ImageBatch
from holdfast.methods import transfer
from holdfast.models import CLIP, Classifier, Head
from holdfast.names import from_names
from holdfast.settings import TrainSettings
from holdfast.train import fit

LOSS_TOLERANCE = 2e-4
WEIGHT_TOLERANCE = 1e-3


class Recorded:
    """Recorded batches as `fit` wants them."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __call__(self, start: int) -> Iterator[Any]:
        return iter(self.batches[start:])


def openai_clip(sizes: dict[str, int]) -> CLIP:
    """A CLIP of OpenAI's architecture with the recorded sizes, untrained."""
    model = open_clip.CLIP(
        embed_dim=sizes["embed_dim"],
        vision_cfg={
            "image_size": sizes["image_resolution"],
            "layers": sizes["vision_layers"],
            "width": sizes["vision_width"],
            "patch_size": sizes["vision_patch_size"],
        },
        text_cfg={
            "context_length": sizes["context_length"],
            "vocab_size": sizes["vocab_size"],
            "width": sizes["transformer_width"],
            "heads": sizes["transformer_heads"],
            "layers": sizes["transformer_layers"],
        },
        quick_gelu=True,
    )
    tokenizer = open_clip.SimpleTokenizer(context_length=sizes["context_length"])
    return CLIP("recorded", model, tokenizer, {}, torch.as_tensor, torch.as_tensor)


def replay_names(record: dict[str, np.ndarray]) -> tuple[list[float], dict[str, Tensor]]:
    """RegFT's fine-tuning: losses of each step and final weights under their recorded names."""
    args = ast.literal_eval(str(record["args"]))
    head = Head(*reversed(record["init/classification_head.weight"].shape))
    classes = from_names([f"class {i}" for i in range(args["classes"])])
    classifier = Classifier(openai_clip(ast.literal_eval(str(record["model"]))), head, classes)
    ours = {
        name: name.replace("visual.", "image_encoder.model.visual.", 1).replace(
            "head.", "classification_head.", 1
        )
        for name in classifier.state_dict()
    }
    classifier.load_state_dict(
        {name: torch.from_numpy(record[f"init/{theirs}"]) for name, theirs in ours.items()}
    )
    images = torch.from_numpy(record["images"]).flatten(0, 1)
    labels = torch.from_numpy(record["labels"]).flatten(0, 1)
    variance, covariance = args["vc"] or (0.0, 0.0)
    settings = TrainSettings(
        learning_rate=args["lr"],
        weight_decay=args["wd"],
        warmup_steps=args["warmup"],
        clip_norm=1.0,
        label_smoothing=args["ls"],
        variance=variance,
        covariance=covariance,
    )
    losses: list[float] = []
    fit(
        classifier,
        Recorded(
            [ImageBatch(x, y, torch.arange(len(y))) for x, y in zip(images, labels, strict=True)]
        ),
        transfer.objective(settings),
        settings,
        record=lambda step: losses.append(sum(step["losses"].values())),
    )
    state = classifier.state_dict()
    return losses, {theirs: state[name] for name, theirs in ours.items()}


def without_key_bias(name: str, tensor: np.ndarray) -> np.ndarray:
    """The tensor without what has no true gradient."""
    if name.endswith("in_proj_bias"):
        query, _, value = np.split(tensor, 3)
        return np.concatenate([query, value])
    return tensor


def compare(record: dict[str, np.ndarray], losses: list[float], weights: dict[str, Tensor]) -> bool:
    """Print the largest differences; True if they are within the tolerances."""
    recorded = record["losses"]
    loss_gap = np.abs(np.array(losses) - recorded) / np.maximum(1, np.abs(recorded))
    worst, worst_name = 0.0, ""
    for name, tensor in weights.items():
        ours, theirs, start = (
            without_key_bias(name, np.asarray(t, dtype=np.float64))
            for t in (tensor.detach(), record[f"final/{name}"], record[f"init/{name}"])
        )
        travelled = np.linalg.norm(theirs - start)
        gap = (
            np.linalg.norm(ours - theirs) / travelled if travelled else np.abs(ours - theirs).max()
        )
        if gap >= worst:
            worst, worst_name = float(gap), name
    good = loss_gap.max() <= LOSS_TOLERANCE and worst <= WEIGHT_TOLERANCE
    print(f"steps: {len(losses)}   tensors: {len(weights)}")
    print(f"largest difference in a loss: {loss_gap.max():.2e} (allowed {LOSS_TOLERANCE:.0e})")
    print(
        f"largest difference in weights: {worst:.2e} of the distance travelled "
        f"(allowed {WEIGHT_TOLERANCE:.0e}), in {worst_name}"
    )
    print("equal" if good else "DIFFERENT")
    return bool(good)


def main(arguments: list[str]) -> int:
    """Replay one file; 0 if it agrees, 1 if not, 2 for a file of unknown kind."""
    if len(arguments) != 1:
        print(__doc__)
        return 2
    torch.set_num_threads(1)
    path = Path(arguments[0])
    with np.load(path, allow_pickle=False) as file:
        record = dict(file)
    if "init/classification_head.weight" not in record:
        print(f"{path} holds no name-only trajectory; the other methods are not implemented yet.")
        return 2
    return 0 if compare(record, *replay_names(record)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
