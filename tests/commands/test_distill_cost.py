"""The time that a distillation would take."""

import pytest
from tests.worlds import domain_tree, small_settings

from holdfast.commands.distill import distill
from holdfast.commands.distill_cost import readable_places
from holdfast.errors import HoldfastError


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return domain_tree(tmp_path_factory.mktemp("domains") / "data")


def parts_of(tree, tmp_path, **changes):
    """{part: its number of units} of a dry run."""
    where = {"out": tmp_path / "run", "store": tmp_path / "answers", "dry_run": True}
    plan = distill(small_settings(tree, **(where | changes)))
    assert all(each.seconds_each > 0 for each in plan.work)
    assert not list(tmp_path.iterdir())
    if plan.work:
        assert "All together about" in str(plan)
    return {each.what: each.count for each in plan.work}


def test_all_parts_are_counted(tree, tmp_path):
    """Three domains of 30 images, 6 of them held out; 4 steps, validated every 2."""
    assert parts_of(tree, tmp_path) == {
        "features for aligning": 72 * 2,
        "distilling": 4,
        "validating while distilling": 2 * 18,
        "testing": 18,
    }
    assert parts_of(tree, tmp_path, views=0)["aligning"] == 4
    # Each domain is left out once: two are learnt from, and the third is tested on as a whole.
    folds = parts_of(tree, tmp_path, held_out="all", trials=2)
    assert folds["distilling"] == 4 * 3 * 2 and folds["testing"] == 3 * 2 * (30 + 12)
    assert folds["features for aligning"] == 48 * 2 * 2


@pytest.mark.parametrize("changes", [{"student": "teacher"}, {"method": "kd"}, {"method": "erm"}])
def test_methods_with_one_training(changes, tree, tmp_path):
    parts = parts_of(tree, tmp_path, **changes)
    assert sum(name.startswith("validating") for name in parts) == 1
    assert parts["testing"] == 18


def test_nothing_is_trained_zero_shot(tree, tmp_path):
    assert parts_of(tree, tmp_path, method="zero-shot") == {}


def test_broken_images_do_not_stand_for_others(pictures, tmp_path):
    good, bad = next(pictures.rglob("*.png")), tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    assert readable_places([bad, good, bad, good]) == [1, 3]
    assert len(readable_places([good] * 20)) == 8
    with pytest.raises(HoldfastError, match="None of the images could be read"):
        readable_places([bad])
