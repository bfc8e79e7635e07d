"""L2: the same pull on every weight."""

import pytest

from holdfast.anchors.consolidation import Consolidation
from holdfast.methods import Family, compose
from holdfast.methods.l2 import L2


@pytest.mark.parametrize("family", [Family.CONTINUAL, Family.TRANSFER])
def test_it_pulls_every_weight_alike_and_asks_nothing(family):
    found = compose(L2(Consolidation(0.3, "uniform")), [], family)
    assert found.anchors == (Consolidation(0.3, "uniform", "previous"),)
    assert not found.asks_replay and not found.needs
    assert compose(L2(), [], family).anchors == (Consolidation(1.0, "uniform"),)
