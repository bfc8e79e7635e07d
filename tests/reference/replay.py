"""Run Holdfast on a recorded trajectory of a paper's public code and print the differences.

    python tests/reference/replay.py FILE.npz [--fit-rounding]

Exit code 0 if losses agree within 2e-4 (relative where they exceed 1) and each weight within
0.1 % of the distance it travelled. `in_proj_bias` is compared without its key third, which has no
true gradient: Adam turns its rounding into steps.

Of a continual record with distillation alone, the first step is not determined either: student and
teacher are still the same, so the words that only the replay prompts hold have no true gradient,
and Adam makes steps of full length of their rounding. What follows depends on them. So the prompts
of such a record are cut at a multiple of 16 tokens, where attention sums in the same order as over
the whole context and rounds like the record. On a processor that rounds otherwise, --fit-rounding
takes the first step of these words from the record, by iteration, and then compares everything else
as strictly; it says what it fitted.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import open_clip
import torch
from torch import Tensor, nn

from holdfast.anchors.alignment import Alignment
from holdfast.anchors.base import Memory, ReplaySet
from holdfast.anchors.consolidation import Consolidation
from holdfast.anchors.replay_distillation import ReplayDistillation
from holdfast.anchors.variance_covariance import VarianceCovariance
from holdfast.data.batches import Batch
from holdfast.learners import HeadLearner, TwoTowerLearner
from holdfast.methods import Family, compose
from holdfast.methods.gift import GIFT
from holdfast.methods.regft import RegFT
from holdfast.methods.vl2v import VL2V
from holdfast.models import text as text_tower
from holdfast.models.classifier import Head
from holdfast.models.clip import CLIP
from holdfast.models.student import Student
from holdfast.models.text import encode_text, image_features, prompt_lengths
from holdfast.settings import ContinualTrainSettings, Optimisation, TrainSettings
from holdfast.swad import SWAD, Segment
from holdfast.train import Objective, fit, learning_rate, objective

LOSS_TOLERANCE = 2e-4
WEIGHT_TOLERANCE = 1e-3
VECTOR = 16  # float32 numbers that attention sums at once, on processors that take the most
FITS = 8  # iterations of --fit-rounding; the difference shrinks by more than half in each


Record = dict[str, np.ndarray]


@dataclass
class Replay:
    """What our code made of a record.

    losses: of each step, in the record's columns; states: {recorded state: {recorded name:
    weights}}; exact: {curve: {recorded name: value}}, which must agree to rounding.
    """

    losses: list[float] | list[list[float]]
    states: dict[str, dict[str, Tensor]]
    exact: dict[str, dict[str, Any]] = field(default_factory=dict)


class Recorded:
    """Recorded batches as `fit` wants them; `length` is that of the learning rate's schedule."""

    def __init__(self, batches: list[Any], length: int | None = None) -> None:
        self.batches = batches
        self.length = len(batches) if length is None else length

    def __len__(self) -> int:
        return self.length

    def __call__(self, start: int) -> Iterator[Any]:
        return iter(self.batches[start:])


def recording(step: Objective, losses: list[dict[str, float]]) -> Objective:
    """The same objective, which notes the losses of each step in `losses`."""

    def recorded(learner: Any, batch: Batch) -> Iterator[dict[str, Tensor]]:
        losses.append({})
        for terms in step(learner, batch):
            losses[-1] |= {name: term.item() for name, term in terms.items()}
            yield terms

    return recorded


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
    clip = openai_clip(ast.literal_eval(str(record["model"])))
    learner = HeadLearner(clip.visual, head, clip.logit_scale)
    ours = {
        name: name.replace("visual.", "image_encoder.model.visual.", 1).replace(
            "head.", "classification_head.", 1
        )
        for name in learner.state_dict()
    }
    learner.load_state_dict(
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
    )
    method = compose(RegFT(VarianceCovariance(variance, covariance)), [], Family.TRANSFER)
    losses: list[dict[str, float]] = []
    fit(
        learner,
        Recorded([Batch(x, y, torch.arange(len(y))) for x, y in zip(images, labels, strict=True)]),
        recording(objective(method, learner, Memory(), settings.label_smoothing), losses),
        settings,
    )
    state = learner.state_dict()
    return Replay(
        [sum(step.values()) for step in losses],
        {"final": {theirs: state[name] for name, theirs in ours.items()}},
    )


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
    student = Student(PooledCNN(), nn.Linear(features, width))
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
    learner = HeadLearner(student, Head(width, len(text)), 100.0)
    method = compose(VL2V(args["lmd"]), [], Family.DISTILL)
    losses: list[dict[str, float]] = []
    found = Replay([], {})
    stages = ((student.projection, "aligned"), (student.backbone, "distilled"))
    for stage, (part, state) in enumerate(stages):
        batches = [
            Batch(x.flatten(0, 1), y.flatten(), torch.arange(y.numel()), taught, text[y.flatten()])
            for x, y, taught in zip(
                *(
                    torch.from_numpy(record[k][stage])
                    for k in ("images", "labels", "teacher_images")
                ),
                strict=True,
            )
        ]
        learner.requires_grad_(False)
        part.requires_grad_(True)
        step = recording(objective(method, learner, Memory()), losses)
        fit(learner, Recorded(batches), step, optimisation)
        found.states[state] = {k: v.clone() for k, v in student.state_dict().items()}
    found.losses += [sum(step.values()) for step in losses]
    for key in record:
        if key.startswith("swad/") and key.endswith("/losses"):
            curve = key.removesuffix("/losses")
            reset = curve.endswith("/reset")
            found.exact[curve] = loss_valley(record[key], reset, args["eval_every"])
    return found


