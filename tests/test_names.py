import json
import unicodedata
from pathlib import Path

import pytest

from holdfast.errors import HoldfastError, UsageError
from holdfast.names import (
    MAX_ID_BYTES,
    ClassNames,
    comparable,
    from_arguments,
    from_names,
    read_mapping,
    read_names,
)

HARD = [
    "golden retriever",
    "F-16A/B",
    "F-16A B",
    "../x",
    "x" * 300,
    "猫" * 60,
    "café",
    "C++",
    "C#",
    "CON",
    "con.x",
    ":",
    "colt's foot",
    "16.4",
    "हिन्दी",
]


def test_ids_are_safe_unique_folders(tmp_path):
    classes = from_names(HARD)
    for class_id in classes.ids:
        (tmp_path / class_id / "inside").mkdir(parents=True)
        assert (tmp_path / class_id).parent == tmp_path
        assert len(class_id.encode()) <= MAX_ID_BYTES
    assert len({comparable(class_id) for class_id in classes.ids}) == len(HARD)
    assert len(list(tmp_path.iterdir())) == len(HARD)


def test_id_depends_on_its_name_alone():
    alone = {name: from_names([name, "another"]).ids[0] for name in HARD}
    assert alone == dict(zip(HARD, from_names(HARD).ids, strict=True))
    assert alone["golden retriever"] == "golden_retriever"
    assert alone["F-16A/B"].startswith("F-16A_B-")
    decomposed = unicodedata.normalize("NFD", "café")
    assert from_names([decomposed, "tea"]).ids[0] == "café"


def test_round_trip_of_ids_and_names(tmp_path):
    classes = from_names(HARD)
    classes.write(tmp_path)
    assert read_names(tmp_path / "classes.json") == classes
    for label, (class_id, name) in enumerate(zip(classes.ids, classes.names, strict=True)):
        assert classes.label(class_id, folder=True) == classes.label(name) == label


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no class name"),
        (["cat"], "only 'cat'"),
        (["cat,dog"], "write several names apart"),
        (["cat", " "], "Class name 2 of 2 is empty"),
        (["cat", "dog", "cat"], "'cat' is given twice"),
        (["cat", "Cat "], "given again as 'Cat'"),
        (["café", "cafe\u0301"], "given again"),
        (["fine art", "ﬁne_art"], "given again"),
        (["a\tb", "c"], "U\\+0009"),
        (["a\x00b", "c"], "U\\+0000"),
        (["a\udc80b", "c"], "U\\+DC80"),
        (["missing.txt"], "'missing.txt' does not exist"),
    ],
)
def test_bad_names_are_refused_in_one_sentence(arguments, message):
    with pytest.raises(UsageError, match=message):
        from_arguments(arguments)


def test_other_files_are_no_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("names.csv", "names.txt"):
        Path(name).write_text("cat,dog")
    with pytest.raises(UsageError, match=r"from .txt .* and .json files, and names.csv is neither"):
        from_arguments(["names.csv"])
    with pytest.raises(UsageError, match=r"'names.txt' stands beside others; give it alone"):
        from_arguments(["cat", "names.txt"])
    assert from_arguments(["cat", "readme.txt"]).names == ("cat", "readme.txt")


def test_text_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeff# pets\nbig  cat\r\n\r\n  dog \n".encode())
    assert from_arguments([str(path)]).names == ("big cat", "dog")
    path.write_bytes(b"caf\xe9\ncat\n")
    with pytest.raises(UsageError, match="not UTF-8"):
        from_arguments([str(path)])
    path.write_text("cat\ncat\n")
    with pytest.raises(UsageError, match=r"names\.txt: The class name 'cat' is given twice"):
        from_arguments([str(path)])


def test_names_that_look_alike_are_one():
    """U+200B, U+FEFF and U+00AD cannot be seen; a joiner in an emoji can."""
    family = "\U0001f468\u200d\U0001f469"
    classes = from_names(["\ufeffcat", "do\u200bg", "co\u00adw", family])
    assert classes.names == ("cat", "dog", "cow", family)
    assert classes.ids[:3] == ("cat", "dog", "cow")
    assert classes.label("d\u2060og") == 1
    with pytest.raises(UsageError, match="'cat' is given twice"):
        from_names(["cat", "cat\u200b"])


def test_json_file(tmp_path):
    path = tmp_path / "names.json"
    path.write_text(json.dumps({"n01440764": "tench", "n01443537": "goldfish"}))
    assert from_arguments([str(path)]) == ClassNames(
        ("tench", "goldfish"), ("n01440764", "n01443537")
    )
    path.write_text('["tench", "goldfish"]')
    assert from_arguments([str(path)]).ids == ("tench", "goldfish")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ('{"a": "x", "a": "y"}', "it has 'a' twice"),
        ('{"0": ["n01", "tench"]}', "must be text"),
        ('{"a/b": "x", "b": "y"}', "'a/b' holds a character"),
        ('{".a": "x", "b": "y"}', "'.a' starts with a dot"),
        ('{"nul": "x", "b": "y"}', "reserved"),
        ('{"dog": "x", "Dog": "y"}', "the same on some file systems"),
    ],
)
def test_bad_json_is_refused(tmp_path, text, message):
    path = tmp_path / "names.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_names(path)


def test_unreadable_file_is_refused(tmp_path):
    with pytest.raises(HoldfastError, match="cannot be read as JSON: No such file"):
        read_mapping(tmp_path / "none.json")


def test_labels_are_found_by_spelling():
    classes = from_names(["Golden Retriever", "T-shirt", "café"])
    assert classes.label("golden_retriever") == 0
    assert classes.label("t shirt") == 1
    assert classes.label("CAFE\u0301") == 2
    assert classes.label("golden retreiver") is None
    with pytest.raises(UsageError, match="'1 2' or '1-2'"):
        from_names(["1 2", "1-2", "3"]).label("1_-2")


def test_an_id_that_is_another_class_s_name_swaps_no_labels():
    classes = ClassNames(("2", "1"), ("1", "2"))
    assert classes.label("1") == 1  # the name
    assert classes.label("1", folder=True) == 0  # the folder
