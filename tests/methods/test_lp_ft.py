import torch
from safetensors.torch import load_file
from tests.worlds import domain_tree, small_experiment, train

from holdfast.methods import Family, compose
from holdfast.methods.lp_ft import LPFT
from holdfast.training_run import TrainingRun


def test_the_probe_trains_the_head_alone_and_the_rest_starts_from_it(tmp_path):
    tree = domain_tree(tmp_path / "data", count=5)
    for views in (2, 0):
        experiment, _ = small_experiment(tree, tmp_path / "answers", views=views)
        folder = tmp_path / str(views)
        training, classifier = train(experiment, folder, "lp-ft")
        assert list(training.stages) == ["probe", "train"]
        composition = compose(LPFT(), [], Family.DISTILL)
        _, learner = TrainingRun(experiment, 0, (0, 1), folder).new_learner(composition)
        start = {name: p.detach().clone() for name, p in learner.named_parameters()}
        probed = {k: t for k, t in load_file(folder / "probe.safetensors").items() if k in start}
        assert set(probed) == {"head.weight", "head.bias"}
        assert not torch.equal(probed["head.weight"], start["head.weight"])
        # It is no more than a small step from there to the end.
        moved = (classifier.head.weight - probed["head.weight"]).abs().max()
        assert 0 < moved < 4 * 1e-3 + 1e-6  # four steps of Adam
        tuned = load_file(folder / "train.safetensors")
        assert any(name.startswith("visual.backbone.") for name in tuned) and "head.weight" in tuned
