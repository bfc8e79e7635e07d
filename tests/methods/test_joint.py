"""Joint training: for streams alone."""

import pytest

from holdfast.commands.settings import ContinualAddSettings, ContinualRunSettings
from holdfast.errors import UsageError
from holdfast.methods.joint import Joint


def test_it_is_for_a_stream():
    assert ContinualRunSettings("stream.yaml", method="joint").method == Joint()
    with pytest.raises(UsageError, match="'joint' is for a stream"):
        ContinualAddSettings("pocket", "pocket:digits", method="joint")
