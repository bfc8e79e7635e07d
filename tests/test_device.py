import pytest

from holdfast.device import pick_device
from holdfast.errors import UsageError


def test_devices():
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in ("cpu", "cuda", "mps", "xpu")
    for absent in ("cuda:97", "tpu", "meta"):
        with pytest.raises(UsageError, match="cannot be used"):
            pick_device(absent)
