import shutil

import huggingface_hub.constants
import pytest
import timm
import torch
from PIL import Image
from tests.tiny import cached_on_hub, framed, student_folder
from torch import nn

from holdfast import pocket
from holdfast.errors import HoldfastError, UsageError
from holdfast.models.classifier import Classifier, Head, head_of, load_classifier
from holdfast.models.student import load_student
from holdfast.names import from_names
from holdfast.settings import Optimisation
from holdfast.train import fit

CLASSES = from_names(["red thing", "green thing", "blue thing"])
POCKET = f"local-dir:{pocket.path('student')}"


def untrained(name, dim=24, seed=0):
    return load_student(name, dim, pretrained=False, device="cpu", seed=seed)


def images_for(tower, count=2):
    size = timm.data.resolve_model_data_config(tower.visual.backbone)["input_size"]
    return torch.randn(count, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "width"),
    [("test_vit", 64), ("test_resnet", 96), ("mobilenetv3_small_050", 1024), ("test_convnext", 64)],
)
def test_any_architecture_and_width(name, width):
    tower = untrained(name)
    images = images_for(tower)
    with torch.no_grad():
        assert tower.visual.backbone(images).shape == (2, width)
        assert tower.visual(images).shape == (2, 24)
    assert not tower.visual.training
    again, other = untrained(name), untrained(name, seed=1)
    for a, b, c in zip(
        *(t.visual.projection.parameters() for t in (tower, again, other)), strict=True
    ):
        assert torch.equal(a, b) and not torch.equal(a, c)
    first, second = (next(t.visual.backbone.parameters()) for t in (tower, again))
    assert torch.equal(first, second)


def test_full_size_students_can_be_had_without_a_network():
    tower = untrained("vit_small_patch16_224", dim=512)
    assert tower.visual.projection.weight.shape == (512, 384)
    assert tower.name == "vit_small_patch16_224 (random)"


