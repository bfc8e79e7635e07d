"""Ways to hold on to the old, a file each (see `holdfast.anchors.base`)."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules


def load_anchors() -> None:
    """Import every file of this package, so that each anchor is known."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
