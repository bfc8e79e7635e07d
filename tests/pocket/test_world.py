"""The renderer: same seed, same picture; splits apart; captions that speak of their class."""

import json

import numpy as np
import pytest
from PIL import Image

from holdfast.errors import UsageError
from holdfast.pocket import DATASETS, write_task
from holdfast.pocket.captions import describe, readable_name
from holdfast.pocket.corpus import sample
from holdfast.pocket.glyphs import FIELD_FONTS, STUDIO_FONTS
from holdfast.pocket.paint import FIELD, STUDIO
from holdfast.pocket.tasks import picture, real_digits
from holdfast.pocket.world import CLASSES, SPACES, STYLES, Scene, draw


@pytest.mark.parametrize("family", CLASSES)
@pytest.mark.parametrize("far", [False, True])
def test_a_seed_gives_one_picture_and_another_seed_another(family, far):
    for name in CLASSES[family]:
        first, scene = draw(family, name, (7, 1), far=far)
        again, _ = draw(family, name, (7, 1), far=far)
        other, _ = draw(family, name, (7, 2), far=far)
        assert first.shape == (32, 32, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)
        assert first.std() > 2, f"{name} is a blank picture"
        assert (scene.family, scene.name) == (family, name)


@pytest.mark.parametrize("style", STYLES)
def test_every_thing_in_every_style(style):
    for name in CLASSES["things"]:
        pixels, scene = draw("things", name, (3, 5), far=False, style=style)
        assert scene.style == style
        assert pixels.std() > 2


def test_the_world_is_as_large_as_promised():
    sizes = {family: len(names) for family, names in CLASSES.items()}
    assert sizes == {"things": 24, "textures": 12, "letters": 26, "shapes": 10, "digits": 10}


def test_pictures_of_different_splits_have_nothing_in_common():
    assert len(set(SPACES.values())) == len(SPACES)
    seen = set()
    for split in ("train", "val", "test"):
        for name in CLASSES["shapes"]:
            seen |= {picture("shapes", name, split, n).tobytes() for n in range(10)}
    assert len(seen) == 3 * 10 * 10


def test_downstream_pictures_come_from_outside_of_pretraining():
    assert not set(STUDIO_FONTS) & set(FIELD_FONTS)
    assert not {"bokeh", "shelf", "cloth", "cloudy"} & set(STUDIO.backgrounds)
    assert FIELD.noise[1] > STUDIO.noise[1]


def test_true_captions_name_the_class_unless_they_are_vague():
    r = np.random.default_rng(0)
    for family, names in CLASSES.items():
        for name in names:
            style = {"things": "photo", "digits": "written"}.get(family, "")
            told = [describe(Scene(family, name, style, ""), r).lower() for _ in range(60)]
            word = readable_name(family, name).lower()
            assert sum(word in caption for caption in told) > 15, (family, name)


def test_some_pretraining_captions_are_wrong_and_most_are_right():
    right = 0
    for index in range(150):
        _, caption, scene = sample(index)
        if scene.family == "things":
            right += scene.name in caption
    things = sum(sample(i)[2].family == "things" for i in range(150))
    assert 0.6 * things < right < things


def test_the_real_digits_are_all_there_and_split_once(tmp_path):
    names = write_task("digits", tmp_path, None, "all")
    assert list(names.items())[3] == ("3", "three")
    files = list(tmp_path.rglob("*.png"))
    assert len(files) == 1797
    assert Image.open(files[0]).size == (32, 32)
    assert Image.open(files[0]).mode == "RGB"
    train, test = real_digits("train"), real_digits("test")
    assert sum(map(len, train)) + sum(map(len, test)) == 1797
    for mine, theirs in zip(train, test, strict=True):
        assert 0.38 < len(mine) / (len(mine) + len(theirs)) < 0.42


@pytest.mark.parametrize("task", [t for t in DATASETS if t != "digits"])
def test_a_task_is_a_folder_of_classes(task, tmp_path):
    names = write_task(task, tmp_path, 2, "val")
    assert json.loads((tmp_path / "classes.json").read_text()) == names
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == sorted(names)
    assert all(len(list((tmp_path / folder).glob("*.png"))) == 2 for folder in names)


def test_wrong_tasks_and_splits_are_named(tmp_path):
    with pytest.raises(UsageError, match="textures"):
        write_task("texture", tmp_path, 2)
    with pytest.raises(UsageError, match="val"):
        write_task("digits", tmp_path, 2, "val")
    with pytest.raises(UsageError, match="all"):
        write_task("shapes", tmp_path, 2, "all")
