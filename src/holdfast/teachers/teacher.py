"""What a teacher is, and the check of all embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.data.views import View

LOGIT_SCALE = 100.0  # where CLIP's learned factor ends: its authors clip it there


class NotTaken(HoldfastError):  # noqa: N818 - reads better where it is caught
    """A request that was not accepted: it never arrived, or was refused. It costs nothing."""


_charge: ContextVar[Callable[[], None] | None] = ContextVar("charge", default=None)


@contextmanager
def before_each_retry(charge: Callable[[], None]) -> Iterator[None]:
    """Inside the block a teacher calls `charge` before it sends a request again (see `retrying`).

    charge: writes the further try down, or raises if there is no budget for it.
    """
    token = _charge.set(charge)
    try:
        yield
    finally:
        _charge.reset(token)


def retrying() -> None:
    """Say that a request is about to be sent again, which the service may charge for.

    Raises what the charge raises.
    """
    charge = _charge.get()
    if charge is not None:
        charge()


class Teacher(Protocol):
    """A vision-language model that is asked for embeddings and never differentiated.

    name: for messages and reports.
    identity: of model, weights and preprocessing; the same in every process.
    logit_scale: factor on cosine similarities.
    batch: largest number of images or prompts of one request.
    free: whether asking costs nothing. A request that fails may cost as much as one that is
        answered, unless NotTaken is raised. Before a further try of one that may have cost
        something, `retrying` is called.
    """

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str: ...

    @property
    def logit_scale(self) -> float: ...

    @property
    def batch(self) -> int: ...

    @property
    def free(self) -> bool: ...

    def embed_images(self, views: Sequence[View]) -> Tensor:
        """Embeddings of `views`: (views, dim) float32 on the CPU, L2-normalised.

        Raises HoldfastError.
        """

    def embed_text(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings of `prompts`: (prompts, dim) float32 on the CPU, L2-normalised.

        Raises HoldfastError.
        """


class Unusable(HoldfastError):  # noqa: N818 - reads better where it is caught
    """Some embeddings of an answer cannot be used.

    text: what is wrong. rows: (n, dim), the whole answer, normalised. usable: (n,), which of its
    rows can be used.
    """

    def __init__(self, text: str, rows: Tensor, usable: Tensor) -> None:
        super().__init__(text)
        self.rows, self.usable = rows, usable


def unit_rows(rows: Tensor, source: str) -> Tensor:
    """`rows` (n, dim) as float32 on the CPU, each divided by its L2 norm.

    source: where they are from, for messages. Raises Unusable for a row that is not finite or is
    all zeros.
    """
    rows = rows.detach().float().cpu()
    tests = {
        "is not finite (NaN or infinite)": ~rows.isfinite().all(dim=1),
        "is all zeros": (rows == 0).all(dim=1),
    }
    found = F.normalize(rows, dim=1)
    for what, bad in tests.items():
        if bad.any():
            raise Unusable(
                f"{source}: the embedding in row {int(bad.nonzero()[0])} of {len(rows)} {what}; "
                "nothing can be learned from it.",
                found,
                ~torch.stack(list(tests.values())).any(dim=0),
            )
    return found
