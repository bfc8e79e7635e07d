"""Results of streams -> the numbers of the page docs/evidence/continual.md, and the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import mean
from typing import Any

from common import judged, points, spread, table

from holdfast.builtin import STREAMS

ORDERS = {"first": STREAMS["pocket"], "second": STREAMS["pocket-2"]}
IMAGES = 300  # replay images a task, unless it says otherwise
NUMBERS = (0, 100, 300, 1000)
MEASURES = {"transfer": "Transfer", "average": "Avg", "last": "Last"}
MORE = {"transfer_by_stage": "Transfer by stage", "forget": "Forget"}
GIFT, L2, ZERO_SHOT, JOINT = "GIFT", "L2", "zero-shot", "joint (upper reference)"
OWN = "fine-tuning at its own best rate"
OTHERS = ("fine-tuning", OWN, L2, "static EWC", "LwF", "WiSE-FT after each task", "ZSCL")
CHAIN = (L2, "L2 + distillation", "L2 + distillation + alignment", GIFT)
BALANCED = "GIFT, balanced replay"
COMPARISONS = [(f"GIFT beats {other}", GIFT, other) for other in (ZERO_SHOT, *OTHERS)]
PARTS = [
    ("Distillation helps L2", CHAIN[1], CHAIN[0]),
    ("Alignment helps both", CHAIN[2], CHAIN[1]),
    ("Adaptive consolidation beats L2 as the third part", CHAIN[3], CHAIN[2]),
]
Runs = Mapping[str, Mapping[str, Any]]  # of one order: {setting: what `summarise` found}
Claim = tuple[str, str, str]  # what is said, what should be larger, than what


def numbered(images: int) -> str:
    """Label of GIFT with so many replay images; without any it is L2."""
    return {0: L2, IMAGES: GIFT}.get(images, f"{GIFT}, {images} images")


NUMBER_CLAIMS = [
    (f"{more} images beat {less or 'none'}", numbered(more), numbered(less))
    for less, more in pairwise(NUMBERS)
]


def summarise(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The runs of one setting, a seed each -> what the page needs."""
    matrices = [run["matrix"]["within"] for run in found]
    return {
        **{
            kind: {name: [run["metrics"][kind][name] for run in found] for name in numbers}
            for kind, numbers in found[0]["metrics"].items()
        },
        "mean_matrix": [
            [mean(each) for each in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)
        ],
        "coverage": [run["coverage"][-1] for run in found if run["coverage"]],
        "minutes": {
            cost: mean(run["costs"][f"{cost}_seconds"] for run in found) / 60
            for cost in ("training", "evaluation")
        },
    }


def values(runs: Runs, label: str, measure: str, kind: str = "within") -> list[float] | None:
    """A measure of each seed; None where the setting was not run or has no such measure."""
    found = runs[label][kind][measure] if label in runs else [None]
    return None if None in found else list(found)


def cell(runs: Runs, label: str, measure: str, kind: str = "within") -> str:
    """`71.2 ± 0.8`; nothing is random about zero-shot."""
    found = values(runs, label, measure, kind)
    if found is None:
        return "–"
    return f"{100 * found[0]:.1f}" if label == ZERO_SHOT else points(spread(found))


def accuracy_table(runs: Runs, labels: Iterable[str]) -> str:
    """Every measure of those of the settings that were run."""
    columns = {**MEASURES, **MORE}
    rows = [
        [
            label,
            *(cell(runs, label, measure) for measure in columns),
            cell(runs, label, "last", "union"),
        ]
        for label in labels
        if label in runs
    ]
    return table(["", *columns.values(), "Last, among all classes"], rows)


def in_orders(orders: Mapping[str, Runs], labels: Sequence[str]) -> str:
    """A table of those settings for each order in which all of them were run."""
    whole = {o: runs for o, runs in orders.items() if all(label in runs for label in labels)}
    return "\n\n".join(
        f"{order.capitalize()} order:\n\n{accuracy_table(runs, labels)}"
        for order, runs in whole.items()
    )


def verdict(runs: Runs, claim: Claim, measure: str) -> str:
    """What the paired differences of two settings say."""
    a, b = (values(runs, label, measure) for label in claim[1:])
    if a is None or b is None:
        return "–"
    b = b * len(a) if claim[2] == ZERO_SHOT else b
    found = spread([x - y for x, y in zip(a, b, strict=True)])
    return f"{judged(found, len(a))} ({points(found, sign=True)})"


def claim_table(orders: Mapping[str, Runs], claims: Sequence[Claim]) -> str:
    """What each claim comes to in each order for which it was run, by each measure."""
    known = [claim for claim in claims if any(all_run(runs, claim) for runs in orders.values())]
    shown = [order for order, runs in orders.items() if any(all_run(runs, c) for c in known)]
    return table(
        ["claim", *(f"{name}, {order}" for order in shown for name in MEASURES.values())],
        [
            [claim[0], *(verdict(orders[order], claim, m) for order in shown for m in MEASURES)]
            for claim in known
        ],
    )


def all_run(runs: Runs, claim: Claim) -> bool:
    """Whether both settings of a claim were run."""
    return claim[1] in runs and claim[2] in runs


def courses(runs: Runs, tasks: Sequence[str]) -> str:
    """Accuracy on each task just before it is learnt, right after, and at the end."""
    shown = [label for label in ("fine-tuning", GIFT) if label in runs]
    rows = []
    for j, task in enumerate(tasks):
        matrices = [runs[label]["mean_matrix"] for label in shown]  # the first row is zero-shot
        cells = [v for matrix in matrices for v in (matrix[j][j], matrix[j + 1][j], matrix[-1][j])]
        rows.append([task, *(f"{100 * v:.1f}" for v in (matrices[0][0][j], *cells))])
    stages = ("just before", "right after", "at the end")
    return table(
        ["task", ZERO_SHOT, *(f"{label}, {stage}" for label in shown for stage in stages)], rows
    )


