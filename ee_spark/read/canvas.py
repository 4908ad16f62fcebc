"""The raster that tiles of one lattice make together, and where each tile's core lies in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ee_spark.errors import JobError
from ee_spark.planner.crs import crs_of
from ee_spark.planner.lattice import Lattice
from ee_spark.read.dataset import Dataset

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

PLACE = ("crs", "transform")
"""The columns that say where a tile lies."""


@dataclass(frozen=True)
class Canvas:
    """A north-up raster of ``width`` × ``height`` pixels whose top left corner is (x, y) in the CRS's units.

    ``tile`` is the (height, width) of a tile's core, ``margin`` what its stored block has around it.
    """

    crs: str
    res_x: float
    res_y: float
    x: float
    y: float
    width: int
    height: int
    tile: tuple[int, int]
    margin: int

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """scaleX, shearX, translateX, shearY, scaleY, translateY."""
        return (self.res_x, 0.0, self.x, 0.0, -self.res_y, self.y)

    @property
    def wkt(self) -> str:
        """The CRS as WKT2."""
        return str(crs_of(self.crs).to_wkt(version="WKT2_2019"))

    @cached_property
    def key(self) -> str:
        """Eight hex digits that name the lattice."""
        return Lattice(self.crs, self.res_x, self.res_y, self.x, self.y).key

    @property
    def xs(self) -> Floats:
        """The pixel centres' x, from west to east."""
        return np.asarray(self.x + (np.arange(self.width) + 0.5) * self.res_x, np.float64)

    @property
    def ys(self) -> Floats:
        """The pixel centres' y, from north to south."""
        return np.asarray(self.y - (np.arange(self.height) + 0.5) * self.res_y, np.float64)

    def holds(self, keys: pa.Table) -> npt.NDArray[np.bool_]:
        """Return which rows lie on this canvas's lattice."""
        same = pc.equal(keys["crs"], self.crs).to_numpy(zero_copy_only=False)
        names = _lattices(keys, self.margin)
        mine = np.array([self.res_x, self.res_y, *_offset(self.x, self.y, self.res_x, self.res_y)])
        return np.asarray(same & np.isclose(names, mine, rtol=1e-9, atol=1e-3).all(1))

    def places(self, keys: pa.Table) -> tuple[Ints, Ints]:
        """Return the row and column, in pixels of the canvas, of each tile's core."""
        corner_x, corner_y, _, _ = _corners(keys, self.margin)
        column = np.rint((corner_x - self.x) / self.res_x).astype(np.int64)
        return np.rint((self.y - corner_y) / self.res_y).astype(np.int64), column


def canvases(dataset: Dataset, rows: pa.Table | None = None) -> list[Canvas]:
    """Return one canvas per lattice that the selection's planned tiles lie on, whatever became of them.

    ``rows`` are those tiles if the caller has read them already, with the columns of :data:`PLACE`.
    """
    if rows is None:
        rows = planned(dataset)
    frozen = dataset.frozen
    margin, tile = frozen.shape.margin, (frozen.shape.height, frozen.shape.width)
    if not rows.num_rows:
        raise JobError(f"{dataset.path}: no tiles are selected; dataset.counts says how many there are")
    found = []
    codes = rows["crs"].to_numpy(zero_copy_only=False)
    corner_x, corner_y, res_x, res_y = _corners(rows, margin)
    names = np.round(_lattices(rows, margin), 9)
    for code in sorted(set(codes.tolist())):
        mine = codes == code
        _, group = np.unique(names[mine].round(3), axis=0, return_inverse=True)
        for number in range(int(group.max()) + 1):
            index = np.flatnonzero(mine)[group.ravel() == number]
            across, down = res_x[index[0]], res_y[index[0]]
            x, y = corner_x[index].min(), corner_y[index].max()
            wide = round((corner_x[index].max() - x) / across) + tile[1]
            high = round((y - corner_y[index].min()) / down) + tile[0]
            found.append(Canvas(code, float(across), float(down), float(x), float(y), wide, high, tile, margin))
    return found


def one_canvas(dataset: Dataset, what: str, rows: pa.Table | None = None) -> Canvas:
    """Return the canvas of a selection on one lattice.

    Raises:
        JobError: for points, or several lattices; ``what`` is what needs one.
    """
    if dataset.points:
        raise JobError(f"{what}: patches around points make no raster; use NumPy, NPZ or TFRecord")
    found = canvases(dataset, rows)
    if len(found) > 1:
        names = ", ".join(f"{canvas.crs} at {canvas.res_x:g}" for canvas in found)
        raise JobError(f"{what}: the tiles lie on {len(found)} lattices ({names}); select one by its crs, or by images")
    return found[0]


def planned(dataset: Dataset, columns: Sequence[str] = PLACE) -> pa.Table:
    """Return the selection's planned tiles, with those that are in ``pixels`` but not yet in ``tiles``."""
    return pa.concat_tables([dataset.tiles(columns), dataset.keys(columns)], promote_options="permissive")


def _corners(keys: pa.Table, margin: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Return x and y of the cores' top left corners, and the resolutions."""
    flat = keys["transform"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, 6)
    scale_x, scale_y = flat[:, 0], flat[:, 4]
    return flat[:, 2] + margin * scale_x, flat[:, 5] + margin * scale_y, scale_x, -scale_y


def _lattices(keys: pa.Table, margin: int) -> Floats:
    """Return (n, 4): the resolutions, and the offset of the pixel edges in parts of a pixel."""
    x, y, res_x, res_y = _corners(keys, margin)
    return np.column_stack([res_x, res_y, *_offset(x, y, res_x, res_y)])


def _offset(x: Floats | float, y: Floats | float, res_x: Floats | float, res_y: Floats | float) -> list[Floats]:
    """Return how far edges lie from multiples of the resolution; what is float noise below a whole pixel is none."""
    parts = [np.mod(np.asarray(x) / res_x, 1), np.mod(np.asarray(y) / res_y, 1)]
    return [np.where(part > 1 - 1e-3, 0.0, part) for part in parts]
