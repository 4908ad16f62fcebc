"""The raster that tiles of one lattice make together, and where each tile's core lies in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ee_spark.errors import ReadError
from ee_spark.planner.crs import Floats, Ints
from ee_spark.planner.window import Window
from ee_spark.read.rows import LATTICE, Rows
from ee_spark.store.bounds import damage

PLACE = (LATTICE, "crs", "transform")
"""The columns that say where a tile lies."""
MOST_SIDE = 2**31 - 1
"""Pixels a side: what GDAL and others can count. The Earth has so many at 2 cm."""


@dataclass(frozen=True)
class Canvas(Window):
    """The window of all planned tiles of one lattice, margins left out.

    ``key`` is the planner's name for the lattice. ``tile`` is the (height, width) of a tile's core, ``margin`` what its
    stored block has around it.
    """

    key: str
    tile: tuple[int, int]
    margin: int

    @property
    def gdal(self) -> tuple[float, ...]:
        """The affine transform in GDAL's order: x, scaleX, shearX, y, shearY, scaleY."""
        scale_x, shear_x, x, shear_y, scale_y, y = self.transform
        return (x, scale_x, shear_x, y, shear_y, scale_y)

    def holds(self, keys: pa.Table) -> npt.NDArray[np.bool_]:
        """Return which rows lie on this canvas's lattice."""
        return np.asarray(pc.equal(keys[LATTICE], self.key).to_numpy(zero_copy_only=False), np.bool_)

    def places(self, keys: pa.Table) -> tuple[Ints, Ints]:
        """Return the row and column, in pixels of the canvas, of each tile's core; all must lie on its lattice."""
        x, y = _corners(keys, self.margin)
        scale_x, _, left, _, scale_y, top = self.transform
        return np.rint((y - top) / scale_y).astype(np.int64), np.rint((x - left) / scale_x).astype(np.int64)


def canvases(rows: Rows, places: pa.Table | None = None) -> list[Canvas]:
    """Return one canvas per lattice on which the selection's planned tiles lie, whatever became of them.

    ``places`` are those tiles if the caller has read them already, with the columns of :data:`PLACE`.

    Raises:
        ReadError: if no tiles are selected.
    """
    places = rows.planned(PLACE) if places is None else places
    if not places.num_rows:
        raise ReadError(f"{rows.path}: no tiles are selected; dataset.counts says how many there are")
    shape = rows.frozen.shape
    tile = shape.height, shape.width
    with damage(f"{rows.path}: where its tiles lie"):
        found = list(_canvases(places, tile, shape.margin))
    return sorted(found, key=lambda canvas: (canvas.crs, canvas.resolution, canvas.key))


def one_canvas(rows: Rows, what: str, places: pa.Table | None = None) -> Canvas:
    """Return the canvas of a selection on one lattice.

    Raises:
        ReadError: for points, or several lattices; ``what`` is what needs one.
    """
    if rows.points:
        raise ReadError(f"{what}: patches around points make no raster; use NumPy, NPZ or TFRecord")
    found = canvases(rows, places)
    if len(found) > 1:
        names = ", ".join(f"{canvas.crs} at {canvas.resolution[0]:g}" for canvas in found)
        raise ReadError(
            f"{what}: the tiles lie on {len(found)} lattices ({names}); select one by its crs, or by images"
        )
    return found[0]


def _canvases(places: pa.Table, tile: tuple[int, int], margin: int) -> Iterator[Canvas]:
    for key in pc.unique(places[LATTICE]).to_pylist():
        mine = places.filter(pc.equal(places[LATTICE], key))
        scale_x, _, _, _, scale_y, _ = mine["transform"][0].as_py()
        x, y = _corners(mine, margin)
        if not (np.isfinite(x).all() and np.isfinite(y).all() and 0 < scale_x < np.inf and -np.inf < scale_y < 0):
            raise ValueError(f"a transform with scales {scale_x:g}, {scale_y:g}, or corners that are not numbers")
        width = round((x.max() - x.min()) / scale_x) + tile[1]
        height = round((y.min() - y.max()) / scale_y) + tile[0]
        if max(width, height) > MOST_SIDE:
            raise ValueError(f"tiles that lie {max(width, height):,} pixels apart")
        transform = (scale_x, 0.0, float(x.min()), 0.0, scale_y, float(y.max()))
        yield Canvas(mine["crs"][0].as_py(), transform, width, height, key, tile, margin)


def _corners(keys: pa.Table, margin: int) -> tuple[Floats, Floats]:
    """Return x and y of the cores' top left corners."""
    flat = keys["transform"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, 6)
    return flat[:, 2] + margin * flat[:, 0], flat[:, 5] + margin * flat[:, 4]
