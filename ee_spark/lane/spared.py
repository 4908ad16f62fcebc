"""What only a footprint took away from an image, and whether the pixels that came say that it took too much.

A footprint may be wrong. Where valid pixels of a fetched tile reach its side, and the raster goes on in a tile beyond
that side which was not planned, for the footprint only, the image is asked for once more by its raster alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ee_spark.planner.chunk import Pairs
from ee_spark.planner.crs import Ints
from ee_spark.planner.validity import Validity

Mask = npt.NDArray[np.bool_]
SIDES = tuple((down, across) for down in (-1, 0, 1) for across in (-1, 0, 1) if down or across)
"""The eight tiles around one, as rows southward and columns eastward."""
_ROW = 1 << 32


@dataclass(frozen=True, eq=False)
class Spared:
    """Tiles that only footprints took away: of image ``image[i]``, row ``row[i]``, columns ``start[i]`` to ``stop[i]``.

    ``lattice`` indexes ``lattices``, the keys of lattices. Images are indices into the plan's, or the slice's.
    """

    lattices: tuple[str, ...]
    lattice: Ints
    image: Ints
    row: Ints
    start: Ints
    stop: Ints

    @classmethod
    def of(cls, pairs: Pairs) -> Spared:
        """Return pairs that were taken away, as a plan has them."""
        keys = tuple(lattice.key for lattice in pairs.lattices)
        return cls(keys, pairs.lattice, pairs.image, pairs.row, pairs.start, pairs.stop)

    def __len__(self) -> int:
        return len(self.image)

    def near(self, images: Ints, low: int, high: int) -> Spared:
        """Return what some images (sorted) lack in rows ``low`` to ``high``; they are named by their place there."""
        place = np.searchsorted(images, self.image)
        mine = np.flatnonzero(np.isin(self.image, images) & (self.row >= low) & (self.row <= high))
        columns = {name: getattr(self, name)[mine] for name in ("lattice", "row", "start", "stop")}
        return replace(self, image=place[mine], **columns)

    def around(self, lattice: str, image: int, row: int, column: int) -> list[tuple[int, int]]:
        """Return on which sides of a tile the image's raster goes on in a tile that was taken away."""
        runs = self._runs.get((lattice, image))
        if runs is None:
            return []
        starts, stops = runs
        found = []
        for down, across in SIDES:
            cell = (row + down) * _ROW + column + across
            at = int(np.searchsorted(starts, cell, "right")) - 1
            if at >= 0 and cell < stops[at]:
                found.append((down, across))
        return found

    @cached_property
    def _runs(self) -> Mapping[tuple[str, int], tuple[Ints, Ints]]:
        """The runs of each image on each lattice, as cells in one order: row after row."""
        order = np.lexsort((self.start, self.row, self.image, self.lattice))
        lattice, image = self.lattice[order], self.image[order]
        base = self.row[order] * _ROW
        starts, stops = base + self.start[order], base + self.stop[order]
        edges = np.flatnonzero((np.diff(lattice, prepend=-1) != 0) | (np.diff(image, prepend=-1) != 0)).tolist()
        return {
            (self.lattices[int(lattice[first])], int(image[first])): (starts[first:last], stops[first:last])
            for first, last in zip(edges, [*edges, len(order)][1:], strict=True)
        }


NOTHING = Spared((), *(np.zeros(0, np.int64) for _ in range(5)))


def reaches(
    planes: Mapping[str, npt.NDArray[Any]], validity: Validity, margin: int, sides: Sequence[tuple[int, int]]
) -> bool:
    """Return True if a block's valid pixels reach any of its core's sides; a pixel of the margin beyond one does too.

    Where the job asks for no masks, what is not zero is valid: masked pixels are zeros then.
    """
    known = validity.any(planes)
    valid = np.logical_or.reduce([plane != 0 for plane in planes.values()]) if known is None else known
    return any(bool(valid[_strip(down, margin), _strip(across, margin)].any()) for down, across in sides)


def _strip(step: int, margin: int) -> slice:
    """Return the rows or columns at one side of a block, the outermost of its core and its margin; or the core's."""
    if step:
        return slice(None, margin + 1) if step < 0 else slice(-margin - 1, None)
    return slice(margin, -margin or None)
