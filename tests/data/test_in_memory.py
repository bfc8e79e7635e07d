"""Single pictures from what users have in memory."""

import numpy as np
import pytest
import torch
from PIL import Image

from holdfast.data.in_memory import as_bytes, as_picture, each_picture
from holdfast.errors import UsageError

RED = np.zeros((4, 6, 3), np.uint8)
RED[..., 0] = 200


def test_one_image_and_anything_that_yields_some():
    picture = Image.fromarray(RED)
    for one in ("a.png", picture, RED, RED[..., 0], torch.tensor(RED)):
        [found] = each_picture(one)
        assert found is one
    assert list(each_picture(["a", "b"])) == ["a", "b"]
    assert len(list(each_picture(np.stack([RED, RED])))) == 2
    assert list(each_picture(name for name in "ab")) == ["a", "b"]
    assert list(each_picture([])) == []
    with pytest.raises(UsageError, match="3 is no image; give paths"):
        list(each_picture(3))


def test_a_generator_is_asked_for_one_picture_at_a_time():
    asked = []

    def frames():
        for number in range(3):
            asked.append(number)
            yield RED

    stream = map(as_picture, each_picture(frames()))
    next(stream)
    assert asked == [0]


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        (RED, "RGB"),
        (RED / 255, "RGB"),
        ((RED / 255).astype(np.float32), "RGB"),
        (torch.tensor(RED).permute(2, 0, 1), "RGB"),
        (torch.tensor(RED / 255).permute(2, 0, 1).half(), "RGB"),
        (RED[..., 0], "L"),
        (RED[..., :1], "L"),
        (torch.tensor(RED[..., 0]), "L"),
        (torch.tensor(RED[..., 0])[None], "L"),
        (np.concatenate([RED, RED[..., :1]], axis=2), "RGBA"),
        (np.asfortranarray(RED), "RGB"),
    ],
)
def test_arrays_and_tensors(given, mode):
    picture = as_picture(given)
    assert picture.mode == mode and picture.size == (6, 4)
    first = np.atleast_1d(np.asarray(picture)[0, 0])
    assert abs(int(first[0]) - 200) <= 1  # half precision rounds
    assert not first[1:3].any()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (torch.randn(3, 4, 6) * 2, "give them before any normalisation"),
        (np.full((4, 6, 3), np.nan), "reach from nan to nan"),
        (RED.astype(np.int64), "are int64; give uint8"),
        (torch.zeros(5, 6, 3), r"\(channels, height, width\) with one, three or four"),
        (np.zeros((3, 4, 6), np.uint8), r"\(height, width, channels\) with one, three"),
        (object(), "is no image"),
    ],
)
def test_what_is_no_picture_is_refused(given, sentence):
    with pytest.raises(UsageError, match=sentence):
        as_picture(given)


def test_bytes_stay_bytes():
    assert as_bytes(RED, "array") is RED
