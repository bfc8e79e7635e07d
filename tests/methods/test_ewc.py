"""EWC: a pull by the Fisher information of the replayed images."""

from holdfast.anchors.consolidation import Consolidation
from holdfast.methods import Family, compose
from holdfast.methods.ewc import EWC


def test_it_asks_for_fisher_information_and_distils_nothing():
    found = compose(EWC(), [], Family.CONTINUAL)
    assert found.anchors == (Consolidation(1.0, "static", "previous"),)
    assert found.asks_replay and found.weighs_by_replay and not found.replays
    assert found.replayed == "known"


def test_without_replayed_images_it_is_l2():
    found = compose(EWC(), [], Family.CONTINUAL, replay=False)
    assert found.anchors == (Consolidation(1.0, "uniform", "previous"),)
    assert not found.asks_replay
