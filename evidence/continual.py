"""Continual learning on the embedded world, and the claims of GIFT (arXiv 2503.04229)."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from evidence.engine import Choice, Claim, Measure, Run, Study
from evidence.page import Table

from holdfast.builtin import STREAMS, pretraining_names, take_validation, write_images
from holdfast.results import ContinualResult

ORDERS = {"first order": STREAMS["pocket"], "second order": STREAMS["pocket-2"]}
TASKS = ORDERS["first order"]
PROMPT = "an icon of a {}."


def write_tasks(folder: str, tasks: Sequence[str] = TASKS) -> None:
    """A folder of each task, and both orders of them."""
    root = Path(folder)
    for task in tasks:
        write_images(f"pocket:{task}", root / task / "train", 20, "train")
        write_images(f"pocket:{task}", root / task / "test", 12, "test")
        take_validation(root / task)
    for name, order in ORDERS.items():
        stream = [{"folder": task, "templates": PROMPT} for task in order if task in tasks]
        (root / f"{name}.json").write_text(json.dumps(stream))


def on_task(result: ContinualResult, task: str, after: int | None) -> float | None:
    """Accuracy on a task just before it is learnt (0), right after (1), or at the end (None)."""
    if task not in result.matrix.columns:
        return None
    column = result.matrix.columns.index(task)
    row = -1 if after is None else column + after
    return result.matrix.task_aware[row][column]


def replayed(result: ContinualResult, source: str) -> float | None:
    """Images of the last task's replay whose names are from there."""
    replay = result.steps[-1].replay
    images = {each.source: each.images for each in (replay.coverage if replay else [])}
    return images.get(source)


COMMON = {
    "stream": "{run[tasks]}/{case}.json", "out": "{out}", "model": "pocket", "generator": "pocket",
    "method": "gift",
    "replay.base": "pocket", "replay.template": PROMPT, "replay.images": 300,
    "replay.cache": "{work}/replay",
    "replay.steps": 8, "replay.guidance": 5.0, "replay.batch_size": 32, "replay.precision": "bf16",
    "train.steps": 20, "train.batch_size": 16, "train.replay_batch_size": 24,
    "train.learning_rate": "{chosen[GIFT]}", "train.precision": "bf16", "train.workers": 0,
    "seed": "{seed}", "device": "cpu",
}  # fmt: skip
REFERENCE = {
    "names": list(pretraining_names("pocket") or ()), "out": "{out}", "generator": "pocket",
    "prompts.templates": PROMPT, "images.per_class": 3, "images.steps": 8, "images.guidance": 5.0,
    "images.batch_size": 32, "images.precision": "bf16", "seed": "{seed}", "device": "cpu",
}  # fmt: skip
FIRST = "{run[tasks]}/first order.json"
DEVELOPMENT = {"stream": FIRST, "split": "val", "train.learning_rate": "{value}"}


