"""Confusion matrices as values: rows are what is, columns what was said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError

MOST_CLASSES = 2000


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Counts, (n, n), and the class of each row and column."""

    counts: NDArray[Any]
    order: tuple[int, ...]

    def describe(self) -> list[Any]:
        """The form of getInfo: nested lists."""
        found: list[Any] = self.counts.tolist()
        return found


def counted(actual: Sequence[float], predicted: Sequence[float], order: list[int] | None, name: str) -> ConfusionMatrix:
    """The matrix of pairs of classes; without an order of 0 to the greatest class. Other classes do not count."""
    if order is None:
        top = max([*actual, *predicted], default=0)
        if min([*actual, *predicted], default=0) < 0 or top >= MOST_CLASSES:
            raise ServiceError(
                f"{name}: classes must lie between 0 and {MOST_CLASSES - 1}; give 'order' for others, or remap them."
            )
        order = list(range(int(top) + 1))
    if len(order) > MOST_CLASSES or len(set(order)) < len(order):
        raise ServiceError(f"{name}: 'order' must be at most {MOST_CLASSES} different classes, got {order!s:.60}.")
    place = {value: i for i, value in enumerate(order)}
    counts = np.zeros((len(order), len(order)), np.int64)
    for pair in zip(actual, predicted, strict=True):
        row, column = (place.get(int(value)) for value in pair)
        if row is not None and column is not None:
            counts[row, column] += 1
    return ConfusionMatrix(counts, tuple(order))
