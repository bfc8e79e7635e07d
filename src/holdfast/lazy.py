"""Modules that import torch, loaded when they are first used.

The command line must know every method, anchor and setting, and must start quickly. So those take
what computes from here: `from holdfast.lazy import losses`. A type checker sees the real modules.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch as torch

    from holdfast import averaging as averaging
    from holdfast import evaluation as evaluation
    from holdfast import losses as losses
    from holdfast import tensor_files as tensor_files
    from holdfast import weights as weights
else:

    class _Lazy(ModuleType):
        """Stands for a module; imports it when something of it is asked for."""

        def __getattr__(self, name: str) -> Any:
            return getattr(import_module(self.__name__), name)

    torch = _Lazy("torch")
    averaging = _Lazy("holdfast.averaging")
    evaluation = _Lazy("holdfast.evaluation")
    losses = _Lazy("holdfast.losses")
    tensor_files = _Lazy("holdfast.tensor_files")
    weights = _Lazy("holdfast.weights")
