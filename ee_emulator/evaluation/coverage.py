"""Which pixels lie in a region, and how much of each. https://developers.google.com/earth-engine/guides/reducers_reduce_region

A pixel is in the region where its centre is; its weight is the fraction of it that the region covers, in 255 steps,
less than 1/256 counting as nothing. Points and lines take the pixels they touch, whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.transform import Affine
from shapely.geometry.base import BaseGeometry

from ..errors import ServiceError
from ..values.geometry import Geometry
from ..values.grid import Grid
from ..values.projection import Projection
from ..values.shape import shape_in, singles

BLOCK = 256
"""Pixels per side of the parts in which a region is processed."""
_LEVELS = 255
_FEW = 64
_FARTHEST = 2.0**40


@dataclass(frozen=True, eq=False)
class Region:
    """A region on the pixels of a projection: its shape in pixel coordinates; pixel (c, r) is [c, c+1] × [r, r+1]."""

    projection: Projection
    shape: BaseGeometry

    @cached_property
    def window(self) -> tuple[int, int, int, int]:
        """First column, first row, and the columns and rows to before which it reaches; all 0 of an empty region."""
        if self.shape.is_empty:
            return 0, 0, 0, 0
        left, top, right, bottom = self.shape.bounds
        if not max(map(abs, self.shape.bounds)) < _FARTHEST:
            raise ServiceError(
                f"Region: it lies {max(map(abs, self.shape.bounds)):g} pixels from the projection's origin."
            )
        first, above = math.floor(left + 1e-9), math.floor(top + 1e-9)
        return first, above, max(first + 1, math.ceil(right - 1e-9)), max(above + 1, math.ceil(bottom - 1e-9))

    @property
    def pixels(self) -> int:
        """About how many pixels it has: by its area, or along it."""
        left, top, right, bottom = self.window
        if self.shape.area > 0:
            return math.ceil(float(self.shape.area))
        along = math.ceil(float(self.shape.length)) + int(shapely.get_num_coordinates(self.shape))
        return min((right - left) * (bottom - top), along)

    def blocks(self) -> Iterator[Grid]:
        """Grids of at most `BLOCK` pixels per side that the region touches, row by row."""
        left, top, right, bottom = self.window
        shapely.prepare(self.shape)
        for row in range(top, bottom, BLOCK):
            for column in range(left, right, BLOCK):
                width, height = min(BLOCK, right - column), min(BLOCK, bottom - row)
                if self.shape.intersects(shapely.box(column, row, column + width, row + height)):
                    yield Grid(self.projection, width, height, column, row)

    def centres(self, grid: Grid) -> NDArray[Any]:
        """True where a pixel's centre is in the region (or a point or line touches the pixel)."""
        areas, rest = _split(self.shape)
        inside = np.zeros(grid.shape, bool)
        if areas:
            inside |= _burnt(areas, grid, touched=False)
        if rest:
            inside |= _touched(rest, grid)
        return inside

    def weights(self, grid: Grid) -> NDArray[Any]:
        """The covered fraction of each pixel, as float32."""
        areas, rest = _split(self.shape)
        found = np.zeros(grid.shape, np.float32)
        box = shapely.box(grid.column, grid.row, grid.column + grid.width, grid.row + grid.height)
        if areas:
            found[_burnt(areas, grid, touched=False)] = 1
            near = shapely.intersection(shapely.union_all(areas), box)
            edge = _burnt([shapely.boundary(area) for area in areas], grid, touched=True)
            rows, columns = np.nonzero(edge)
            shares = _shares(near, columns + grid.column, rows + grid.row)
            found[rows, columns] = np.minimum(np.floor(shares * (_LEVELS + 1)), _LEVELS) / _LEVELS
        if rest:
            found[_touched(rest, grid)] = 1
        return found


def region_on(geometry: Geometry, projection: Projection) -> Region:
    """A geometry on the pixels of a projection."""
    if not 0 < projection.pixel_area < math.inf:
        raise ServiceError(f"Projection: a pixel of the transform has an area of {projection.pixel_area:g}.")

    def to_pixels(points: NDArray[Any]) -> NDArray[Any]:
        return np.column_stack(projection.pixels_at(points[:, 0], points[:, 1]))

    shape = shapely.transform(shape_in(geometry, projection.crs), to_pixels)
    return Region(projection, shape if shape.is_valid else shapely.make_valid(shape))


def _split(shape: BaseGeometry) -> tuple[list[BaseGeometry], list[BaseGeometry]]:
    """The polygons of a shape, and its lines and points."""
    parts = singles(shape)
    return [p for p in parts if p.geom_type == "Polygon"], [p for p in parts if p.geom_type != "Polygon"]


def _burnt(shapes: list[BaseGeometry], grid: Grid, touched: bool) -> NDArray[Any]:
    lattice = Affine.translation(grid.column, grid.row)
    found = rasterize(shapes, grid.shape, transform=lattice, all_touched=touched, dtype="uint8")
    return np.asarray(found > 0)


def _touched(shapes: list[BaseGeometry], grid: Grid) -> NDArray[Any]:
    points = [shape for shape in shapes if shape.geom_type == "Point"]
    lines = [shape for shape in shapes if shape.geom_type != "Point"]
    found = _burnt(lines, grid, touched=True) if lines else np.zeros(grid.shape, bool)
    for x, y in shapely.get_coordinates(points).tolist():
        column, row = math.floor(x) - grid.column, math.floor(y) - grid.row
        if 0 <= row < grid.height and 0 <= column < grid.width:
            found[row, column] = True
    return found


def _shares(shape: BaseGeometry, columns: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """The area of a shape in each of some pixels; halved again and again, so that each pixel meets few vertices."""
    if columns.size == 0 or shape.is_empty:
        return np.zeros(columns.size)
    if columns.size > _FEW and shapely.get_num_coordinates(shape) > _FEW:
        along = columns if np.ptp(columns) >= np.ptp(rows) else rows
        middle = int(np.median(along))
        low = along < middle
        if 0 < low.sum() < low.size:
            found = np.zeros(columns.size)
            for half in (low, ~low):
                box = shapely.box(columns[half].min(), rows[half].min(), columns[half].max() + 1, rows[half].max() + 1)
                found[half] = _shares(shapely.intersection(shape, box), columns[half], rows[half])
            return found
    boxes = shapely.box(columns, rows, columns + 1, rows + 1)
    return np.asarray(shapely.area(shapely.intersection(shape, boxes)))
