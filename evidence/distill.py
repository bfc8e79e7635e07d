"""Distillation on the embedded world, and the claims of VL2V-ADiP (arXiv 2310.08255)."""

from functools import partial
from pathlib import Path
from statistics import mean

from evidence.engine import Choice, Claim, Measure, Run, Study
from evidence.page import Table

from holdfast.builtin import write_images
from holdfast.results import DistillResult


def write_domains(folder: str, styles: list[str], per_class: int = 15) -> None:
    """Pictures of things in several styles, as `holdfast distill` reads them."""
    for style in styles:
        write_images(f"pocket:domains/{style}", Path(folder) / style, per_class)


def top1(result: DistillResult, of: str) -> float | None:
    """Mean over the domains that have such a score."""
    scores = (getattr(domain, of) for domain in result.trials[0].scores.values())
    found = [score.top1 for score in scores if score is not None]
    return mean(found) if found else None


NEVER_OUT = ["line", "solid", "duotone", "freehand"]
STYLES = ["colour", "pixel", *NEVER_OUT]
COMMON = {
    "data": "{run[pictures]}", "out": "{out}", "store": "{work}/answers", "held_out": "{style}",
    "prompts.templates": "an icon of a {}.",
    "teacher": "pocket", "student": "{student}", "views": 10, "view.size": 32, "sample": 0,
    "align.steps": 200, "align.per_domain": 8, "align.validate_every": 20,
    "align.precision": "bf16", "align.learning_rate": 3e-3,
    "train.steps": "{steps}", "train.per_domain": 8, "train.validate_every": 20,
    "train.precision": "bf16", "train.learning_rate": "{chosen[ERM + averaging]}",
    "workers": 0, "seed": "{seed}", "device": "cpu",
}  # fmt: skip
KD, ERM, ADIP, ZERO = "logit distillation", "ERM + averaging", "VL2V-ADiP", "teacher, zero-shot"
COLOUR, PIXEL, VIT = "ResNet, without colour", "ResNet, without pixel", "ViT, without colour"
REGULARISER = {"name": "regft", "ensemble": 1.0}
OF_ADIP = {"method": "vl2v", "train.learning_rate": "{chosen[VL2V-ADiP]}"}
OF_SD = {"method": "vl2v", "train.learning_rate": "{chosen[VL2V-SD]}"}
TOWER = {"student": "teacher", "train.steps": 60, "train.learning_rate": "{chosen[fine-tuning]}"}
STUDENT = {
    "ERM": Run("distill", {"method": "erm", "average.kind": "none"}),
    ERM: Run("distill", {"method": "erm"}),
    "LP-FT": Run("distill", {"method": "lp-ft"}),
    KD: Run("distill", {"method": "kd"}),
    "text-initialised head": Run("distill", {"method": "text-head"}),
    ADIP: Run("distill", OF_ADIP),
}
TEACHER = {
    ZERO: Run("distill", TOWER | {"method": "zero-shot", "train.learning_rate": 1e-4}),
    "fine-tuning": Run("distill", TOWER | {"method": "text-head"}),
    "WiSE-FT": Run("distill", TOWER | {"method": "wise-ft"}),
    "name-only regulariser": Run("distill", TOWER | {"method": REGULARISER}),
    "VL2V-SD": Run("distill", TOWER | OF_SD),
}
VIEWS = {f"{k} views": Run("distill", OF_ADIP | {"views": k}, [COLOUR]) for k in (1, 5, 10, 30)}
VIEWS["online"] = Run("distill", OF_ADIP | {"views": 0, "store": "{work}/online"}, [COLOUR])
RESNET = {"student": "pocket", "steps": 150, "rates": [3e-4, 1e-3, 3e-3]}
VIT_STUDENT = {"student": "pocket-vit", "steps": 200, "rates": [1e-4, 3e-4, 1e-3]}
OWN = [3e-5, 1e-4, 3e-4]
RATES = {ERM: "{rates}", ADIP: "{rates}", "fine-tuning": OWN, "VL2V-SD": OWN}
DEVELOPMENT = {
    "data": "{run[development pictures]}", "held_out": "none", "train.learning_rate": "{value}",
}  # fmt: skip
IN, OUT = ["in-domain"], ["style left out"]
STUDY = Study(
    title="What distillation does on the embedded world",
    weights=("clip", "student", "student-vit"),
    cases={
        COLOUR: RESNET | {"style": "colour"},
        PIXEL: RESNET | {"style": "pixel"},
        VIT: VIT_STUDENT | {"style": "colour"},
    },
    runs={
        "pictures": Run(write_domains, {"styles": STYLES}),
        "development pictures": Run(write_domains, {"styles": NEVER_OUT}),
        **(TEACHER | STUDENT | VIEWS),
    },
    measures={
        "in-domain": Measure(partial(top1, of="validation")),
        "style left out": Measure(partial(top1, of="full")),
        "its DomainBed split": Measure(partial(top1, of="domainbed")),
        "image queries": Measure("queries.needed_images", 1, 0),
        "parameters": Measure("student.parameters", 1, 0),
    },
    choices={name: Choice(name, rates, IN[0], DEVELOPMENT) for name, rates in RATES.items()},
    claims=[
        Claim("Naive distillation gains in-domain over ERM with averaging", KD, ERM, IN),
        Claim("It gains less than a point on the style left out", ERM, KD, OUT, -0.01),
        Claim("There it stays below the teacher", ZERO, KD, OUT),
        Claim("VL2V-ADiP beats it there", ADIP, KD, OUT),
        Claim("VL2V-ADiP beats ERM with averaging there", ADIP, ERM, OUT),
        Claim("VL2V-ADiP keeps the teacher's accuracy there, to a point", ADIP, ZERO, OUT, -0.01),
        Claim("A head of text embeddings beats a new head", "text-initialised head", ERM, OUT),
        Claim("Averaging helps ERM there", ERM, "ERM", OUT),
        *(
            Claim(f"VL2V-SD beats {other} there", "VL2V-SD", other, OUT, cases=[PIXEL, COLOUR])
            for other in (ZERO, "WiSE-FT", "name-only regulariser")
        ),
    ],
    common={"distill": COMMON, "write_domains": {"folder": "{out}"}},
    quick={
        "distill": {"align.steps": 2, "train.steps": 2},
        "write_domains": {"per_class": 5},
    },
)
PAGE = [
    """60 things in six styles are the domains, with at most 15 drawings of a thing in a style.
Colour or pixel is left out; four fifths of the other styles are trained on, and their last fifth
selects and is the in-domain score. All pictures of the style left out are the other score. The
teacher is the pocket CLIP; the students, a ResNet and a ViT, were trained with labels on line
drawings, the ViT on solid ones too ([their card](../../src/holdfast/pocket/CARD.md)). No model saw
a drawing by these teams.

150 steps (ViT 200, the teacher's own tower 60) of 32 images, after 200 of alignment or of the head
alone (the paper takes 5001 in each stage); everything is averaged along the loss valley, but for
"ERM". All methods see the same 10 views of each picture; lambda 0.5, temperature 2, WiSE-FT's alpha
0.5, and RegFT's 0.16 and 0.02 are the defaults. bf16 autocast. Learning rates are chosen on the
validation fifth of line, solid, duotone and freehand; LP-FT, logit distillation and the
text-initialised head take that of ERM, WiSE-FT and the regulariser that of plain fine-tuning.
Pictures of the styles left out were used for nothing but this page.

## Accuracy""",
    Table([*STUDENT, ZERO], IN + OUT),
    "The teacher's own tower as the student (white box):",
    Table(list(TEACHER), IN + OUT, [PIXEL, COLOUR]),
    "On DomainBed's four fifths of the style left out, and the size of the students:",
    Table([*STUDENT, *TEACHER], ["its DomainBed split"]),
    Table([ADIP, "VL2V-SD"], ["parameters"]),
    """## Views and queries

VL2V-ADiP with the ResNet, without colour. Queries are images that a run asks about, both stages
together, with nothing stored; online they are the most. The first view is the picture itself, so
one view trains without augmentation.""",
    Table(list(VIEWS), ["image queries", *IN, *OUT], [COLOUR]),
]
