"""The page of `distill`: a run's record -> what each section shows."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.report import charts
from holdfast.report.charts import Band, Mark, Series, line_chart
from holdfast.report.formats import DASH, large, number, percent, points
from holdfast.report.frame import (
    Record,
    changes,
    counted,
    finite_columns,
    frame,
    pictures,
    set_well,
    strip,
)

KINDS = {"holds up": "use", "falls short": "keep"}  # colours of the verdict
WEAKEST = 10  # classes that the advice shows before the rest


def page(record: Record, folder: Path) -> dict[str, Any]:
    """The template's variables; relative image paths are looked up in the run's folder."""
    trials = record.get("trials") or []
    shown: dict[str, Any] = {
        "domains": domains(record.get("summary") or {}, trials),
        "change": class_change(trials),
        "advice": advice(record.get("advice") or {}),
        "models": models(record.get("teacher") or {}, record.get("student") or {}),
        "stages": stages(trials),
        "kept": kept(trials),
        "candidates": candidates(trials),
        "samples": samples(record.get("samples") or {}, trials, folder),
        "queries": queries(record.get("queries") or {}),
        "costs": costs(record, trials),
    }
    sections = {
        "domains": ("Domain by domain", shown["domains"]["groups"]),
        "classes": ("Class by class", shown["change"]),
        "advice": ("Should I distil?", shown["advice"]),
        "models": ("Size and speed", shown["models"]),
        "training": ("Training", shown["stages"] or shown["kept"]),
        "samples": ("Images", shown["samples"]),
        "queries": ("Queries and costs", shown["queries"] or shown["costs"]),
    }
    return frame(record, facts(record), verdict(record.get("verdict")), sections) | shown


def facts(record: Record) -> list[str | None]:
    """The line under the title."""
    student, teacher = record.get("student") or {}, record.get("teacher") or {}
    size = f", {large(student['parameters'])} parameters" if student.get("parameters") else ""
    return [
        record.get("method"),
        f"student {student['name']}{size}" if student.get("name") else None,
        f"teacher {teacher['name']}" if teacher.get("name") else None,
        counted(len(record.get("domains") or []), "domain"),
        counted(len(record.get("classes") or []), "class", "classes"),
        counted(len(record.get("trials") or []), "trial"),
    ]


def verdict(found: Record | None) -> dict[str, Any]:
    """The verdict's colour, headline, sentence, and the gap to the teacher with its interval."""
    if not found:
        return {"kind": "open", "headline": "Not measured"}
    gap = found.get("gap")
    lines = []
    if gap:
        lines = [
            f"{gap['gained']:,} images are right only with the student, {gap['lost']:,} only with "
            "the teacher."
        ]
    return {
        "kind": KINDS.get(found["decision"], "open"),
        "headline": set_well(found["headline"]),
        "text": set_well(found["text"]),
        "strip": gap
        and strip(gap["difference"], gap["low"], gap["high"], "teacher better", "student better"),
        "lines": lines,
    }


def domains(summary: Record, trials: Sequence[Record]) -> dict[str, Any]:
    """The student beside its teacher in domains it never saw, and in those it learned from."""
    held_out, in_domain = summary.get("held_out") or {}, summary.get("in_domain")
    groups = []
    if held_out:
        seen = {
            name: [t["scores"][name] for t in trials if t["held_out"] == name]
            for name in held_out["full"]["domains"]
        }
        title = "Domains the student never saw"
        groups.append(group(title, held_out["full"], seen, "full", held_out.get("domainbed")))
    if in_domain:
        seen = {
            name: [t["scores"][name] for t in trials if t["held_out"] != name]
            for name in in_domain["domains"]
        }
        title = "Domains it learned from, images held back"
        groups.append(group(title, in_domain, seen, "validation", None))
    return {
        "groups": groups,
        "teacher": any(row["teacher"] is not None for g in groups for row in g["rows"]),
        "domainbed": bool(held_out.get("domainbed")),
        "seeds": len(summary.get("seeds") or []),
    }


