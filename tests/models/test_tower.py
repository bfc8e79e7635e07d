import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from holdfast.errors import HoldfastError
from holdfast.models.clip import load_clip
from holdfast.models.student import load_student
from holdfast.models.tower import Tower, read_weights, write_weights


@pytest.mark.parametrize("kind", ["open_clip", "timm"])
def test_every_tower_has_embeddings_preprocessing_and_a_folder(kind, clip_folder, tmp_path):
    tower = (
        load_clip(f"local-dir:{clip_folder}", device="cpu")
        if kind == "open_clip"
        else load_student("test_resnet", 16, pretrained=False, device="cpu")
    )
    assert isinstance(tower, Tower) and tower.kind == kind
    with torch.no_grad():
        z = tower.visual(torch.randn(2, 3, 32, 32))
    assert z.shape == (2, 16) and z.device == tower.device
    tower.save(tmp_path / "model")
    assert list((tmp_path / "model").glob("*.safetensors"))


def test_weights_come_back_to_the_bit_with_the_buffers(tmp_path):
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    module[0].weight.data = module[0].weight.data.t().contiguous().t()  # not contiguous
    write_weights(module, tmp_path / "weights.safetensors")
    found = read_weights(tmp_path / "weights.safetensors")
    assert (
        found.keys()
        == module.state_dict().keys()
        == load_file(tmp_path / "weights.safetensors").keys()
    )
    assert all(torch.equal(tensor, module.state_dict()[name]) for name, tensor in found.items())
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def test_a_file_that_holds_no_weights_is_one_sentence(tmp_path):
    (tmp_path / "w").write_bytes(b"half")
    with pytest.raises(HoldfastError, match=r"cannot be read.*Delete it to make it again"):
        read_weights(tmp_path / "w")
    with pytest.raises(HoldfastError, match="cannot be read"):
        read_weights(tmp_path / "none")
