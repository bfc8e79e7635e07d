"""Numbers as a reader wants them."""

from __future__ import annotations

import pytest

from holdfast.report import formats


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formats.percent(0.8742), "87.4\u00a0%"),
        (formats.percent(None), "–"),
        (formats.points(-0.0213), "−2.1"),
        (formats.points(-0.0001), "0.0"),
        (formats.number(1.3024), "1.302"),
        (formats.number(14.92), "14.9"),
        (formats.number(12345.6), "12,346"),
        (formats.number(0.00012), "0.00012"),
        (formats.number(0.00001), "1e\u22125"),
        (formats.number(0), "0"),
        (formats.large(149620737), "149.6\u00a0M"),
        (formats.duration(59.96), "1\u00a0min"),
        (formats.duration(4021.3), "1\u00a0h 7\u00a0min"),
        (formats.size(3_412_000_000), "3.4\u00a0GB"),
    ],
)
def test_formats(shown: str, expected: str) -> None:
    assert shown == expected