def loss_valley(losses: np.ndarray, reset: bool, every: int) -> dict[str, Any]:
    """SWAD where the weights at step t are [t, t^2] and each `every` steps are validated."""
    swad, segment, left_at = SWAD(), None, -1
    for step in range(every * (len(losses) - 1) + 1):
        weights = {"w": torch.tensor([step, step**2], dtype=torch.float64)}
        if segment is None:
            segment = Segment(weights, step, step)
        else:
            segment.add(weights, step)
        if step % every == 0:
            at = step // every
            swad.validate(replace(segment, weights=dict(segment.weights), loss=float(losses[at])))
            if swad.left_valley and left_at < 0:
                left_at = at
            segment = None if reset else segment
    average = swad.result()
    start, end = average.first, average.last
    if swad.average is not None and swad.average.count == 0:
        # Nothing was taken before the training ended. Of what it takes then, the paper's code
        # reports the last step as the first; where it takes nothing at all, it reports -1.
        start, end = (swad.window[1].last, end) if average.count else (-1, -1)
    return {
        "dead_at_eval": left_at,
        "start_step": start,
        "end_step": end,
        "weights": average.weights["w"].numpy(),
    }


COLUMNS = (
    "cross_entropy",
    "distillation_image",
    "distillation_text",
    "alignment_image",
    "alignment_text",
    "consolidation",
)


def whole_vectors(model: Any, tokens: Tensor) -> Tensor:
    """`prompt_lengths`, rounded up."""
    lengths = prompt_lengths(model, tokens)
    assert lengths is not None
    return (lengths + -lengths % VECTOR).clamp(max=tokens.shape[1])


def replay_continual(record: Record, fit_rounding: bool = False) -> Replay:
    """One task of GIFT, by what the record's `args` ask for."""
    args = ast.literal_eval(str(record["args"]))
    if args["distill"] and not args["ita"]:
        with patch.object(text_tower, "prompt_lengths", whole_vectors):
            return replay_task(record, args, fit_rounding)
    return replay_task(record, args, fit_rounding)


