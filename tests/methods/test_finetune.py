"""Fine-tuning: no anchor, and none that is not asked for."""

import pytest

from holdfast.anchors.iterate_average import IterateAverage
from holdfast.methods import Family, compose
from holdfast.methods.finetune import FineTuning


@pytest.mark.parametrize("family", [Family.CONTINUAL, Family.TRANSFER])
def test_it_has_no_anchor_but_those_that_are_added(family):
    assert compose(FineTuning(), [], family).anchors == ()
    assert compose(FineTuning(), [IterateAverage(3)], family).anchors == (IterateAverage(3),)
