"""Bands, evaluated on whatever grid a request asks for.

Evaluation is pull-based, as in Earth Engine: every input is asked for on the output's grid, nearest neighbour.
https://developers.google.com/earth-engine/guides/scale
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .block import BlockCache
from .crs import transform_points
from .grid import Grid, Pixels
from .pixeltype import PixelType
from .projection import WGS84, Projection
from .pyramid import Centre

_MEMO_BYTES = 256 << 20
_OTHER_GRIDS = 4
Extent = Callable[["Canvas"], NDArray[Any]]


class Canvas:
    """One grid under evaluation, and what was already computed on it (bounded, oldest dropped first).

    `centre` is that of the whole request, of which the grid may be a part: it decides the pyramid levels to read.
    """

    def __init__(self, grid: Grid, cache: BlockCache, centre: Centre | None = None) -> None:
        self.grid = grid
        self.cache = cache
        self.centre = centre or grid.centre
        self._memo: OrderedDict[int, tuple[Band, Pixels]] = OrderedDict()
        self._size = 0
        self._others: OrderedDict[Grid, Canvas] = OrderedDict()

    def on(self, grid: Grid) -> Canvas:
        """The canvas of another grid, for what needs its input elsewhere; the last ones are kept, with their pixels."""
        if grid == self.grid:
            return self
        if grid not in self._others:
            while len(self._others) >= _OTHER_GRIDS:
                self._others.popitem(last=False)
            self._others[grid] = Canvas(grid, self.cache, _moved(self.centre, grid))
        return self._others[grid]

    def pixels(self, band: Band) -> Pixels:
        """Values and mask of a band on this grid."""
        found = self._memo.get(id(band))
        if found is not None:
            return found[1]
        result = band.read(self)
        self._memo[id(band)] = (band, result)  # holds the band, so that its id stays its own
        self._size += result[0].nbytes + result[1].nbytes
        while self._size > _MEMO_BYTES and len(self._memo) > 1:
            _, (_, old) = self._memo.popitem(last=False)
            self._size -= old[0].nbytes + old[1].nbytes
        return result


def _moved(centre: Centre, grid: Grid) -> Centre:
    """The same place in pixels of another grid's projection; that grid's own centre where it has none."""
    projection, column, row = centre
    if projection == grid.projection:
        return centre
    x, y = projection.points_at(np.array([column]), np.array([row]))
    columns, rows = grid.projection.pixels_at(*transform_points(projection.crs, grid.projection.crs, x, y))
    found = grid.projection, float(columns[0]), float(rows[0])
    return found if np.isfinite(found[1:]).all() else grid.centre


class Dimensions(NamedTuple):
    """Size and first pixel of a band that has bounds, on the lattice of its projection."""

    width: int
    height: int
    column: int = 0
    row: int = 0


@dataclass(frozen=True, eq=False)
class Band:
    """One band: its name, type, default projection, and how to compute it.

    `extent` gives where the band's footprint is (None: everywhere); outside it `Image.mask` is itself masked.
    `dimensions` are the bounds of a stored or clipped band, None for a computed one.
    """

    name: str
    type: PixelType
    read: Callable[[Canvas], Pixels]
    projection: Projection = WGS84
    extent: Extent | None = None
    dimensions: Dimensions | None = None

    def renamed(self, name: str) -> Band:
        """The same pixels under another name."""
        if name == self.name:
            return self
        # dataclasses.replace would cost more than the pixels of a small tile
        return Band(name, self.type, lambda canvas: canvas.pixels(self), self.projection, self.extent, self.dimensions)

    def derived(self, pixel_type: PixelType, read: Callable[[Canvas], Pixels]) -> Band:
        """A band computed from this one on the same pixels: only type and values differ."""
        return Band(self.name, pixel_type, read, self.projection, self.extent, self.dimensions)


def constant_band(value: float, name: str, pixel_type: PixelType) -> Band:
    """A band with one value everywhere, valid everywhere."""
    scalar = np.asarray(value, pixel_type.dtype)

    def read(canvas: Canvas) -> Pixels:
        shape = canvas.grid.shape
        return np.broadcast_to(scalar, shape), np.broadcast_to(np.True_, shape)

    return Band(name, pixel_type, read)
