"""Results of distillation runs -> the numbers of the page, and the page that states them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, Literal

from common import judged, points, spread, table

Where = Literal["in_domain", "held_out"]
ZERO_SHOT = "teacher, zero-shot"
ADIP = "VL2V-ADiP"
TITLES = {"pocket": "ResNet", "pocket-vit": "ViT"}
LABELS = {"erm": "ERM + averaging", "text-head": "fine-tuning", "distill": "ADiP or SD"}


@dataclass(frozen=True)
class Claim:
    """That `more` is more accurate than `less`, or, if not `beats`, that it is not.

    more, less: labels of rows.
    """

    text: str
    where: Where
    more: str
    less: str
    beats: bool = True

    def verdict(self, difference: dict[str, float], seeds: int) -> str:
        """What the mean paired difference says of it."""
        found = judged(difference, seeds)
        if self.beats:
            return found
        return "the opposite" if found == "holds" else "holds"


STUDENT_CLAIMS = (
    Claim(
        "Naive distillation gains in-domain over ERM with averaging",
        *("in_domain", "logit distillation", "ERM + averaging"),
    ),
    Claim(
        "It gains nothing measurable on the style left out",
        *("held_out", "logit distillation", "ERM + averaging", False),
    ),
    Claim(
        "There it stays below the teacher",
        *("held_out", ZERO_SHOT, "logit distillation"),
    ),
    Claim("VL2V-ADiP beats it there", "held_out", ADIP, "logit distillation"),
    Claim("VL2V-ADiP beats ERM with averaging there", "held_out", ADIP, "ERM + averaging"),
    Claim(
        "VL2V-ADiP keeps the teacher's accuracy there (teacher minus student is not above zero)",
        *("held_out", ZERO_SHOT, ADIP, False),
    ),
    Claim(
        "A head of text embeddings beats a new head there",
        *("held_out", "text-initialised head", "ERM + averaging"),
    ),
    Claim("Averaging helps ERM there", "held_out", "ERM + averaging", "ERM"),
)
TEACHER_CLAIMS = (
    Claim("VL2V-SD beats zero-shot on the style left out", "held_out", "VL2V-SD", ZERO_SHOT),
    Claim("VL2V-SD beats WiSE-FT there", "held_out", "VL2V-SD", "WiSE-FT"),
    Claim(
        "VL2V-SD beats the name-only method's regulariser there",
        *("held_out", "VL2V-SD", "name-only regulariser"),
    ),
)
Accuracies = dict[str, list[float]]  # of the seeds: in_domain, held_out, domainbed


def accuracies(result: dict[str, Any]) -> Accuracies:
    """Top-1 of each trial of a run that left one domain out."""
    found: Accuracies = {"in_domain": [], "held_out": [], "domainbed": []}
    for trial in result["trials"]:
        scores = dict(trial["scores"])
        left_out = scores.pop(trial["held_out"])
        found["in_domain"].append(mean(s["validation"]["top1"] for s in scores.values()))
        found["held_out"].append(left_out["full"]["top1"])
        found["domainbed"].append(left_out["domainbed"]["top1"])
    return found


def images_seen(result: dict[str, Any]) -> list[int]:
    """Of each trial, the images of all steps that were run: what online views ask about."""
    per_step = result["settings"]["train"]["per_domain"]
    return [
        sum(
            (stage["validations"][-1]["step"] + 1) * per_step * len(trial["sources"])
            for stage in trial["stages"].values()
        )
        for trial in result["trials"]
    ]


def difference(rows: dict[str, Accuracies], claim: Claim) -> dict[str, float]:
    """Paired over the seeds."""
    pairs = zip(rows[claim.more][claim.where], rows[claim.less][claim.where], strict=True)
    return spread([more - less for more, less in pairs])


def accuracy_table(rows: dict[str, dict[str, Accuracies]], styles: Sequence[str]) -> str:
    """rows: {label: {style left out: accuracies}}."""
    head = [""]
    for style in styles:
        head += [f"in-domain, without {style}", style]
    return table(
        head,
        [
            [label]
            + [points(spread(row[s][where])) for s in styles for where in ("in_domain", "held_out")]
            for label, row in rows.items()
        ],
    )


def claim_rows(
    claims: Sequence[Claim], columns: Sequence[dict[str, Accuracies]], seeds: int
) -> list[list[str]]:
    """A row for each claim, a cell for each set of rows."""
    found = []
    for claim in claims:
        cells = [difference(rows, claim) for rows in columns]
        found.append(
            [claim.text] + [f"{claim.verdict(d, seeds)} ({points(d, sign=True)})" for d in cells]
        )
    return found


def view_rows(summary: dict[str, Any]) -> list[list[str]]:
    """The number of views: queries and accuracy."""
    rows = []
    for entry in summary["views"]:
        found = entry["accuracy"]
        asked = f"{entry['queries']:,}"
        if entry["views"] == 0:
            asked = f"at most {asked}; {mean(entry['asked']):,.0f} on average"
        rows.append(
            [
                str(entry["views"] or "online"),
                asked,
                points(spread(found["in_domain"])),
                points(spread(found["held_out"])),
            ]
        )
    return rows


def page(summary: dict[str, Any]) -> str:
    """The page docs/evidence/distill.md."""
    seeds, about = summary["seeds"], summary["about"]
    rows = summary["accuracy"]
    styles = {student: list(next(iter(found.values()))) for student, found in rows.items()}
    columns = [(student, style) for student in TITLES for style in styles[student]]

    def column(student: str, style: str) -> dict[str, Accuracies]:
        shown = rows["teacher"] | rows[student]
        return {label: found[style] for label, found in shown.items() if style in found}

    students = table(
        ["claim", *(f"{TITLES[student]}, without {style}" for student, style in columns)],
        claim_rows(STUDENT_CLAIMS, [column(*each) for each in columns], seeds),
    )
    white = table(
        ["claim", *(f"without {style}" for style in styles["teacher"])],
        claim_rows(TEACHER_CLAIMS, [column("teacher", s) for s in styles["teacher"]], seeds),
    )
    comparisons = len(STUDENT_CLAIMS) * len(columns) + len(TEACHER_CLAIMS) * len(styles["teacher"])
    chosen = table(
        ["student", "method", "learning rate: accuracy"],
        [
            [
                TITLES.get(row["student"], "teacher's tower"),
                LABELS[row["method"]],
                ", ".join(f"{float(rate):g}: {100 * a:.1f}" for rate, a in row["accuracy"].items()),
            ]
            for row in summary["tuning"]
        ],
    )
    teacher = {ZERO_SHOT: rows["teacher"][ZERO_SHOT]}
    return f"""# What distillation does on the embedded world

