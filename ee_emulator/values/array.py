"""Arrays of numbers as values. https://developers.google.com/earth-engine/guides/arrays_intro"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError

_MOST = 4_000_000


@dataclass(frozen=True, eq=False)
class Array:
    """Numbers in any number of dimensions."""

    values: NDArray[Any]

    def describe(self) -> list[Any]:
        """The form of getInfo: nested lists."""
        found: list[Any] = self.values.tolist()
        return found


def array_of(value: Any, operation: str) -> NDArray[Any]:
    """Numbers out of an Array, nested lists or a number."""
    if isinstance(value, Array):
        return value.values
    try:
        found = np.array(value)
    except ValueError:
        found = np.array(None)
    if found.dtype.kind not in "iufb":
        raise ServiceError(f"{operation}: cannot make an Array of {value!s:.60}.")
    if found.size > _MOST:
        raise ServiceError(f"{operation}: an Array of {found.size} numbers; at most {_MOST} are allowed.")
    return found