def replay_task(record: Record, args: dict[str, Any], fit_rounding: bool) -> Replay:
    """One task of GIFT."""
    clip = openai_clip(ast.literal_eval(str(record["model"])))
    model = clip.model
    table = "token_embedding.weight"
    used = torch.from_numpy(record["token_rows"])
    start = {name: torch.from_numpy(record[f"init/{name}"]) for name in model.state_dict()}
    # The other rows of the vocabulary never occur; zeros take their place.
    start[table] = torch.zeros(model.vocab_size, start[table].shape[1]).index_copy(
        0, used, start[table]
    )
    model.load_state_dict(start)
    settings = ContinualTrainSettings(
        learning_rate=args["lr"],
        weight_decay=args.get("wd", 0.0),
        warmup_steps=args["warmup"],
        steps=args["iters"],
        label_smoothing=args["ls"],
    )
    kinds = {"feature_mse": "features", "kl": "reverse_kl"}
    chosen = [name for option, name in kinds.items() if args.get(option)]
    towers = "image" if args.get("image_only") else "text" if args.get("text_only") else "both"
    gift = GIFT(
        ReplayDistillation(
            args["distill"],
            loss=chosen[0] if chosen else "contrastive",
            temperature=args.get("T", 2.0),
            train_towers=towers,
        ),
        Alignment(args["ita"], args["ls"], towers),
        Consolidation(args["l2"], "uniform" if args.get("no_awc") else "adaptive"),
    )
    method = compose(gift, [], Family.CONTINUAL)
    prompts = [str(prompt) for prompt in record["prompts"]]
    images, replayed = (torch.from_numpy(record[name]) for name in ("images", "ref_images"))
    labels, prompted = (torch.from_numpy(record[name]) for name in ("labels", "ref_labels"))
    with torch.no_grad():
        taught = ReplaySet(
            paths=[],
            labels=prompted.flatten().tolist(),
            prompts=prompts,
            tokens=clip.tokenizer(prompts),
            teacher_images=image_features(model, replayed.flatten(0, 1)),
            teacher_text=encode_text(clip, prompts),
        )
    places = torch.arange(prompted.numel()).view_as(prompted)
    replays = [Batch(x, y, i) for x, y, i in zip(replayed, prompted, places, strict=True)]
    batches = [
        Batch(x, y, i, replay=r) for x, y, i, r in zip(images, labels, places, replays, strict=True)
    ]
    tokens = clip.tokenizer([f"a photo of a {name}." for name in record["names"]])
    learner = TwoTowerLearner(clip, tokens)

    def run(rows: Tensor | None = None, moved: Tensor | None = None) -> Replay:
        """rows: of the vocabulary, whose first step is `moved`, (rows, width)."""
        model.load_state_dict(start)
        losses: list[dict[str, float]] = []
        step = objective(method, learner, Memory(taught), settings.label_smoothing)

        def first_step(step: int, module: nn.Module) -> None:
            if step == 0 and rows is not None and moved is not None:
                with torch.no_grad():
                    model.token_embedding.weight[rows] = start[table][rows] + moved

        fit(
            learner,
            # The paper's loop runs one step more than its schedule has: the last learns nothing.
            Recorded(batches, length=args["iters"]),
            recording(step, losses),
            settings,
            after_step=first_step,
        )
        final = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        final[table] = final[table][used]
        columns = [[step.get(name, np.nan) for name in COLUMNS] for step in losses]
        return Replay(columns, {"final": final})

    if not fit_rounding:
        return run()
    known = torch.isin(used, tokens.unique())
    first = torch.isin(used, taught.tokens[prompted[0]].unique())
    place = (first & ~known).nonzero()[:, 0]
    if args["ita"] or not args["distill"] or not len(place):
        raise SystemExit("The first step of this record is determined; there is nothing to fit.")
    # Adam's first step is at most the learning rate, whatever the gradient.
    longest = learning_rate(0, args["iters"], settings)
    target = torch.from_numpy(record[f"final/{table}"])[place]
    moved = torch.zeros_like(target)
    for _ in range(FITS):
        found = run(used[place], moved)
        missing = target - found.states["final"][table][place]
        moved = (moved + missing).clamp(-longest, longest)
    print(f"fitted: the first step of {moved.numel()} numbers in {len(place)} rows of {table}")
    return found


def without_key_bias(name: str, tensor: np.ndarray) -> np.ndarray:
    """The tensor without what has no true gradient."""
    if name.endswith("in_proj_bias"):
        query, _, value = np.split(tensor, 3)
        return np.concatenate([query, value])
    return tensor


def compare(record: Record, found: Replay) -> bool:
    """Print the largest differences; True if they are within the tolerances."""
    recorded = record["losses"]
    ours_lost = np.array(found.losses)
    if not np.array_equal(np.isnan(ours_lost), np.isnan(recorded)):
        print("other terms than the record's\nDIFFERENT")
        return False
    loss_gap = np.nan_to_num(np.abs(ours_lost - recorded) / np.maximum(1, np.abs(recorded)))
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
    fit_rounding = "--fit-rounding" in arguments
    arguments = [argument for argument in arguments if argument != "--fit-rounding"]
    if len(arguments) != 1:
        print(__doc__)
        return 2
    torch.set_num_threads(1)
    path = Path(arguments[0])
    with np.load(path, allow_pickle=False) as file:
        record = dict(file)
    if "ref_images" in record:
        return 0 if compare(record, replay_continual(record, fit_rounding)) else 1
    for key, replay in KINDS.items():
        if key in record:
            return 0 if compare(record, replay(record)) else 1
    print(f"{path} holds no name-only, no distillation and no continual trajectory.")
    return 2


# An entry that only records of a kind have.
KINDS = {"init/classification_head.weight": replay_names, "teacher_text": replay_distill}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
