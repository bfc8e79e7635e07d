import shutil
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tests.tiny import framed

from holdfast.errors import HoldfastError, UsageError
from holdfast.models.clip import load_clip
from holdfast.settings import TeacherSettings
from holdfast.teachers import LocalTeacher, open_teacher


@pytest.fixture(scope="module")
def teacher(clip_folder):
    return open_teacher(TeacherSettings(f"local-dir:{clip_folder}"), "cpu")


def test_embeddings_are_those_of_the_model_with_its_own_preprocessing(teacher, views):
    clip = teacher.clip
    with torch.no_grad():
        images = torch.stack([clip.preprocess(view.image()) for view in views])
        expected = F.normalize(clip.model.encode_image(images), dim=1)
        text = F.normalize(clip.model.encode_text(clip.tokenizer(["a cat", "a dog"])), dim=1)
    found = teacher.embed_images(views)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(teacher.embed_text(["a cat", "a dog"]), text)
    assert teacher.logit_scale == pytest.approx(float(clip.model.logit_scale.detach().exp()))


def test_nothing_of_a_long_picture_is_cut_off(teacher, clip_folder):
    picture = framed((128, 32))
    cut = load_clip(f"local-dir:{clip_folder}", device="cpu").preprocess(picture)
    assert cut[:, 8:24, 0].max() < 0, "open_clip alone leaves the sides out"
    seen = teacher.clip.preprocess(picture)
    assert seen.shape == (3, 32, 32)
    for edge in (seen[:, 0], seen[:, -1], seen[:, :, 0], seen[:, :, -1]):
        assert edge.min() > -0.5, "a side of the frame is missing"
    assert teacher.clip.config["preprocess_cfg"]["resize_mode"] == "squash"


def test_the_batch_does_not_change_the_embeddings(teacher, views):
    small = LocalTeacher(teacher.clip, batch=2, logit_scale=7.0)
    torch.testing.assert_close(small.embed_images(views), teacher.embed_images(views))
    assert small.logit_scale == 7.0


def test_losses_can_be_computed_with_embeddings(teacher, views):
    weight = torch.ones(16, requires_grad=True)
    loss = (teacher.embed_images(views) * weight).sum() + (teacher.embed_text(["a"]) * weight).sum()
    loss.backward()
    assert weight.grad.abs().sum() > 0


def test_identity_is_that_of_weights_and_preprocessing(teacher, clip_folder, tmp_path):
    from tests.tiny import clip_folder as another

    moved = tmp_path / "moved"
    shutil.copytree(clip_folder, moved)
    assert open_teacher(TeacherSettings(f"local-dir:{moved}"), "cpu").identity == teacher.identity
    other = load_clip(f"local-dir:{another(tmp_path / 'other', seed=1)}", device="cpu")
    assert LocalTeacher(other).identity != teacher.identity
    config = teacher.clip.config
    preprocess_cfg = {**config["preprocess_cfg"], "mean": [0.4, 0.5, 0.5]}
    shifted = replace(teacher.clip, config={**config, "preprocess_cfg": preprocess_cfg})
    assert LocalTeacher(shifted).identity != teacher.identity


def test_a_model_that_gives_nan_is_one_sentence(clip_folder, views):
    clip = load_clip(f"local-dir:{clip_folder}", device="cpu")
    clip.model.visual.proj.data[:] = float("nan")
    with pytest.raises(HoldfastError, match="row 0 of 6 is not finite"):
        LocalTeacher(clip).embed_images(views)


def test_a_model_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match="is no open_clip folder"):
        open_teacher(TeacherSettings(f"local-dir:{tmp_path}"), "cpu")
