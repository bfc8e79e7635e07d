"""The folder of a model that remembers its tasks."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from holdfast import task_history
from holdfast.errors import HoldfastError, UsageError
from holdfast.files import sha256, write_sealed
from holdfast.models.clip import load_clip
from holdfast.sealed import write_seal
from holdfast.task_history import TaskHistory, TaskRecord
from holdfast.weights import digest


def learnt(name, *classes, captions=False):
    return TaskRecord(
        name=name,
        classes=classes,
        templates=("a photo of a {}.", "a {}."),
        captions=captions,
        method="gift",
        seed=3,
        settings={"train": {"steps": 2}},
        data={"train": {"images": 4, "sha256": "abc"}},
        replay=None,
    )


@pytest.fixture
def clip(clip_folder):
    return load_clip(f"local-dir:{clip_folder}", device="cpu")


@pytest.fixture
def base(clip):
    weights = digest(clip.model.state_dict())
    return TaskHistory({"model": "tiny", "pretrained": "", "weights": weights})


@pytest.fixture
def saved(clip, base, tmp_path):
    """A model with one task."""
    task_history.save(clip, base.with_task(learnt("pets", "cat", "dog")), tmp_path / "one")
    return tmp_path / "one"


def test_what_is_saved_comes_back_and_loads_in_plain_open_clip(saved, base, clip):
    found = task_history.read_history(saved)
    assert found.base == base.base
    [task] = found.tasks
    assert task.weights == sha256(saved / task_history.WEIGHTS)
    assert (task.name, task.classes, task.seed) == ("pets", ("cat", "dog"), 3)
    assert task.training_prompts() == ("a photo of a cat.", "a photo of a dog.")
    again = load_clip(f"local-dir:{saved}", device="cpu")
    assert digest(again.model.state_dict()) == digest(clip.model.state_dict())
    assert not list(saved.parent.glob("*.partial"))


def test_adding_leaves_the_old_folder_whole(saved, clip):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    with torch.no_grad():
        clip.model.visual.proj.add_(1)
    two = saved.with_name("two")
    known = task_history.read_history(saved)
    task_history.save(clip, known.with_task(learnt("cars", "van", "bus")), two)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    first, second = task_history.read_history(two).tasks
    assert first == task_history.read_history(saved).tasks[0]
    assert second.weights == sha256(two / task_history.WEIGHTS) != first.weights


def test_a_folder_that_is_there_is_not_written_over(saved, clip, base):
    with pytest.raises(UsageError, match="exists already"):
        task_history.save(clip, base.with_task(learnt("x", "a", "b")), saved)


def test_a_folder_appears_when_it_is_whole(clip, base, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(task_history, "write_sealed", full)
        with pytest.raises(HoldfastError, match="Cannot write"):
            task_history.save(clip, base.with_task(learnt("pets", "a", "b")), tmp_path / "m")
    assert not (tmp_path / "m").exists()
    task_history.save(clip, base.with_task(learnt("pets", "a", "b")), tmp_path / "m")
    assert task_history.read_history(tmp_path / "m").tasks[0].name == "pets"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_registry_that_does_not_match_its_weights_is_an_error(saved):
    weights = load_file(saved / task_history.WEIGHTS)
    weights["visual.proj"] = weights["visual.proj"] + 1
    kept = (saved / task_history.WEIGHTS).read_bytes()
    save_file(weights, saved / task_history.WEIGHTS)
    with pytest.raises(HoldfastError, match=f"{task_history.WEIGHTS} is damaged"):
        task_history.read_history(saved)
    write_seal(saved, [task_history.TASKS])
    with pytest.raises(HoldfastError, match=r"not those that its tasks\.json describes"):
        task_history.read_history(saved)
    (saved / task_history.WEIGHTS).unlink()
    with pytest.raises(HoldfastError, match=f"lacks {task_history.WEIGHTS}"):
        task_history.read_history(saved)
    (saved / task_history.WEIGHTS).write_bytes(kept)
    write_seal(saved, [task_history.TASKS])
    assert task_history.read_history(saved).tasks


def test_a_broken_registry_is_one_sentence(saved):
    path = saved / task_history.TASKS
    for text in ("{", "[]", '{"base": {}, "tasks": []}'):
        path.write_text(text)
        with pytest.raises(HoldfastError, match=r"tasks\.json (cannot be read|has no checksum)"):
            task_history.read_history(saved)
    for value in ({}, {"base": {}, "tasks": []}, {"base": {}, "tasks": [{"name": 1}]}):
        write_sealed(path, value)
        with pytest.raises(HoldfastError, match=r"tasks\.json is (no task hist|not as it should)"):
            task_history.read_history(saved)


def test_find_knows_a_models_folder_and_a_run(saved, tmp_path):
    assert task_history.find_model(str(saved)) == saved
    run = tmp_path / "run"
    shutil.copytree(saved, run / "model")
    assert task_history.find_model(str(run)) == run / "model"
    assert task_history.find_model(f"local-dir:{saved}") == saved  # as open_clip spells it
    assert task_history.find_model("ViT-B-16") is None
    assert task_history.find_model(str(tmp_path)) is None


def test_a_task_that_is_there_already_is_refused(saved):
    known = task_history.read_history(saved)
    with pytest.raises(UsageError, match="learnt a task called 'pets' already"):
        known.check_new("PETS")
    known.check_new("cars")


def test_classes_that_earlier_tasks_have_too():
    known = TaskHistory({}, (learnt("pets", "cat", "dog"), learnt("text", "cat", captions=True)))
    assert known.shared_classes(("van", "Cat", "dog")) == {"pets": ["Cat", "dog"]}
    assert known.shared_classes(("van", "bus")) == {}


def test_scores_are_noted_beside_the_last_task(saved):
    weights = (saved / task_history.WEIGHTS).read_bytes()
    task_history.note_scores(saved, {"test": {"pets": {"top1": 0.5}}})
    task_history.note_scores(saved, {"val": {"pets": {"top1": 0.25}}})
    [task] = task_history.read_history(saved).tasks
    assert task.scores == {"test": {"pets": {"top1": 0.5}}, "val": {"pets": {"top1": 0.25}}}
    assert (saved / task_history.WEIGHTS).read_bytes() == weights
    assert json.loads((saved / task_history.TASKS).read_text())["tasks"][0]["name"] == "pets"
