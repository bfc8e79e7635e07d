import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from holdfast.errors import HoldfastError, UsageError
from holdfast.settings import TeacherSettings
from holdfast.teachers import open_teacher, write_embeddings

IMAGES = torch.arange(8.0).reshape(2, 4) + 1
TEXT = torch.tensor([[3.0, 0, 4, 0], [0, 1, 0, 0]])


@pytest.fixture
def path(tmp_path, views):
    """A file with one whole picture and one random view."""
    keys = [views[0].digest, views[4].key]
    path = tmp_path / "teacher.safetensors"
    write_embeddings(path, keys, IMAGES.half(), ["a cat", "été"], TEXT, "vendor 3", 20.0)
    return path


def test_what_was_written_is_answered(path, views):
    teacher = open_teacher(TeacherSettings(f"file:{path}"))
    found = teacher.embed_images([views[4], views[0], views[4]])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, F.normalize(IMAGES, dim=1)[[1, 0, 1]])
    torch.testing.assert_close(
        teacher.embed_text(["été", "a cat"]), torch.tensor([[0, 1, 0, 0], [0.6, 0, 0.8, 0]])
    )
    assert (teacher.name, teacher.logit_scale, teacher.free) == ("vendor 3", 20.0, True)
    assert open_teacher(TeacherSettings(f"file:{path}", logit_scale=5.0)).logit_scale == 5.0


def test_identity_is_that_of_the_content(path, tmp_path, views):
    identity = open_teacher(TeacherSettings(f"file:{path}")).identity
    moved = path.rename(tmp_path / "moved.safetensors")
    assert open_teacher(TeacherSettings(f"file:{moved}")).identity == identity
    write_embeddings(moved, ["d"], IMAGES[:1], ["a"], TEXT[:1], "vendor 3")
    changed = open_teacher(TeacherSettings(f"file:{moved}"))
    assert changed.identity != identity and changed.logit_scale == 100.0


def test_what_the_file_does_not_hold_is_one_sentence(path, views):
    teacher = open_teacher(TeacherSettings(f"file:{path}"))
    with pytest.raises(HoldfastError, match=r"holds no embedding of the image .*0\.png"):
        teacher.embed_images([views[0], views[1]])
    with pytest.raises(HoldfastError, match="holds no embedding of this random view"):
        teacher.embed_images([views[3]])
    with pytest.raises(HoldfastError, match=r"no embedding of the text 'a cat\.' \(did you mean a"):
        teacher.embed_text(["a cat."])


def test_files_that_are_none_of_embeddings(tmp_path):
    def refused(match):
        with pytest.raises(UsageError, match=match):
            open_teacher(TeacherSettings(f"file:{path}"))

    path = tmp_path / "a.safetensors"
    refused("There is no file of embeddings")
    path.write_text("hello")
    refused("is no file of embeddings")
    save_file({"images": IMAGES}, path)
    refused("is no file of embeddings .*text")
    about = {"images": json.dumps(["a", "b"]), "text": json.dumps(["c", "c"])}
    save_file({"images": IMAGES, "text": TEXT}, path, metadata=about)
    refused(r"'text' has the shape \(2, 4\), but its list names 1 different rows")
    save_file({"images": IMAGES, "text": TEXT}, path, metadata={**about, "text": "[1, 2]"})
    refused("something else than text")
    about["text"] = json.dumps(["c", "d"])
    save_file({"images": IMAGES, "text": TEXT[:, :3].contiguous()}, path, metadata=about)
    refused("shape")
    save_file({"images": IMAGES, "text": TEXT}, path, metadata={**about, "logit_scale": "nan"})
    refused("logit_scale is nan")


def test_rows_without_a_direction_are_one_sentence(tmp_path, views):
    path = tmp_path / "a.safetensors"
    save_file(
        {"images": torch.full((1, 4), float("nan")), "text": torch.zeros(1, 4)},
        path,
        metadata={"images": json.dumps([views[0].digest]), "text": json.dumps(["a"])},
    )
    teacher = open_teacher(TeacherSettings(f"file:{path}"))
    with pytest.raises(HoldfastError, match="row 0 of 1 is not finite"):
        teacher.embed_images(views[:1])
    with pytest.raises(HoldfastError, match="row 0 of 1 is all zeros"):
        teacher.embed_text(["a"])


@pytest.mark.parametrize(
    ("digests", "images", "match"),
    [
        (["a"], IMAGES, "do not fit"),
        (["a", "a"], IMAGES, "'a' comes twice"),
        (["a", "b"], IMAGES / 0, "NaN or infinite"),
        (["a", "b"], IMAGES[:, :3], "do not fit"),
    ],
)
def test_nothing_wrong_is_written(tmp_path, digests, images, match):
    path = tmp_path / "a.safetensors"
    with pytest.raises(UsageError, match=match):
        write_embeddings(path, digests, images, ["c", "d"], TEXT, "vendor")
    assert not path.exists()
