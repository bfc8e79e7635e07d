"""The shipped drawings: whole, of test teams, and nearly none of them like one of pre-training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from world import teams
from world.duplicates import exact, hashes, normalised, signs
from world.ship import MANIFEST

from holdfast import pocket
from holdfast.data.domains import scan_domains
from holdfast.errors import UsageError
from holdfast.pocket import tasks

FOLDER = Path(pocket.__file__).parent
SETS = json.loads((FOLDER / "manifest.json").read_text())
DRAWN = [task for task in pocket.TASKS if task != "digits"]
STYLES = [task for task in DRAWN if task.startswith("domains/")]


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


def test_what_is_chosen_by_is_drawn_by_development_teams():
    assert {teams.role(teams.team(name)) for name in sets_of("nouns", "train")} == {"dev"}


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
    pictures = pocket.pictures("nouns")
    assert len(pocket.NOUNS) >= 60 and sum(map(len, pictures)) > 1000
    assert min(map(len, pictures)) >= 2
    assert all(part.shape[1:] == (32, 32, 3) and part.std() > 10 for part in pictures)


def test_there_are_three_sets_of_names_and_eight_tasks_to_learn():
    assert len(pocket.class_names("food")) >= 30  # fine-grained
    assert len(pocket.class_names("faces")) >= 20
    learnt = [task for task in pocket.TASKS if "train" in pocket.splits(task)]
    assert len([task for task in learnt if task != "nouns"]) >= 8
    for task in learnt:
        train, test = pocket.pictures(task, "train"), pocket.pictures(task, "test")
        assert min(map(len, train)) >= 2 and min(map(len, test)) >= 2


def test_domains_are_sixty_things_in_styles(tmp_path):
    assert len(STYLES) == 6
    for task in STYLES:
        pocket.write_task(task, tmp_path / task.partition("/")[2])
        assert max(map(len, pocket.pictures(task))) <= 15
    whole = scan_domains(tmp_path)  # it refuses domains that lack a class
    assert len(whole.images.classes) >= 60
    assert all(len(whole.indices(number)) >= 200 for number in range(6))


@pytest.mark.parametrize("task", DRAWN)
def test_no_drawing_comes_twice(task):
    for split in pocket.splits(task):
        drawn = [drawing.tobytes() for drawing in tasks.drawn(task, split)]
        assert len(set(drawn)) == len(drawn)


def test_no_drawing_is_in_two_styles():
    drawn = [drawing.tobytes() for task in STYLES for drawing in tasks.drawn(task, "test")]
    assert len(set(drawn)) == len(drawn)


def test_pictures_are_the_same_each_time():
    first, second = pocket.pictures("food"), pocket.pictures("food")
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_write_task_writes_folders_and_names(tmp_path):
    folders = pocket.write_task("flags", tmp_path, per_class=1)
    assert json.loads((tmp_path / "classes.json").read_text()) == folders
    assert len(list(tmp_path.glob("*/*.png"))) == len(folders) == 40
    assert folders["flag_of_greece"] == "flag of greece"


def test_real_digits_have_both_splits():
    train, test = pocket.pictures("digits", "train"), pocket.pictures("digits", "test")
    whole = pocket.pictures("digits", "all")
    assert sum(map(len, whole)) == 1797
    assert [len(a) + len(b) for a, b in zip(train, test, strict=True)] == list(map(len, whole))


@pytest.mark.parametrize(
    ("task", "split", "message"),
    [
        ("noun", "test", "There is no pocket task 'noun' (did you mean nouns?)"),
        ("domains/line", "train", "has no split 'train': choose from test, all."),
        ("food", "val", "Task 'food' has no split 'val': choose from train, test, all."),
    ],
)
def test_wrong_names_are_told(task, split, message, tmp_path):
    with pytest.raises(UsageError) as problem:
        pocket.write_task(task, tmp_path, split=split)
    assert message in str(problem.value)


def test_the_package_stays_small():
    size = sum(f.stat().st_size for f in FOLDER.rglob("*") if f.suffix in (".webp", ".safetensors"))
    assert size <= 18 * 2**20


def test_every_set_of_pictures_is_in_the_notice():
    text = (FOLDER / "NOTICE.md").read_text()
    assert text.count("pictures") >= len(SETS["sets of pictures"])
