"""Batches for `fit` whose content is a function of (seed, step) alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Shuffled:
    """`steps` batches of `size` from `count` items, in a new order each epoch.

    make: turns indices (size,) into the batch that the objective receives.
    """

    count: int
    size: int
    steps: int
    seed: int
    make: Callable[[NDArray[np.int64]], Any]

    def __len__(self) -> int:
        return self.steps

    def __call__(self, start: int) -> Iterator[Any]:
        per_epoch = self.count // self.size
        order, current = np.empty(0, dtype=np.int64), -1
        for step in range(start, self.steps):
            epoch, position = divmod(step, per_epoch)
            if epoch != current:
                order, current = (
                    np.random.default_rng((self.seed, epoch)).permutation(self.count),
                    epoch,
                )
            yield self.make(order[position * self.size : (position + 1) * self.size])