# Of those that draw replay images, which runs of one order and seed share.
DRAWS = "{case} {seed}"
UNIFORM = {"name": "gift", "consolidation": {"importance": "uniform"}}
NO_ALIGNMENT = UNIFORM | {"alignment": {"weight": 0.0}}
OWN_RATE = {"method": "finetune", "train.learning_rate": "{chosen[fine-tuning]}"}
CALL = "continual_run"
MAIN = {
    "zero-shot": Run(CALL, {"method": "zero-shot", "seed": 0}),  # nothing is random there
    "fine-tuning": Run(CALL, {"method": "finetune"}),
    "fine-tuning at its own best rate": Run(CALL, OWN_RATE),
    "L2": Run(CALL, {"method": "l2"}),
    "static EWC": Run(CALL, {"method": "ewc"}, alone=DRAWS),
    "LwF": Run(CALL, {"method": "lwf"}),
    "WiSE-FT after each task": Run(CALL, {"method": "wise-ft"}),
    "ZSCL": Run(CALL, {"method": "zscl", "replay.folder": "{run[reference images]}"}),
    "GIFT": Run(CALL, {"method": "gift"}, alone=DRAWS),
    "joint (upper reference)": Run(CALL, {"method": "joint", "stream": FIRST}),
}
PARTS = {
    "L2 + distillation": Run(CALL, {"method": NO_ALIGNMENT}, alone=DRAWS),
    "L2 + distillation + alignment": Run(CALL, {"method": UNIFORM}, alone=DRAWS),
}
REPLAYS = {
    "GIFT, 100 images": Run(CALL, {"replay.images": 100}, alone=DRAWS),
    "GIFT, 1000 images": Run(CALL, {"replay.images": 1000}, alone=DRAWS),
    "GIFT, balanced replay": Run(CALL, {"replay.sampling": "balanced"}, alone=DRAWS),
}
MEASURES = {"Transfer": "transfer", "Avg": "average", "Last": "last"}
SHOWN = MEASURES | {"Transfer by stage": "transfer_by_stage", "Forget": "forget"}
UNION = "Last, among all classes"
WHEN = {"just before": 0, "right after": 1, "at the end": None}
COURSE = {
    f"{task}, {when}": Measure(partial(on_task, task=task, after=after))
    for task in TASKS
    for when, after in WHEN.items()
}
SOURCES = {s: Measure(partial(replayed, source=s), 1, 0) for s in ("pre-training", *TASKS)}
MINUTES = {f"{x}, minutes": f"costs.{x}_seconds" for x in ("training", "evaluation")}
CLAIMS = {
    **{f"GIFT beats {other}": ("GIFT", other) for other in list(MAIN)[:8]},
    "Distillation helps L2": ("L2 + distillation", "L2"),
    "Alignment helps both": ("L2 + distillation + alignment", "L2 + distillation"),
    "Adaptive consolidation beats L2 as the third part": ("GIFT", "L2 + distillation + alignment"),
    "100 images beat none": ("GIFT, 100 images", "L2"),
    "300 images beat 100": ("GIFT", "GIFT, 100 images"),
    "1000 images beat 300": ("GIFT, 1000 images", "GIFT"),
    "Balanced replay beats uniform (no claim of the paper)": ("GIFT, balanced replay", "GIFT"),
}
RATES = [3e-5, 1e-4, 3e-4]
STUDY = Study(
    title="What continual learning does on the embedded world",
    weights=("clip", "diffusion"),
    cases={order: {} for order in ORDERS},
    runs={
        "tasks": Run(write_tasks, {}),
        "reference images": Run("generate", REFERENCE),
        **(MAIN | PARTS | REPLAYS),
    },
    measures={
        **{name: Measure(f"task_aware.{each}") for name, each in SHOWN.items()},
        UNION: Measure("task_agnostic.last"),
        **(COURSE | SOURCES),
        **{name: Measure(each, 1 / 60) for name, each in MINUTES.items()},
    },
    choices={run: Choice(run, RATES, "Avg", DEVELOPMENT) for run in ("fine-tuning", "GIFT")},
    claims=[Claim(text, *rows, list(MEASURES)) for text, rows in CLAIMS.items()],
    common={CALL: COMMON, "write_tasks": {"folder": "{out}"}},
    quick={
        CALL: {
            "train.steps": 2,
            "train.replay_batch_size": 6,
            "replay.images": 12,
            "replay.steps": 2,
        },
        "generate": {"images.per_class": 1, "images.steps": 2},
        "write_tasks": {"tasks": ["digits", "files"]},
    },
)


def accuracies(*rows: str) -> Table:
    """Every measure of some rows."""
    return Table(rows, [*SHOWN, UNION], down=["case", "row"])


PAGE = [
    f"""Accuracies are top-1 on test pictures, among the classes of a picture's own task unless it
says otherwise. The eight tasks come in two orders: {", ".join(ORDERS["first order"])};
and {", ".join(ORDERS["second order"])}. Each class has at most 15 pictures to train on and 12 to
test on, by design teams whose work no model saw; the digits are scikit-learn's. All methods run in
the same harness (`holdfast continual run`): 20 steps a task of 16 images and, where there is
replay, 24 replay images, with bf16 autocast; everything else as it is by default. These are 50
times fewer steps than the paper's. Replay: 300 images a task unless it says otherwise, 8 denoising
steps, guidance 5; pocket's 113 nouns stand for pre-training. ZSCL has one set of such images for
all tasks. All methods take the learning rate that is best for GIFT; fine-tuning also its own. Test
pictures were used for nothing but this page.

## Accuracy

Transfer is the paper's: the mean over tasks of the accuracy before they were learnt, column by
column. Transfer by stage is what other libraries report, the same entries averaged row by row
first; the two are not to be compared. Forget is negative where tasks were forgotten. "Joint" learns
all tasks at once with as many steps, so its order does not matter.""",
    accuracies(*MAIN),
    "What happens to each task:",
    Table(["zero-shot", "fine-tuning", "GIFT"], list(COURSE), down=["measure"]),
    "## The parts of GIFT",
    accuracies("L2", *PARTS, "GIFT"),
    """## The number of synthetic images

Without any, GIFT is L2. A task's training sees 480 replay images, so of 1,000 it does not see all,
and each of 100 about 5 times.""",
    accuracies("L2", "GIFT, 100 images", "GIFT", "GIFT, 1000 images"),
    """## Uniform or balanced replay

Not a claim of the paper, which draws uniformly from all names. `--replay.sampling balanced` gives
every earlier task the same number of images. Replay images at the last task:""",
    Table(["GIFT", "GIFT, balanced replay"], list(SOURCES), down=["measure"]),
    accuracies("GIFT", "GIFT, balanced replay"),
    "## Time\n\nOf a stream, two side by side on two cores, the drawing of replay images aside.",
    Table(list(MAIN), list(MINUTES)),
]
