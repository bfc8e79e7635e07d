"""All cases, from the files that have them."""

from tests.faults import damage, disk, drawn, refusals, saves, signals, stops, tested  # noqa: F401
from tests.faults.case import CASES

__all__ = ["CASES"]