def group(
    title: str,
    table: Record,
    scores: Mapping[str, Sequence[Record]],
    kind: str,
    domainbed: Record | None,
) -> dict[str, Any]:
    """Rows of domains, their average, and which is the worst.

    table: the summary's means and deviations; scores: of each domain, those of all trials, with
    the student's under `kind`; domainbed: the same table on DomainBed's share of the images.
    """
    rows = []
    for name, value in table["domains"].items():
        theirs = [s["teacher"]["top1"] for s in scores[name] if s.get("teacher")]
        gaps = [s["gap"] for s in scores[name] if s.get("gap")]
        single = gaps[0] if len(gaps) == len(scores[name]) == 1 else None
        images = {s[kind]["n"] for s in scores[name]}
        rows.append(
            {
                "name": name,
                "student": value["mean"],
                "text": spread(value),
                "teacher": statistics.mean(theirs) if theirs else None,
                "gap": statistics.mean(g["difference"] for g in gaps) if gaps else None,
                "interval": single and f"{points(single['low'])} to {points(single['high'])}",
                "domainbed": spread(domainbed["domains"][name]) if domainbed else None,
                "images": f"{max(images):,}" if images else DASH,
                "worst": len(table["domains"]) > 1 and name == table["worst"]["domain"],
            }
        )
    return {
        "title": title,
        "rows": rows,
        "average": average(table, rows, domainbed) if len(rows) > 1 else None,
        "worst": f"{spread(table['worst'])}, {table['worst']['domain']}" if len(rows) > 1 else None,
    }


def average(table: Record, rows: Sequence[Record], domainbed: Record | None) -> dict[str, Any]:
    """The row below a group: each domain counts alike."""
    whole = {
        key: statistics.mean(row[key] for row in rows)
        if all(row[key] is not None for row in rows)
        else None
        for key in ("teacher", "gap")
    }
    return {
        "name": "average",
        "student": table["average"]["mean"],
        "text": spread(table["average"]),
        "domainbed": spread(domainbed["average"]) if domainbed else None,
        "images": "",
        **whole,
    }


def spread(value: Record) -> str:
    """Mean, and deviation over seeds if there are several: "78.3 % ± 1.2"."""
    text = percent(value["mean"])
    return text if value.get("deviation") is None else f"{text} ± {100 * value['deviation']:.1f}"


def class_change(trials: Sequence[Record]) -> dict[str, Any] | None:
    """Teacher and student class by class where neither learned: in the domains left out."""
    left_out = [t["scores"][t["held_out"]] for t in trials if t.get("held_out") is not None]
    # The teacher may have been asked about DomainBed's share of the images only.
    pairs = [
        (scores["teacher"], student)
        for scores in left_out
        for student in (scores["full"], scores["domainbed"])
        if scores.get("teacher") and scores["teacher"]["n"] == student["n"]
    ]
    if not pairs:
        return None

    def mean(scores: Iterable[Record], name: str) -> float | None:
        known = [s["per_class"][name] for s in scores if s["per_class"].get(name) is not None]
        return statistics.mean(known) if known else None

    values = [
        (name, mean((pair[0] for pair in pairs), name), mean((pair[1] for pair in pairs), name), 1)
        for name in pairs[0][0]["per_class"]
    ]
    return changes(values, "teacher", "student")


def advice(found: Record) -> dict[str, Any] | None:
    """What was known before anything was spent: the teacher's zero-shot accuracy on a sample."""
    if not found:
        return None
    tables = {
        kind: [
            {"name": name, "images": row["n"], "top1": row["top1"]}
            for name, row in (found.get(kind) or {}).items()
        ]
        for kind in ("domains", "classes")
    }
    weakest = sorted(tables["classes"], key=lambda row: row["top1"])
    return {
        "text": found.get("text"),
        "domains": tables["domains"],
        "weakest": weakest[:WEAKEST],
        "rest": weakest[WEAKEST:],
    }


def models(teacher: Record, student: Record) -> list[dict[str, Any]]:
    """Size and speed of teacher and student, as far as they are known."""
    return [
        {"role": role, **model}
        for role, model in (("teacher", teacher), ("student", student))
        if model.get("parameters")
    ]


