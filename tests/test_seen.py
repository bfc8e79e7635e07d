"""What is remembered of files: as long as size and time stay, nothing is read again."""

import os
from pathlib import Path

import pytest

from holdfast import seen
from holdfast.files import sha256
from holdfast.seen import NAME, Seen


@pytest.fixture
def reads(monkeypatch):
    """The files that were opened to be hashed."""
    found = []

    def opened(path):
        found.append(path.name)
        return path.open("rb")

    monkeypatch.setattr(seen, "open_file", opened)
    return found


def test_a_file_is_hashed_once_until_it_changes(tmp_path, reads):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    memory = Seen()
    assert memory.digest(path) == memory.digest(path) == sha256(path)
    assert reads == ["a"]
    before = path.stat()
    path.write_bytes(b"two")  # of the same size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert memory.digest(path) == sha256(path) and reads == ["a", "a"]
    with pytest.raises(FileNotFoundError):
        memory.digest(tmp_path / "none")


def test_the_next_process_knows_what_was_kept(tmp_path, reads):
    path = tmp_path / os.fsdecode(b"caf\xe9")
    path.write_bytes(b"one")
    first = Seen()
    digest = first.digest(path)
    assert first.problem(path, lambda _: "cut short") == "cut short"
    first.keep(tmp_path)
    second = Seen()
    second.recall(tmp_path)
    assert second.digest(path) == digest and len(reads) == 1
    assert second.problem(path, lambda _: pytest.fail("asked again")) == "cut short"
    written = (tmp_path / NAME).stat().st_mtime_ns
    second.keep(tmp_path)
    assert (tmp_path / NAME).stat().st_mtime_ns == written  # nothing was new


def test_a_memory_that_is_not_whole_is_none(tmp_path, reads):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    for text in ("{", "[]", '{"a": 1}', '{"a": [1, 2, 3, 4]}'):
        (tmp_path / NAME).write_text(text)
        memory = Seen()
        memory.recall(tmp_path)
        assert memory.digest(path) == sha256(path)
    assert len(reads) == 4
    Seen().recall(Path("/nonexistent"))


def test_a_missing_image_has_its_problem_each_time(tmp_path):
    memory = Seen()
    assert memory.problem(tmp_path / "none", lambda _: "no such file") == "no such file"
    (tmp_path / "none").write_bytes(b"x")
    assert memory.problem(tmp_path / "none", lambda _: "") == ""


def test_what_this_process_wrote_is_not_read(tmp_path, reads):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    memory = Seen()
    memory.note_digest(path, sha256(path))
    memory.note_problem(path, "")
    assert memory.digest(path) == sha256(path) and not reads
