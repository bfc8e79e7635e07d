"""Methods, a file each (see `holdfast.methods.base`)."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from holdfast.methods.base import Composition, Family, Method, Phase, available, compose

__all__ = ["Composition", "Family", "Method", "Phase", "available", "compose", "load_methods"]


def load_methods() -> None:
    """Import every file of this package, so that each method is known."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
