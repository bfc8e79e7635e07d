import hashlib
import zlib

import pytest
import torch

from holdfast.errors import DamagedFile, HoldfastError
from holdfast.teachers.rows import ENTRY_BYTES, StoredRows, key_entry


def key(text):
    return hashlib.sha256(text.encode()).digest()


def unit(*rows):
    found = torch.tensor(rows)
    return found / found.norm(dim=1, keepdim=True)


A, B, C = key("a"), key("b"), key("c")
ROWS = unit([3.0, 4.0, 0.0], [1.0, 0.0, 1.0])


@pytest.fixture
def stored(tmp_path):
    rows = StoredRows(tmp_path, "me")
    rows.append([A, B], ROWS)
    return rows


def test_what_was_written_is_found_by_its_key(stored, tmp_path):
    for rows in (stored, StoredRows(tmp_path, "me")):
        assert (len(rows), rows.dim) == (2, 3)
        assert A in rows and B in rows and C not in rows
        found = rows.take([B, A, B])
        assert found.dtype == torch.float32
        assert (found - ROWS[[1, 0, 1]]).abs().max() < 1e-3
        torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
        assert rows.take([]).shape == (0, 3)
        with pytest.raises(KeyError):
            rows.take([C])


def test_the_files_are_those_that_are_described(stored, tmp_path):
    rows = (tmp_path / "embeddings.f16").read_bytes()
    assert len(rows) == 2 * 3 * 2
    entries = key_entry(A, rows[:6]) + key_entry(B, rows[6:])
    assert (tmp_path / "keys").read_bytes() == entries
    assert entries[:32] == A and entries[32:36] == zlib.crc32(rows[:6]).to_bytes(4, "little")
    assert StoredRows(tmp_path / "none", "me").dim is None


def test_a_reader_sees_new_rows_when_it_looks_again(stored, tmp_path):
    reader = StoredRows(tmp_path, "me")
    stored.append([C], unit([0.0, 0.0, 2.0]))
    assert C not in reader
    reader.refresh()
    torch.testing.assert_close(reader.take([C]), unit([0.0, 0.0, 1.0]))


@pytest.mark.parametrize(("rows", "keys"), [(0, 7), (5, 0), (5, 7), (12, 39)])
def test_what_is_behind_the_last_whole_entry_does_not_count_and_is_cut_off(
    stored, tmp_path, rows, keys
):
    for name, more in (("embeddings.f16", rows), ("keys", keys)):
        with (tmp_path / name).open("ab") as file:
            file.write(b"\0" * more)
    again = StoredRows(tmp_path, "me")
    assert len(again) == 2
    again.cut_off()
    assert (tmp_path / "keys").stat().st_size == 2 * ENTRY_BYTES
    assert (tmp_path / "embeddings.f16").stat().st_size == 2 * 6
    again.append([C], unit([0.0, 0.0, 2.0]))
    torch.testing.assert_close(again.take([C]), unit([0.0, 0.0, 1.0]))


def test_files_that_do_not_fit_are_one_sentence(stored, tmp_path):
    with pytest.raises(HoldfastError, match="tells of another teacher"):
        StoredRows(tmp_path, "you")
    (tmp_path / "keys").write_bytes(key_entry(A, b""))
    with pytest.raises(HoldfastError, match="was emptied while it was in use"):
        stored.refresh()
    (tmp_path / "about.json").unlink()
    with pytest.raises(HoldfastError, match=r"about\.json is gone"):
        StoredRows(tmp_path, "me")


@pytest.mark.parametrize("name", ["about.json", "embeddings.f16", "keys"])
def test_every_flipped_byte_is_noticed(stored, tmp_path, name):
    path = tmp_path / name
    whole = path.read_bytes()
    for place in range(len(whole.rstrip())):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(HoldfastError, match=f"{name}"):
            StoredRows(tmp_path, "me").take([A, B])
            raise AssertionError(f"byte {place} of {len(whole)}")


def test_rows_that_are_gone_are_one_sentence(stored, tmp_path):
    path = tmp_path / "embeddings.f16"
    path.write_bytes(path.read_bytes()[:6])
    with pytest.raises(DamagedFile, match="holds 1 of 2 rows"):
        StoredRows(tmp_path, "me")
    path.unlink()
    with pytest.raises(DamagedFile, match="holds 0 of 2 rows"):
        StoredRows(tmp_path, "me")
