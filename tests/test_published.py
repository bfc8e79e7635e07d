import pytest

from holdfast.data.folder_names import match_folders
from holdfast.errors import UsageError
from holdfast.names import from_arguments
from holdfast.published import known_lists, published_names
from holdfast.replay import base_names


def test_the_lists_are_those_of_the_papers():
    sizes = {name: len(published_names(f"names:{name}")) for name in known_lists()}
    assert sizes == {
        "cifar100": 100,
        "caltech101": 101,
        "caltech101-regft": 100,
        "eurosat": 10,
        "eurosat-regft": 10,
        "ucf101": 101,
    }
    gift = published_names("names:caltech101")
    assert gift["Faces"] == "off-center face" and gift["car_side"] == "side of a car"
    assert published_names("names:caltech101-regft")["car_side"] == "car side"
    assert published_names("names:eurosat")["HerbaceousVegetation"] == "brushland or shrubland"
    assert published_names("names:eurosat-regft")["SeaLake"] == "Sea or Lake"
    assert published_names("names:ucf101")["WalkingWithDog"] == "Walking With Dog"
    assert published_names("names:cifar100")["aquarium_fish"] == "aquarium fish"
    assert published_names("eurosat") is None and published_names("cat") is None


@pytest.mark.parametrize("name", list(known_lists()))
def test_each_is_a_list_of_class_names_whose_folders_are_the_data_sets_own(name):
    classes = from_arguments([f"names:{name}"])
    folders = list(published_names(f"names:{name}"))
    assert match_folders(folders, classes) == {
        folder: n for n, folder in enumerate(sorted(folders, key=folders.index))
    }
    assert base_names(f"names:{name}") == classes.names


def test_an_unknown_list_gets_the_known_ones():
    with pytest.raises(UsageError, match=r"names:eurosatt'.*did you mean eurosat.*names:ucf101"):
        from_arguments(["names:eurosatt"])
