"""Zero-shot: nothing learns."""

from holdfast.methods import Family, available
from holdfast.methods.zero_shot import ZeroShot


def test_nothing_learns():
    assert not ZeroShot.trains
    others = {n for family in Family for n, m in available(family).items() if not m.trains}
    assert others == {"zero-shot"}
