import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.reference.replay import main

HERE = Path(__file__).parent
NAMES = HERE / "data" / "names.npz"


def replay(*arguments):
    command = [sys.executable, str(HERE / "replay.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def changed(path, **arrays):
    with np.load(NAMES) as file:
        np.savez(path, **{**file, **arrays})
    return path


@pytest.mark.parametrize("record", ["names.npz", "distill.npz"])
def test_ours_equals_the_papers_code(record):
    done = replay(HERE / "data" / record)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "equal" in done.stdout


@pytest.mark.parametrize("record", ["full", "no_consolidation", "feature_mse"])
def test_continual_learning_equals_the_papers_code(record, capsys):
    assert main([str(HERE / "data" / f"continual_{record}.npz")]) == 0, capsys.readouterr().out


def test_distillation_alone_equals_the_papers_code_or_all_but_the_rounding_of_its_first_step(
    capsys,
):
    """Some words have no true gradient at first; how it rounds depends on the processor."""
    path = str(HERE / "data" / "continual_distill_only.npz")
    as_it_is = main([path])
    assert main([path, "--fit-rounding"]) == 0
    assert "fitted: the first step of 96 numbers in 3 rows" in capsys.readouterr().out
    if as_it_is != 0:
        pytest.skip("this processor rounds otherwise: equal with --fit-rounding only")


@pytest.mark.parametrize(
    ("record", "old", "new", "options"),
    [
        ("full", "'ita': 0.25", "'ita': 0.26", ()),
        ("full", "'l2': 1.0", "'l2': 1.1", ()),
        ("full", "'no_awc': False", "'no_awc': True", ()),
        ("full", "'image_only': False", "'image_only': True", ()),
        ("full", "'kl': False", "'kl': True", ()),
        ("feature_mse", "'distill': 1.0", "'distill': 1.5", ()),
        ("distill_only", "'distill': 1.0", "'distill': 0.9", ("--fit-rounding",)),
        ("distill_only", "'ls': 0.2", "'ls': 0.1", ("--fit-rounding",)),
    ],
)
def test_another_hyper_parameter_is_noticed(record, old, new, options, tmp_path, capsys):
    """Fitting a first step must not hide another difference either."""
    with np.load(HERE / "data" / f"continual_{record}.npz") as file:
        args = str(file["args"])
        assert old in args
        path = tmp_path / "other.npz"
        np.savez(path, **{**file, "args": np.array(args.replace(old, new))})
    assert main([str(path), *options]) == 1
    assert "DIFFERENT" in capsys.readouterr().out


def test_where_the_first_step_is_determined_nothing_is_fitted():
    with pytest.raises(SystemExit, match="nothing to fit"):
        main([str(HERE / "data" / "continual_full.npz"), "--fit-rounding"])


def test_other_hyper_parameters_are_obeyed_and_differences_are_found(tmp_path, capsys):
    """The same record with another argument must no longer agree."""
    with np.load(NAMES) as file:
        args = str(file["args"])
    for old, new in (("'wd': 0.1", "'wd': 0.9"), ("(0.16, 0.02)", "(0.0, 0.0)")):
        assert old in args
        path = changed(tmp_path / "other.npz", args=np.array(args.replace(old, new)))
        assert main([str(path)]) == 1
        assert "DIFFERENT" in capsys.readouterr().out


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, losses=np.zeros(2))
    assert main([str(path)]) == 2
    shutil.rmtree(tmp_path)
    assert main([]) == 2
