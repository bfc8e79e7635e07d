"""Tasks that must not suffer."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast import builtin
from holdfast.data.streams import TaskSource, task_name
from holdfast.errors import UsageError


def held_out_sources(given: Sequence[str] | str) -> list[TaskSource]:
    """The tasks that must not suffer. Raises UsageError for one that is not there."""
    places = [given] if isinstance(given, str) else list(given)
    for place in places:
        builtin.check_place(place)
    sources = [TaskSource(task_name(place), place) for place in places]
    if len({source.name for source in sources}) < len(sources):
        raise UsageError("Two held-out tasks have the same folder name; rename one folder.")
    return sources
