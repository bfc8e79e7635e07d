"""The progress bar of long steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

showing: ContextVar[bool] = ContextVar("showing", default=True)


@contextmanager
def hidden() -> Iterator[None]:
    """No progress bars inside the block."""
    token = showing.set(False)
    try:
        yield
    finally:
        showing.reset(token)


@contextmanager
def progress(label: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show a progress bar; yields a function that advances it by a number of units.

    label: what is done. total: units in all. done: units that were finished before.
    A terminal shows the bar while it moves; a log file gets one line at the end.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not showing.get()) as bar:
        task = bar.add_task(label, total=total, completed=done)
        yield lambda amount: bar.advance(task, amount)
