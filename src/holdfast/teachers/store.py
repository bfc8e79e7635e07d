"""Embeddings of a teacher, stored so that none is asked for twice.

A folder for each teacher, named by a hash of its identity:

    about.json, embeddings.f16, keys    the embeddings (see `holdfast.teachers.rows`)
    ledger.jsonl                        what was asked (see `holdfast.teachers.ledger`)
    lock                                held by the one process that asks

A request is written to the ledger and sent; then its rows are stored. So a kill costs at most the
answer to one request, which is asked and paid again. Each further try of a request that the service
may have worked on is written down, too, before it is sent.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from holdfast.data.pictures import UnreadableImage
from holdfast.data.views import View
from holdfast.errors import DamagedFile, HoldfastError
from holdfast.files import derive_seed, remove_leftovers
from holdfast.progress import progress
from holdfast.teachers.ledger import BudgetExhausted, Ledger
from holdfast.teachers.rows import StoredRows
from holdfast.teachers.teacher import NotTaken, Teacher, Unusable, before_each_retry, unit_rows

T = TypeVar("T")

WAIT = 60.0  # seconds for another process to be done with its request
DRIFT = 1e-3  # of 1 - cosine; rounding to float16 costs less than 1e-6


@dataclass(frozen=True)
class Plan:
    """What has to be asked.

    images, texts: queries that are needed. stored_images, stored_texts: answers that are stored.
    """

    images: int
    texts: int
    stored_images: int
    stored_texts: int


@dataclass(frozen=True)
class Drift:
    """How far a teacher's answers have changed.

    count: stored entries that were asked for again. mean_cosine, lowest_cosine: of the old and the
    new embeddings, 1 for equal ones.
    """

    count: int
    mean_cosine: float
    lowest_cosine: float

    @property
    def drifted(self) -> bool:
        """Whether an entry changed more than rounding can explain."""
        return 1 - self.lowest_cosine > DRIFT


class EmbeddingStore:
    """The stored embeddings of one teacher.

    folder: for the stores of all teachers. teacher: the one that is asked.
    max_queries: the largest sum that this teacher's ledger may reach, over all runs; None is no
    limit. The queries of a free teacher are not counted.

    Raises HoldfastError for a folder that holds something else.
    """

    def __init__(self, folder: Path, teacher: Teacher, max_queries: int | None = None) -> None:
        self.teacher = teacher
        name = hashlib.sha256(teacher.identity.encode()).hexdigest()[:16]
        self.folder = folder / name
        self.ledger = Ledger(self.folder / "ledger.jsonl", max_queries)
        self._rows = StoredRows(self.folder, teacher.identity)

    def __contains__(self, view: View) -> bool:
        return _image_key(view) in self._rows

    def missing(self, views: Iterable[View]) -> list[View]:
        """Those of `views` that are not stored, in their order, and each content once."""
        unique: dict[bytes, View] = {}
        for view in views:
            unique.setdefault(_image_key(view), view)
        return [view for key, view in unique.items() if key not in self._rows]

    def plan(self, views: Iterable[View], prompts: Iterable[str] = ()) -> Plan:
        """What `fill` would have to ask for `views`, and `text` for `prompts`; nothing is asked."""
        images = {_image_key(view) for view in views}
        texts = {_text_key(prompt) for prompt in prompts}
        there = [sum(key in self._rows for key in keys) for keys in (images, texts)]
        return Plan(len(images) - there[0], len(texts) - there[1], *there)

    def fill(self, *rounds: Sequence[View], bar: bool = True) -> None:
        """Ask for the embeddings that are missing, and store the answer to each batch at once.

        rounds: the first views of all images, the second ones, and so on. A round that the budget
        is too small for is not begun, so that all images have the same number of views.
        bar: whether to show progress.

        Raises BudgetExhausted, which says how many views of each image are stored; HoldfastError if
        another process asks for this store, and for answers that cannot be used, which are not
        stored.
        """
        everything = [view for views in rounds for view in views]
        if not self.missing(everything):
            return
        with self._asking():
            total = len(self.missing(everything))
            shown = progress("asking the teacher", total) if bar else nullcontext(lambda _: None)
            with shown as advance:
                for whole, views in enumerate(rounds):
                    missing = self.missing(views)
                    if len(missing) > self._left:
                        more = len(missing), len(self.missing(everything))
                        raise BudgetExhausted(_too_small(self.ledger, whole, len(rounds), *more))
                    for part in _batches(missing, self.teacher.batch):
                        self._ask(part)
                        advance(len(part))

    def _ask(self, views: Sequence[View]) -> None:
        """One request; of an answer that is not all usable, what is usable is kept."""
        problem = None
        with self._charged(images=len(views)) as kept:
            try:
                rows = self.teacher.embed_images(views)
            except Unusable as error:
                if len(error.rows) != len(views):
                    raise
                problem, rows = error, error.rows[error.usable]
                wrong = [view for view, good in zip(views, error.usable, strict=True) if not good]
                views = [view for view, good in zip(views, error.usable, strict=True) if good]
            if len(rows):
                self._append([_image_key(view) for view in views], rows)
            kept.rows = len(rows)
        if problem is not None:
            raise HoldfastError(
                f"{str(problem).rstrip('.')} (it is that of {wrong[0].path}). The other answers "
                "are kept; take the image away, or see what is wrong with the teacher."
            )

    def images(self, views: Sequence[View]) -> Tensor:
        """The stored embeddings of `views`: (views, dim) float32, L2-normalised.

        Raises HoldfastError for a view that is not stored; call `fill` first.
        """
        if missing := self.missing(views):
            raise HoldfastError(
                f"{self.folder} lacks {len(missing)} of {len(views)} embeddings, that of "
                f"{missing[0].path} among them; run the same command again to ask for them."
            )
        return self._rows.take([_image_key(view) for view in views])

    def text(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings of `prompts`: (prompts, dim) float32, L2-normalised.

        Those that are not stored are asked for. Raises what `fill` raises.
        """
        if not self._has_text(prompts):
            with self._asking():
                missing = [p for p in dict.fromkeys(prompts) if not self._has_text([p])]
                if len(missing) > self._left:
                    self.ledger.charge(texts=len(missing))  # raises, before a part is spent
                for part in _batches(missing, self.teacher.batch):
                    with self._charged(texts=len(part)) as kept:
                        rows = self.teacher.embed_text(part)
                        self._append([_text_key(prompt) for prompt in part], rows)
                        kept.rows = len(part)
        return self._rows.take([_text_key(prompt) for prompt in prompts])

    def spot_check(self, views: Iterable[View], count: int, seed: int) -> Drift:
        """Ask again for some of the stored `views`, and compare the answers; it costs queries.

        count: views at most. seed: of their choice. Raises HoldfastError if none of the views is
        stored, and what `fill` raises.
        """
        stored = {_image_key(view): view for view in views if view in self}
        if not stored:
            raise HoldfastError(f"{self.folder} holds none of these views yet; nothing to compare.")
        chosen = random.Random(derive_seed(seed, "spot check"))
        again = chosen.sample(list(stored.values()), min(count, len(stored)))
        cosines: list[Tensor] = []
        with self._asking():
            for part in _batches(again, self.teacher.batch):
                with self._charged(images=len(part), purpose="spot check"):
                    rows = self._checked(self.teacher.embed_images(part), len(part))
                    cosines.append((rows * self.images(part)).sum(dim=1))
        every = torch.cat(cosines)
        return Drift(len(every), every.mean().item(), every.min().item())

    @property
    def _left(self) -> float:
        return math.inf if self.teacher.free else self.ledger.left

    def _has_text(self, prompts: Sequence[str]) -> bool:
        return all(_text_key(prompt) in self._rows for prompt in prompts)

    @contextmanager
    def _charged(self, images: int = 0, texts: int = 0, purpose: str = "store") -> Iterator[_Kept]:
        """Charge for the request inside the block, and note its answer if it comes to its end."""
        kept = _Kept()
        if self.teacher.free:
            yield kept
            return
        charge = partial(self.ledger.charge, images, texts, purpose)
        charge()
        try:
            with before_each_retry(charge):
                yield kept
        except (NotTaken, UnreadableImage):  # of an image that cannot be read nothing was sent
            self.ledger.withdraw()
            raise
        self.ledger.answered(kept.rows)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Hold the lock, know what other processes added, and cut off what a kill left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(self.folder / "lock").acquire(timeout=WAIT)
        except Timeout:
            raise HoldfastError(
                f"Another process is asking the teacher for {self.folder}; wait until it has "
                "ended, then run the same command again."
            ) from None
        with lock:
            remove_leftovers(self.folder)
            self._rows.refresh()
            self._rows.cut_off()
            self.ledger.refresh()
            self._check_books()
            yield

    def _check_books(self) -> None:
        """Raise DamagedFile where ledger and rows tell of different numbers of answers."""
        if self.teacher.free:
            return
        stored, spent = len(self._rows), self.ledger.spent
        if stored < self.ledger.stored:
            raise DamagedFile(
                f"{self.folder} holds {stored:,} embeddings, and its ledger tells of "
                f"{self.ledger.stored:,}; restore it from a copy, or remove it to ask again."
            )
        if spent < stored:
            raise DamagedFile(
                f"{self.ledger.path} tells of {spent:,} queries, and {stored:,} were answered; "
                "restore it from a copy."
            )

    def _append(self, keys: list[bytes], answer: Tensor) -> None:
        self._rows.append(keys, self._checked(answer, len(keys)))

    def _checked(self, answer: Tensor, count: int) -> Tensor:
        """An answer as (count, dim) float32, L2-normalised, or HoldfastError."""
        dim = answer.shape[-1] if self._rows.dim is None else self._rows.dim
        if answer.shape != (count, dim):
            raise HoldfastError(
                f"The teacher {self.teacher.name} answered with embeddings of shape "
                f"{tuple(answer.shape)} where {(count, dim)} was expected; check that it is the "
                f"model that filled {self.folder}. Nothing of this answer was kept."
            )
        return unit_rows(answer, f"The teacher {self.teacher.name}")


@dataclass
class _Kept:
    """How many rows of an answer were stored."""

    rows: int = 0


def _image_key(view: View) -> bytes:
    return bytes.fromhex(view.key)


def _text_key(prompt: str) -> bytes:
    return hashlib.sha256(f"text {prompt}".encode()).digest()


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _too_small(ledger: Ledger, whole: int, rounds: int, now: int, total: int) -> str:
    """Why a round that needs `now` queries was not begun; all rounds need `total` more."""
    enough = f"raise --max_queries to {ledger.spent + total:,} or more"
    if whole:
        return (
            f"The budget of {ledger.max_queries:,} queries ends after {whole} of {rounds} views of "
            f"each image ({ledger.spent:,} are spent); go on with these by --views {whole}, or "
            f"{enough}."
        )
    most = " (--dry_run says what the whole run takes at most)"  # online, steps ask one by one
    first = "the first view of the images needs" if rounds > 1 else "the images now due need"
    return (
        f"The budget of {ledger.max_queries:,} queries is too small: {ledger.spent:,} are spent, "
        f"and {first} {now:,} more; {enough}"
        f"{f' (to {ledger.spent + now:,} for one view)' if rounds > 1 else most}."
    )
