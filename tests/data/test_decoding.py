import random
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from holdfast.data import decoding
from holdfast.data.decoding import Decoder, own_randomness, picture_tensors
from holdfast.data.pictures import UnreadableImage


def test_pictures_are_kept_while_they_fit(pictures, monkeypatch):
    paths = sorted(pictures.rglob("*.png"))[:4]
    opened = []
    read = decoding.read_image
    monkeypatch.setattr(decoding, "read_image", lambda path: [opened.append(path), read(path)][1])
    decode = Decoder(3 * 32 * 32 * 4)  # three pictures of 32 x 32 pixels, four bytes each
    first, again = [[decode(path) for path in paths] for _ in range(2)]
    assert opened == [*paths, paths[3]]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))
    assert decode.room == 0


def test_a_small_picture_still_fits_after_a_large_one_did_not(pictures, tmp_path):
    from PIL import Image

    large = tmp_path / "large.png"
    Image.new("RGB", (64, 64)).save(large)
    small = next(pictures.rglob("*.png"))
    decode = Decoder(32 * 32 * 4)
    decode(large)
    decode(small)
    assert list(decode.kept) == [small]


def test_what_cannot_be_read_is_not_kept(tmp_path):
    (tmp_path / "x.png").write_bytes(b"half")
    decode = Decoder(1000)
    with pytest.raises(UnreadableImage):
        decode(tmp_path / "x.png")
    assert not decode.kept and decode.room == 1000


def drawn():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_all_generators_are_seeded_and_then_go_on_as_if_nothing_had_been_drawn():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = drawn()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with own_randomness() as seed_with:
        seed_with(7)
        first = drawn()
        seed_with(2**62 + 8)
        other = drawn()
        seed_with(7)
        assert drawn() == first
    assert all(a != b for a, b in zip(first, other, strict=True))
    assert drawn() == expected


def test_an_error_gives_the_states_back_too():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), own_randomness() as seed_with:
        seed_with(3)
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), state)


def test_a_stream_keeps_its_order_and_gives_each_picture_up(tmp_path):
    files = []
    for number in range(40):
        files.append(tmp_path / f"{number}.png")
        Image.new("RGB", (4, 4), (number, 0, 0)).save(files[-1])
    files[7].write_bytes(b"no picture")
    asked, held, most = [], [], 0
    whole = threading.Lock()

    def transform(image):
        nonlocal most
        with whole:
            held.append(image)
            most = max(most, len(held))
        value = torch.tensor(image.getpixel((0, 0))[0])
        with whole:
            held.remove(image)
        return value

    def given():
        for path in files:
            asked.append(path)
            yield path

    for workers in (0, 3):
        asked.clear()
        rows = picture_tensors(given(), transform, workers)
        assert next(rows) == 0 and len(asked) <= 2 * workers + 1  # they are not asked for ahead
        found = [0, *rows]
        assert isinstance(found[7], UnreadableImage) and found[7].path == files[7]
        assert [int(v) for n, v in enumerate(found) if n != 7] == [n for n in range(40) if n != 7]
        assert most <= max(1, workers)
    again = [files[3], files[3], Image.open(files[3]), files[3]]
    assert [int(each) for each in picture_tensors(again, transform, 2)] == [3] * 4
