"""What the commands print of their results."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.report.continual_example import added_example, stream_example
from tests.report.distill_example import distill_example
from tests.report.transfer_example import DIGITS, transfer_example

from holdfast import cli_output
from holdfast.anchors.base import Anchor
from holdfast.cli import main
from holdfast.commands.settings import (
    ContinualAddSettings,
    ContinualRunSettings,
    DistillSettings,
    EvaluateSettings,
    GenerateSettings,
    PredictSettings,
    TransferSettings,
)
from holdfast.generation import Estimate
from holdfast.methods.base import Method
from holdfast.results import Evaluation, write_result


def test_the_tables_have_all_methods_and_anchors(capsys):
    for name, kinds in (("methods", Method.known()), ("anchors", Anchor.known())):
        assert main([name]) == 0
        printed = capsys.readouterr().out
        lines = {line.split()[0]: line for line in printed.splitlines() if line[:1].strip()}
        assert set(lines) == {"name", *kinds}
        assert all(kind.paper in lines[key] for key, kind in kinds.items())
    assert "teacher-embeddings   arXiv 2310.08255  distill " in printed
    assert "Settings: variance=0.16, covariance=0.02." in printed


def test_a_transfer_ends_with_its_scores_its_verdict_and_its_places(tmp_path, capsys):
    result = transfer_example(tmp_path, DIGITS[:3], images=60)
    write_result(tmp_path / "result.json", result)
    settings = TransferSettings(DIGITS[:3], tmp_path)
    cli_output.show_transfer(settings, None)
    lines = capsys.readouterr().out.splitlines()
    for line, (kind, scores) in zip(lines, result.scores.items(), strict=False):
        error = f"calibration error {scores.ece:6.1%}"
        assert line == f"{kind:12} top-1 {scores.top1:6.1%}   {error}"
    assert f"alpha {result.alpha.chosen:g} ({result.alpha.why})" in lines
    assert f"Verdict: {result.verdict.text}" in lines
    assert lines[-2:] == [
        f"Classifier: {tmp_path / 'model'}",
        f"Report:     {tmp_path / 'report.html'}",
    ]


def test_estimates_and_plans_are_printed_as_they_are(capsys):
    estimate = Estimate(12, 0.5, 1000.0)
    cli_output.show_transfer(TransferSettings(["a", "b"]), estimate)
    cli_output.show_generated(GenerateSettings(["a", "b"]), estimate)
    cli_output.show_distilled(DistillSettings("data"), "a plan")
    assert capsys.readouterr().out.splitlines() == [str(estimate), str(estimate), "a plan"]
    cli_output.show_generated(GenerateSettings(["a", "b"]), Path("images"))
    assert capsys.readouterr().out == "Images: images\n"


def test_a_distillation_ends_with_accuracies_queries_and_its_student(tmp_path, capsys):
    result = distill_example(tmp_path)
    settings = DistillSettings("data", tmp_path)
    cli_output.show_distilled(settings, result)
    printed = capsys.readouterr().out
    for name, row in result.summary.in_domain.domains.items():
        assert f"trained on   {name:20} {row.mean:6.1%}" in printed
    unseen = result.summary.held_out["full"]
    assert f"unseen       {'worst':20} {unseen.worst.mean:6.1%}" in printed
    assert f"Queries: {result.queries.asked_by_this_run:,}" in printed
    assert f"Verdict: {result.verdict.headline}. {result.verdict.text}" in printed
    [trial] = result.trials
    assert f"Student:    {tmp_path / trial.classifier}" in printed
    cli_output.show_distilled(settings, distill_example(tmp_path, seeds=3))
    printed = capsys.readouterr().out
    assert f"Student:    3 in {tmp_path}" in printed and " ± " in printed
    cli_output.show_distilled(settings, result.advice)
    assert capsys.readouterr().out == f"Per class and domain: {tmp_path / 'advice.json'}\n"


def test_a_stream_ends_with_its_matrix_and_numbers(tmp_path, capsys):
    result = stream_example(tmp_path)
    cli_output.show_stream(ContinualRunSettings("s", tmp_path), result)
    lines = capsys.readouterr().out.splitlines()
    matrix = result.matrix
    assert lines[0].split() == ["after", *matrix.columns, "(task-aware,", f"{matrix.split})"]
    for line, name, row in zip(lines[1:], matrix.rows, matrix.task_aware, strict=False):
        assert line.startswith(name)
        assert line.removeprefix(name).split() == [f"{value:.1%}" for value in row]
    assert f"last {100 * result.task_aware.last:.2f}" in "\n".join(lines)
    assert f"Note: {result.notes[0]}" in lines
    assert f"Models:     {tmp_path / 'tasks'}" in lines
    assert "(95 % interval -9.30 to 3.40)" in "\n".join(lines)


def test_a_task_that_was_added_is_shown_before_and_after(tmp_path, capsys):
    result = added_example(tmp_path)
    cli_output.show_added(ContinualAddSettings("m", "t", tmp_path), result)
    printed = capsys.readouterr().out
    for name, before in result.before.items():
        after = result.after[name]
        old, new = before.task_aware_top1, after.task_aware_top1
        images = f"({before.images} {before.split} images, task-aware)"
        expected = f"{old:6.1%} -> {new:6.1%}   {images}"
        assert f"{name:20} {expected}" in printed
    assert f"Model:      {tmp_path / 'model'}" in printed


def test_an_evaluation_shows_the_model_it_compares_with(tmp_path, capsys):
    run = transfer_example(tmp_path, DIGITS[:3], images=60)
    header = {
        key: getattr(run, key) for key in ("title", "created", "command", "settings", "environment")
    }
    found = Evaluation(**header, scores=run.scores["ensemble"])
    cli_output.show_evaluation(EvaluateSettings("c", "d"), found)
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("classifier   60 images   top-1")
    both = Evaluation(
        **header,
        scores=run.scores["ensemble"],
        zero_shot=run.scores["zero-shot"],
        verdict=run.verdict,
    )
    cli_output.show_evaluation(EvaluateSettings("c", "d"), both)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["zero-shot", "classifier", "Verdict:"]
    assert run.verdict.details
    assert [line.strip() for line in lines[3:]] == run.verdict.details


def test_predictions_are_separated_by_tabs(capsys):
    found = [(Path("a b.png"), [("red thing", 0.75), ("x", 0.25)])]
    cli_output.show_predictions(PredictSettings("c", "i"), found)
    assert capsys.readouterr().out == "a b.png\tred thing\t0.7500\tx\t0.2500\n"


def test_a_long_list_of_notes_is_cut_short(capsys):
    cli_output.show_notes([f"number {n}" for n in range(13)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[9:] == ["Note: number 9", "Note: and 3 more, in result.json."]
    cli_output.show_notes(["one"])
    assert capsys.readouterr().out == "Note: one\n"


@pytest.mark.parametrize("name", ["methods", "anchors"])
def test_tables_fit_a_terminal_below_their_first_lines(name, capsys):
    assert main([name]) == 0
    for line in capsys.readouterr().out.splitlines():
        assert len(line) <= 130 and (not line.startswith(" ") or len(line) <= 100)
