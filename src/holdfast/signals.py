"""Ctrl-C and TERM, held back until it is safe to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

HELD = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether the process was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._at_once = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside the block a signal stops at once; one that came before does so here."""
        if self.signal is not None:
            self.now()
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def take(self, number: int) -> None:
        """Note the signal `number`; stop, if that is safe now or it is the second."""
        again, self.signal = self.signal is not None, number
        if again or self._at_once:
            self.now()

    def now(self) -> NoReturn:
        """Stop as the signal would have: KeyboardInterrupt, or SystemExit with 143."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(143)


@contextmanager
def held_signals() -> Iterator[Stop]:
    """Hold Ctrl-C and TERM back inside the block; the caller looks at the Stop it is given.

    A second signal is not held back, and none is inside `Stop.at_once`. Outside of the main thread
    nothing is.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, frame: FrameType | None) -> None:
        stop.take(number)

    earlier = {each: signal.signal(each, note) for each in HELD}
    try:
        yield stop
    finally:
        for each, handler in earlier.items():
            signal.signal(each, handler)
