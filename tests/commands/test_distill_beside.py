"""A student beside the same one that learned from labels alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.report.distill_example import distill_example

from holdfast.commands.distill_beside import by_domain, what_was_compared
from holdfast.commands.settings import DistillSettings
from holdfast.files import write_json, write_text
from holdfast.results import DistillResult, TrialResult, write_result
from holdfast.verdicts import mean_change


@pytest.fixture
def own(tmp_path: Path) -> DistillSettings:
    return DistillSettings(data=Path("/data"), out=tmp_path / "own", student="resnet18")


@pytest.fixture
def trials(tmp_path: Path) -> list[TrialResult]:
    return distill_example(tmp_path / "images", student=0.7).trials


def finished(settings: DistillSettings, result: DistillResult) -> None:
    write_json(settings.out / "settings.json", settings.to_json())
    write_result(settings.out / "result.json", result)


def test_a_run_on_labels_next_to_it_stands_beside_it(
    own: DistillSettings, trials: list[TrialResult], tmp_path: Path
) -> None:
    labels = replace(own, out=tmp_path / "labels", method="erm")
    other = distill_example(tmp_path / "images", student=0.4)
    finished(labels, other)
    said = what_was_compared(own, trials)
    [(ours, images)], [(theirs, _)] = (by_domain(t).values() for t in (trials, other.trials))
    mean, low, high = (100 * x for x in mean_change([theirs], [ours], [images]))
    assert said == (
        " The teacher is zero-shot and saw none of the labels that the student learned from. The "
        f"same student trained on the labels alone (labels) names {100 * theirs:.1f} % right: with "
        f"the teacher it is {mean:+.1f} points (95 % interval {low:+.1f} to {high:+.1f})."
    )
    many = distill_example(tmp_path / "images", seeds=2)
    finished(labels, many)
    assert "(2 seeds)" in what_was_compared(own, many.trials)


def test_other_runs_do_not(own: DistillSettings, trials: list[TrialResult], tmp_path: Path) -> None:
    example = distill_example(tmp_path / "images")
    finished(replace(own, out=tmp_path / "a", method="kd"), example)
    finished(replace(own, out=tmp_path / "b", method="erm", student="resnet34"), example)
    finished(replace(own, out=tmp_path / "c", method="erm", data=Path("/other")), example)
    finished(replace(own, method="erm"), example)  # its own folder
    elsewhere = distill_example(tmp_path / "images", held_out=["photo"])
    finished(replace(own, out=tmp_path / "d", method="erm"), elsewhere)
    (tmp_path / "e").mkdir()
    write_text(tmp_path / "e" / "result.json", "{}")
    write_json(tmp_path / "f" / "settings.json", replace(own, method="erm").to_json())
    write_text(tmp_path / "f" / "result.json", "not whole")
    write_json(tmp_path / "g" / "settings.json", ["no settings"])
    write_text(tmp_path / "g" / "result.json", "{}")
    said = what_was_compared(own, trials)
    assert "--method erm with an --out next to this run's." in said and "% right" not in said


def test_a_student_of_labels_is_told_as_one(
    own: DistillSettings, trials: list[TrialResult]
) -> None:
    assert "learned from the labels alone; the teacher is zero-shot" in what_was_compared(
        replace(own, method="erm"), trials
    )
    nothing = [replace(trial, classifier=None) for trial in trials]
    assert what_was_compared(own, nothing) == ""
