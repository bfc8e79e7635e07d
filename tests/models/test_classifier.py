import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from tests.tiny import embed

from holdfast.data.batches import sequential_batches
from holdfast.data.folders import scan
from holdfast.data.pictures import UnreadableImage
from holdfast.errors import HoldfastError, UsageError
from holdfast.models.classifier import Classifier, Head, load_classifier, text_head
from holdfast.models.clip import load_clip
from holdfast.models.text import encode_text
from holdfast.names import from_names

NAMES = from_names(["red thing", "green thing", "blue thing"])


@pytest.fixture
def clip(clip_folder):
    return load_clip(f"local-dir:{clip_folder}", device="cpu")


@pytest.fixture
def classifier(clip):
    return Classifier(clip, text_head(clip, [[f"a photo of a {n}."] for n in NAMES]), NAMES).eval()


def test_head_by_hand():
    head = Head(2, 1)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[10.0, 0.0]]))
        head.bias.zero_()
    assert head(torch.tensor([[3.0, 4.0]])).item() == pytest.approx(6.0)
    assert head(torch.tensor([[30.0, 40.0]])).item() == pytest.approx(6.0)  # length is no matter


def test_text_head_is_the_zero_shot_classifier(clip):
    prompts = [["a red thing", "one red thing"], ["a blue thing"]]
    head = text_head(clip, prompts)
    tokens = clip.tokenizer(["a red thing", "one red thing", "a blue thing"])
    with torch.no_grad():
        rows = clip.model.encode_text(tokens)
        rows = rows / rows.norm(dim=-1, keepdim=True)
        red = rows[:2].mean(dim=0)
        expected = torch.stack([red / red.norm(), rows[2]]) * clip.model.logit_scale.exp()
    torch.testing.assert_close(head.weight.detach(), expected)
    assert not head.bias.any()


def test_the_logits_are_open_clips(clip, classifier):
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        z, logits = classifier(images)
        theirs = clip.model.encode_image(images, normalize=True)
        scale = clip.model.logit_scale.exp()
        text = encode_text(clip, [f"a photo of a {n}." for n in NAMES])
    torch.testing.assert_close(logits, scale * theirs @ text.T)
    torch.testing.assert_close(torch.nn.functional.normalize(z, dim=-1), theirs)


def test_a_saved_classifier_comes_back_and_loads_in_plain_open_clip(tmp_path, classifier, pictures):
    with torch.no_grad():
        for p in classifier.parameters():
            p.add_(0.01)
    classifier.save(tmp_path / "model", {"alpha": 0.5})
    again = load_classifier(tmp_path / "model", "cpu")
    data = scan(pictures, NAMES)
    batches = list(sequential_batches(data, classifier.tower.preprocess, 7))
    ours, theirs = embed(classifier, batches), embed(again, batches)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert again.classes == NAMES
    plain, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'model'}")
    state = plain.visual.state_dict()
    assert all(torch.equal(state[k], v) for k, v in classifier.visual.state_dict().items())


def test_predict_takes_files_and_pictures(classifier, pictures):
    files = sorted(pictures.rglob("*.png"))[:5]
    names, probabilities = classifier.predict(files, batch_size=2)
    opened, same = classifier.predict([Image.open(f) for f in files])
    assert names == opened
    assert set(names) <= set(NAMES.names)
    torch.testing.assert_close(probabilities, same)
    torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(5))


def test_a_rotated_photo_is_one_photo_however_it_is_given(classifier, tmp_path):
    pixels = np.zeros((24, 64, 3), np.uint8)
    pixels[:, :20, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "p.png", exif=exif)
    upright = Image.fromarray(np.rot90(pixels, -1).copy())
    given = [tmp_path / "p.png", str(tmp_path / "p.png"), Image.open(tmp_path / "p.png"), upright]
    _, rows = classifier.predict(given)
    torch.testing.assert_close(rows, rows[:1].expand(4, 3))


def test_pictures_come_from_anything_that_yields_them(classifier, pictures, tmp_path):
    files = sorted(pictures.rglob("*.png"))[:5]
    twice = [files[0], files[1], files[0]]
    (tmp_path / "bad.png").write_bytes(b"no picture")
    expected = classifier.predict(twice, workers=0)[1]
    torch.testing.assert_close(classifier.predict(iter(twice), batch_size=2)[1], expected)
    torch.testing.assert_close(expected[0], expected[2])
    good, bad, last = classifier.probabilities([files[0], tmp_path / "bad.png", files[1]])
    torch.testing.assert_close(torch.stack([good, last]), expected[:2])
    assert isinstance(bad, UnreadableImage) and bad.path == tmp_path / "bad.png"
    with pytest.raises(UnreadableImage, match=r"bad\.png"):
        classifier.predict([files[0], tmp_path / "bad.png"])


def test_a_classifier_says_what_it_is(tmp_path, classifier):
    text = repr(classifier)
    assert f"model={classifier.tower.name}" in text and "device=cpu" in text
    assert "classes=3 ('red thing', 'green thing', 'blue thing')" in text
    assert "alpha" not in text and classifier.names == NAMES.names
    classifier.save(tmp_path, {"method": "regft", "model": "ViT-B-16", "alpha": 0.55})
    again = load_classifier(tmp_path, "cpu")
    assert repr(again) == repr(classifier)
    assert "model=ViT-B-16" in repr(again) and "alpha=0.55" in repr(again)
    assert again.about == {"method": "regft", "model": "ViT-B-16", "alpha": 0.55}


def test_a_notebook_shows_the_first_names_and_escapes_them(clip):
    names = from_names(["<b>", *(f"thing {n}" for n in range(9))])
    shown = Classifier(clip, Head(16, 10), names, {"alpha": 0.0})._repr_html_()
    assert shown.startswith("<table") and "&lt;b&gt;" in shown and "<b>" not in shown
    assert "thing 3" in shown and "thing 4" not in shown and ", ..." in shown
    assert "alpha" in shown  # zero is known too


def test_a_classifier_is_where_its_tower_is(classifier):
    assert classifier.device == classifier.head.weight.device == torch.device("cpu")


def test_no_pictures_have_no_names(classifier):
    assert classifier.predict([])[1].shape == (0, 3)


def test_a_folder_without_a_classifier(tmp_path):
    with pytest.raises(UsageError, match="holds no classifier"):
        load_classifier(tmp_path)


def test_a_classifier_is_replaced_as_a_whole(tmp_path, classifier, monkeypatch):
    folder = tmp_path / "model"
    classifier.save(folder, {"alpha": 0.5})
    (folder / "README.md").write_text("the user's")
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(type(classifier.classes), "write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            classifier.save(folder, {"alpha": 0.7})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    classifier.save(folder, {"alpha": 0.9})
    assert load_classifier(tmp_path).about["alpha"] == 0.9
    assert (folder / "README.md").read_text() == "the user's"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path, classifier):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(UsageError, match="holds something else than a model"):
        classifier.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_every_file_of_a_classifier_is_checked_when_it_is_loaded(tmp_path, classifier):
    folder = tmp_path / "model"
    classifier.save(folder)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        place = whole.rindex(b"0") if path.suffix == ".json" and b"0" in whole else len(whole) // 2
        for broken in (whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :], whole[:-9]):
            path.write_bytes(broken)
            with pytest.raises(HoldfastError, match=path.name):
                load_classifier(folder)
        path.unlink()
        with pytest.raises(HoldfastError, match=path.name):
            load_classifier(folder)
        path.write_bytes(whole)
    load_classifier(folder)
