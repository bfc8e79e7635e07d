"""Continual learning: one more task for a model, and streams of tasks."""

from holdfast.verbs.continual.add import add
from holdfast.verbs.continual.run import run

__all__ = ["add", "run"]
