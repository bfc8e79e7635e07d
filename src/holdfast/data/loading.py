"""Batches from other processes, which are not waited for for ever.

A worker says with each image that it lives. One that is killed, or says nothing for `SILENCE`
seconds, ends the work with one sentence, and all of them end with it. They also end with the
process that started them, however that ends.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from holdfast.errors import HoldfastError

SILENCE = 10.0  # seconds without a sign of life; an image of MAX_PIXELS takes some two
LOOK = 1.0  # seconds between two looks at the signs
REMEDY = (
    "run the same command again to go on, with 0 workers if it happens again (the option that ends "
    "in workers)"
)

_signs: Any = None  # in a worker: a counter of each worker


class _Began:
    """What a worker does first; it is sent to each of them."""

    def __init__(self, signs: Any, parent: int) -> None:
        self.signs, self.parent = signs, parent

    def __call__(self, number: int) -> None:
        global _signs
        _signs = self.signs
        # The parent decides when to stop, and says so.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if sys.platform == "linux":  # also for one that is stopped or hangs
            ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        threading.Thread(target=_end_with, args=(self.parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process once it is no longer a child of `parent`."""
    while os.getppid() == parent:
        time.sleep(LOOK)
    os._exit(1)


def alive() -> None:
    """Say that this worker lives; in another process it says nothing."""
    info = get_worker_info()
    if info is not None and _signs is not None:
        _signs[info.id] += 1


class _Shared(Dataset):
    """Items in shared memory already when they are handed over.

    The thread that hands them over would drop one for which there is no room, and print why.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, step: int) -> Any:
        item = self.dataset[step]
        share(item)
        return item


def share(value: Any) -> None:
    """Move the tensors in `value`, a tensor or a dataclass, to shared memory."""
    if isinstance(value, torch.Tensor):
        value.share_memory_()
    elif is_dataclass(value):
        for each in fields(value):
            share(getattr(value, each.name))


def load(dataset: Dataset, steps: Sequence[int], workers: int) -> Iterator[Any]:
    """The items `steps` of a data set, in order; each worker prepares whole items.

    dataset: its items are tensors, or dataclasses of them. steps: numbers of items.
    workers: processes; 0 prepares in this one. Items must call `alive` more often than every
    SILENCE seconds. Raises HoldfastError for a worker that was killed or hangs.
    """
    if not workers:
        yield from (dataset[step] for step in steps)
        return
    count = min(workers, os.cpu_count() or 1)
    signs = multiprocessing.RawArray("L", count)
    # The items are whole batches already: batch_size=None hands them over as they are. With a
    # generator of its own the loader draws nothing from the one that training uses.
    loader = DataLoader(
        _Shared(dataset),
        batch_size=None,
        sampler=steps,
        num_workers=count,
        generator=torch.Generator(),
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_Began(signs, os.getpid()),
    )
    with script_hidden():  # it starts all workers
        source: Any = iter(loader)
    watch = _Watch(source._workers, signs)
    watch.start()
    try:
        for _ in steps:
            yield _next(source, watch)
    except BaseException:
        _end(source)
        raise
    finally:
        watch.stop()


@contextmanager
def script_hidden() -> Iterator[None]:
    """Processes that are spawned inside the block do not run the user's script again.

    macOS and Windows spawn them, and each would begin with the script, which would call us anew.
    Workers need nothing of it: what they do is in this package.
    """
    script = vars(sys.modules["__main__"])
    known: dict[str, Any] = {key: script[key] for key in ("__file__", "__spec__") if key in script}
    script["__spec__"] = None
    script.pop("__file__", None)
    try:
        yield
    finally:
        script.update(known)


class _Watch(threading.Thread):
    """Kills the workers if none shows a sign of life while an item is waited for.

    A thread: the process itself may wait for a worker that was stopped while it handed over.
    """

    def __init__(self, workers: list[Any], signs: Any) -> None:
        super().__init__(daemon=True)
        self.workers, self.signs = workers, signs
        self.waiting = self.hung = False
        self._over = threading.Event()

    def run(self) -> None:
        seen, last = list(self.signs), time.monotonic()
        while not self._over.wait(LOOK):
            now = list(self.signs)
            if now != seen or not self.waiting:
                seen, last = now, time.monotonic()
            elif time.monotonic() - last > SILENCE:
                self.hung = True
                for worker in self.workers:
                    worker.kill()
                return

    def stop(self) -> None:
        """Watch no longer."""
        self._over.set()


def _next(source: Any, watch: _Watch) -> Any:
    """The next item, however long it takes while its workers show signs of life."""
    watch.waiting = True
    try:
        return next(source)
    except (RuntimeError, OSError, EOFError) as error:
        if not isinstance(error, RuntimeError):  # a worker went while it handed something over
            with suppress(RuntimeError):  # or it is noticed meanwhile
                time.sleep(LOOK)
        if watch.hung:
            raise HoldfastError(
                f"A process that decodes images has said nothing for {SILENCE:g} s; {REMEDY}."
            ) from None
        dead = [w for w in source._workers if not w.is_alive() and w.exitcode]
        text = str(error)
        if dead or "killed by signal" in text or "exited unexpectedly" in text:
            raise HoldfastError(f"{_cause(dead)}; {REMEDY}.") from None
        if is_shared_memory(text):
            raise HoldfastError(
                f"The shared memory of this machine (/dev/shm) is too small; give it more, or "
                f"{REMEDY}."
            ) from None
        raise
    finally:
        watch.waiting = False


def is_shared_memory(text: str) -> bool:
    """Whether an error's `text` says that shared memory ran out."""
    words = ("shared memory", "/dev/shm", "No space left on device", "torch_shm", "/torch_")
    return any(word in text for word in words)


def _cause(dead: list[Any]) -> str:
    """Why the first of the workers that are `dead` is, in words."""
    code = dead[0].exitcode if dead else None
    if code == -signal.SIGBUS:
        return "A process that decodes images found the shared memory (/dev/shm) full: give it more"
    if code == -signal.SIGKILL:
        return "A process that decodes images was killed, perhaps because memory ran out"
    what = f"ended with code {code}"
    if code is not None and code < 0:
        with suppress(ValueError):
            what = f"was ended by {signal.Signals(-code).name}"
    return f"A process that decodes images {what}"


def _end(source: Any) -> None:
    """End the workers at once: one that hangs would not hear a request."""
    with suppress(RuntimeError):  # torch tells of workers that were killed, here by us
        for worker in source._workers:
            worker.kill()
        for worker in source._workers:
            worker.join(LOOK)
