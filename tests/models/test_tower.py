import pytest
import torch
from safetensors.torch import load_file
from tests.tiny import coca_folder
from torch import nn

from holdfast.errors import HoldfastError
from holdfast.models.clip import load_clip
from holdfast.models.student import load_student
from holdfast.models.text import image_embeddings
from holdfast.models.tower import Tower, read_weights, try_tower, write_weights


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


class Odd:
    """A tower that gives what it is told to."""

    name, kind, device = "odd", "odd", torch.device("cpu")

    def __init__(self, visual):
        self.visual = visual

    def preprocess(self, picture):
        return torch.zeros(3, 8, 8)

    def save(self, folder):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("visual", "message"),
    [
        (nn.Identity(), r"odd gives \(1, 3, 8, 8\) for a picture"),
        (lambda images: (images.mean((2, 3)), images), "odd gives tuple for a picture"),
        (lambda images: images.mean((2, 3)) / 0, "odd gives numbers that are not finite"),
        (nn.Conv2d(1, 2, 3), r"odd cannot look at a picture \(.*channels"),
    ],
)
def test_a_tower_that_cannot_see_is_refused_where_it_is_loaded(visual, message):
    with pytest.raises(HoldfastError, match=message):
        try_tower(Odd(visual))


def test_try_tower_gives_the_embedding_of_one_picture(clip_folder):
    clip = load_clip(f"local-dir:{clip_folder}", device="cpu")
    assert try_tower(clip).shape == (1, 16)


def test_cocas_towers_give_embeddings_as_others_do(tmp_path):
    clip = load_clip(f"local-dir:{coca_folder(tmp_path / 'coca')}", device="cpu")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        z = clip.visual(images)
        assert torch.equal(z, clip.model.visual(images)[0])
        assert torch.equal(z, image_embeddings(clip.model, images))
        assert (z.norm(dim=1) - 1).abs().max() > 0.1, "not normalised"
    clip.save(tmp_path / "again")
    again = load_clip(f"local-dir:{tmp_path / 'again'}", device="cpu")
    assert set(again.model.state_dict()) == set(clip.model.state_dict())
    with torch.no_grad():
        assert torch.equal(again.visual(images), z)


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
