"""What is wrong with a task is said before anything is made."""

import shutil

import pytest
from tests.test_cli import error_of

from holdfast.cli import main
from holdfast.commands.continual_prepare import resolved, with_absolute_paths
from holdfast.commands.settings import ContinualAddSettings, ContinualRunSettings


def test_bad_tasks_and_models(tasks, options, model, streamed, tmp_path, capsys):
    out = ("--out", tmp_path / "out")

    def problem(start, task, *more):
        return error_of(capsys, "continual", "add", start, "--task", task, *options, *out, *more)

    done = streamed / "tasks" / "01-colours"
    code, line = problem(done, tasks / "colours")
    assert code == 2 and "learnt a task called 'colours' already" in line
    code, line = problem(f"local-dir:{done / 'model'}", tasks / "colours")
    assert code == 2 and "learnt a task called 'colours' already" in line
    unweighed = ("--method.distillation.weight", 0, "--method.alignment.weight", 0)
    code, line = problem(model, tasks / "colours", *unweighed)
    assert code == 2 and "adaptive importance" in line
    code, line = problem(model, "pocket:digts")
    assert code == 2 and "'pocket:digts' (did you mean pocket:digits" in line
    code, line = problem(model, tmp_path / "nowhere")
    assert code == 2 and "nowhere' does not exist" in line
    (tmp_path / "empty").mkdir()
    code, line = problem(model, tmp_path / "empty")
    assert code == 1 and "no class folders" in line
    code, line = problem(model, tasks / "colours", "--replay.images", 5)
    assert code == 2 and "5 replayed images, fewer than the 6 of a step" in line
    code, line = problem(model, tasks / "colours", "--replay.folder", tasks / "colours")
    assert code == 2 and "has no captions" in line
    code, line = problem(model, tasks / "colours", "--replay.base", "nothing")
    assert code == 2 and "nothing' are no file" in line
    code, line = problem(model, tasks / "colours", "--per_class", 3)
    assert code == 2 and "per_class is for data sets" in line
    code, line = problem(model, tasks / "colours", "--held_out", tasks / "nowhere")
    assert code == 2 and "does not exist" in line
    code, line = problem(model, tasks / "colours", "--held_out", tasks / "colours")
    assert code == 2 and "held out too" in line
    code, line = problem(model, tasks / "colours", "--method", "l2", "--max_drop", 0.1)
    assert code == 2 and "max_drop has nothing to be measured on" in line
    assert not (tmp_path / "out").exists()


def test_names_of_pre_training_are_part_of_what_a_task_was_made_from(
    tasks, options, model, tmp_path, capsys
):
    names_file = tmp_path / "names.txt"
    names_file.write_text("ant\nbee\n")
    task = ("continual", "add", model, "--task", tasks / "colours", *options)
    command = [str(w) for w in (*task, "--replay.base", names_file, "--out", tmp_path / "out")]
    assert main(command) == 0
    shutil.rmtree(tmp_path / "out" / "model")
    names_file.write_text("ant\nfox\n")
    code, line = error_of(capsys, *command)
    assert code == 2 and "other names of pre-training" in line


def test_a_generator_that_is_not_there_is_found_before_anything_is_made(
    tasks, options, model, diffusion_folder, tmp_path, capsys
):
    given = (*options, "--generator", "no/such/generator")
    command = ("continual", "run", tasks / "stream.yaml", "--model", model, *given)
    code, line = error_of(capsys, *command, "--out", tmp_path / "stream")
    assert code == 2 and "no/such/generator" in line
    assert not (tmp_path / "stream").exists()
    task = ("continual", "add", model, "--task", tasks / "colours")
    code, line = error_of(capsys, *task, *given, "--out", tmp_path / "one")
    assert code == 2 and not (tmp_path / "one").exists()


@pytest.mark.parametrize("kind", [ContinualAddSettings, ContinualRunSettings])
def test_settings_hold_from_any_folder(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pt").write_text("")
    (tmp_path / "names.txt").write_text("ant")
    for name in ("draw", "task", "other"):
        (tmp_path / name).mkdir()
    own = {"task": "task"} if kind is ContinualAddSettings else {"stream": "task"}
    given = kind(
        model="local-dir:clip",
        pretrained="weights.pt",
        generator="draw,owner/name",
        held_out=["other", "pocket:digits"],
        replay={"base": "names.txt", "folder": "draw"},
        **own,
    )
    kept = with_absolute_paths(given)
    assert kept.model == f"local-dir:{tmp_path}/clip"
    assert kept.pretrained == str(tmp_path / "weights.pt")
    assert kept.generator == f"{tmp_path}/draw,owner/name"
    assert kept.held_out == [str(tmp_path / "other"), "pocket:digits"]
    assert (kept.replay.base, kept.replay.folder) == (
        str(tmp_path / "names.txt"),
        tmp_path / "draw",
    )
    if kind is ContinualAddSettings:
        assert resolved(given).task == str(tmp_path / "task")
