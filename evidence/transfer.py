"""Name-only transfer on the embedded world, and the claims of RegFT (arXiv 2406.05432)."""

from pathlib import Path
from typing import Any

from evidence.engine import Claim, Measure, Run, Study
from evidence.page import Table

from holdfast.builtin import write_images
from holdfast.results import TransferResult


def accuracy(result: TransferResult, alpha: float | str, **_: Any) -> float:
    """Top-1 on real pictures with so much of the new model, or what was `chosen`, or the `best`."""
    along = {point.alpha: point.real_top1 or 0.0 for point in result.alpha.sweep}
    chosen = result.alpha.chosen if alpha == "chosen" else alpha
    return max(along.values()) if alpha == "best" else along[float(chosen)]


def write_pictures(task: str, folder: str, per_class: int, split: Any) -> None:
    """Real pictures of a task."""
    write_images(f"pocket:{task}", Path(folder), per_class, split)


TEST = {"per_class": "{tests}", "split": "test"}
REAL = {"per_class": "{images}", "split": "train"}
COMMON = {
    "names": ["{run[test pictures]}/classes.json"], "evaluate": "{run[test pictures]}",
    "out": "{out}", "model": "pocket", "generator": "pocket", "seed": "{seed}", "device": "cpu",
    "prompts.templates": "an icon of a {}.",
    "images.per_class": "{images}", "images.steps": 12, "images.guidance": 3.0,
    "images.batch_size": 32, "train.learning_rate": 1e-4, "train.batch_size": 32,
    "train.workers": 0,
}  # fmt: skip
PLAIN = {"method": {"name": "wise-ft", "alpha": 0.5}}
UPPER = "real images (upper reference)"
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "zero-shot": ("RegFT", {"alpha": 0.0, "model": "zero-shot"}),
    "fine-tuned": ("plain", {"alpha": 1.0, "model": "fine-tuned"}),
    "+ regulariser": ("RegFT", {"alpha": 1.0, "model": "fine-tuned"}),
    "+ ensemble": ("plain", {"alpha": 0.5}),
    "both": ("RegFT", {"alpha": 0.5}),
    "both, `--alpha auto`": ("RegFT", {"alpha": "chosen"}),
    "both, best alpha in hindsight": ("RegFT", {"alpha": "best"}),
    UPPER: ("real", {"alpha": 1.0}),
    "real images + ensemble": ("real", {"alpha": 0.5}),
}
CURVE: dict[str, tuple[str, dict[str, Any]]] = {
    f"{run}, {tenths / 10}": (run, {"alpha": tenths / 10})
    for run in ("plain", "RegFT")
    for tenths in range(11)
}
SIZES = {"classes": "classes", "images": "images.generated", "tests": "scores.zero-shot.n"}
GAP = ("real/real", "generated/generated", "real/generated")
DIVERSITY = ("direction", "magnitude")
CLAIMS = {
    "Fine-tuning on generated images helps on real ones": ("fine-tuned", "zero-shot"),
    "It leaves a gap to fine-tuning on real images": (UPPER, "fine-tuned"),
    "The ensemble narrows the gap": ("+ ensemble", "fine-tuned"),
    "The regulariser narrows the gap": ("+ regulariser", "fine-tuned"),
    "Both together beat the ensemble alone": ("both", "+ ensemble"),
    "Both together beat the regulariser alone": ("both", "+ regulariser"),
    "Both together beat zero-shot": ("both", "zero-shot"),
    "`--alpha auto` beats 0.5": ("both, `--alpha auto`", "both"),
}
STUDY = Study(
    title="What name-only transfer does on the embedded world",
    weights=("clip", "diffusion"),
    cases={
        "nouns": {"images": 8, "tests": 16},
        "food": {"images": 12, "tests": 12},
        "logos": {"images": 10, "tests": 10},
    },
    runs={
        "test pictures": Run(write_pictures, TEST),
        "real pictures": Run(write_pictures, REAL),
        "RegFT": Run("transfer", {"method": {"name": "regft", "ensemble": "auto"}}),
        "plain": Run("transfer", PLAIN | {"folder": "{run[RegFT]}/generated"}),
        "real": Run("transfer", PLAIN | {"folder": "{run[real pictures]}"}),
    },
    rows=ROWS | CURVE,
    measures={
        "accuracy": Measure(accuracy),
        **{name: Measure(place, 1, 0) for name, place in SIZES.items()},
        **{pair: Measure(f"diagnostics.gap.{pair}", 1, 3) for pair in GAP},
        **{k: Measure(f"diagnostics.diversity.real, {{model}}.{k}", 1, 3) for k in DIVERSITY},
    },
    claims=[Claim(text, *rows, ["accuracy"]) for text, rows in CLAIMS.items()]
    + [Claim("Features get more diverse", "+ regulariser", "fine-tuned", DIVERSITY)],
    common={"write_pictures": {"task": "{case}", "folder": "{out}"}, "transfer": COMMON},
    quick={
        "transfer": {"images.per_class": 2, "images.steps": 2, "train.epochs": 1},
        "write_pictures": {"per_class": 2},
    },
)
PAGE = [
    """Three sets of names: everyday things, kinds of food, and logos, which no pre-training of the
CLIP saw. Test pictures are by design teams whose work no model saw; real pictures to train on are
by others ([the card](../../src/holdfast/pocket/CARD.md)).""",
    Table(["RegFT"], list(SIZES), down=["case"]),
    """Generation: 12 steps, guidance 3. Fine-tuning: 10 epochs, learning rate 1e-4 (the default
suits full-size checkpoints), batches of 32; everything else as RegFT has it. The learning rate was
chosen on nouns of development teams, the rule of `--alpha auto` in an earlier, rendered world. Test
pictures were used for nothing but this page.

## Accuracy on real pictures

"Both" is the default of `holdfast transfer`: regulariser and ensemble with alpha 0.5.""",
    Table(list(ROWS), ["accuracy"]),
    "## Accuracy along alpha",
    Table(list(CURVE), ["accuracy"]),
    """## Gap and diversity

Fréchet distance between features of the original model: two halves of one domain, and across.""",
    Table(["RegFT"], GAP, down=["case"]),
    "Diversity: mean pairwise cosine distance (direction), variation of the norms (magnitude).",
    Table(["zero-shot", "fine-tuned", "+ regulariser"], DIVERSITY, down=["case", "row"]),
]
