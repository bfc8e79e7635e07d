"""`holdfast compare`: results side by side."""

import json
from dataclasses import replace

import pytest
from tests.report.continual_example import added_example, stream_example
from tests.report.distill_example import distill_example
from tests.report.transfer_example import DIGITS, transfer_example
from tests.test_cli import error_of

import holdfast
from holdfast.cli import main
from holdfast.commands.compare import columns, measures
from holdfast.results import Evaluation, SetScores, write_result


@pytest.fixture
def runs(tmp_path):
    """Folders with a result of each kind."""
    transfer = transfer_example(tmp_path, DIGITS[:3], images=60)
    header = {
        k: getattr(transfer, k) for k in ("title", "created", "command", "settings", "environment")
    }
    scores = transfer.scores
    made = {
        "transfer": transfer,
        "distill": distill_example(tmp_path),
        "stream": stream_example(tmp_path),
        "added": added_example(tmp_path),
        "evaluation": Evaluation(
            **header,
            scores=scores["ensemble"],
            zero_shot=scores["zero-shot"],
            further={"more": SetScores(scores=scores["fine-tuned"])},
        ),
    }
    for name, result in made.items():
        (tmp_path / name).mkdir()
        write_result(tmp_path / name / "result.json", result)
    return tmp_path, made


def test_the_numbers_of_each_kind(runs):
    folder, made = runs
    found = holdfast.compare([folder / name for name in made])
    assert found.about["kind"] == [
        "transfer",
        "distill",
        "continual",
        "continual-add",
        "evaluation",
    ]
    scores = made["transfer"].scores
    assert found.numbers["ensemble: top-1"] == [scores["ensemble"].top1, *[None] * 4]
    assert found.numbers["alpha"][0] == made["transfer"].alpha.chosen
    assert found.numbers["zero-shot: top-1"][::4] == [scores["zero-shot"].top1] * 2
    assert found.numbers["more: top-1"][4] == scores["fine-tuned"].top1
    summary = made["distill"].summary
    assert found.numbers["unseen: worst"][1] == summary.held_out["full"].worst.mean
    assert found.numbers["trained on: average"][1] == summary.in_domain.average.mean
    assert found.numbers["task-aware: last"][2] == made["stream"].task_aware.last
    name = next(iter(made["added"].before))
    assert (
        found.numbers[f"{name}, task-aware: before"][3]
        == made["added"].before[name].task_aware_top1
    )
    assert all(len(values) == 5 for values in found.numbers.values())


def test_only_settings_that_differ_are_shown(runs, capsys):
    folder, made = runs
    one = made["transfer"]
    other = json.loads(json.dumps(one.settings))
    other["train"]["epochs"], other["out"] = 77, "elsewhere"
    (folder / "other").mkdir()
    write_result(folder / "other" / "result.json", replace(one, settings=other))
    assert main(["compare", str(folder / "transfer"), str(folder / "other")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("--")] == ["--train.epochs"]
    [line] = [line for line in lines if line.startswith("--train.epochs")]
    assert line.split()[1:] == [str(one.settings["train"]["epochs"]), "77"]
    [row] = [line for line in lines if line.startswith("ensemble: top-1")]
    assert lines[0].split() == ["transfer", "other"]
    assert row.count(f"{100 * one.scores['ensemble'].top1:.1f} %") == 2


def test_as_json(runs, capsys):
    folder, _ = runs
    assert main(["compare", str(folder / "stream"), str(folder / "added"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["runs"] == [str(folder / "stream"), str(folder / "added")]
    assert found["numbers"]["task-aware: last"][1] is None


def test_columns_that_do_not_fit_come_below():
    rows = [("first", ["1", "22", "333"]), ("second row", ["a", "b", "c"])]
    lines = list(columns(["run", "other", "third"], rows, 25))
    assert lines == [
        "            run  other",
        "first         1     22",
        "second row    a      b",
        "",
        "            third",
        "first         333",
        "second row      c",
    ]


def test_what_is_wrong_is_one_sentence(tmp_path, capsys):
    for words, sentence in (
        ([tmp_path / "none"], "There is no folder"),
        ([tmp_path], "holds no result.json"),
        ([], "The setting runs is missing"),
    ):
        code, line = error_of(capsys, "compare", *words)
        assert code == 2 and sentence in line


def test_each_kind_of_result_has_numbers(runs):
    for result in runs[1].values():
        assert list(measures(result))
