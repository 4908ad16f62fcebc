"""Tiles: blocks of pixels on a lattice, whole, named by where they lie and by nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from ee_spark.planner.crs import Floats, Ints, wkt_of
from ee_spark.planner.extent import Extents, extents
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.points import Points
from ee_spark.planner.window import Window


@dataclass(frozen=True)
class Shape:
    """The size of every block of a job: width and height of the core in pixels, and the margin on every side."""

    width: int
    height: int
    margin: int = 0

    @property
    def stored(self) -> tuple[int, int]:
        """Width and height of the stored block, with its margins."""
        return self.width + 2 * self.margin, self.height + 2 * self.margin


@dataclass(frozen=True)
class Tiles:
    """n tiles of one lattice.

    ``left`` and ``top`` (n) are the column and row, in pixels from the lattice origin, of each core's corner: whole
    numbers, but for patches that are centred exactly on their point. ``row`` and ``column`` count tiles, or for points
    the pixel of that corner (None off the lattice). ``points`` are the n points of patches.
    """

    lattice: Lattice
    shape: Shape
    ids: tuple[str, ...]
    left: Floats
    top: Floats
    row: Ints | None
    column: Ints | None
    points: Points | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def transform(self, index: int) -> tuple[float, float, float, float, float, float]:
        """Return the affine transform of a stored block: scaleX, shearX, translateX, shearY, scaleY, translateY."""
        margin = self.shape.margin
        return self.lattice.transform(float(self.left[index]) - margin, float(self.top[index]) - margin)

    def window(self, index: int) -> Window:
        """Return a stored block's window."""
        return Window(self.lattice.crs, self.transform(index), *self.shape.stored)

    @cached_property
    def columns(self) -> dict[str, pa.Array]:
        """The keys, georeference and point columns of the n tiles."""
        count, (width, height) = len(self), self.shape.stored
        transforms = np.array([self.transform(index) for index in range(count)], np.float64).reshape(-1, 6)
        columns = {
            "tile_id": pa.array(self.ids, pa.string()),
            "crs": _constant(self.lattice.crs, count),
            "crs_wkt": _constant(wkt_of(self.lattice.crs), count),
            "transform": pa.ListArray.from_arrays(
                pa.array(np.arange(count + 1, dtype=np.int32) * 6), pa.array(transforms.ravel())
            ),
            "width": pa.array(np.full(count, width, np.int32)),
            "height": pa.array(np.full(count, height, np.int32)),
            "margin": pa.array(np.full(count, self.shape.margin, np.int32)),
            "tile_row": _counts(self.row, count),
            "tile_col": _counts(self.column, count),
            "bbox": pa.StructArray.from_arrays(
                [pa.array(edge) for edge in self.extents.boxes.T], ["xmin", "ymin", "xmax", "ymax"]
            ),
            "geometry": pa.array(self.extents.wkb(), pa.binary()),
        }
        if self.points is not None:
            columns["point_id"] = pa.array(self.points.ids, pa.string())
            columns["point_lon"] = pa.array(self.points.lon)
            columns["point_lat"] = pa.array(self.points.lat)
            for name in self.points.columns.column_names:
                columns[name] = self.points.columns[name].combine_chunks()
        return columns

    @cached_property
    def extents(self) -> Extents:
        """Where the cores lie in longitude and latitude."""
        corners = [
            self.lattice.transform(left, top) for left, top in zip(self.left.tolist(), self.top.tolist(), strict=True)
        ]
        cores = np.array(corners, np.float64).reshape(-1, 6)
        return extents(self.lattice.crs, cores, self.shape.width, self.shape.height)


def grid_tiles(lattice: Lattice, shape: Shape, row: Ints, column: Ints) -> Tiles:
    """Return the tiles of the grid at these rows and columns, counted from the lattice origin, rows southward."""
    ids = tuple(f"{lattice.prefix}/r{r}c{c}" for r, c in zip(row.tolist(), column.tolist(), strict=True))
    left, top = (column * shape.width).astype(np.float64), (row * shape.height).astype(np.float64)
    return Tiles(lattice, shape, ids, left, top, row, column)


def patches(lattice: Lattice, shape: Shape, points: Points, *, snap: bool) -> Tiles:
    """Return one patch for each point.

    On the lattice an odd side centres the pixel that holds the point, an even one the nearest lattice corner; otherwise
    the patch is centred exactly on the point.
    """
    u, v = lattice.from_lonlat(points.lon, points.lat)
    left, top = u - shape.width / 2, v - shape.height / 2
    if not snap:
        return Tiles(lattice, shape, points.ids, left, top, None, None, points)
    left, top = np.floor(left + 0.5), np.floor(top + 0.5)
    with np.errstate(invalid="ignore"):  # of a point that the CRS cannot show nobody reads the row
        row, column = top.astype(np.int64), left.astype(np.int64)
    return Tiles(lattice, shape, points.ids, left, top, row, column, points)


def _constant(text: str, count: int) -> pa.Array:
    return pa.array([text] * count, pa.string())


def _counts(values: Ints | None, count: int) -> pa.Array:
    return pa.nulls(count, pa.int32()) if values is None else pa.array(values.astype(np.int32))
