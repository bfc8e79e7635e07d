"""One trial: the choice of the image weight, without the domain that is held out."""

import pytest
import torch
from tests.worlds import domain_tree, small_experiment, small_settings

from holdfast.commands import distill as module
from holdfast.training_run import TrainingRun


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return domain_tree(tmp_path_factory.mktemp("domains") / "data")


@pytest.fixture(scope="module")
def answers(tmp_path_factory, tree):
    """A store that holds what most tests ask; those that count queries have one of their own."""
    folder = tmp_path_factory.mktemp("answers")
    distill(tree, folder, sample=1, advice_only=True)
    _, store = small_experiment(tree, folder / "answers")
    return store.folder.parent


def distill(tree, tmp_path, store=None, **changes):
    """A run in `tmp_path / "run"`; changes: settings."""
    where = {"out": tmp_path / "run", "store": store or tmp_path / "answers"}
    return module.distill(small_settings(tree, **(where | changes)))


@pytest.mark.parametrize("selection", ["validation", "source"])
def test_the_image_weight_is_selected_without_the_held_out_domain(
    tree, answers, tmp_path, selection, monkeypatch
):
    seen = set()
    original = TrainingRun.__init__

    def watched(self, experiment, seed, sources, folder):
        seen.add((tuple(sources), str(folder.relative_to(tmp_path / "run" / "without-colour"))))
        original(self, experiment, seed, sources, folder)

    monkeypatch.setattr(TrainingRun, "__init__", watched)
    method = {"name": "vl2v", "image_weight": [0.1, 0.9]}
    more = {"held_out": "colour", "method": method, "selection": selection}
    [trial] = distill(tree, tmp_path, store=answers, **more).trials
    assert [c.image_weight for c in trial.candidates] == [0.1, 0.9]
    best = max(trial.candidates, key=lambda c: c.accuracy)
    assert trial.image_weight == best.image_weight
    if selection == "validation":
        assert seen == {((1, 2), "weight-0.1"), ((1, 2), "weight-0.9")}
        kept = trial.stages["distill"].kept.accuracy
        assert kept == best.accuracy
    else:
        assert seen == {
            ((1, 2), "training"),
            *(((2,), f"weight-{w}/without-line") for w in (0.1, 0.9)),
            *(((1,), f"weight-{w}/without-solid") for w in (0.1, 0.9)),
        }
    assert trial.training_seconds > sum(s.seconds for s in trial.stages.values())


def test_seeds_have_their_own_splits_and_give_a_deviation(tree, tmp_path):
    result = distill(tree, tmp_path, held_out="colour", trials=2)
    assert [t.seed for t in result.trials] == [0, 1]
    average = result.summary.held_out["full"].average
    values = torch.tensor(average.values)
    assert average.deviation == pytest.approx(values.std().item(), abs=1e-6)
    assert (tmp_path / "run" / "without-colour" / "seed-1" / "model").is_dir()
