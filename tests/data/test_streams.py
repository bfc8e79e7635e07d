"""Stream files and task folders: what they say, and what is wrong with them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from holdfast.data.streams import (
    TaskSource,
    find_stream,
    open_source,
    open_task,
    read_stream,
    task_name,
    training_settings,
)
from holdfast.errors import HoldfastError, UsageError
from holdfast.published import published_names


def paint(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def task(tmp_path):
    """A task of two classes with all three splits."""
    root = tmp_path / "pets"
    for split in ("train", "val", "test"):
        for name in ("black cat", "dog"):
            for n in range(2):
                paint(root / split / name / f"{n}.png", seed=n)
    return root


def write(folder, text, name="stream.yaml"):
    (folder / name).write_text(text)
    return folder / name


def test_a_stream_names_folders_data_sets_and_settings(task):
    stream = write(
        task.parent,
        """
tasks:
  - pocket:digits
  - pets
  - folder: pets
    name: pets again
    templates: ["a photo of a {}.", "{}, a pet"]
    learning_rate: 5e-5
    steps: 30
  - dataset: pocket:logos
    per_class: 7
""",
    )
    digits, pets, again, logos = read_stream(stream)
    assert (digits.name, digits.place, digits.is_dataset) == ("digits", "pocket:digits", True)
    assert (pets.name, pets.place, pets.is_dataset) == ("pets", str(task), False)
    assert again.train == {"learning_rate": 5e-5, "steps": 30}  # YAML reads 5e-5 as text
    assert again.templates == ["a photo of a {}.", "{}, a pet"]
    assert (logos.per_class, pets.per_class) == (7, None)


def test_json_and_a_bare_list_are_streams_too(task):
    stream = write(task.parent, json.dumps(["pets", {"dataset": "pocket:digits"}]), "s.json")
    assert [each.name for each in read_stream(stream)] == ["pets", "digits"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- pocket:digts", r"task 1: There is no data set 'pocket:digts' \(did you mean pocket:"),
        ("- dataset: mnist", "task 1: There is no data set 'mnist'; a folder is given as"),
        ("- pets\n- nowhere", "task 2: The task's folder '.*nowhere' does not exist"),
        ("- pets\n- folder: pets", "two tasks called 'pets'"),
        ("- {folder: pets, learning_rat: 1}", r"no setting 'learning_rat' \(did you mean learn"),
        ("- {folder: pets, learning_rate: fast}", "learning_rate is 'fast'; it must be a number"),
        ("- {folder: pets, learning_rate: -1}", "learning_rate is -1.0; it must be from 0 to 10"),
        ("- {folder: pets, steps: 1.5}", "steps is '1.5'; it must be a whole number"),
        ("- {folder: pets, negatives: some}", "negatives is 'some'; it must be one of task, batch"),
        ("- {folder: pets, templates: a photo}", "The template 'a photo' must hold {} once"),
        ("- {folder: pets, per_class: 3}", "per_class is for data sets"),
        ("- {dataset: 'pocket:digits', per_class: 0}", "per_class is 0; it must be at least 1"),
        ("- {dataset: 'pocket:digits', per_class: few}", "per_class is 'few'; it must be a whole"),
        ('[{"folder": "pets", "name": 10}]', "name is 10, no text; put it in quotation marks"),
        ('[{"folder": 10}]', "folder is 10; write the name of one"),
        ("- {folder: pets, name: }", "name is empty"),
        ("- {name: pets}", "A task has one `folder` or one `dataset`"),
        ("- [7]", "7'] is no task"),
        ("- {folder: pets, steps: .inf}", "steps is '.inf'; it must be a whole number"),
        ("- {folder: pets, templates: 7}", "The template '7' must hold {} once"),
        ("- {folder: pets, templates: [[7]]}", "must be a text, or a list of texts"),
        ("tasks: [pets]\nsteps: 5", "has 'steps' beside its tasks"),
        ("tasks: []", "lists no tasks"),
        ("pets", "lists no tasks"),
        ("- [", "neither YAML nor JSON in line"),
        ("- &a pets\n- *a", "has an anchor"),
        ("- {folder: pets, steps: 1, steps: 2}", "has 'steps' twice"),
    ],
)
def test_what_is_wrong_with_a_stream_is_one_sentence(task, text, message):
    with pytest.raises(UsageError, match=message):
        read_stream(write(task.parent, text))


@pytest.mark.parametrize("name", ["010", "no", "2020-01-02", "0x1F", "null", "on", "1e3"])
def test_a_name_in_yaml_is_the_text_that_stands_there(task, name):
    shutil.copytree(task, task.parent / name)
    [first, second] = read_stream(write(task.parent, f"- {name}\n- folder: pets\n  name: {name}x"))
    assert (first.name, second.name) == (name, f"{name}x")


def test_a_task_takes_some_of_its_classes(task):
    for split in ("train", "val", "test"):
        paint(task / split / "cow" / "0.png")
    stream = write(task.parent, "- folder: pets\n  classes: [cow, dog]\n- {folder: pets, name: b}")
    first, second = find_stream(stream)
    found = open_source(first, task.parent)
    assert found.classes.names == ("cow", "dog") == found.test.classes.names
    assert len(open_source(second, task.parent).classes) == 3


def test_a_task_keeps_what_it_could_not_read(task):
    (task / "train" / "dog" / "0.png").write_bytes(b"no picture")
    (task / "test" / "dog" / "gone.png").symlink_to(task / "nowhere.png")
    found = open_task("pets", task)
    assert [len(images) for _, images in found.splits()] == [3, 4, 4]
    assert found.train.unreadable[0].startswith(f"{task}/train/dog/0.png: it is none of")
    assert not found.test.notes
    assert found.test.unreadable == (f"{task}/test/dog/gone.png: No such file or directory",)


def test_a_missing_stream_file_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_stream(tmp_path / "none.yaml")


def test_settings_of_a_task_have_the_types_of_the_settings():
    given = {"steps": "20", "learning_rate": "5e-5", "negatives": "batch"}
    found = training_settings(given)
    assert found == {"steps": 20, "learning_rate": 5e-5, "negatives": "batch"}


def test_the_name_of_a_task(task, monkeypatch):
    monkeypatch.chdir(task)
    assert (task_name("."), task_name("pocket:domains/line")) == ("pets", "domains/line")


def test_a_task_has_its_splits(task):
    found = open_task("pets", task, ["a {}.", "the {}."])
    assert found.classes.names == ("black cat", "dog")
    assert found.training_prompts() == ["a black cat.", "a dog."]
    assert found.evaluation_prompts(found.test) == [
        ["a black cat.", "the black cat."],
        ["a dog.", "the dog."],
    ]
    assert [len(each) for each in (found.train, found.val, found.test)] == [4, 4, 4]


def test_a_folder_of_classes_is_the_training_split(task):
    found = open_task("pets", task / "train")
    assert len(found.train) == 4 and found.val is found.test is None
    (task / "test").rename(task / "bus")
    with pytest.raises(UsageError, match="has 'bus' beside train and val"):
        open_task("pets", task)
    (task / "val").rename(task / "tram")
    with pytest.raises(UsageError, match="has 'bus' beside train; move"):
        open_task("pets", task)
    for vehicle in ("bus", "train", "tram"):  # with images of its own, train is a class like them
        for image in (task / vehicle).glob("*/*.png"):
            image.rename(task / vehicle / f"{image.parent.name}-{image.name}")
        for folder in (task / vehicle).iterdir():
            if folder.is_dir():
                shutil.rmtree(folder)
    assert open_task("vehicles", task).classes.names == ("bus", "train", "tram")


def test_a_test_split_among_classes_is_not_a_class(task):
    for folder in (task / "train").iterdir():
        folder.rename(task / folder.name)
    (task / "train").rmdir()
    with pytest.raises(UsageError, match="beside test and val; move it elsewhere"):
        open_task("pets", task)


def test_a_task_that_is_not_learnt_needs_no_training_images(task):
    for split in ("train", "val"):
        shutil.rmtree(task / split)
    with pytest.raises(UsageError, match="has no folder train"):
        open_task("pets", task)
    found = open_task("pets", task, learnt=False)
    assert found.train.paths == found.test.paths and found.val is None


def test_a_validation_split_has_several_spellings(task):
    (task / "val").rename(task / "validation")
    assert len(open_task("pets", task).val) == 4
    shutil.copytree(task / "validation", task / "val")
    with pytest.raises(UsageError, match="has val and validation; keep one"):
        open_task("pets", task)


def test_what_is_wrong_with_a_task_is_one_sentence(task):
    def problem(kind):
        with pytest.raises(kind) as caught:
            open_task("pets", task)
        return str(caught.value)

    # Labels outside the class list.
    (task / "test" / "dog").rename(task / "test" / "wolf")
    assert "No class is called like the folders 'wolf'" in problem(UsageError)
    (task / "test" / "wolf").rename(task / "test" / "dog")

    # Two classes with one name.
    (task / "train" / "classes.json").write_text('{"black cat": "cat", "dog": "Cat"}')
    assert "'cat' is given again as 'Cat'" in problem(UsageError)
    (task / "train" / "classes.json").unlink()

    # A class without images, which only classes.json names.
    (task / "train" / "classes.json").write_text('{"black cat": "cat", "dog": "dog", "x": "x"}')
    assert "has no image of 'x'" in problem(HoldfastError)
    (task / "train" / "classes.json").unlink()

    # No training split, and an empty one.
    (task / "train").rename(task.parent / "away")
    assert "has no folder train" in problem(UsageError)
    (task / "train").mkdir()
    assert "has no class folders" in problem(HoldfastError)
    shutil.rmtree(task)
    task.mkdir()
    assert "has no class folders" in problem(HoldfastError)


def test_the_splits_that_there_are(task):
    assert [split for split, _ in open_task("pets", task).splits()] == ["train", "val", "test"]
    shutil.rmtree(task / "val")
    found = open_task("pets", task)
    assert [(split, images) for split, images in found.splits()] == [
        ("train", found.train),
        ("test", found.test),
    ]


def test_a_built_in_stream_and_a_file_of_that_name(tmp_path, monkeypatch):
    tasks = find_stream(Path("pocket"))
    assert [each.name for each in tasks][:4] == ["flags", "weather", "logos", "digits"]
    assert all(each.is_dataset and each.place == f"pocket:{each.name}" for each in tasks)
    monkeypatch.chdir(tmp_path)
    Path("pocket").write_text("- pocket:digits\n- pocket:nouns\n")
    assert [each.name for each in find_stream(Path("pocket"))] == ["digits", "nouns"]
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        find_stream(Path("pocket-3"))


def test_a_data_set_is_opened_below_the_folder_it_is_drawn_into(tmp_path):
    source = TaskSource("numbers", "pocket:digits", "a {}.", per_class=8)
    task = open_source(source, tmp_path)
    assert (task.name, task.templates) == ("numbers", ("a {}.",))
    assert [len(images) for _, images in task.splits()] == [60, 20, 80]
    assert task.train.root == tmp_path / "digits-8" / "train"


def test_a_folder_is_opened_where_it_is(task, tmp_path):
    for split in ("train", "val"):
        shutil.rmtree(task / split)
    source = TaskSource("pets", str(task))
    assert open_source(source, tmp_path / "data", learnt=False).train.root == task / "test"
    assert not (tmp_path / "data").exists()
    with pytest.raises(UsageError, match="has no folder train"):
        open_source(source, tmp_path / "data")


def test_a_task_takes_the_names_of_a_list_or_of_a_file(tmp_path):
    for folder in published_names("names:eurosat"):
        for split in ("train", "test"):
            place = tmp_path / "eurosat" / split / folder
            place.mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(place / "0.png")
    (tmp_path / "own.json").write_text(
        json.dumps({f: f"the {n}" for f, n in published_names("names:eurosat").items()})
    )
    stream = tmp_path / "stream.yaml"
    stream.write_text(
        '- {folder: eurosat, names: "names:eurosat", templates: eurosat}\n'
        "- {folder: eurosat, name: own, names: own.json}\n"
    )
    listed, own = (open_source(source, tmp_path) for source in read_stream(stream))
    assert listed.classes.names[-1] == own.classes.names[-1].removeprefix("the ") == "lake or sea"
    prompts = listed.training_prompts()
    assert prompts[2] == "a centered satellite photo of brushland or shrubland."
    assert listed.test.classes == listed.train.classes
    stream.write_text('- {folder: eurosat, names: "names:nothing"}\n')
    [wrong] = read_stream(stream)
    with pytest.raises(UsageError, match="no class names 'names:nothing'"):
        open_source(wrong, tmp_path)
    stream.write_text('- {dataset: "pocket:flags", names: "names:eurosat"}\n')
    with pytest.raises(UsageError, match="a data set has its own"):
        read_stream(stream)
