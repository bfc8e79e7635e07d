import pytest
import torch
from tests.worlds import changed, domain_tree, small_experiment, train, weights_of

from holdfast.methods import Family
from holdfast.methods.wise_ft import WiSEFT


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("domains")
    tree = domain_tree(folder / "data", count=5)
    return small_experiment(tree, folder / "answers", student="teacher")[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of one training, which all tests average."""
    return tmp_path_factory.mktemp("training")


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_it_lies_between_the_teacher_and_what_was_tuned(experiment, folder, alpha):
    teacher = weights_of(experiment.tower(None, 0).visual)
    _, averaged = train(experiment, folder, {"name": "wise-ft", "alpha": alpha})
    # The same training without the average.
    _, tuned = train(experiment, folder, "text-head")
    found, learnt = weights_of(averaged.visual), weights_of(tuned.visual)
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, torch.lerp(teacher[name], learnt[name], alpha))
    assert bool(changed(teacher, found)) == (alpha > 0)
    head = experiment.taught.text * experiment.logit_scale
    expected = torch.lerp(head, tuned.head.weight, alpha)
    torch.testing.assert_close(averaged.head.weight, expected)


def test_the_default_is_the_papers_and_zscls_in_continual_learning():
    for family, alpha in (("transfer", 0.5), ("distill", 0.5), ("continual", 0.8)):
        [ensemble] = WiSEFT().anchors(Family(family))
        assert ensemble.alpha == alpha
        [ensemble] = WiSEFT(alpha=0).anchors(Family(family))
        assert ensemble.alpha == 0
