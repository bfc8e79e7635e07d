"""What is refused before anything is spent, and how settings become a plan."""

import shutil
from pathlib import Path

import pytest

from holdfast.anchors.weight_ensemble import WeightEnsemble
from holdfast.commands.settings import TransferSettings
from holdfast.commands.transfer_prepare import (
    evenly_spaced,
    plan_transfer,
    with_lasting_paths,
)
from holdfast.data.folders import scan
from holdfast.errors import UsageError
from holdfast.names import from_names

WORDS = ["red thing", "green thing", "blue thing"]


@pytest.fixture
def data(pictures):
    return scan(pictures, from_names(WORDS))


def plan(**values):
    return plan_transfer(TransferSettings(WORDS, **values))


def test_few_images_are_taken_from_all_classes(data):
    assert sorted(set(evenly_spaced(data, 6).labels)) == [0, 1, 2]
    assert len(evenly_spaced(data, 7)) == 7
    assert evenly_spaced(data, 30) is data and evenly_spaced(data, 99) is data


def test_only_what_is_asked_for_is_drawn(pictures):
    assert plan().draws and not plan().replays and not plan().holds_out
    assert not plan(folder=pictures).draws
    with_replay = plan(folder=pictures, anchors="alignment", replay={"base": "pocket"})
    assert with_replay.draws and with_replay.replays
    own = {"images": "task"}
    lwf_like = plan(
        folder=pictures,
        anchors=[{"name": "replay-distillation", **own}],
        replay={"base": "pocket"},
    )
    assert not lwf_like.draws and not lwf_like.replays
    assert not plan(folder=pictures, anchors="alignment", replay={"images": 0}).draws


def test_the_ensemble_says_whether_images_are_held_out_and_what_is_measured():
    assert plan().ensemble == WeightEnsemble()
    assert plan(method={"ensemble": "auto"}).holds_out
    assert plan(method="finetune").ensemble is None
    both = plan(method="finetune", anchors="weight-ensemble:alpha=0.3")
    assert both.ensemble == WeightEnsemble(0.3)
    assert both.models(0.3) == {"zero-shot": 0.0, "fine-tuned": 1.0, "ensemble": 0.3}
    assert plan(method="finetune").models(1.0) == {"zero-shot": 0.0, "fine-tuned": 1.0}
    assert plan(method="wise-ft").ensemble == WeightEnsemble(0.5)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"anchors": "teacher-embeddings"}, "'teacher-embeddings' needs a teacher's embeddings"),
        ({"anchors": "alignment,alignment"}, "An anchor is given twice"),
        ({"anchors": "consolidation"}, "The adaptive importance of the consolidation comes from"),
        (
            {"anchors": "alignment", "train": {"trainable": "head"}, "replay": {"base": "pocket"}},
            "'alignment' teaches the image tower, and --train.trainable head leaves it",
        ),
        (
            {"anchors": "alignment:train_towers=text", "replay": {"base": "pocket"}},
            "'alignment' has train_towers=text, and in name-only transfer only the image tower",
        ),
        ({"anchors": "alignment", "replay": {"base": "no.txt"}}, "no.txt"),
        ({"prompts": {"templates": "no place"}}, "no place"),
        ({"head_prompts": {"templates": "no place"}}, "no place"),
        ({"folder": "nowhere"}, "'nowhere' does not exist"),
    ],
)
def test_what_is_wrong_is_found_before_anything_is_spent(values, sentence):
    with pytest.raises(UsageError, match=sentence):
        plan(**values)


def test_settings_hold_from_anywhere(pictures, tmp_path, monkeypatch):
    (tmp_path / "names.txt").write_text("\n".join(WORDS))
    (tmp_path / "base.txt").write_text("cat\ndog")
    (tmp_path / "data").symlink_to(pictures)
    monkeypatch.chdir(tmp_path)
    settings = TransferSettings(
        "names.txt",
        folder="data",
        evaluate="data",
        replay={"base": "base.txt", "cache": "cache"},
        anchors="alignment",
    )
    found = with_lasting_paths(plan_transfer(settings)).settings
    assert found.names == WORDS
    assert found.folder == found.evaluate == tmp_path / "data"
    assert found.replay.base == str(tmp_path / "base.txt")
    assert found.replay.cache == tmp_path / "cache"
    monkeypatch.chdir("/")
    assert with_lasting_paths(plan_transfer(found)).settings == found


def test_ids_that_cannot_be_spelt_out_are_left_to_their_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("names.json").write_text('{"n01": "cat", "n02": "dog"}')
    found = with_lasting_paths(plan_transfer(TransferSettings("names.json"))).settings
    assert found.names == [str(tmp_path / "names.json")]


def test_names_come_from_the_folder_where_none_are_given(pictures, tmp_path):
    for split in ("Train", "Test"):
        for n, folder in enumerate(sorted(path for path in pictures.iterdir() if path.is_dir())):
            shutil.copytree(folder, tmp_path / split / f"{n}.{folder.name.replace(' ', '_')}")

    def found(**values):
        return with_lasting_paths(plan_transfer(TransferSettings([], **values)))

    made = found(folder=tmp_path, evaluate=tmp_path)
    assert made.settings.names == ["blue thing", "green thing", "red thing"]
    assert made.own.root == tmp_path / "Train" and made.real.root == tmp_path / "Test"
    assert made.own.labels == made.real.labels == [0] * 10 + [1] * 10 + [2] * 10
    assert any("'blue thing' of '0.blue_thing'" in note for note in scan(tmp_path / "Test").notes)
    fewer = found(evaluate=tmp_path, classes="red thing, blue thing")
    assert (
        fewer.settings.names == ["blue thing", "red thing"]
        and fewer.real.labels == [0] * 10 + [1] * 10
    )
    assert found(folder=tmp_path, classes=["-red thing"]).settings.names == made.settings.names[:2]
    with pytest.raises(UsageError, match="no class name"):
        found()
    with pytest.raises(UsageError, match=r"No class is called like the folders '0\.blue_thing'"):
        plan_transfer(TransferSettings(["red thing", "green thing"], folder=tmp_path))
