"""Stream files and task folders: what they say, and what is wrong with them."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from holdfast.data.captions import read_pairs, scan_captions
from holdfast.data.folders import fingerprint
from holdfast.data.streams import open_task, read_stream, task_name, training_settings
from holdfast.errors import HoldfastError, UsageError


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
  - dataset: pocket:letters
    per_class: 7
""",
    )
    digits, pets, again, letters = read_stream(stream)
    assert (digits.name, digits.place, digits.is_dataset) == ("digits", "pocket:digits", True)
    assert (pets.name, pets.place, pets.is_dataset) == ("pets", str(task), False)
    assert again.train == {"learning_rate": 5e-5, "steps": 30}  # YAML reads 5e-5 as text
    assert again.templates == ["a photo of a {}.", "{}, a pet"]
    assert (letters.per_class, pets.per_class) == (7, None)


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
        ("- {folder: pets, learning_rate: -1}", "learning_rate is -1.0; it must be at least 0"),
        ("- {folder: pets, steps: 1.5}", "steps is 1.5; it must be a whole number"),
        ("- {folder: pets, negatives: some}", "negatives is 'some'; it must be one of task, batch"),
        ("- {folder: pets, templates: a photo}", "The template 'a photo' must hold {} once"),
        ("- {folder: pets, per_class: 3}", "per_class is for data sets"),
        ("- {dataset: 'pocket:digits', per_class: 0}", "per_class is 0; it must be at least 1"),
        ("- {name: pets}", "A task has one `folder` or one `dataset`"),
        ("- 7", "7 is no task"),
        ("- {folder: pets, steps: .inf}", "steps is inf; it must be a whole number"),
        ("- {folder: pets, templates: 7}", "templates is 7; it must be a text"),
        ("- {folder: pets, templates: [7]}", "must be a text, or a list of texts"),
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


def test_a_missing_stream_file_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_stream(tmp_path / "none.yaml")


def test_settings_of_a_task_have_the_types_of_the_settings():
    given = {"steps": "20", "learning_rate": "5e-5", "negatives": "batch"}
    found = training_settings(given)
    assert found == {"steps": 20, "learning_rate": 5e-5, "negatives": "batch"}


def test_the_name_of_a_task(task, monkeypatch):
    monkeypatch.chdir(task)
    assert (task_name("."), task_name("pocket:things/neon")) == ("pets", "things/neon")


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


@pytest.fixture
def captioned(tmp_path):
    """Three images with captions, two of them alike but for the case."""
    root = tmp_path / "captions"
    rows = [("a.png", "A red barn."), ("b.png", "two  cats"), ("c.png", "a red barn.")]
    for name, _ in rows:
        paint(root / name)
    lines = (json.dumps({"file_name": name, "text": text}) for name, text in rows)
    (root / "metadata.jsonl").write_text("\n".join(lines))
    return root


def test_captions_are_classes_of_their_own(captioned):
    found = scan_captions(captioned)
    assert found.classes.names == ("A red barn.", "two cats")
    assert found.labels == [0, 1, 0]
    task = open_task("stories", captioned)
    assert task.captions and task.training_prompts() == ["A red barn.", "two cats"]
    with pytest.raises(UsageError, match="captions, which are prompts themselves"):
        open_task("stories", captioned, "art of {}")


def test_captions_in_a_csv_or_beside_the_images(captioned):
    expected = read_pairs(captioned)
    (captioned / "metadata.jsonl").unlink()
    rows = "".join(f'{path.name},"{text}"\n' for path, text in expected)
    (captioned / "metadata.csv").write_text("file_name,caption\n" + rows)
    assert read_pairs(captioned) == expected
    (captioned / "metadata.csv").unlink()
    for path, text in expected:
        path.with_suffix(".txt").write_text(f"{text}\n")
    assert read_pairs(captioned) == expected


def test_captions_of_several_lines_and_images_that_lie_elsewhere(captioned, tmp_path):
    elsewhere = tmp_path / "elsewhere.png"
    paint(elsewhere)
    (captioned / "metadata.jsonl").unlink()
    rows = f'file_name,text\na.png,"a red\nbarn"\n{elsewhere},two cats\n'
    (captioned / "metadata.csv").write_text(rows)
    assert [caption for _, caption in read_pairs(captioned)] == ["a red barn", "two cats"]
    found = scan_captions(captioned)
    before = fingerprint(found)
    elsewhere.write_bytes(elsewhere.read_bytes() + b"more")
    assert fingerprint(found) != before
    line = json.dumps({"file_name": "a.png", "text": "red\u2028barn"}, ensure_ascii=False)
    (captioned / "metadata.jsonl").write_text(line, encoding="utf-8")
    assert read_pairs(captioned) == [(captioned / "a.png", "red barn")]


def test_what_is_wrong_with_captions_is_one_sentence(captioned):
    def problem(text, kind=UsageError):
        (captioned / "metadata.jsonl").write_text(text)
        with pytest.raises(kind) as caught:
            read_pairs(captioned)
        return str(caught.value)

    assert "Row 1 of" in problem('{"file_name": "a.png"}')
    assert "names" in problem('{"file_name": "z.png", "text": "z"}')
    assert "has no caption" in problem('{"file_name": "a.png", "text": " "}')
    assert "cannot be read as a table" in problem("no json")
    assert "names no images" in problem("", HoldfastError)
    (captioned / "metadata.jsonl").unlink()
    with pytest.raises(UsageError, match="has no captions"):
        read_pairs(captioned)
    with pytest.raises(UsageError, match="does not exist"):
        read_pairs(captioned / "nowhere")
    (captioned / "a.txt").write_text("one")
    with pytest.raises(UsageError, match=r"b\.png has no caption"):
        read_pairs(captioned)
    (captioned / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UsageError, match=r"a\.txt is not UTF-8 text"):
        read_pairs(captioned)
