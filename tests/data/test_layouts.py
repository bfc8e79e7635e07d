"""What a folder is taken for; the same in every verb."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from tests.data.shards import shard

from holdfast.data.folders import scan, scan_split
from holdfast.data.layouts import Choice, look, one_part, parts_to_learn, split_of
from holdfast.errors import UsageError


def paint(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def classes(folder, *names, count=1):
    for name in names:
        for n in range(count):
            paint(folder / name / f"{n}.png", seed=n)
    return folder


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "Training", "TRAIN", "train_set", "trainset")),
        *((name, "train") for name in ("seg_train", "train-images", "Training Data")),
        *((name, "val") for name in ("val", "valid", "Validation", "dev", "crossval")),
        *((name, "test") for name in ("test", "Testing", "seg_test", "eval", "test_images")),
        *((name, None) for name in ("trains", "steam train", "full", "images", "cat", "set")),
    ],
)
def test_what_folders_of_splits_are_called(name, split):
    assert split_of(name) == split


@pytest.mark.parametrize("names", [("Training", "Testing"), ("seg_train", "seg_test")])
def test_splits_of_any_spelling_are_no_classes(tmp_path, names):
    for name in names:
        classes(tmp_path / name, "glioma", "meningioma")
    layout = look(tmp_path)
    assert layout.kind == "splits" and list(layout.parts) == ["train", "test"]
    assert [part.folder.name for part in parts_to_learn(layout).values()] == list(names)
    with pytest.raises(UsageError, match=r"holds splits \(train, test\); give one of them"):
        scan(tmp_path)
    assert scan_split(tmp_path, ("test", "val")).root.name == names[1]
    with pytest.raises(UsageError, match="has the splits train, test, and none for val"):
        one_part(layout, ("val",))
    classes(tmp_path / "other", "glioma")
    with pytest.raises(UsageError, match="has 'other' beside"):
        look(tmp_path)


def test_domains_are_no_classes(tmp_path):
    for domain in ("google", "twitter"):
        classes(tmp_path / domain, "cat", "dog", f"only {domain}")
    layout = look(tmp_path)
    assert layout.kind == "domains" and list(layout.parts) == ["google", "twitter"]
    message = "'google' and 'twitter' hold the same folders, .* such as .*google, or `holdfast dist"
    for read in (scan, lambda place: parts_to_learn(look(place))):
        with pytest.raises(UsageError, match=message):
            read(tmp_path)
    (tmp_path / "classes.json").write_text('{"google": "google", "twitter": "twitter"}')
    assert scan(tmp_path).classes.names == ("google", "twitter")


def test_class_folders_may_have_folders_of_their_own(tmp_path):
    """Tiny ImageNet has class/images, other sets an uneven tree."""
    for name in ("n01440764", "n02123045"):
        classes(tmp_path / name, "images", count=2)
    assert len(scan(tmp_path)) == 4 and look(tmp_path).kind == "classes"
    classes(tmp_path / "n01440764", "old", "new")
    assert len(scan(tmp_path)) == 6


def test_the_same_images_in_five_layouts(tmp_path):
    folders = classes(tmp_path / "folders", "black cat", "dog", count=2)
    paths = sorted(folders.rglob("*.png"))
    labels = [path.parent.name for path in paths]
    expected = scan(folders)

    table = tmp_path / "table"
    lines = []
    for n, (path, label) in enumerate(zip(paths, labels, strict=True)):
        (table / "images").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, table / "images" / f"{n}.png")
        lines.append({"file_name": f"images/{n}.png", "label": label})
    (table / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    listed = tmp_path / "listed"
    shutil.copytree(table / "images", listed / "images")
    rows = [f"{row['label']};{row['file_name']}" for row in lines]
    (listed / "mine.csv").write_text("\n".join(["Label;Filename", *rows]))
    shards = tmp_path / "shards"
    shards.mkdir()
    named = [
        {"png": path.read_bytes(), "cls": label} for path, label in zip(paths, labels, strict=True)
    ]
    shard(shards / "000.tar", named[:1])
    shard(shards / "001.tar", named[1:])
    numbered = tmp_path / "numbered"
    numbered.mkdir()
    samples = [{"jpg": each["png"], "cls": str(labels.index(each["cls"]) // 2)} for each in named]
    shard(numbered / "test-000.tar", samples)
    shard(numbered / "train-000.tar", samples)
    (numbered / "classnames.txt").write_text("black cat\ndog\n")
    assert list(look(numbered).parts) == ["train", "test"]
    assert scan_split(numbered, ("test",)).paths[0].parent.name == "test-000.tar"
    for place in (table, listed / "mine.csv", shards, shards / "001.tar", numbered):
        found = scan_split(place, ("train",))
        assert found.classes == expected.classes, place
        assert found.labels == (expected.labels[1:] if place.name == "001.tar" else expected.labels)
        again = scan_split(place, ("train",), choice=Choice(links="follow"))
        assert again == found


def test_a_table_may_have_splits(tmp_path):
    for n in range(4):
        paint(tmp_path / f"{n}.png")
    rows = [
        f"{n}.png,{label},{s}"
        for n, (label, s) in enumerate(
            [("cat", "Train"), ("dog", "training"), ("cat", "test"), ("dog", "test")]
        )
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["image,class,split", *rows]))
    layout = look(tmp_path)
    assert layout.kind == "splits" and list(layout.parts) == ["train", "test"]
    assert [path.name for path in scan_split(tmp_path, ("test",)).paths] == ["2.png", "3.png"]


def test_what_was_found_is_said(tmp_path, caplog):
    caplog.set_level("INFO")
    for split in ("train", "test"):
        classes(tmp_path / split, "black_cat", "dog", count=3)
    scan_split(tmp_path, ("test", "val"))
    assert f"{tmp_path}: splits, test 6 images, 2 classes; not used: train." in caplog.text
    assert "'black_cat' is called 'black cat', and so on; --class_names exact" in caplog.text


def test_what_is_no_place_of_images_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        look(tmp_path / "none")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UsageError, match="is no folder, table or archive of images"):
        look(tmp_path / "a.txt")
