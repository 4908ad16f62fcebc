"""Training, validation and test sets by place: what is near each other is in one set, whenever it was seen."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ee_spark.boundary import shortened
from ee_spark.errors import ReadError

NAMES = ("train", "validation", "test")
CELL = 0.1
"""Degrees a side of the cells that are dealt: about 11 km."""
LEAST_CELL = 1e-7
"""Degrees: a centimetre. Finer ones no number can count around the Earth."""


@dataclass(frozen=True)
class Split:
    """Shares of the sets, in the order of :data:`NAMES`, and the side in degrees of the cells that are dealt to them.

    The set of a cell follows from the cell alone: more points, later dates or another region move nothing.
    """

    shares: tuple[float, ...]
    cell: float = CELL

    def sets(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> npt.NDArray[np.str_]:
        """Return the set of each place."""
        cells = np.column_stack([np.floor(np.asarray(at, np.float64) / self.cell) for at in (lon, lat)]).astype(int)
        unique, index = np.unique(cells, axis=0, return_inverse=True)
        edges = np.cumsum(self.shares)
        drawn = [min(int(np.searchsorted(edges, _draw(cell), "right")), len(edges) - 1) for cell in unique.tolist()]
        names: npt.NDArray[np.str_] = np.array(NAMES)[np.array(drawn, int)]
        return names[index.ravel()]

    def check(self, found: npt.NDArray[np.str_]) -> None:
        """Refuse a split that leaves a set without a block.

        Raises:
            ReadError: naming the set.
        """
        for name, share in zip(NAMES, self.shares, strict=False):
            if share and not (found == name).any():
                raise ReadError(
                    f"--split: no place falls to {name} ({share:g}) with cells of {self.cell:g}°; write a smaller "
                    "--split-cell, or other shares"
                )


def parse(text: str, cell: float = CELL) -> Split:
    """Return the split that e.g. ``80/10/10`` or ``0.8/0.2`` names.

    Raises:
        ReadError: if it is not one.
    """
    try:
        shares = [float(part) for part in text.split("/")]
    except ValueError:
        shares = []
    sound = 1 <= len(shares) <= len(NAMES) and all(0 <= share < math.inf for share in shares)
    if not sound or not 0 < sum(shares) < math.inf:
        raise ReadError(
            f"--split: {shortened(text)!r} is not a valid split; write shares of train/validation/test, e.g. 80/10/10"
        )
    if not LEAST_CELL <= cell <= 360:
        raise ReadError(f"--split-cell: {cell:g} is not a valid size; write degrees, e.g. {CELL:g}")
    return Split(tuple(share / sum(shares) for share in shares), cell)


def _draw(cell: Sequence[int]) -> float:
    """Return a number from 0 to 1 that follows from a cell."""
    digest = hashlib.sha256(f"{cell[0]},{cell[1]}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
