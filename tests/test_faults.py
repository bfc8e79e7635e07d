"""`make faults` has all cases, and its page a line for each."""

import pytest
from tests.faults import __main__ as harness
from tests.faults import page
from tests.faults.all import CASES
from tests.faults.case import Case, require


def test_all_cases_are_there_and_on_the_page():
    assert sorted(CASES) == list(range(1, 21))
    text = page.PAGE.read_text()
    for number, each in CASES.items():
        assert f"| {number} | {page.escaped(each.do)} | {page.escaped(each.hold)} |" in text


def fine(_):
    return "3 | of 3"


def wrong(folder):
    require((folder / "x").exists(), "2 of 3\nwere lost")


def broken(_):
    raise OSError("no such thing")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A harness of three cases, whose page is in a folder of the test."""
    runs = {1: fine, 2: wrong, 3: broken}
    cases = {number: Case(number, "do", "hold", run) for number, run in runs.items()}
    monkeypatch.setattr(harness, "CASES", cases)
    path = tmp_path / "page.md"
    monkeypatch.setattr(page.read, "__defaults__", (path,))
    monkeypatch.setattr(page.write, "__defaults__", (path,))
    return path


def test_a_case_that_fails_is_shown_as_such_and_the_others_go_on(small, capfd):
    assert harness.main([]) == 1
    printed = capfd.readouterr()
    lines = sorted(printed.out.splitlines())  # two run at a time
    assert [line.split()[-1] for line in lines] == ["ok", "failed", "failed"]
    found = page.read()
    assert [(f.figure, f.result) for _, f in sorted(found.items())] == [
        ("3 | of 3", "ok"),
        ("2 of 3 were lost", "failed"),
        ("no such thing", "failed"),
    ]
    assert "Traceback" in printed.err  # of what was not looked for


def test_lines_of_cases_that_were_not_run_stay(small):
    assert harness.main(["1"]) == 0
    assert set(page.read()) == {1} and small.read_text().count("not run") == 2
    before = page.read()[1]
    assert harness.main(["2"]) == 1
    found = page.read()
    assert found[1] == before and found[2].result == "failed"
