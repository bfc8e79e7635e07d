import pytest
import torch
import torch.nn.functional as F

from holdfast.device import attention, pick_device
from holdfast.errors import UsageError


def test_devices():
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in ("cpu", "cuda", "mps", "xpu")
    for absent in ("cuda:97", "tpu", "meta"):
        with pytest.raises(UsageError, match="cannot be used"):
            pick_device(absent)


def test_on_a_cpu_attention_takes_the_plain_kernel():
    def kernels():
        return torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()

    before = kernels()
    with attention(torch.device("cpu")):
        assert kernels() == (False, True)
        q = torch.randn(1, 2, 4, 8)
        theirs = (q @ q.transpose(-1, -2) / 8**0.5).softmax(dim=-1) @ q
        torch.testing.assert_close(F.scaled_dot_product_attention(q, q, q), theirs)
    assert kernels() == before
    with attention(torch.device("meta")):
        assert kernels() == before
