"""A dataset as an xarray.DataArray that reads its parts when its values are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ee_spark.errors import JobError
from ee_spark.read.block import Array, Blocks, float_type
from ee_spark.read.canvas import PLACE, one_canvas, planned
from ee_spark.read.coordinates import raster_coordinates, spatial_ref
from ee_spark.read.dataset import Dataset, Piece

try:
    import xarray as xr
    from xarray.backends import BackendArray
    from xarray.core import indexing
except ImportError:
    raise JobError("to_xarray: xarray is not installed; pip install 'ee-spark[xarray]'") from None

READERS = 2


def to_xarray(dataset: Dataset, *, masked: bool = True) -> xr.DataArray:
    """Return the selection as a DataArray.

    Tiles give (time, band, y, x): one raster over the ground of all planned tiles, margins cut, one step of time an
    image, in the order of their times. Patches give (patch, time, band, y, x), whole, with ``x`` and ``y`` for each.
    Nothing is read before values are asked for, and then only the row groups that hold them; ``.chunk()`` hands them to
    dask.

    Args:
        dataset: what to read.
        masked: floats with NaN where a band is not valid or was not fetched; else the bands' own type (the one that
            holds all of them), with 0 or the fill value there.

    Raises:
        JobError: if the tiles lie on several lattices, or nothing is selected.
    """
    images = _images(dataset)
    dtype = np.result_type(*(float_type(kind) if masked else kind for kind in dataset.bands.values()))
    lazy = _patches(dataset, images, dtype, masked) if dataset.points else _raster(dataset, images, dtype, masked)
    dims = ("patch", "time", "band", "y", "x")[-lazy.ndim :]
    times = np.array(images["image_time"].to_numpy(zero_copy_only=False), "datetime64[ns]")
    coords = {
        "time": ("time", times, {"standard_name": "time", "axis": "T"}),
        "image_id": ("time", images["image_id"].to_numpy(zero_copy_only=False).astype(object)),
        "band": list(dataset.bands),
        **lazy.coords,
    }
    variable = xr.Variable(dims, indexing.LazilyIndexedArray(lazy))
    found = xr.DataArray(variable, coords, name=str(dataset.job["name"]).replace("-", "_"))
    found.attrs = {"grid_mapping": "spatial_ref"} | ({} if masked else _fill_value(dataset))
    return found


@dataclass
class _Lazy(BackendArray):  # type: ignore[misc]
    """What xarray indexes: reads the rows that meet a box of the array and puts each in its place.

    ``leading`` has, for each row of the table, its index in the dimensions before ``band``; ``row`` and ``column`` are
    the place of its core in the last two.
    """

    dataset: Dataset
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    masked: bool
    pieces: Sequence[Piece]
    piece: npt.NDArray[np.int64]
    within: npt.NDArray[np.int64]
    leading: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]
    block: tuple[int, int]
    coords: dict[str, Any] = field(repr=False)
    whole: bool = False

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: Any) -> Array:
        found: Array = indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)
        return found

    def _read(self, key: tuple[Any, ...]) -> Array:
        wanted = [np.arange(size)[part] for size, part in zip(self.shape, key, strict=True)]
        boxes = [np.atleast_1d(part) for part in wanted]
        out = np.full([len(box) for box in boxes], self._nothing, self.dtype)
        if out.size:
            rows = self._rows(boxes)
            bands = [list(self.dataset.bands)[index] for index in boxes[-3]]
            places = [{int(value): index for index, value in enumerate(box)} for box in boxes[:-3]]
            with ThreadPoolExecutor(READERS) as pool:
                jobs = [(bands, rows[self.piece[rows] == number]) for number in np.unique(self.piece[rows])]
                for blocks, mine in pool.map(lambda job: self._blocks(*job), jobs):
                    for order, index in enumerate(mine):
                        self._paste(out, blocks, order, int(index), places, boxes)
        return np.asarray(out.reshape([len(part) for part in wanted if part.ndim]))

    @property
    def _nothing(self) -> float:
        if self.masked:
            return np.nan
        return next(iter(self.dataset.fill.values()), 0)

    def _rows(self, boxes: Sequence[Array]) -> Array:
        """Return the rows that meet the boxes, by piece."""
        high, wide = self.block
        (y0, y1), (x0, x1) = ((box.min(), box.max()) for box in boxes[-2:])
        meets = (self.row <= y1) & (self.row + high > y0) & (self.column <= x1) & (self.column + wide > x0)
        for axis, box in enumerate(boxes[:-3]):
            meets &= np.isin(self.leading[axis], box)
        return np.flatnonzero(meets)

    def _blocks(self, bands: list[str], rows: Array) -> tuple[Blocks, Array]:
        """Read a piece's blocks of these bands; the rows as they stand in it."""
        blocks = self.dataset.select(bands=bands).read_piece(self.pieces[self.piece[rows[0]]])
        return blocks if self.whole else blocks.cores(), rows

    def _paste(
        self, out: Array, blocks: Blocks, order: int, index: int, places: list[dict[int, int]], boxes: Sequence[Array]
    ) -> None:
        block = blocks.block(int(self.within[index]))
        at = tuple(place[int(self.leading[axis, index])] for axis, place in enumerate(places))
        to_y, from_y = _overlap(boxes[-2], int(self.row[index]), self.block[0])
        to_x, from_x = _overlap(boxes[-1], int(self.column[index]), self.block[1])
        for number, band in enumerate(blocks.planes):
            plane = block.masked(band) if self.masked else block[band]
            out[at][number, to_y, to_x] = plane[from_y][:, from_x]


