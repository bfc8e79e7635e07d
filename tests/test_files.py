import signal
import stat
import subprocess
import sys
import time

import pytest

from holdfast.files import (
    TEMPORARY,
    append_line,
    atomic_write,
    derive_seed,
    locked,
    read_json,
    read_lines,
    remove_leftovers,
    sha256,
    write_json,
)


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_nan_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_files_can_be_read_by_others(tmp_path):
    write_json(tmp_path / "a.json", 1)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o644


def test_a_kill_leaves_a_whole_file(tmp_path):
    path = tmp_path / "a.json"
    script = (
        "from pathlib import Path; from holdfast.files import write_json; n = 0\n"
        f"while True: n += 1; write_json(Path({str(path)!r}), [n] * 50_000)"
    )
    for round_ in range(8):
        process = subprocess.Popen([sys.executable, "-c", script])
        while not path.exists():
            time.sleep(0.005)
        time.sleep(0.02 + 0.011 * round_)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(set(read_json(path))) == 1
    remove_leftovers(tmp_path)
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(TEMPORARY)]


def test_a_line_cut_short_by_a_kill_is_left_out_and_the_next_is_whole(tmp_path):
    path = tmp_path / "lines.jsonl"
    append_line(path, {"a": "é"})
    with path.open("ab") as file:
        file.write(b'{"a": "cut')
    append_line(path, {"a": 2})
    assert read_lines(path) == [{"a": "é"}, {"a": 2}]
    assert read_lines(tmp_path / "none.jsonl") == []


def test_seeds_tell_their_parts_apart():
    assert derive_seed(1, "a", 2) == derive_seed(1, "a", 2)
    seeds = {derive_seed(*parts) for parts in ((1, 2), (12,), (2, 1), ("1", "2", ""), (1, 2, 0))}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_sha256_by_hand(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert sha256(tmp_path / "empty").startswith("e3b0c44298fc1c149afbf4c8996fb924")


def test_a_locked_folder_is_refused_to_another_process_and_free_again_after_it(tmp_path):
    program = (
        "import sys; from pathlib import Path; from holdfast.files import locked\n"
        "with locked(Path(sys.argv[1])): pass"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "out")]
    with locked(tmp_path / "out"):
        refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode and "Another process is writing to" in refused.stderr
    assert subprocess.run(command).returncode == 0
