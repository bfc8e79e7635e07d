"""Lines of JSON are whole, verified, and cut off where a kill left half of one."""

import json
import os

import pytest

from holdfast.errors import DamagedFile, HoldfastError
from holdfast.json_lines import append_lines, json_line, parse_line, read_lines, whole_lines


def test_what_is_appended_is_read(tmp_path):
    path = tmp_path / "lines.jsonl"
    values = [{"a": "é"}, {"a": "\udcff", "b": [1, {"c": None}]}, {"a": "} \n"}]
    append_lines(path, values[:1])
    append_lines(path, values[1:])
    assert read_lines(path) == values
    assert [
        set(json.loads(line)) - set(v) for line, v in zip(path.open(), values, strict=True)
    ] == [{"crc32"}] * 3
    assert read_lines(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("rest", [b'{"a": "cut', b"x" * 200_000])
def test_a_line_cut_short_by_a_kill_is_left_out_and_cut_off(tmp_path, rest):
    path = tmp_path / "lines.jsonl"
    append_lines(path, [{"a": 1}])
    with path.open("ab") as file:
        file.write(rest)
    assert read_lines(path) == [{"a": 1}]
    append_lines(path, [{"a": 2}, {"a": 3}])
    assert read_lines(path) == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert path.read_bytes().count(b"\n") == 3
    path.write_bytes(rest)
    assert whole_lines(path) == 0


def test_several_lines_are_synced_once_and_none_not_at_all(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    append_lines(tmp_path / "lines.jsonl", [{"a": 1}, {"a": 2}])
    assert len(synced) == 1
    append_lines(tmp_path / "lines.jsonl", [])
    append_lines(tmp_path / "none.jsonl", [])
    assert len(synced) == 1 and not (tmp_path / "none.jsonl").exists()


def test_no_line_is_written_if_one_of_them_cannot_be(tmp_path):
    with pytest.raises(ValueError):
        append_lines(tmp_path / "lines.jsonl", [{"a": 1}, {"a": float("nan")}])
    assert not (tmp_path / "lines.jsonl").exists()


def test_every_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "lines.jsonl"
    append_lines(path, [{"step": 1, "loss": 0.25}, {"step": 2, "loss": 0.5}])
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        if place == len(whole) - 1:
            continue  # the end of the last line: as if a kill had cut it
        with pytest.raises(DamagedFile, match=r"Line [12] of .*lines\.jsonl is damaged"):
            read_lines(path)
            raise AssertionError(f"byte {place} of {len(whole)}")


def test_damaged_lines_can_be_left_out_with_a_warning(tmp_path, caplog):
    path = tmp_path / "lines.jsonl"
    append_lines(path, [{"a": 1}, {"a": 2}, {"a": 3}])
    path.write_bytes(path.read_bytes().replace(b'"a": 2', b'"a": 7'))
    assert read_lines(path, leave_out=True) == [{"a": 1}, {"a": 3}]
    assert "Line 2 of" in caplog.text


@pytest.mark.parametrize("line", [b"", b"{}", b"[1]", b'{"a": 1}', b"\xff", b"[" * 10**5])
def test_what_is_no_line_of_ours_is_damaged(line, tmp_path):
    with pytest.raises(ValueError):
        parse_line(line)
    (tmp_path / "a.jsonl").write_bytes(line + b"\n")
    with pytest.raises(DamagedFile):
        read_lines(tmp_path / "a.jsonl")


def test_a_line_by_hand():
    assert json_line({"a": 1}) == b'{"a": 1, "crc32": "%08x"}\n' % 0x7AA88204


def test_a_full_disk_leaves_the_lines_that_were_there(tmp_path, monkeypatch):
    path = tmp_path / "lines.jsonl"
    append_lines(path, [{"a": 1}])
    before = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        HoldfastError, match=r"Cannot write .*lines\.jsonl: No space left on device"
    ):
        append_lines(path, [{"a": 2}])
    assert path.read_bytes() == before
