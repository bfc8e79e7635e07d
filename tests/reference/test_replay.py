import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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


def test_other_hyper_parameters_are_obeyed_and_differences_are_found(tmp_path):
    """The same record with another argument must no longer agree."""
    with np.load(NAMES) as file:
        args = str(file["args"])
    for old, new in (("'wd': 0.1", "'wd': 0.9"), ("(0.16, 0.02)", "(0.0, 0.0)")):
        assert old in args
        path = changed(tmp_path / "other.npz", args=np.array(args.replace(old, new)))
        done = replay(path)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "DIFFERENT" in done.stdout


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, losses=np.zeros(2))
    assert replay(path).returncode == 2
    shutil.rmtree(tmp_path)
    assert replay().returncode == 2
