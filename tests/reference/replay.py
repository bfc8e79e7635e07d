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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch import Tensor, nn

from holdfast.data.batches import ImageBatch
from holdfast.methods import distill, transfer
from holdfast.models import CLIP, Classifier, Head
from holdfast.names import from_names
from holdfast.settings import Optimisation, TrainSettings
from holdfast.train import fit
from holdfast.weights import LossValley, Segment

LOSS_TOLERANCE = 2e-4
WEIGHT_TOLERANCE = 1e-3


Record = dict[str, np.ndarray]


@dataclass
class Replay:
    """What our code made of a record.

    losses: of each step; states: {recorded state: {recorded name: weights}}; exact: {curve:
    {recorded name: value}}, which must agree to rounding.
    """

    losses: list[float]
    states: dict[str, dict[str, Tensor]]
    exact: dict[str, dict[str, Any]] = field(default_factory=dict)


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


def replay_names(record: Record) -> Replay:
    """RegFT's fine-tuning."""
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
    return Replay(losses, {"final": {theirs: state[name] for name, theirs in ours.items()}})


class PooledCNN(nn.Sequential):
    """The recorded student's backbone; its children are numbered as in the record."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, 3, 2), nn.GELU(), nn.Conv2d(8, 16, 3, 2), nn.GELU())

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).mean(dim=(2, 3))


def replay_distill(record: Record) -> Replay:
    """VL2V-ADiP's two stages, and loss-valley averaging on the recorded curves."""
    args = ast.literal_eval(str(record["args"]))
    width, features = record["init/projection.weight"].shape
    student = distill.Student(PooledCNN(), nn.Linear(features, width))
    student.load_state_dict(
        {name: torch.from_numpy(record[f"init/{name}"]) for name in student.state_dict()}
    )
    optimisation = Optimisation(
        optimizer="adam",
        learning_rate=args["lr"],
        weight_decay=0.0,
        warmup_steps=0,
        schedule="constant",
        clip_norm=0.0,
    )
    text = torch.from_numpy(record["teacher_text"])
    found = Replay([], {})
    stages = (("projection", "aligned"), ("backbone", "distilled"))
    for stage, (part, state) in enumerate(stages):
        batches = [
            distill.TaughtBatch(x.flatten(0, 1), taught, text[y.flatten()])
            for x, y, taught in zip(
                *(
                    torch.from_numpy(record[k][stage])
                    for k in ("images", "labels", "teacher_images")
                ),
                strict=True,
            )
        ]
        distill.train(
            student,
            part,
            Recorded(batches),
            args["lmd"],
            optimisation,
            seed=0,
            record=lambda step: found.losses.append(sum(step["losses"].values())),
        )
        found.states[state] = {k: v.clone() for k, v in student.state_dict().items()}
    for key in record:
        if key.startswith("swad/") and key.endswith("/losses"):
            curve = key.removesuffix("/losses")
            found.exact[curve] = loss_valley(record[key], curve.endswith("/reset"))
    return found


def loss_valley(losses: np.ndarray, reset: bool, every: int = 5) -> dict[str, Any]:
    """SWAD where the weights at step t are [t, t^2] and each `every` steps are validated."""
    valley, segment, dead = LossValley(), None, -1
    for step in range(every * (len(losses) - 1) + 1):
        weights = {"w": torch.tensor([step, step**2], dtype=torch.float64)}
        if segment is None:
            segment = Segment(weights, step, step)
        else:
            segment.add(weights, step)
        if step % every == 0:
            at = step // every
            valley.validate(replace(segment, weights=dict(segment.weights), loss=losses[at]))
            if valley.dead and dead < 0:
                dead = at
            segment = None if reset else segment
    average = valley.result()
    return {
        "dead_at_eval": dead,
        "start_step": average.first,
        "end_step": average.last,
        "weights": average.weights["w"].numpy(),
    }


def without_key_bias(name: str, tensor: np.ndarray) -> np.ndarray:
    """The tensor without what has no true gradient."""
    if name.endswith("in_proj_bias"):
        query, _, value = np.split(tensor, 3)
        return np.concatenate([query, value])
    return tensor


def compare(record: Record, found: Replay) -> bool:
    """Print the largest differences; True if they are within the tolerances."""
    recorded = record["losses"]
    loss_gap = np.abs(np.array(found.losses) - recorded) / np.maximum(1, np.abs(recorded))
    worst, worst_name = 0.0, ""
    for state, weights in found.states.items():
        for name, tensor in weights.items():
            ours, theirs, start = (
                without_key_bias(name, np.asarray(t, dtype=np.float64))
                for t in (tensor.detach(), record[f"{state}/{name}"], record[f"init/{name}"])
            )
            travelled = np.linalg.norm(theirs - start)
            gap = float(np.linalg.norm(ours - theirs) / (travelled or 1.0))
            if gap >= worst:
                worst, worst_name = gap, f"{state}/{name}"
    wrong = [
        f"{curve}/{name}"
        for curve, values in found.exact.items()
        for name, value in values.items()
        if not np.allclose(value, record[f"{curve}/{name}"], rtol=1e-9, atol=0)
    ]
    tensors = sum(len(weights) for weights in found.states.values())
    print(f"steps: {len(found.losses)}   tensors: {tensors}   curves: {len(found.exact)}")
    print(f"largest difference in a loss: {loss_gap.max():.2e} (allowed {LOSS_TOLERANCE:.0e})")
    print(
        f"largest difference in weights: {worst:.2e} of the distance travelled "
        f"(allowed {WEIGHT_TOLERANCE:.0e}), in {worst_name}"
    )
    if wrong:
        print(f"averages that differ: {', '.join(wrong)}")
    good = loss_gap.max() <= LOSS_TOLERANCE and worst <= WEIGHT_TOLERANCE and not wrong
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
    for key, replay in KINDS.items():
        if key in record:
            return 0 if compare(record, replay(record)) else 1
    print(f"{path} holds no name-only and no distillation trajectory; others are not replayed yet.")
    return 2


# An entry that only records of a kind have.
KINDS = {"init/classification_head.weight": replay_names, "teacher_text": replay_distill}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