def test_each_has_its_own_preprocessing(pictures):
    picture = Image.open(next(pictures.rglob("*.png")))
    ranges = {}
    for name in ("vit_small_patch16_224", "test_efficientnet", POCKET):
        tower = load_student(name, None, pretrained=name == POCKET, device="cpu")
        config = timm.data.resolve_model_data_config(tower.visual.backbone)
        theirs = timm.data.create_transform(**config, is_training=False)(picture)
        ours = tower.preprocess(picture)
        assert torch.equal(ours, theirs)
        ranges[name] = (ours.shape[-1], tuple(config["mean"]))
    assert len(set(ranges.values())) == 3


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (96, 32), (32, 128)])
def test_nothing_of_a_view_is_cut_off(tmp_path, size):
    """timm alone would show this student the middle half of the picture, without its frame."""
    folder = student_folder(tmp_path / "tiny", crop_pct=0.5)
    picture = framed(size, frame=min(size) // 16)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
    config = timm.data.resolve_model_data_config(theirs)
    assert config["crop_pct"] == 0.5
    cut = timm.data.create_transform(**config, is_training=False)(picture)
    assert cut.max() < 0
    seen = load_student(f"local-dir:{folder}", 8, device="cpu").preprocess(picture)
    assert seen.shape == (3, 32, 32)
    for edge in (seen[:, 0], seen[:, -1], seen[:, :, 0], seen[:, :, -1]):
        assert edge.min() > -0.5, "a side of the frame is missing"
    assert seen[:, 8:24, 8:24].max() < -0.9


def test_plain_timm_prepares_pictures_for_a_saved_student_as_it_was_trained(tmp_path):
    tower = load_student(f"local-dir:{student_folder(tmp_path / 'tiny')}", None, device="cpu")
    (tmp_path / "saved").mkdir()
    tower.save(tmp_path / "saved")
    plain = timm.create_model(f"local-dir:{tmp_path / 'saved'}", pretrained=True)
    for use_test_size in (False, True):
        config = timm.data.resolve_model_data_config(plain, use_test_size=use_test_size)
        transform = timm.data.create_transform(**config, is_training=False)
        for picture in (framed((32, 32)), framed((60, 40))):
            assert torch.equal(transform(picture), tower.preprocess(picture))


def test_a_pretrained_student_is_the_one_timm_loads():
    tower = load_student(POCKET, 16, device="cpu", seed=3)
    theirs = timm.create_model(POCKET, pretrained=True, num_classes=0).eval()
    images = images_for(tower)
    with torch.no_grad():
        assert torch.equal(tower.visual.backbone(images), theirs(images))


def test_batch_normalisation_keeps_its_statistics_and_learns_the_rest():
    tower = untrained("test_resnet")
    before = {k: v.clone() for k, v in tower.visual.state_dict().items()}
    images = images_for(tower, 4)

    class Steps:
        def __len__(self):
            return 2

        def __call__(self, start):
            return iter([images] * (2 - start))

    def objective(student, batch):
        yield {"loss": student(batch).square().mean()}

    fit(tower.visual, Steps(), objective, Optimisation(warmup_steps=0, learning_rate=0.01))
    after = tower.visual.state_dict()
    statistics = [k for k in before if "running" in k or "batches_tracked" in k]
    assert len(statistics) > 10
    assert all(torch.equal(before[k], after[k]) for k in statistics)
    norms = [n for n, m in tower.visual.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(not torch.equal(before[f"{n}.weight"], after[f"{n}.weight"]) for n in norms)


@pytest.mark.parametrize("name", ["test_resnet", POCKET])
@pytest.mark.parametrize("kind", ["text", "new"])
def test_a_saved_student_comes_back_and_loads_in_plain_timm(tmp_path, name, kind, pictures):
    dim = 16 if kind == "text" else None
    tower = load_student(name, dim, pretrained=name == POCKET, device="cpu")
    with torch.no_grad():
        for module in tower.visual.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.add_(0.3)
    width = tower.visual(images_for(tower)).shape[1]
    head = head_of(torch.randn(3, 16), 12.5) if dim else Head(width, 3, normalise=False)
    classifier = Classifier(tower, head, CLASSES).eval()
    # A projection that an earlier classifier left there must not be taken for this one's.
    other = load_student("test_resnet", 16, pretrained=False, device="cpu")
    Classifier(other, head_of(torch.randn(3, 16), 1.0), CLASSES).save(tmp_path / "model")
    assert (tmp_path / "model" / "projection.safetensors").exists()
    classifier.save(tmp_path / "model", {"method": "test"})
    again = load_classifier(tmp_path, "cpu")
    files = sorted(pictures.rglob("*.png"))[:6]
    ours, theirs = classifier.predict(files), again.predict(files)
    assert ours[0] == theirs[0] and torch.equal(ours[1], theirs[1])
    assert again.head.normalise == (kind == "text")
    plain = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()
    images = images_for(tower)
    with torch.no_grad():
        assert torch.equal(plain(images), tower.visual.backbone(images))


def test_unknown_students_get_near_matches(tmp_path):
    with pytest.raises(UsageError, match=r"no model of that name \(did you mean resnet18"):
        load_student("reznet18", 8)
    with pytest.raises(UsageError, match=r"no pre-trained weights 'a9': it has a1_in1k"):
        load_student("resnet18.a9", 8)
    with pytest.raises(UsageError, match="--student_weights random"):
        load_student("cspresnet50d", 8)
    with pytest.raises(UsageError, match="is a folder; write local-dir:"):
        load_student(str(tmp_path), 8)
    with pytest.raises(UsageError, match=r"did you mean hf-hub:owner/name\?"):
        load_student("owner/name", 8)
    with pytest.raises(UsageError, match="is no timm folder"):
        load_student(f"local-dir:{tmp_path}", 8)
    with pytest.raises(UsageError, match="names nothing"):
        load_student("hf-hub:", 8)


@pytest.mark.parametrize("name", ["hf-hub:timm/small", "timm/small", "hf-hub:owner/small"])
def test_students_of_the_hub(name, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    cached_on_hub(tmp_path, name.removeprefix("hf-hub:"), pocket.path("student"))
    tower, local = load_student(name, 8, device="cpu"), load_student(POCKET, 8, device="cpu")
    assert tower.name == name
    images = images_for(tower)
    with torch.no_grad():
        assert torch.equal(tower.visual(images), local.visual(images))


def test_weights_that_cannot_be_fetched_get_the_command_that_fetches_them(tmp_path):
    with pytest.raises(HoldfastError, match=r"hf download timm/resnet18\.a1_in1k"):
        load_student("resnet18", 8)
    with pytest.raises(HoldfastError, match="hf download nobody/nothing"):
        load_student("hf-hub:nobody/nothing", 8)
    broken = tmp_path / "broken"
    shutil.copytree(pocket.path("student"), broken)
    (broken / "model.safetensors").write_bytes(b"half")
    with pytest.raises(HoldfastError, match="could not be loaded"):
        load_student(f"local-dir:{broken}", 8)


@pytest.mark.parametrize("mean", [[0.4], [0.2, 0.5, 0.8]])
def test_a_student_of_one_channel_sees_pictures_in_grey(tmp_path, mean):
    made = timm.create_model("test_resnet", in_chans=1, num_classes=3)
    made.pretrained_cfg["mean"] = mean
    timm.models.save_for_hf(made, tmp_path, model_args={"in_chans": 1}, safe_serialization=True)
    tower = load_student(f"local-dir:{tmp_path}", 16, device="cpu")
    picture = Image.new("RGB", (200, 200), (255, 0, 0))
    seen = tower.preprocess(picture)
    grey = 76 / 255  # ITU-R 601: 0.299 of red
    assert seen.shape == (1, 160, 160)
    middle = 0.4 if len(mean) == 1 else 0.5
    assert seen.mean().item() == pytest.approx((grey - middle) / 0.5, abs=1e-3)
    with torch.no_grad():
        assert tower.visual(seen[None]).shape == (1, 16)
    tower.save(tmp_path / "again")
    again = load_student(f"local-dir:{tmp_path / 'again'}", None, device="cpu")
    with torch.no_grad():
        assert torch.equal(again.visual(seen[None]), tower.visual.backbone(seen[None]))


def test_a_student_of_other_channels_is_refused(tmp_path):
    made = timm.create_model("test_resnet", in_chans=5, num_classes=3)
    timm.models.save_for_hf(made, tmp_path, model_args={"in_chans": 5}, safe_serialization=True)
    with pytest.raises(HoldfastError, match="cannot look at a picture"):
        load_student(f"local-dir:{tmp_path}", 16, device="cpu")
