"""Each field of a result is on its page, or is left out on purpose; a page survives its file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.report.continual_example import added_example, stream_example
from tests.report.distill_example import distill_example
from tests.report.pages import assert_accessible, assert_self_contained, no_charts, render
from tests.report.transfer_example import DIGITS, transfer_example

from holdfast import results
from holdfast.report import write_report
from holdfast.results import Evaluation, Result, SetScores, read_result, write_result

__all__ = ["no_charts"]

# What no page shows, and why.
LEFT_OUT = {
    ("Verdict", "n"): "the verdict's text has it",
    ("Advice", "weak"): "the advice's text names them, and the table starts with them",
    ("Summary", "seeds"): "the rows of the trials have them",
    ("Spread", "values"): "a row for each trial has them",
    (
        "TaskScores",
        "class_incremental_top1",
    ): "of one more task it is task-agnostic; a stream has it",
    ("StepResult", "method"): "that of the whole run is shown",
    ("StepResult", "notes"): "they are among the notes of the result",
}


def example(kind: str, folder: Path) -> Result:
    if kind == "transfer":
        return transfer_example(folder, DIGITS)
    if kind == "evaluation":
        whole = transfer_example(folder, DIGITS)
        shared = {f.name: getattr(whole, f.name) for f in fields(Result)}
        scores = whole.scores
        return Evaluation(
            **shared,
            scores=scores["ensemble"],
            zero_shot=scores["zero-shot"],
            verdict=whole.verdict,
            mistakes=whole.mistakes,
            further={
                "sketches": SetScores(
                    scores=scores["fine-tuned"],
                    zero_shot=scores["zero-shot"],
                    verdict=whole.verdict,
                    mistakes=whole.mistakes,
                )
            },
        )
    if kind == "distill":
        return distill_example(folder)
    if kind == "distill-seeds":
        return distill_example(folder, held_out=["photo", "sketch"], seeds=2)
    return stream_example(folder) if kind == "continual" else added_example(folder)


KINDS = ["transfer", "evaluation", "distill", "distill-seeds", "continual", "continual-add"]


@pytest.mark.parametrize("kind", KINDS)
def test_whole_page(kind: str, tmp_path: Path) -> None:
    result = example(kind, tmp_path / "images")
    text, page = render(result, tmp_path)
    assert_self_contained(text, page)
    assert_accessible(page)
    assert result.command in page.text
    assert all(note in page.text for note in result.notes)
    assert result.environment.accelerator is not None
    assert result.environment.accelerator in page.text
    assert len(text) < 400_000
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["report.html"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_made_again_from_the_file(kind: str, tmp_path: Path) -> None:
    result = example(kind, tmp_path / "images")
    write_result(tmp_path / "result.json", result)
    again = read_result(tmp_path / "result.json")
    assert again == result
    for one, name in ((result, "first.html"), (again, "second.html")):
        write_report(one, tmp_path / name)
    assert (tmp_path / "first.html").read_bytes() == (tmp_path / "second.html").read_bytes()


@pytest.mark.usefixtures("no_charts")
def test_every_field_is_shown_or_left_out_on_purpose(tmp_path: Path) -> None:
    shown, seen = set(), set()
    for kind in KINDS:
        result = example(kind, tmp_path / kind)
        known = render(result, tmp_path)[0]
        tried: dict[tuple[str, str], int] = {}
        for place, changed in changes(result):
            tried[place] = tried.get(place, 0) + 1
            if place not in shown and tried[place] <= 12 and differs(changed, known, tmp_path):
                shown.add(place)
        seen |= tried.keys()
    assert seen - shown == set(LEFT_OUT)


def differs(result: Result, known: str, folder: Path) -> bool:
    """Whether the page of a result is another one; one that refers to nothing was looked at."""
    try:
        return render(result, folder)[0] != known
    except KeyError:
        return True


def changes(value: Any) -> Iterator[tuple[tuple[str, str], Any]]:
    """((class, field), the value with that field changed somewhere), for all fields below it."""
    if is_dataclass(value):
        name = type(value).__name__
        for field in fields(value):
            inner = getattr(value, field.name)
            nested = False
            for place, changed in changes(inner):
                nested = True
                yield place, replace(value, **{field.name: changed})
            if not nested and inner is not None:
                yield (name, field.name), replace(value, **{field.name: other(inner)})
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value[:3]):
            for place, changed in changes(item):
                yield place, type(value)([*value[:position], changed, *value[position + 1 :]])
    elif isinstance(value, dict):
        for key in list(value)[:3]:
            for place, changed in changes(value[key]):
                yield place, {**value, key: changed}


def told(value: Any) -> bool:
    """Whether a value is there, or anything in a list of them."""
    return any(map(told, value)) if isinstance(value, list | tuple) else value is not None


def other(value: Any) -> Any:
    """Another value of the same kind, that a page shows in other words."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return 2 * value if value > 10_000 else value + 1
    if isinstance(value, float):
        return 0.9 * value + 0.013 if value < 10 else 3 * value
    if isinstance(value, str):
        return f"Q{value}"
    if isinstance(value, list | tuple):
        place = next((n for n, item in enumerate(value) if told(item)), None)
        if place is None:
            return type(value)(["Q"])
        return type(value)([*value[:place], other(value[place]), *value[place + 1 :]])
    if isinstance(value, dict):
        [first, *_] = value or ["Q"]
        return {**value, first: other(value.get(first, 0.5))}
    raise AssertionError(value)


def test_every_field_is_in_one_of_the_examples(tmp_path: Path) -> None:
    seen = {place for kind in KINDS for place, _ in changes(example(kind, tmp_path / kind))}
    kinds = {name: one for name, one in vars(results).items() if is_dataclass(one)}
    missing = {
        (name, field.name)
        for name, kind in kinds.items()
        if name not in ("Result", "MethodResult")
        for field in fields(kind)
        # what holds other dataclasses is looked at through their fields
        if (name, field.name) not in seen and not any(inner in str(field.type) for inner in kinds)
    }
    assert not missing