def _overlap(box: Array, start: int, side: int) -> tuple[slice, Array]:
    """Return where a run of pixels lies in the evenly spaced indices of ``box``, and which of its pixels those are."""
    inside = np.flatnonzero((box >= start) & (box < start + side))
    return slice(inside[0], inside[-1] + 1) if len(inside) else slice(0, 0), box[inside] - start


def _images(dataset: Dataset) -> pa.Table:
    """Return the distinct images of the selection's planned tiles, by time and then by id."""
    rows = planned(dataset, ("image_id", "image_time"))
    found = rows.group_by(["image_id", "image_time"]).aggregate([])
    return found.sort_by([("image_time", "ascending"), ("image_id", "ascending")])


def _index(dataset: Dataset, columns: Sequence[str]) -> tuple[pa.Table, dict[str, Any]]:
    """Return the rows of the selection's pieces, and where each is read."""
    pieces = dataset.pieces()
    tables = [dataset.piece_keys(piece, columns) for piece in pieces]
    counts = [table.num_rows for table in tables]
    where = {
        "pieces": pieces,
        "piece": np.repeat(np.arange(len(pieces)), counts),
        "within": np.concatenate([np.arange(count) for count in counts]) if counts else np.zeros(0, np.int64),
    }
    return pa.concat_tables(tables) if tables else dataset.keys(columns), where


def _raster(dataset: Dataset, images: pa.Table, dtype: np.dtype[Any], masked: bool) -> _Lazy:
    canvas = one_canvas(dataset, "to_xarray", planned(dataset))
    keys, where = _index(dataset, (*PLACE, "image_id"))
    row, column = canvas.places(keys)
    return _Lazy(
        dataset,
        (images.num_rows, len(dataset.bands), canvas.height, canvas.width),
        dtype,
        masked,
        **where,
        leading=_position(keys, images, "image_id")[None],
        row=row,
        column=column,
        block=canvas.tile,
        coords=raster_coordinates(canvas),
    )


def _patches(dataset: Dataset, images: pa.Table, dtype: np.dtype[Any], masked: bool) -> _Lazy:
    height, width = dataset.shape
    names = [name for name in dataset.key_names if name.startswith("point_") or name not in _GRID]
    rows = planned(dataset, (*PLACE, *names))
    points = rows.group_by("point_id", use_threads=False).aggregate(
        [(name, "first") for name in rows.column_names if name not in ("point_id", "transform")]
    )
    first = [int(index) for index in pc.index_in(points["point_id"], rows["point_id"]).to_numpy()]
    order = pc.sort_indices(points["point_id"])
    points, transforms = points.take(order), rows["transform"].take(pa.array(first).take(order)).to_pylist()
    keys, where = _index(dataset, ("image_id", "point_id"))
    affine = np.array(transforms)
    zeros = np.zeros(keys.num_rows, np.int64)
    codes = points["crs_first"].to_pylist()
    coords: dict[str, Any] = {
        "point_id": ("patch", np.array(points["point_id"].to_pylist(), object)),
        **{
            name: ("patch", points[f"{name}_first"].to_numpy(zero_copy_only=False))
            for name in names
            if name != "point_id"
        },
        "x": (("patch", "x"), affine[:, 2, None] + (np.arange(width) + 0.5) * affine[:, 0, None]),
        "y": (("patch", "y"), affine[:, 5, None] + (np.arange(height) + 0.5) * affine[:, 4, None]),
    }
    if len(set(codes)) == 1:
        coords["spatial_ref"] = spatial_ref(codes[0])
    else:
        coords["crs"] = ("patch", np.array(codes, object))
    return _Lazy(
        dataset,
        (len(points), images.num_rows, len(dataset.bands), height, width),
        dtype,
        masked,
        **where,
        leading=np.stack([_position(keys, points, "point_id"), _position(keys, images, "image_id")]),
        row=zeros,
        column=zeros,
        block=(height, width),
        coords=coords,
        whole=True,
    )


_GRID = (
    *("tile_id", "image_id", "image_time", "crs", "transform", "width", "height", "margin"),
    *("tile_row", "tile_col", "bbox"),
)


def _position(keys: pa.Table, of: pa.Table, column: str) -> npt.NDArray[np.int64]:
    found = pc.index_in(keys[column], of[column].combine_chunks())
    return found.to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def _fill_value(dataset: Dataset) -> dict[str, float]:
    values = set(dataset.fill.values())
    return {"_FillValue": values.pop()} if len(values) == 1 else {}
