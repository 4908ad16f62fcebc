"""The stored grids of images, as columns: where the pixels of each band lie, and the outlines of those of a job."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ee_spark.errors import JobError
from ee_spark.planner.crs import Floats, Ints, metres_of_unit

PIXELS, DIAGONAL = 2, 0.005
"""By how many pixels of the coarsest band, or how much of a raster's diagonal, a footprint is grown."""
FARTHEST = 5e6
"""Metres: a footprint that would be grown by more takes nothing away."""
Grid = tuple[str, tuple[float, float, float, float, float, float], tuple[int, int] | None]
"""CRS; scaleX, shearX, translateX, shearY, scaleY, translateY; width and height in pixels, None where it has none."""


def is_sheared(affine: Sequence[float]) -> bool:
    """Return True where the columns of a grid are not its CRS's x axis, or the rows not its y axis."""
    return affine[1] != 0 or affine[3] != 0


@dataclass(frozen=True)
class Rasters:
    """The grids of n images' bands, as columns; equal ones of one image are held once.

    Raster k lies in the CRS ``crs[code[k]]`` by ``affine[k]`` (scaleX, shearX, translateX, shearY, scaleY, translateY)
    and has ``size[k]`` (width, height) pixels, 0 where it has no dimensions. Sheet s is one kind of image: band b
    of its signature lies on the raster ``bands[edges[s] + b]``. Image i has the sheet ``sheet[i]``.
    """

    crs: tuple[str, ...]
    code: Ints
    affine: Floats
    size: Ints
    bands: npt.NDArray[np.int32]
    edges: Ints
    sheet: Ints

    def chosen(
        self, index: Ints, signature: Ints, names: Sequence[Sequence[str]], bands: Collection[str] | None
    ) -> Chosen:
        """Return which rasters the ``bands`` (None: all) of the images ``index`` lie on.

        ``signature`` is that of every image of the plan, ``names`` the bands' names of each signature.
        """
        kinds, kind = np.unique(np.stack([self.sheet[index], signature[index]], 1), axis=0, return_inverse=True)
        wide = max((len(one) for one in names), default=0) or 1
        found = np.full((len(kinds), wide), -1, np.int64)
        for number, mine in enumerate(names):
            rows = np.flatnonzero(kinds[:, 1] == number)
            wanted = np.array([k for k, name in enumerate(mine) if bands is None or name in bands], np.int64)
            if len(rows) and len(wanted):
                found[rows[:, None], np.arange(len(wanted))] = self.bands[self.edges[kinds[rows, 0]][:, None] + wanted]
        sized: npt.NDArray[np.bool_] = np.zeros(found.shape, bool)
        if len(self.size):
            filled = self.size[:, 0] * self.size[:, 1] > 0
            sized |= (found >= 0) & filled[found]
        some = np.asarray(sized.any(1))
        found[some[:, None] & ~sized] = -1  # a band without dimensions adds nothing to those that have some
        return Chosen(found, some, np.asarray(kind, np.int64).ravel())

    def growth(self, chosen: Chosen) -> Floats:
        """Return by how many metres the footprints of each kind of image are grown; infinite where nobody knows.

        Two pixels of the coarsest raster, or a two-hundredth of the longest diagonal: terrain-corrected radar lies
        outside its footprint.
        """
        unit = np.array([_metres(name) for name in self.crs])[self.code]
        _, across, down = self.corners(np.arange(len(self.code)))
        column, row = self.affine[:, [0, 3]], self.affine[:, [1, 4]]
        with np.errstate(invalid="ignore"):
            pixel = unit * np.maximum(np.hypot(*column.T), np.hypot(*row.T))
            diagonal = unit * np.maximum(np.hypot(*(across + down).T), np.hypot(*(across - down).T))
        each = np.maximum(PIXELS * pixel, DIAGONAL * diagonal)
        each = np.where(each < FARTHEST, each, np.inf)
        return np.where(chosen.rasters >= 0, each[chosen.rasters], 0.0).max(1) if len(each) else np.zeros(0)

    def corners(self, rasters: Ints) -> tuple[Floats, Floats, Floats]:
        """Return the first corner, and the sides along rows and along columns, of rasters, each (n, 2) in the CRS."""
        affine, size = self.affine[rasters], self.size[rasters]
        return affine[:, [2, 5]], affine[:, [0, 3]] * size[:, :1], affine[:, [1, 4]] * size[:, 1:]


@dataclass(frozen=True)
class Chosen:
    """The rasters that decide where images are: kind i has ``rasters[i]`` (-1: no more), image n the kind ``kind[n]``.

    ``sized``: the rasters have dimensions.
    """

    rasters: Ints
    sized: npt.NDArray[np.bool_]
    kind: Ints


class Sheets:
    """Takes the grids of images' bands, one kind of image after the other, into one set of columns."""

    def __init__(self) -> None:
        self._crs: dict[str, int] = {}
        self._numbers = array("d")
        self._bands = array("i")
        self._edges = array("q", [0])

    def add(self, grids: Sequence[Grid]) -> int:
        """Take the grids of one kind of image, one for each of its bands, and return the number of the sheet."""
        known: dict[Grid, int] = {}
        for grid in grids:
            if grid not in known:
                crs, affine, size = grid
                known[grid] = len(self._numbers) // 9
                self._numbers.extend((self._crs.setdefault(crs, len(self._crs)), *affine, *(size or (0, 0))))
            self._bands.append(known[grid])
        self._edges.append(len(self._bands))
        return len(self._edges) - 2

    def rasters(self, sheet: Ints) -> Rasters:
        """Return what was taken; ``sheet`` says which of them each image has."""
        numbers = np.array(self._numbers, np.float64).reshape(-1, 9)
        return Rasters(
            crs=tuple(self._crs),
            code=numbers[:, 0].astype(np.int64),
            affine=np.ascontiguousarray(numbers[:, 1:7]),
            size=numbers[:, 7:].astype(np.int64),
            bands=np.array(self._bands, np.int32),
            edges=np.array(self._edges, np.int64),
            sheet=sheet,
        )


def _metres(crs: str) -> float:
    """Return how long a unit of a CRS is; infinitely where nobody knows."""
    try:
        return metres_of_unit(crs)
    except JobError:
        return math.inf


def diagonal(grid: Grid) -> float:
    """Return the length of a raster's diagonal in metres; 0 without dimensions, infinite where nobody knows."""
    crs, (a, b, _, c, d, _), size = grid
    if size is None:
        return 0.0
    (x, y), (u, v) = (a * size[0], c * size[0]), (b * size[1], d * size[1])
    return max(math.hypot(x + u, y + v), math.hypot(x - u, y - v)) * _metres(crs)