Made by `make evidence-distill` from {seeds} seeds (of DomainBed's split, the draws, projection and
head); each figure is the mean ± standard deviation over them, in percent top-1.

{about["classes"]} kinds of things in five styles are the domains: photo, cartoon, sketch,
silhouette, neon, with {about["pictures"]} pictures of each kind in each style,
{about["images"]:,} in all. Photo or sketch is left out; four fifths of the other styles are trained
on, and their last fifth selects and is the in-domain score. All pictures of the style left out are
the other score (on DomainBed's four fifths of them: `domainbed` in
[distill.json](distill.json)). The teacher is the pocket CLIP, whose image tower has
{about["parameters"]["teacher"]:,} parameters.

The students are those of the package, trained with labels on photos of that world and on no
drawing: `pocket`, a ResNet ({about["parameters"]["pocket"]:,} parameters), and `pocket-vit`, a ViT
({about["parameters"]["pocket-vit"]:,}); see
[their card](../../src/holdfast/pocket/weights/CARD.md). The ResNet leaves out both styles in turn,
the ViT sketch only, to save time.

{about["steps"]["pocket"]} steps (ViT {about["steps"]["pocket-vit"]}, the teacher's own tower
{about["steps"]["teacher"]}) of {about["batch"]} images, after {about["align_steps"]} of
alignment or of the head alone (the paper takes 5001 in each stage); everything is averaged along
the loss valley, but for "ERM". All methods see the same 10 views of each picture;
lambda 0.5, temperature 2, WiSE-FT's alpha 0.5, and RegFT's 0.16 and 0.02 are the defaults. bf16
autocast. The learning rate of each method is the one of three with the best validation accuracy on
other pictures of cartoon, silhouette and neon, with a seed that is not among the {seeds}:

{chosen}

LP-FT, logit distillation and the text-initialised head take that of ERM, WiSE-FT and the
regulariser that of plain fine-tuning. Pictures of the styles left out were used for nothing but
this page.

## Accuracy

{accuracy_table(teacher, styles["teacher"])}

The ResNet as the student:

{accuracy_table(rows["pocket"], styles["pocket"])}

The ViT as the student:

{accuracy_table(rows["pocket-vit"], styles["pocket-vit"])}

The teacher's own tower as the student (white box):

{accuracy_table({k: v for k, v in rows["teacher"].items() if k != ZERO_SHOT}, styles["teacher"])}

## Views and queries

VL2V-ADiP with the ResNet, without sketch. Queries are what `--dry_run` says one trial asks about
images, both stages together, with nothing stored; {about["classes"]} texts come on top. The first
view is the picture itself, so K = 1 trains without augmentation.

{table(["K", "image queries", "in-domain", "sketch"], view_rows(summary))}

With the store all trials, students, methods and styles left out share the answers: for all of this
page but its other rows of this table, 10 views, it is {about["all_trials"]:,} image queries.

## The paper's claims (arXiv 2310.08255), here

A claim "holds" where the 95 % interval of the paired difference (Student's t over the {seeds}
seeds) lies above zero; one that nothing is gained or lost holds where it does not. In brackets the
difference of the two methods, in points. Of these {comparisons} comparisons one in forty would come
out significant in one direction by chance. The seeds share their test pictures and the students'
pre-training: the intervals do not cover other pictures or other students.

{students}

The teacher's own tower:

{white}
"""
