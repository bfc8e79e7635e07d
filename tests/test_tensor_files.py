"""Files of tensors are whole and verified."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from holdfast import tensor_files
from holdfast.errors import DamagedFile, HoldfastError
from holdfast.tensor_files import checksum, read_tensors, write_tensors

TENSORS = {
    "weight": torch.arange(6.0).reshape(2, 3).T,  # not contiguous
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "count": torch.tensor(3),
    "empty": torch.empty(0, 4),
}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "folder" / "a.safetensors"
    write_tensors(path, TENSORS, {"step": 3, "why": "übung"})
    tensors, about = read_tensors(path)
    assert about == {"step": 3, "why": "übung"}
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor) and tensors[name].dtype == tensor.dtype
    assert set(load_file(path)) == set(TENSORS)  # any reader of the format reads it


def test_every_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, {"step": 3})
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        broken = bytearray(whole)
        broken[place] ^= 1
        path.write_bytes(bytes(broken))
        with pytest.raises(DamagedFile, match=r"a\.safetensors"):
            read_tensors(path)
            raise AssertionError(f"byte {place} of {len(whole)}")


@pytest.mark.parametrize("size", [0, 5, 100, 400])
def test_a_file_that_is_cut_short_is_damaged(tmp_path, size):
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DamagedFile, match="cannot be read"):
        read_tensors(path)


def test_files_of_others_have_no_checksum(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "theirs.safetensors")
    tensors, about = read_tensors(tmp_path / "theirs.safetensors", ours=False)
    with pytest.raises(DamagedFile, match="has no checksum"):
        read_tensors(tmp_path / "theirs.safetensors")
    assert torch.equal(tensors["a"], torch.ones(2)) and about == {}


def test_a_checksum_depends_on_names_types_shapes_and_values():
    one = {"a": torch.zeros(4), "b": torch.ones(1)}
    others = [
        {"a": torch.zeros(4), "c": torch.ones(1)},
        {"a": torch.zeros(2, 2), "b": torch.ones(1)},
        {"a": torch.zeros(4, dtype=torch.int32), "b": torch.ones(1)},
        {"a": torch.zeros(4), "b": -torch.ones(1)},
    ]
    found = {checksum(each, "") for each in (one, *others)} | {checksum(one, "x")}
    assert len(found) == 6
    assert checksum(dict(reversed(one.items())), "") == checksum(one, "")


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS)
    before = path.read_bytes()

    def full(*given):
        raise tensor_files.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(tensor_files, "save_file", full)
    with pytest.raises(HoldfastError, match=r"Cannot write .*No space left"):
        write_tensors(path, {"other": torch.ones(1)})
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
