"""Class names from folders as data sets have them, and folders found by class names."""

import pytest

from holdfast.data.folder_names import from_folders, in_words, match_folders, picked
from holdfast.errors import UsageError
from holdfast.names import ClassNames, from_names


def test_an_id_comes_before_a_name():
    classes = ClassNames(("2", "1"), ("1", "2"))
    assert match_folders(["1", "2"], classes) == {"1": 0, "2": 1}
    assert match_folders(["1", "2"], classes, classes.to_json()) == {"1": 0, "2": 1}


def test_folders_are_matched_by_name_not_position():
    classes = from_names(["zebra", "F-16A/B", "red fox", "cat"])
    folders = ["red_fox", classes.ids[1], "Zebra"]
    assert match_folders(folders, classes) == {"red_fox": 2, classes.ids[1]: 1, "Zebra": 0}
    assert match_folders(["n01"], classes, {"n01": "red fox"}) == {"n01": 2}


def test_unmatched_and_repeated_folders_are_errors():
    classes = from_names(["zebra", "red fox"])
    with pytest.raises(UsageError, match=r"'red_foxx' \(did you mean red fox\?\)"):
        match_folders(["red_foxx"], classes)
    with pytest.raises(UsageError, match="'Red Fox' and 'red_fox' are both the class"):
        match_folders(["red_fox", "Red Fox"], classes)


def test_folders_define_classes():
    classes = from_folders(["Alarm_Clock", "mug", "odd."])
    assert classes.names == ("Alarm Clock", "mug", "odd.")
    assert classes.ids[:2] == ("Alarm_Clock", "mug")
    assert match_folders(["odd.", "mug", "Alarm_Clock"], classes)["odd."] == 2


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["n01440764", "n02123045"], ["tench", "tabby cat"]),
        (["n03773504", "n04008634"], ["missile", "projectile"]),  # CLIP's list has one name twice
        (["n04355933", "n04356056"], ["sunglass", "sunglasses"]),
        (["n02012849", "n03126707"], ["crane bird", "construction crane"]),
        (["n99999999", "cat"], ["n99999999", "cat"]),
        (["n02085620-Chihuahua", "n02097658-silky_terrier"], ["Chihuahua", "silky terrier"]),
        (["001.Black_footed_Albatross", "002.Crow"], ["Black footed Albatross", "Crow"]),
        (["0_cat", "1_dog"], ["cat", "dog"]),
        (["1-cat", "2-cat"], ["cat (1-cat)", "cat (2-cat)"]),
        (["101 Dalmatians", "cat"], ["101 Dalmatians", "cat"]),
        (["1", "2"], ["1", "2"]),
        (["3.14", "2.71"], ["3.14", "2.71"]),
        (["AnnualCrop", "Forest", "SeaLake"], ["Annual Crop", "Forest", "Sea Lake"]),
        (["AnnualCrop", "iPhone"], ["AnnualCrop", "iPhone"]),
        (["golden_retriever", "T-shirt"], ["golden retriever", "T-shirt"]),
        (["F16", "707-320"], ["F16", "707-320"]),
    ],
)
def test_names_of_data_sets_in_words(folders, expected):
    assert list(in_words(folders).values()) == expected
    classes = from_folders(folders)
    assert classes.names == tuple(expected)
    assert match_folders(folders, classes) == {folder: n for n, folder in enumerate(folders)}
    assert match_folders(folders, from_names(expected)) == dict(
        zip(folders, range(9), strict=False)
    )
    assert from_folders(folders, words=False).names == tuple(folders)


def test_two_folders_that_look_alike_are_one_class():
    with pytest.raises(UsageError, match=r"'cat' and 'cat\\u200b' are both the class 'cat'"):
        from_folders(["cat", "cat\u200b", "dog"])


def test_classes_are_picked_and_left_out_by_either_name():
    folders = ["n01440764", "red_fox", "a,b", "-x"]
    names = in_words(folders)
    assert picked(folders, names, []) == folders
    assert picked(folders, names, ["Red Fox,tench"]) == ["n01440764", "red_fox"]
    assert picked(folders, names, ["red_fox", "a,b"]) == ["red_fox", "a,b"]
    assert picked(folders, names, ["-tench", "-red fox"]) == ["a,b", "-x"]
    assert picked(folders, names, ["-x"]) == ["-x"]  # a class may be called so
    assert picked(folders, names, ["tench, red fox", "-tench"]) == ["red_fox"]
    with pytest.raises(
        UsageError, match=r"'tensh', which no folder is called \(did you mean tench"
    ):
        picked(folders, names, ["tensh"])
    with pytest.raises(UsageError, match="'cow', which no folder is called"):
        picked(folders, names, ["-cow"])
