"""`holdfast report`: the page of a run made again."""

import pytest
from tests.report.transfer_example import DIGITS, transfer_example
from tests.test_cli import error_of

import holdfast
from holdfast.cli import main
from holdfast.files import read_sealed, write_sealed
from holdfast.report import write_report
from holdfast.results import write_result


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    result = transfer_example(folder, DIGITS[:3], images=60)
    write_result(folder / "result.json", result)
    write_report(result, folder / "report.html")
    return folder


def test_the_page_is_made_again_from_the_result(run, tmp_path, capsys):
    first = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    assert f"Report: {run / 'report.html'}" in capsys.readouterr().out
    assert (run / "report.html").read_bytes() == first
    assert main(["report", str(run), "--out", str(tmp_path / "b.html")]) == 0
    assert holdfast.write_report(run / "result.json", tmp_path / "c.html") == tmp_path / "c.html"
    assert (tmp_path / "c.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_what_cannot_be_shown_is_one_sentence(run, tmp_path, capsys):
    code, line = error_of(capsys, "report", tmp_path)
    assert code == 2 and "holds no result.json; give the folder of a finished run" in line
    code, line = error_of(capsys, "report", run, "--out", run)
    assert code == 2 and "is a folder; give a file for the page" in line
    value = read_sealed(run / "result.json")
    for change, sentence in (
        ({"version": 0}, "holds no result of this version"),
        ({"kind": "sorting"}, "holds no result of this version (kind 'sorting'"),
        ({"classes": "zero"}, "not as it should be at classes: Expected array, got str"),
        ({"alpha": {}}, "at alpha"),
    ):
        write_sealed(run / "result.json", value | change)
        code, line = error_of(capsys, "report", run)
        assert code == 1 and sentence in line, line
    (run / "result.json").write_text("{")
    code, line = error_of(capsys, "report", run)
    assert code == 1 and "result.json cannot be read as JSON" in line
