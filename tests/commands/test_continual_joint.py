import numpy as np
import pytest
from tests.commands.streams import read, run

from holdfast import task_history
from holdfast.commands.continual_joint import together
from holdfast.data.streams import open_task


def test_joint_learns_all_tasks_at_once(tasks, options, model, tmp_path):
    out = tmp_path / "run"
    command = (tasks / "stream.yaml", "--model", model, *options, "--method", "joint")
    assert run(*command, "--out", out) == 0
    result = read(out / "result.json")
    assert result["matrix"]["rows"] == ["zero-shot", "joint"]
    numbers = result["task_aware"]
    assert numbers["last"] == pytest.approx(np.mean(result["matrix"]["task_aware"][1]))
    assert numbers["transfer"] is None
    [step] = result["steps"]
    assert len(step["training"]) == step["train"]["steps"] == 8  # those of both tasks
    assert step["classes"] == 5 and step["images"] == {"train": 36}  # red is in both
    assert result["costs"]["training_seconds"] > 0
    [note] = step["notes"]
    assert "what single ones set was not used: ['learning_rate']" in note
    known = task_history.read_history(out / "tasks" / "joint" / "model")
    assert [task.name for task in known.tasks] == ["colours", "shades"]


def test_a_class_of_several_tasks_is_one_class(tasks):
    """With the prompt of the first; `red` is in both."""
    both = [open_task(name, tasks / name) for name in ("colours", "shades")]
    images, prompts = together(both)
    own = [set(task.classes.names) for task in both]
    assert list(images.classes.names) == list(dict.fromkeys([*both[0].classes, *both[1].classes]))
    assert own[0] & own[1] == {"red"} and len(prompts) == len(images.classes) == 5
    assert len(images) == sum(len(task.train) for task in both)
    for path, label in zip(images.paths, images.labels, strict=True):
        assert path.parent.name == images.classes.names[label]
