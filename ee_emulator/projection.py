"""Coordinate systems, projections and output grids.

Codes are resolved by PROJ through rasterio, except the few that only Earth Engine knows.
https://developers.google.com/earth-engine/guides/projections
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import warp
from rasterio.crs import CRS
from rasterio.errors import CRSError

from .errors import ServiceError

Affine6 = tuple[float, float, float, float, float, float]
"""scaleX, shearX, translateX, shearY, scaleY, translateY: x = scaleX*column + shearX*row + translateX."""

IDENTITY: Affine6 = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_SEMI_MAJOR = 6378137.0
_METRES_PER_DEGREE = math.pi * _SEMI_MAJOR / 180
FARTHEST = 1e9
"""No place on the earth has a coordinate that is larger, in any unit."""
_COORDINATE_CACHE_BYTES = 64 << 20

_ONLY_EARTH_ENGINE = {
    # MODIS sinusoidal: the label's own WKT is wrong, the data lie on this sphere.
    "SR-ORG:6974": "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs",
    "EPSG:900913": "EPSG:3857",
}


@lru_cache(maxsize=512)
def parse_crs(text: str) -> CRS:
    """The coordinate system of a code or WKT; a 400 naming it when PROJ and Earth Engine's own list lack it."""
    try:
        known = _ONLY_EARTH_ENGINE.get(text.upper())
        with rasterio.Env():  # without it GDAL prints what it thinks of a bad text
            return CRS.from_string(known or text)
    except (CRSError, ValueError) as error:
        shown = text if len(text) <= 80 else text[:77] + "..."
        raise ServiceError(f"Projection: The CRS of a map projection could not be parsed: '{shown}'.") from error


def code_of(crs: CRS) -> str | None:
    """`EPSG:n` when that code means exactly this coordinate system, else None."""
    number = crs.to_epsg(confidence_threshold=100)
    return f"EPSG:{number}" if number else None


@lru_cache(maxsize=512)
def same_crs(first: str, second: str) -> bool:
    """True when two codes or texts mean the same coordinate system."""
    return first == second or bool(parse_crs(first) == parse_crs(second))


@lru_cache(maxsize=512)
def metres_per_unit(crs: str) -> float:
    """Length of one unit of `crs` at its true scale, in metres; degrees on the equator of WGS 84."""
    parsed = parse_crs(crs)
    if parsed.is_geographic:
        return _METRES_PER_DEGREE
    return float(parsed.linear_units_factor[1])


def transform_points(source: str, target: str, xs: NDArray[Any], ys: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Transform float64 coordinates of any shape; NaN where the point has no place in `target`."""
    if same_crs(source, target):
        return xs, ys
    shape = xs.shape
    flat_x, flat_y = np.ascontiguousarray(xs).ravel(), np.ascontiguousarray(ys).ravel()
    # PROJ turns round and round for a longitude that is farther out
    valid = (np.abs(flat_x) < FARTHEST) & (np.abs(flat_y) < FARTHEST)
    if parse_crs(source).is_geographic:
        valid &= np.abs(flat_y) <= 90
    out_x, out_y = np.full(flat_x.size, np.nan), np.full(flat_x.size, np.nan)
    where = np.flatnonzero(valid)
    _transform_into(parse_crs(source), parse_crs(target), flat_x, flat_y, where, out_x, out_y)
    bad = ~(np.isfinite(out_x) & np.isfinite(out_y))
    out_x[bad] = out_y[bad] = np.nan
    return out_x.reshape(shape), out_y.reshape(shape)


def _transform_into(
    source: CRS,
    target: CRS,
    xs: NDArray[Any],
    ys: NDArray[Any],
    where: NDArray[Any],
    out_x: NDArray[Any],
    out_y: NDArray[Any],
) -> None:
    """Fill out_x, out_y at `where`. rasterio refuses a whole batch for one bad point, so batches are halved."""
    pending = [where]
    while pending:
        part = pending.pop()
        if part.size == 0:
            continue
        try:
            moved_x, moved_y = warp.transform(source, target, xs[part], ys[part])
        except Exception:  # rasterio raises GDAL's error classes, which have no common public base
            if part.size > 1:
                half = part.size // 2
                pending += [part[:half], part[half:]]
            continue
        out_x[part], out_y[part] = moved_x, moved_y


@dataclass(frozen=True)
class Projection:
    """A coordinate system (`crs`: a code or WKT) with the affine transform of its pixels."""

    crs: str
    transform: Affine6 = IDENTITY

    @property
    def nominal_scale(self) -> float:
        """Metres per pixel at the true scale of the projection (the square root of a pixel's area)."""
        a, b, _, d, e, _ = self.transform
        return math.sqrt(abs(a * e - b * d)) * metres_per_unit(self.crs)

    def at_scale(self, metres: float) -> Projection:
        """The same coordinate system with square pixels of `metres`, its origin at (0, 0)."""
        size = metres / metres_per_unit(self.crs)
        return Projection(self.crs, (size, 0.0, 0.0, 0.0, -size, 0.0))

    def pixels_at(self, xs: NDArray[Any], ys: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Column and row, with fractions, of coordinates in the coordinate system."""
        a, b, c, d, e, f = self.transform
        if b == 0 and d == 0:
            return (xs - c) / a, (ys - f) / e
        scale = a * e - b * d
        return (e * (xs - c) - b * (ys - f)) / scale, (a * (ys - f) - d * (xs - c)) / scale

    def describe(self) -> dict[str, object]:
        """The form of getInfo."""
        key = "crs" if len(self.crs) < 40 else "wkt"
        return {"type": "Projection", key: self.crs, "transform": list(self.transform)}


WGS84 = Projection("EPSG:4326")


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
        a, b, c, d, e, f = self.projection.transform
        columns = np.arange(self.column, self.column + self.width) + 0.5
        rows = (np.arange(self.row, self.row + self.height) + 0.5)[:, None]
        return a * columns + b * rows + c, d * columns + e * rows + f

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
