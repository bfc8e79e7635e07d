from pathlib import Path

import pytest
from PIL import Image

from holdfast import builtin, pocket
from holdfast.errors import UsageError
from holdfast.files import read_json
from holdfast.generation.sources import find_pipelines
from holdfast.models.clip import load_clip
from holdfast.models.student import load_student
from holdfast.settings import TeacherSettings
from holdfast.teachers import open_teacher

OTHERS = ("", "ViT-B-16", "pocket2", "Pocket", "local-dir:pocket", "pocket:digits")


@pytest.mark.parametrize(
    "resolve",
    [builtin.model, builtin.student, builtin.generator, builtin.pretraining_names, builtin.stream],
)
@pytest.mark.parametrize("name", OTHERS)
def test_other_names_are_left_to_the_caller(resolve, name):
    assert resolve(name) is None


def test_models_are_folders_that_exist():
    for found, file in (
        (builtin.model("pocket"), "open_clip_config.json"),
        (builtin.student("pocket"), "config.json"),
        (builtin.student("pocket-vit"), "config.json"),
    ):
        scheme, _, folder = found.partition(":")
        assert scheme == "local-dir" and Path(folder, file).is_file()
    assert builtin.student("pocket") != builtin.student("pocket-vit")
    assert Path(builtin.generator("pocket"), "model_index.json").is_file()


def test_what_is_loaded_is_called_as_the_user_called_it():
    assert load_clip("pocket", device="cpu").name == "pocket"
    assert load_clip("pocket", "openai", "cpu").name == "pocket"  # it carries its weights
    assert load_student("pocket-vit", None, device="cpu").name == "pocket-vit"
    untrained = load_student("pocket", None, pretrained=False, device="cpu")
    assert untrained.name == "pocket (random)"
    assert open_teacher(TeacherSettings("pocket"), "cpu").name == "pocket"
    with pytest.raises(UsageError, match="pocket brings its own weights"):
        load_clip("pocket", "random")


def test_a_list_of_generators_may_name_it(diffusion_folder):
    ours, other = find_pipelines(f" pocket, {diffusion_folder}")
    assert ours == find_pipelines(builtin.generator("pocket"))[0]
    assert other.place == str(diffusion_folder)


def test_its_names_are_those_of_everyday_things():
    names = builtin.pretraining_names("pocket")
    assert "shopping cart" in names and len(set(names)) == len(names) > 100


def test_streams_have_all_tasks_in_two_orders_and_no_everyday_things():
    first, second = (builtin.stream(name) for name in ("pocket", "pocket-2"))
    assert sorted(first) == sorted(second) and first != second and len(first) >= 8
    rest = set(builtin.datasets()) - set(first)
    assert {name.partition("/")[0] for name in rest} == {"pocket:nouns", "pocket:domains"}


def test_places(tmp_path):
    assert builtin.is_dataset("pocket:digits") and builtin.is_dataset("other:digits")
    assert not builtin.is_dataset("digits") and not builtin.is_dataset(str(tmp_path))
    builtin.check_place("pocket:domains/line")
    builtin.check_place(str(tmp_path))
    with pytest.raises(UsageError, match=r"no data set 'pocket:digit'.*did you mean pocket:digits"):
        builtin.check_place("pocket:digit")
    with pytest.raises(UsageError, match="does not exist"):
        builtin.check_place(str(tmp_path / "none"))
    with pytest.raises(UsageError, match="no data set 'digits'"):
        builtin.dataset("digits", tmp_path)


def test_a_folder_with_a_colon_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a:b").mkdir()
    assert not builtin.is_dataset("a:b")
    builtin.check_place("a:b")


def test_a_data_set_is_written_once(tmp_path):
    folder = builtin.dataset("pocket:faces", tmp_path, 4)
    assert folder == tmp_path / "faces-4"
    counts = {p.name: len(list(p.glob("*/*.png"))) for p in folder.iterdir()}
    few = sum(min(4, len(part)) for part in pocket.pictures("faces"))
    assert counts == {"train": 24 * 3, "val": 24, "test": few}
    assert {len(read_json(split / "classes.json")) for split in folder.iterdir()} == {24}
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert builtin.dataset("pocket:faces", tmp_path, 4) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times


def test_what_is_only_measured_on_has_one_split(tmp_path):
    folder = builtin.dataset("pocket:domains/line", tmp_path, 2)
    assert folder == tmp_path / "domains-line-2"
    assert [p.name for p in folder.iterdir()] == ["test"]


def test_one_in_four_training_images_is_for_validation(tmp_path):
    folder = builtin.dataset("pocket:digits", tmp_path, 8)
    kept = {split: {p.name for p in folder.glob(f"{split}/*/*.png")} for split in ("train", "val")}
    assert kept["val"] == {"0003.png", "0007.png"} and not kept["val"] & kept["train"]
    names = [(folder / split / "classes.json").read_bytes() for split in ("train", "val")]
    assert names[0] == names[1]
    assert len(list(folder.glob("test/*/*.png"))) == 80


def test_three_training_images_are_too_few_to_hold_one_back(tmp_path):
    folder = builtin.dataset("pocket:digits", tmp_path, 3)
    assert sorted(p.name for p in folder.iterdir()) == ["test", "train"]
    assert len(list(folder.glob("train/*/*.png"))) == 30


def test_one_split_alone(tmp_path):
    builtin.write_images("pocket:coins", tmp_path, 1, "train")
    assert len(list(tmp_path.glob("*/*.png"))) == len(read_json(tmp_path / "classes.json"))
    assert Image.open(next(tmp_path.glob("*/*.png"))).size == (32, 32)
    with pytest.raises(UsageError, match="no split 'train'"):
        builtin.write_images("pocket:domains/solid", tmp_path, 1, "train")