def coverage_table(runs: Runs) -> str:
    """Replay images of the last task by where their names are from, mean over the seeds."""
    shown = [label for label in (GIFT, BALANCED) if label in runs]
    sources = [row["source"] for row in runs[shown[0]]["coverage"][0]]
    rows = []
    for place, source in enumerate(sources):
        drawn = [[seed[place] for seed in runs[label]["coverage"]] for label in shown]
        rows.append(
            [
                source,
                str(drawn[0][0]["names"]),
                *(f"{mean(row['images'] for row in seeds):.0f}" for seeds in drawn),
            ]
        )
    kinds = {GIFT: "uniform", BALANCED: "balanced"}
    return table(["names of", "names", *(kinds[label] for label in shown)], rows)


def page(summary: Mapping[str, Any]) -> str:
    """The page docs/evidence/continual.md, of what was run for every seed."""
    orders, about, seeds = summary["orders"], summary["about"], summary["seeds"]
    first = orders["first"]
    train, draw = about["train"], about["draw"]
    sizes = table(
        ["task", "classes", "training images", "test pictures"],
        [[t["name"], str(t["classes"]), str(t["train"]), str(t["test"])] for t in about["tasks"]],
    )
    chosen = table(
        ["learning rate", *about["choice"]],
        [
            [f"{rate:g}", *(f"{100 * row[i]:.1f}" for row in about["choice"].values())]
            for i, rate in enumerate(about["rates"])
        ],
    )
    missing = "; ".join(
        f"{label} ({order} order)"
        for order, labels in summary["missing"].items()
        for label in labels
    )
    minutes = {label: runs["minutes"]["training"] for label, runs in first.items()}
    main = [ZERO_SHOT, *OTHERS, GIFT, JOINT]
    seen = train["steps"] * train["replay_batch_size"]
    return f"""# What continual learning does on the embedded world

Made by `make evidence-continual` from {seeds} seeds (of the replay's prompts and images, and of the
order of training pictures); each figure is the mean ± standard deviation over them, in percent
top-1 on test pictures, among the classes of a picture's own task unless it says otherwise.

The five tasks come in two orders:

- first: {", ".join(ORDERS["first"])};
- second: {", ".join(ORDERS["second"])}.

{sizes}

The digits are scikit-learn's; the pictures of the other tasks have backgrounds, colours and noise
that no pre-training saw. All methods run in the same harness (`holdfast continual run`) with the
same settings: {train["steps"]} steps a task of {train["batch_size"]} images and, where there is
replay, {train["replay_batch_size"]} replay images, with bf16 autocast; everything else as it is by
default. These are {1000 // train["steps"]} times fewer steps than the paper's.

Replay: {IMAGES} images a task unless it says otherwise, {draw["steps"]} denoising steps, guidance
{draw["guidance"]:g}; pocket's 24 things stand for pre-training. ZSCL has one set of such images for
all tasks. The small generator draws no texture that could be recognised (see its card).

One learning rate, {train["learning_rate"]:g}, is for all methods. It is the one of three that is
best for GIFT by Avg on validation pictures of the first order, with a seed that is not among the
{seeds}. Fine-tuning was tried in the same way; where another rate is best for it, a row of its own
shows that:

{chosen}

Test pictures were used for nothing but this page.{f" Not run: {missing}." if missing else ""}

## Accuracy

Transfer is the paper's: the mean over tasks of the accuracy before they were learnt, column by
column. Transfer by stage is what other libraries report, the same entries averaged row by row
first; the two are not to be compared. Forget is negative where tasks were forgotten. "Joint" learns
all tasks at once with as many steps, so its order does not matter; it was run once a seed.

First order:

{accuracy_table(first, main)}

Second order:

{accuracy_table(orders["second"], main)}

What happens to each task, first order:

{courses(first, ORDERS["first"])}

Second order:

{courses(orders["second"], ORDERS["second"])}

## The paper's claims (arXiv 2503.04229), here

A claim "holds" where the 95 % interval of the paired difference (Student's t over the seeds) lies
above zero; in brackets the difference, in points. One in forty of these comparisons would "hold" by
chance. The seeds share their test pictures: the intervals do not cover other pictures.

### GIFT beats the others

{claim_table(orders, COMPARISONS)}

### Each part helps

{in_orders(orders, CHAIN)}

{claim_table(orders, PARTS)}

### More synthetic images help

Without any, GIFT is L2. A task's training sees {seen:,} replay images, so of 1,000 it does not see
all, and each of 100 about {seen / 100:.0f} times.

{in_orders(orders, [numbered(n) for n in NUMBERS])}

{claim_table(orders, NUMBER_CLAIMS)}

## Uniform or balanced replay

Not a claim of the paper, which draws uniformly from all names. `--replay.draw balanced` gives every
earlier task the same number of images. Replay images at the last task of the first order:

{coverage_table(first)}

{in_orders(orders, [GIFT, BALANCED])}

{claim_table(orders, [("balanced beats uniform", BALANCED, GIFT)])}

## Time

Minutes a stream, two side by side on two cores and at times beside other work, mean over the seeds,
the drawing of replay images aside:
{", ".join(f"{label} {minutes[label]:.1f}" for label in (*OTHERS, GIFT) if label in minutes)}.
Measuring all models of a stream took {first[GIFT]["minutes"]["evaluation"]:.1f} more.
"""
