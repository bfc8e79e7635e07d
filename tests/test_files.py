import codecs
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import DamagedFile, HoldfastError
from holdfast.files import (
    LOCK,
    TEMPORARY,
    atomic_write,
    check_room,
    derive_seed,
    locked,
    read_json,
    read_plain_text,
    read_sealed,
    read_typed,
    remove_leftovers,
    sha256,
    write_json,
    write_sealed,
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


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_the_umask_decides_who_may_read(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_json(tmp_path / "a.json", 1)
        (tmp_path / "plain").touch()
        with atomic_write(tmp_path / "private") as temporary:
            temporary.write_text("x")
            temporary.chmod(0o600)  # as safetensors leaves it
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o666 & ~umask}


def test_a_file_that_cannot_be_written_is_one_sentence_with_its_name(tmp_path):
    (tmp_path / "a").write_text("a file")
    with pytest.raises(HoldfastError, match=r"^Cannot write .*a/b\.json: File exists; make room"):
        write_json(tmp_path / "a" / "b.json", 1)


def test_a_file_size_limit_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, [1])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(HoldfastError, match=r"Cannot write .*a\.json: File too large"):
            write_json(path, list(range(10_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_json(path) == [1] and [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_room_is_looked_for_where_the_folder_will_be(tmp_path):
    check_room(tmp_path / "not" / "there", 1, "A test")
    with pytest.raises(HoldfastError, match=r"A test needs 1,000,000,000,000.0 MB in .*there, and"):
        check_room(tmp_path / "not" / "there", 1e18, "A test")


def test_sealed_json_is_what_was_written(tmp_path):
    path = tmp_path / "a.json"
    value = {"b": [1, 2.5, None], "a": {"é": "\udcff", "1": True}}
    write_sealed(path, value)
    assert read_sealed(path) == value
    path.write_text(json.dumps(json.loads(path.read_text())))  # laid out otherwise
    assert read_sealed(path) == value


def test_every_flipped_byte_of_sealed_json_is_noticed(tmp_path):
    path = tmp_path / "a.json"
    write_sealed(path, {"seed": 10, "name": "a b", "part": {"rate": 0.5}})
    whole = path.read_bytes()
    for place in range(len(whole.rstrip())):
        for bit in (1, 32):
            flipped = bytes([whole[place] ^ bit])
            path.write_bytes(whole[:place] + flipped + whole[place + 1 :])
            if flipped.isspace() and whole[place : place + 1].isspace():
                continue
            with pytest.raises(DamagedFile, match=r"a\.json"):
                read_sealed(path)
                raise AssertionError(f"bit {bit} of byte {place} of {len(whole)}")


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"a": 1}', '{"sha256": 1}', "[" * 10**5])
def test_json_without_its_checksum_is_damaged(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DamagedFile, match=r"a\.json"):
        read_sealed(path)


def test_a_folder_that_was_being_replaced_comes_back(tmp_path):
    old, half = tmp_path / f".model.old{TEMPORARY}", tmp_path / f".model.12{TEMPORARY}"
    for folder in (old, half):
        folder.mkdir()
        (folder / "weights").write_text(folder.name)
    remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "weights").read_text() == old.name
    old.mkdir()
    remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


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


@dataclass(frozen=True)
class Inner:
    share: float | None = None


@dataclass(frozen=True)
class Outer:
    count: int
    names: tuple[str, ...] = ()
    parts: dict[str, Inner] = field(default_factory=dict)
    anything: dict[str, Any] = field(default_factory=dict)


def test_a_file_is_read_as_a_dataclass(tmp_path):
    path = tmp_path / "a.json"
    value = {"count": 1, "names": ["a"], "parts": {"x": {"share": 2}}, "later": 1}
    write_json(path, value | {"anything": {"a": [None, "\udcff"]}})
    found = read_typed(path, Outer)
    assert found == Outer(1, ("a",), {"x": Inner(2.0)}, {"a": [None, "\udcff"]})
    assert isinstance(found.parts["x"].share, float)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"count": "1"}', "not as it should be at count: Expected int, got str"),
        ('{"count": 1.5}', "at count: Expected int, got float"),
        ('{"count": true}', "at count: Expected int, got bool"),
        ('{"count": null}', "at count: Expected int, got null"),
        ('{"count": 1, "parts": {"x": {"share": "y"}}}', "at parts[...].share: Expected float"),
        ('{"count": 1, "names": [1]}', "at names[0]: Expected str, got int"),
        ("{}", "missing required field count"),
        ("[1]", "Expected object, got array"),
        ('{"count": 1, "count": 2}', "it has 'count' twice"),
        ('{"count": 1, "parts": {"x": {"share": NaN}}}', "it holds NaN"),
        ('{"count": 1, "parts": {"x": {"share": -Infinity}}}', "it holds -Infinity"),
        ('{"count": 1', "cannot be read as JSON"),
        ("", "cannot be read as JSON"),
        ("\udcff", "cannot be read as JSON"),
        ('{"count": ' + "[" * 200_000 + "]" * 200_000 + "}", "nested too deeply"),
        ('{"count": 1' + " " * 1000 + "}", "more than 1,000 bytes"),
    ],
)
def test_a_file_that_holds_something_else_is_one_sentence(text, reason, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    limit = 1000 if len(text) < 2000 else 10**6
    with pytest.raises(HoldfastError, match=r"^[^\n]*$") as error:
        read_typed(path, Outer, limit_bytes=limit)
    assert reason in str(error.value) and str(path) in str(error.value)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(HoldfastError, match=r"a\.json cannot be read as JSON: No such file"):
        read_typed(tmp_path / "a.json", Outer)
    with pytest.raises(HoldfastError, match="Is a directory"):
        read_json(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-be-mark"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_text_is_read_however_an_editor_saved_it(encoding, ends, tmp_path):
    text, path = '{\n"a": "caf\u00e9 \\ud83d\\ude00 \t"\n}\n', tmp_path / "a.json"
    if encoding == "utf-16-be-mark":
        path.write_bytes(codecs.BOM_UTF16_BE + text.replace("\n", ends).encode("utf-16-be"))
    else:
        path.write_bytes(text.replace("\n", ends).encode(encoding))
    assert read_plain_text(path) == text
    assert read_json(path) == {"a": "caf\u00e9 \U0001f600 \t"}


def test_text_that_cannot_be_read_is_one_sentence(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(HoldfastError, match="it is not UTF-8 text; save it as UTF-8"):
        read_plain_text(tmp_path / "a.txt")
    with pytest.raises(HoldfastError, match="more than 3 bytes"):
        read_plain_text(tmp_path / "a.txt", limit_bytes=3)
    with pytest.raises(HoldfastError, match=r"none\.txt cannot be read: No such file"):
        read_plain_text(tmp_path / "none.txt")


def test_seeds_tell_their_parts_apart():
    assert derive_seed(1, "a", 2) == derive_seed(1, "a", 2)
    seeds = {derive_seed(*parts) for parts in ((1, 2), (12,), (2, 1), ("1", "2", ""), (1, 2, 0))}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_sha256_by_hand(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert sha256(tmp_path / "empty").startswith("e3b0c44298fc1c149afbf4c8996fb924")


TRY = (
    "import sys; from pathlib import Path; from holdfast.files import locked\n"
    "with locked(Path(sys.argv[1])): pass"
)


def attempt(folder, **environment):
    """What becomes of locking a folder in another process, with other environment variables."""
    command = [sys.executable, "-c", TRY, str(folder)]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_a_locked_folder_is_refused_to_another_process_and_free_again_after_it(tmp_path):
    out = tmp_path / "new" / "out"
    with locked(out):
        refused = attempt(out, TMPDIR=str(tmp_path))  # a lock there would be another one
        assert refused.returncode and "Another process is writing to" in refused.stderr
    assert attempt(out).returncode == 0
    assert [path.name for path in out.iterdir()] == [LOCK]


def test_a_folder_can_be_locked_through_another_name_for_it_only_once(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with locked(tmp_path / "real"):
        assert "Another process" in attempt(tmp_path / "link").stderr


def test_a_lock_goes_with_the_process_that_had_it(tmp_path):
    program = TRY.replace("pass", "print(flush=True); sys.stdin.read()")
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    process.stdout.readline()
    with pytest.raises(HoldfastError, match="Another process"), locked(tmp_path):
        pass
    process.kill()
    process.communicate()
    with locked(tmp_path):
        pass


def test_other_users_of_a_shared_folder_can_lock_it(tmp_path):
    before = os.umask(0o077)
    try:
        with locked(tmp_path):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / LOCK).stat().st_mode) == 0o666


def test_what_fails_under_a_lock_keeps_its_error_and_frees_it(tmp_path):
    with pytest.raises(OSError, match="full"), locked(tmp_path):
        raise OSError("full")
    assert attempt(tmp_path).returncode == 0


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="Linux only")
@pytest.mark.parametrize("folder", ["/proc/holdfast", "/proc/version"])
def test_a_folder_that_cannot_be_written_to_is_one_sentence(folder):
    wrong = pytest.raises(HoldfastError, match=r"Cannot write to /proc/.*choose another folder")
    with wrong, locked(Path(folder)):
        pass
