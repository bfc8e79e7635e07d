import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.reference.replay import loss_valley, main
from tests.reference.swad import average

HERE = Path(__file__).parent
NAMES = HERE / "data" / "names.npz"
DISTILL = HERE / "data" / "distill.npz"


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


def steps_of(k, every, reset=True):
    """The steps of a segment whose weights at step t are [t, t^2]."""
    return np.arange(every * k - every + 1 if reset and k else 0, every * k + 1)


def mean_of(segments, every, reset=True):
    means = [[s.mean(), (s**2).mean()] for s in (steps_of(k, every, reset) for k in segments)]
    return np.mean(means, axis=0)


def test_a_flat_curve_by_hand():
    """The average begins at 0 and passes it over; it comes back while the memory is not full."""
    for losses in (np.ones(8), np.array([1.0, 1.01, 1.02, 1.01, 1.0, 1.01, 1.0, 1.0])):
        found = loss_valley(losses, True, 5)
        assert (found["start_step"], found["end_step"], found["dead_at_eval"]) == (1, 35, -1)
        taken = [1, 2, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7]
        assert found["weights"] == pytest.approx(mean_of(taken, 5))


def test_what_is_taken_after_the_last_validation_counts_from_its_last_step():
    """As the paper's code reports it. The average begins at 3, and the training ends at once."""
    losses = np.array([9.0, 8.0, 7.0, 1.0, 1.1, 1.2])
    found = loss_valley(losses, True, 5)
    assert (found["start_step"], found["end_step"]) == (5, 25)
    # All that is remembered but the oldest is taken, the high losses of 1 and 2 included.
    assert found["weights"] == pytest.approx(mean_of([1, 2, 3, 4, 5], 5))


def test_an_average_of_nothing_has_no_steps():
    """A threshold of 0.91 that both of the losses left exceed."""
    found = loss_valley(np.array([0.1, 1.0, 1.0]), True, 5)
    assert (found["start_step"], found["end_step"], found["dead_at_eval"]) == (-1, -1, -1)
    assert found["weights"] == pytest.approx([0.0, 0.0])


def curves(count):
    """Curves that stay flat, fall, rise or jump, some with equal losses."""
    random = np.random.default_rng(0)
    for _ in range(count):
        length = random.integers(1, 30)
        trend = random.choice([0.0, 0.02, 0.5]) * np.abs(np.arange(length) - random.integers(20))
        noise = random.choice([0.0, 0.05, 1.0]) * random.random(length)
        yield np.round(0.2 + trend + noise, random.choice([1, 12]))


def reported(losses, every, reset):
    """What the paper's code reports, from the average written out."""
    found = average(losses)
    last = len(losses) - 1
    if found is None:
        start, end, left_at, taken = steps_of(last, every, reset)[0], every * last, -1, [last]
    else:
        taken = found.taken or [found.start]
        late = len(found.taken) == found.late
        start = taken[0] * every if late else steps_of(taken[0], every, reset)[0]
        end = taken[-1] * every
        if not found.taken:
            start = end = -1
        left_at = -1 if found.left_at is None else found.left_at
    return {
        "dead_at_eval": np.array(left_at),
        "start_step": np.array(start),
        "end_step": np.array(end),
        "weights": mean_of(taken, every, reset),
    }


def test_what_is_written_out_equals_the_papers_code():
    """So that it may judge other curves."""
    with np.load(DISTILL) as file:
        recorded = [key.removesuffix("losses") for key in file if key.endswith("/losses")]
        assert len(recorded) == 12
        for curve in recorded:
            found = reported(file[f"{curve}losses"], 5, curve.endswith("reset/"))
            for name, value in found.items():
                np.testing.assert_allclose(value, file[curve + name], rtol=1e-9)


def test_any_curve_agrees(tmp_path, capsys):
    """Hundreds of curves in one file of the format; one wrong number in it is found."""
    with np.load(DISTILL) as file:
        record = {key: file[key] for key in file if not key.startswith("swad/")}
    record["args"] = np.array(str(record["args"]).replace("'eval_every': 5", "'eval_every': 4"))
    for number, losses in enumerate(curves(400)):
        kind = ("reset", "kept")[number % 2]
        values = {"losses": losses} | reported(losses, 4, kind == "reset")
        record |= {f"swad/{number}/{kind}/{name}": value for name, value in values.items()}
    path = tmp_path / "curves.npz"
    np.savez(path, **record)
    assert main([str(path)]) == 0, capsys.readouterr().out
    assert "curves: 400" in capsys.readouterr().out
    np.savez(path, **{**record, "swad/6/reset/start_step": record["swad/6/reset/start_step"] + 1})
    assert main([str(path)]) == 1
    assert "averages that differ: swad/6/reset/start_step" in capsys.readouterr().out
