import random

import numpy as np
import pytest
import torch

from holdfast.data import decoding
from holdfast.data.decoding import Decoder, own_randomness
from holdfast.data.folders import UnreadableImage


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
