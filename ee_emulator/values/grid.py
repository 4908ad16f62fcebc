"""Grids: rectangles of pixels of a projection, and where their pixel centres lie in other coordinate systems."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .crs import same_crs, transform_points
from .projection import Projection

_COORDINATE_CACHE_BYTES = 64 << 20


@dataclass(frozen=True)
class Grid:
    """A rectangle of pixels of a projection: `width` x `height` pixels from pixel (`column`, `row`) on.

    The offset stays an integer so that a part of a grid has bit for bit the coordinates it has in the whole.
    """

    projection: Projection
    width: int
    height: int
    column: int = 0
    row: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width), as numpy arrays of this grid have it."""
        return self.height, self.width

    @cached_property
    def aligned(self) -> bool:
        """True when rows and columns run along the axes of the coordinate system."""
        return self.projection.transform[1] == 0 and self.projection.transform[3] == 0

    def rows(self, start: int, stop: int) -> Grid:
        """The part between two of its rows."""
        return Grid(self.projection, self.width, stop - start, self.column, self.row + start)

    def axes(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """x of the column centres and y of the row centres of an aligned grid."""
        a, _, c, _, e, f = self.projection.transform
        xs = c + (np.arange(self.column, self.column + self.width) + 0.5) * a
        ys = f + (np.arange(self.row, self.row + self.height) + 0.5) * e
        return xs, ys

    def centres(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """x and y of every pixel centre, each of the grid's shape."""
        if self.aligned:
            xs, ys = self.axes()
            return np.broadcast_to(xs, self.shape), np.broadcast_to(ys[:, None], self.shape)
        columns = np.arange(self.column, self.column + self.width) + 0.5
        rows = (np.arange(self.row, self.row + self.height) + 0.5)[:, None]
        return self.projection.points_at(columns, rows)

    @property
    def centre(self) -> tuple[Projection, float, float]:
        """The middle of the grid: its projection, and the column and row there."""
        return self.projection, self.column + self.width / 2, self.row + self.height / 2

    def positions_in(self, projection: Projection) -> tuple[NDArray[Any], NDArray[Any]]:
        """Column and row in pixels of another projection of every pixel centre; NaN where there is none."""
        if projection == self.projection:
            columns = np.arange(self.column, self.column + self.width) + 0.5
            rows = np.arange(self.row, self.row + self.height) + 0.5
            return np.broadcast_to(columns, self.shape), np.broadcast_to(rows[:, None], self.shape)
        return projection.pixels_at(*self.centres_in(projection.crs))

    def same_crs(self, crs: str) -> bool:
        """True when `crs` is this grid's own coordinate system, whatever it is called."""
        return same_crs(self.projection.crs, crs)

    def centres_in(self, crs: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """x and y in `crs` of every pixel centre (NaN where there is none); the last ones are kept."""
        if self.same_crs(crs):
            return self.centres()
        return _COORDINATES.get(self, crs)


class _CoordinateCache:
    """Transformed pixel centres by grid and coordinate system, the least recently used dropped first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._entries: OrderedDict[tuple[Grid, str], tuple[NDArray[Any], NDArray[Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, grid: Grid, crs: str) -> tuple[NDArray[Any], NDArray[Any]]:
        key = (grid, crs)
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        xs, ys = grid.centres()
        moved = transform_points(grid.projection.crs, crs, xs, ys)
        size = moved[0].nbytes + moved[1].nbytes
        with self._lock:
            if key not in self._entries and size <= self._limit:
                self._entries[key] = moved
                self._size += size
            while self._size > self._limit:
                _, (old_x, old_y) = self._entries.popitem(last=False)
                self._size -= old_x.nbytes + old_y.nbytes
        return moved


_COORDINATES = _CoordinateCache(_COORDINATE_CACHE_BYTES)

Pixels = tuple[NDArray[Any], NDArray[Any]]
"""Values and mask of one band on one grid, both (height, width); the mask is bool, or float32 in [0, 1]."""
