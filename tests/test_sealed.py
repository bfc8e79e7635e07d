"""Folders are replaced as a whole, and each of their files is checked."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from holdfast.errors import DamagedFile, HoldfastError
from holdfast.files import remove_leftovers, sync_folder, write_sealed
from holdfast.sealed import SEAL, check_seal, listed_files, replaced_folder, write_seal


def make(folder, text="a"):
    with replaced_folder(folder) as new:
        (new / "weights").write_text(text * 100)
        (new / "inner").mkdir()
        (new / "inner" / "config").write_text(text)


def test_what_was_sealed_is_checked(tmp_path):
    folder = tmp_path / "model"
    make(folder)
    check_seal(folder, needed=True)
    assert set(listed_files(folder)) == {"weights", "inner/config"}
    (folder / "notes").write_text("the user's")
    check_seal(folder, needed=True)
    (folder / "inner" / "config").write_text("b")
    with pytest.raises(DamagedFile, match=r"inner/config is damaged"):
        check_seal(folder, needed=False)
    (folder / "inner" / "config").unlink()
    with pytest.raises(DamagedFile, match=r"lacks inner/config"):
        check_seal(folder, needed=False)
    (folder / SEAL).unlink()
    check_seal(folder, needed=False)
    with pytest.raises(DamagedFile, match=SEAL):
        check_seal(folder, needed=True)


def test_a_seal_never_leads_outside(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "secret").write_text("x")
    write_seal(tmp_path / "model")
    write_sealed(tmp_path / "model" / SEAL, {"files": {"../secret": "0"}})
    with pytest.raises(DamagedFile, match=r"lacks \.\./secret"):
        check_seal(tmp_path / "model", needed=True)


@pytest.mark.parametrize("value", [{}, {"files": 1}, {"files": {"a": 1}}, {"files": None}])
def test_a_seal_of_another_form_is_one_sentence(tmp_path, value):
    write_sealed(tmp_path / SEAL, value)
    with pytest.raises(HoldfastError, match=SEAL):
        check_seal(tmp_path, needed=True)


def test_a_folder_whose_list_is_damaged_is_not_replaced(tmp_path):
    make(tmp_path / "model")
    (tmp_path / "model" / SEAL).write_text("{}")
    with pytest.raises(HoldfastError, match=r"Remove .*model to write it anew"):
        make(tmp_path / "model", "b")
    assert (tmp_path / "model" / "weights").read_text() == "a" * 100


def test_a_failed_rename_puts_the_old_folder_back(tmp_path, monkeypatch):
    make(tmp_path / "model")
    real, calls = type(tmp_path).replace, []

    def fails(path, target):
        calls.append(path)
        if len(calls) == 3:  # after the seal's own, and the old folder's
            raise OSError(28, "No space left on device")
        return real(path, target)

    monkeypatch.setattr(type(tmp_path), "replace", fails)
    with pytest.raises(HoldfastError, match=r"Cannot write .*model: No space left"):
        make(tmp_path / "model", "b")
    monkeypatch.undo()
    assert (tmp_path / "model" / "weights").read_text() == "a" * 100
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_kills_leave_a_whole_folder_or_one_that_comes_back(tmp_path):
    script = (
        "import itertools; from pathlib import Path; from tests.test_sealed import make\n"
        f"for n in itertools.cycle('abcdef'): make(Path({str(tmp_path)!r}) / 'model', n)"
    )
    for round_ in range(6):
        process = subprocess.Popen([sys.executable, "-c", script], cwd=Path.cwd())
        while not (tmp_path / "model" / "weights").exists():
            time.sleep(0.005)
        time.sleep(0.3 + 0.013 * round_)
        process.send_signal(signal.SIGKILL)
        process.wait()
        remove_leftovers(tmp_path)
        check_seal(tmp_path / "model", needed=True)
        assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_cannot_be_synced_is_left_alone(tmp_path):
    sync_folder(tmp_path / "none")


def test_what_cannot_be_written_is_named_as_the_user_knows_it(tmp_path):
    with (
        pytest.raises(HoldfastError, match=rf"^Cannot write {tmp_path}/model/a/b: "),
        replaced_folder(tmp_path / "model") as new,
    ):
        (new / "a").touch()
        write_sealed(new / "a" / "b", {})
    assert not list(tmp_path.iterdir())
