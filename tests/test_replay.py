"""Replayed images: which names they show, and which of the user's pairs are taken."""

from dataclasses import replace

import pytest

from holdfast.errors import UsageError
from holdfast.replay import base_names, chosen_pairs, count
from holdfast.settings import ReplaySettings


def test_names_that_stand_for_pre_training(tmp_path):
    assert len(base_names("imagenet")) == 998  # "missile" and "sunglasses" are there twice
    assert len(base_names("pocket")) > 10
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    assert base_names(str(tmp_path / "names.txt")) == ("ant", "bee")
    with pytest.raises(UsageError, match="nothing"):
        base_names("nothing")


def test_some_of_the_users_pairs_in_their_order(tmp_path, pictures):
    for n, path in enumerate(sorted(pictures.rglob("*.png"))[:9]):
        (tmp_path / f"{n}.png").write_bytes(path.read_bytes())
        (tmp_path / f"{n}.txt").write_text(f"caption {n}")
    settings = ReplaySettings(folder=tmp_path, images=5)
    assert count(settings) == 5 and count(replace(settings, images=20)) == 9
    chosen = [text for _, text in chosen_pairs(settings, seed=0)]
    assert chosen == sorted(chosen) and len(set(chosen)) == 5
    assert chosen != [text for _, text in chosen_pairs(settings, seed=1)]
    assert len(chosen_pairs(replace(settings, images=20), seed=0)) == 9