def stages(trials: Sequence[Record]) -> list[dict[str, Any]]:
    """Validation of each stage of the first trial, with the steps that were kept."""
    figures = []
    for name, stage in (trials[0].get("stages") or {} if trials else {}).items():
        for key, what in (("accuracy", "validation accuracy"), ("loss", "validation loss")):
            x, y = finite_columns(stage.get("validations") or [], "step", key)
            if len(x) < 2:
                continue
            form = percent if key == "accuracy" else number
            svg = line_chart(
                [Series(x, y, colour=charts.ENSEMBLE)],
                f"{name}, {what}: {form(y[0])} at step {x[0]:,}, {form(y[-1])} at step {x[-1]:,}. "
                f"Kept: {steps(stage['kept'])}.",
                "step",
                percent=key == "accuracy",
                **marked(stage["kept"]),
            )
            figures.append({"title": f"{name[0].upper()}{name[1:]}: {what}", "svg": svg})
    return figures


def marked(found: Record) -> dict[str, Any]:
    """How a chart shows which steps were kept."""
    if "first_step" in found:
        return {"band": Band(found["first_step"], found["last_step"], "averaged")}
    return {"mark": Mark(found["step"], "kept")}


def steps(found: Record) -> str:
    """The steps that were kept, in words."""
    if "first_step" not in found:
        return f"step {found['step']:,}"
    return f"mean of steps {found['first_step']:,} to {found['last_step']:,}"


def kept(trials: Sequence[Record]) -> list[dict[str, Any]]:
    """What each stage of each trial kept, and what it is worth on the validation images."""
    rows = []
    for trial in trials:
        for name, stage in (trial.get("stages") or {}).items():
            found, remark = stage["kept"], ""
            if found.get("average") == "valley":
                remark = (
                    "the loss never turned: its last stretch"
                    if not found["converged"]
                    else "the valley ended"
                    if found["ended"]
                    else "the training ended first"
                )
            rows.append(
                {
                    "trial": trial_name(trial, len(trials)),
                    "stage": name,
                    "steps": steps(found),
                    "remark": remark,
                    "accuracy": found.get("accuracy"),
                    "loss": found.get("loss"),
                }
            )
    return rows


def trial_name(trial: Record, count: int) -> str:
    """Which trial a row is about; nothing if there is only one."""
    without = f"without {trial['held_out']}, " if trial.get("held_out") is not None else ""
    return f"{without}seed {trial['seed']}" if count > 1 else ""


def candidates(trials: Sequence[Record]) -> list[dict[str, Any]]:
    """Image weights that were tried, and what spoke for each."""
    return [
        {
            "trial": trial_name(trial, len(trials)),
            "weight": row["image_weight"],
            "accuracy": row["accuracy"],
            "chosen": row["image_weight"] == trial.get("image_weight"),
        }
        for trial in trials
        for row in trial.get("candidates") or []
    ]


def samples(paths: Record, trials: Sequence[Record], folder: Path) -> list[dict[str, Any]]:
    """Some pictures of each domain; whether the domain was left out."""
    left_out = {trial.get("held_out") for trial in trials}
    rows = [
        {
            "name": name,
            "role": "never seen" if left_out == {name} else "",
            "images": pictures(some, folder),
        }
        for name, some in paths.items()
    ]
    return [row for row in rows if row["images"]]


def queries(found: Record) -> list[dict[str, str]]:
    """What the teacher was asked, as tiles."""
    needed = found.get("needed_without_store") or {}
    tiles = [
        ("asked by this run", found.get("asked_by_this_run")),
        ("images it needs without a store", needed.get("images")),
        ("texts it needs without a store", needed.get("texts")),
        ("images asked, all runs of the store", found.get("images_asked_in_all")),
        ("texts asked, all runs of the store", found.get("texts_asked_in_all")),
        ("limit of queries", found.get("limit")),
    ]
    return [{"label": label, "text": f"{n:,}"} for label, n in tiles if n is not None]


def costs(record: Record, trials: Sequence[Record]) -> dict[str, Any]:
    """Seconds of training, as far as they were counted, and peak memory in bytes."""
    seconds = [
        stage["seconds_of_the_last_start"]
        for trial in trials
        for stage in (trial.get("stages") or {}).values()
        if stage.get("seconds_of_the_last_start") is not None
    ]
    found = {"training": sum(seconds) or None, "memory": record.get("peak_memory_bytes")}
    return found if any(found.values()) else {}
