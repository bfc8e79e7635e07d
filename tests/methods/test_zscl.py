"""ZSCL: the initial model's answers on reference images, L2, and an average."""

from holdfast.methods import Family, compose
from holdfast.methods.zscl import ZSCL


def test_it_asks_the_initial_model_about_pre_training():
    found = compose(ZSCL(), [], Family.CONTINUAL)
    assert [anchor.name for anchor in found.anchors] == [
        "replay-distillation",
        "consolidation",
        "iterate-average",
    ]
    assert (found.replayed, found.teacher) == ("pretraining", "initial")
    assert found.distillation.over == "all" and found.distillation.train_towers == "image"
    assert found.distillation.directions == "both"
    assert not found.weighs_by_replay
