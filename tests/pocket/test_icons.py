"""The shipped drawings: whole, of test teams, and nearly none of them like one of pre-training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from world import teams
from world.duplicates import hashes, normalised, signs
from world.ship import MANIFEST, exact

from holdfast.errors import UsageError
from holdfast.pocket import icons
from holdfast.pocket.icons import tasks

FOLDER = Path(icons.__file__).parent
SETS = json.loads((FOLDER / "manifest.json").read_text())
DRAWN = [task for task in icons.TASKS if task != "digits"]


def rgba(task, split):
    """The drawings of a split as the corpus has them: (n, 32, 32, 4)."""
    result = []
    for drawing in tasks.drawn(task, split):
        if drawing.ndim == 2:
            drawing = np.concatenate([np.zeros((32, 32, 3), np.uint8), drawing[..., None]], axis=2)
        result.append(drawing)
    return np.stack(result)


def sets_of(task, split):
    return [SETS["sets of pictures"][k] for k in tasks.index()[task][split]["sets"]]


@pytest.mark.parametrize("task", DRAWN)
def test_no_test_drawing_is_by_a_team_of_pre_training(task):
    allowed = {"test", "dev"} if task.startswith("domains/") else {"test"}
    assert {teams.role(teams.team(name)) for name in sets_of(task, "test")} <= allowed


def test_teams_of_the_manifest_are_those_of_the_split():
    for name, entry in SETS["sets"].items():
        assert entry["team"] == teams.team(name) and entry["role"] == teams.role(entry["team"])
        assert entry.get("train", 0) == 0 or entry["role"] == "train"


@pytest.mark.parametrize("task", DRAWN)
def test_no_test_drawing_nor_one_nearly_like_it_was_in_any_training(task):
    known = load_file(MANIFEST)
    drawn = rgba(task, "test")
    codes = hashes(normalised(drawn))
    trained = known["perceptual"].numpy().view(np.uint64)
    ours, theirs = signs(codes), signs(trained)
    fewest = torch.cat([(64 - (part @ theirs.T).amax(1)) / 2 for part in ours.split(256)])
    assert fewest.min() > SETS["near-duplicates"]["bits"]
    same = {exact(drawing) for drawing in drawn}
    assert not same & set(known["exact"].numpy().view(np.uint64).tolist())


def test_the_hashes_would_find_a_drawing_of_pre_training():
    """Drawings that tasks train on are by teams of pre-training too, and are found."""
    trained = set(load_file(MANIFEST)["exact"].numpy().view(np.uint64).tolist())
    own = [
        drawing
        for drawing, name in zip(rgba("food", "train"), sets_of("food", "train"), strict=True)
        if teams.role(teams.team(name)) == "train"
    ]
    assert len(own) > 100
    assert np.mean([exact(drawing) in trained for drawing in own]) == 1


def test_nouns_are_many_and_measured_on_over_a_thousand_drawings():
    pictures = icons.pictures("nouns")
    assert len(icons.NOUNS) >= 60 and sum(map(len, pictures)) > 1000
    assert min(map(len, pictures)) >= 2
    assert all(part.shape[1:] == (32, 32, 3) and part.std() > 10 for part in pictures)


def test_pictures_are_the_same_each_time():
    first, second = icons.pictures("food"), icons.pictures("food")
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_write_task_writes_folders_and_names(tmp_path):
    folders = icons.write_task("flags", tmp_path, per_class=1)
    assert json.loads((tmp_path / "classes.json").read_text()) == folders
    assert len(list(tmp_path.glob("*/*.png"))) == len(folders) == 40
    assert folders["flag_of_greece"] == "flag of greece"


def test_real_digits_have_both_splits():
    train, test = icons.pictures("digits", "train"), icons.pictures("digits", "test")
    whole = icons.pictures("digits", "all")
    assert sum(map(len, whole)) == 1797
    assert [len(a) + len(b) for a, b in zip(train, test, strict=True)] == list(map(len, whole))


@pytest.mark.parametrize(
    ("task", "split", "message"),
    [
        ("noun", "test", "There is no pocket task 'noun' (did you mean nouns?)"),
        ("nouns", "train", "Task 'nouns' has no split 'train': choose from test, all."),
    ],
)
def test_wrong_names_are_told(task, split, message, tmp_path):
    with pytest.raises(UsageError) as problem:
        icons.write_task(task, tmp_path, split=split)
    assert message in str(problem.value)


def test_the_package_stays_small():
    size = sum(f.stat().st_size for f in FOLDER.rglob("*") if f.suffix in (".webp", ".safetensors"))
    assert size <= 16 * 2**20


def test_every_set_of_pictures_is_in_the_notice():
    text = (FOLDER / "NOTICE.md").read_text()
    assert text.count("pictures") >= len(SETS["sets of pictures"])
