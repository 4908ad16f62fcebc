"""A dataset as an xarray.DataArray that reads its parts when its values are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ee_spark.errors import ReadError, missing_extra
from ee_spark.planner.crs import Ints
from ee_spark.read.block import Array, Blocks, float_type
from ee_spark.read.canvas import PLACE, one_canvas
from ee_spark.read.clip import clipped
from ee_spark.read.coordinates import Coordinate, raster_coordinates, spatial_ref
from ee_spark.read.rows import LATTICE, RowGroup, Rows, images_by_time

try:
    import xarray as xr
    from xarray.backends import BackendArray
    from xarray.core import indexing
except ImportError:
    raise missing_extra("to_xarray", "xarray", "xarray") from None

READERS = 2


def to_xarray(rows: Rows, *, masked: bool = True) -> xr.DataArray:
    """Return the selection as a DataArray.

    Tiles give (time, band, y, x): one raster over the ground of all planned tiles, margins cut, one step of time
    per image, in the order of their times; with ``clip`` the part of it that the clip touches. Patches give (patch,
    time, band, y, x), whole, each with an ``x`` and ``y`` of its own. Nothing is read before values are needed, and
    then only the row groups that hold them; ``.chunk()`` hands them to dask.

    Args:
        rows: what to read, e.g. a source.
        masked: floats with NaN where a band is not valid or was not fetched; else the bands' own type (the one that
            holds all of them), with 0 or the band's fill value there.

    Raises:
        ReadError: if the tiles lie on several lattices, or nothing is selected.
    """
    rows.check_decided()
    images = images_by_time(rows.planned(("image_id", "image_time")))
    dtype = np.result_type(*(float_type(kind) if masked else kind for kind in rows.bands.values()))
    lazy = _patches(rows, images, dtype, masked) if rows.points else _raster(rows, images, dtype, masked)
    dims = ("patch", "time", "band", "y", "x")[-lazy.ndim :]
    times = np.array(images["image_time"].to_numpy(zero_copy_only=False), "datetime64[ns]")
    coords = {
        "time": ("time", times, {"standard_name": "time", "axis": "T"}),
        "image_id": ("time", images["image_id"].to_numpy(zero_copy_only=False).astype(object)),
        "band": list(rows.bands),
        **lazy.coords,
    }
    variable = xr.Variable(dims, indexing.LazilyIndexedArray(lazy))
    found = xr.DataArray(variable, coords, name=rows.manifest.name.replace("-", "_"))
    found.attrs = {"grid_mapping": "spatial_ref"} | ({} if masked else _fill_value(rows))
    return found


@dataclass
class _Lazy(BackendArray):  # type: ignore[misc]
    """What xarray indexes: reads the rows that meet a box of the array and puts each in its place.

    ``leading`` has, for each row of the table, its index in the dimensions before ``band``; ``row`` and ``column`` are
    the place of its core in the last two.
    """

    source: Rows
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    masked: bool
    where: _Where
    leading: Ints
    row: Ints
    column: Ints
    block: tuple[int, int]
    coords: dict[str, Coordinate] = field(repr=False)
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
        bands = [list(self.source.bands)[index] for index in boxes[-3]]
        out = np.empty([len(box) for box in boxes], self.dtype)
        for number, band in enumerate(bands):
            out[..., number, :, :] = np.nan if self.masked else self.source.rule.fill.get(band, 0)
        if out.size:
            rows, where = self._rows(boxes), self.where.group
            places = [{int(value): index for index, value in enumerate(box)} for box in boxes[:-3]]
            with ThreadPoolExecutor(READERS) as pool:
                jobs = [(bands, rows[where[rows] == number]) for number in np.unique(where[rows])]
                for blocks, mine in pool.map(lambda job: self._blocks(*job), jobs):
                    for order, index in enumerate(mine):
                        self._paste(out, blocks, order, int(index), places, boxes)
        return np.asarray(out.reshape([len(part) for part in wanted if part.ndim]))

    def _rows(self, boxes: Sequence[Array]) -> Array:
        """Return the rows that meet the boxes, by row group."""
        high, wide = self.block
        (y0, y1), (x0, x1) = ((box.min(), box.max()) for box in boxes[-2:])
        meets = (self.row <= y1) & (self.row + high > y0) & (self.column <= x1) & (self.column + wide > x0)
        for axis, box in enumerate(boxes[:-3]):
            meets &= np.isin(self.leading[axis], box)
        return np.flatnonzero(meets)

    def _blocks(self, bands: list[str], rows: Array) -> tuple[Blocks, Array]:
        """Read a row group's blocks of these bands; the rows as they stand in it."""
        blocks = self.source.with_bands(bands).read_row_group(self.where.groups[self.where.group[rows[0]]])
        return blocks if self.whole else blocks.cores(), rows

    def _paste(
        self, out: Array, blocks: Blocks, order: int, index: int, places: list[dict[int, int]], boxes: Sequence[Array]
    ) -> None:
        block = blocks.block(int(self.where.within[index]))
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


@dataclass(frozen=True)
class _Where:
    """Where each row of the selection is read: in which row group, and as which of its rows."""

    groups: Sequence[RowGroup]
    group: Ints
    within: Ints


def _index(source: Rows, columns: Sequence[str]) -> tuple[pa.Table, _Where]:
    """Return the rows of the selection, and where each is read."""
    groups = source.row_groups()
    tables = [source.row_group_keys(group, columns) for group in groups]
    counts = [table.num_rows for table in tables]
    within = np.concatenate([np.arange(count) for count in counts]) if counts else np.zeros(0, np.int64)
    keys = pa.concat_tables(tables) if tables else source.keys(columns)
    return keys, _Where(groups, np.repeat(np.arange(len(groups)), counts), within)


def _raster(source: Rows, images: pa.Table, dtype: np.dtype[Any], masked: bool) -> _Lazy:
    canvas = clipped(source, one_canvas(source, "to_xarray"))
    keys, where = _index(source, (*PLACE, "image_id"))
    row, column = canvas.places(keys)
    return _Lazy(
        source,
        (images.num_rows, len(source.bands), canvas.height, canvas.width),
        dtype,
        masked,
        where,
        leading=_position(keys, images, "image_id")[None],
        row=row,
        column=column,
        block=canvas.tile,
        coords=raster_coordinates(canvas),
    )


def _patches(source: Rows, images: pa.Table, dtype: np.dtype[Any], masked: bool) -> _Lazy:
    """Return one patch per point; a point whose images lie on several lattices has one for each of them."""
    height, width = source.shape
    names = [name for name in source.key_names if name.startswith("point_") or name not in _GRID]
    rows = _named(source.planned((LATTICE, "crs", "transform", *names)))
    if not rows.num_rows:
        raise ReadError(f"{source.path}: no tiles are selected; dataset.counts says how many there are")
    patches = rows.group_by(_PATCH, use_threads=False).aggregate(
        [(name, "first") for name in rows.column_names if name not in ("transform", _PATCH)]
    )
    patches = patches.sort_by([("point_id_first", "ascending"), (f"{LATTICE}_first", "ascending")])
    first = pc.index_in(patches[_PATCH], rows[_PATCH].combine_chunks())
    affine = np.array(rows["transform"].take(first).to_pylist())
    keys, where = _index(source, ("image_id", "point_id", LATTICE))
    zeros = np.zeros(keys.num_rows, np.int64)
    codes = patches["crs_first"].to_pylist()
    coords: dict[str, Coordinate] = {
        "point_id": ("patch", np.array(patches["point_id_first"].to_pylist(), object), {}),
        **{
            name: ("patch", patches[f"{name}_first"].to_numpy(zero_copy_only=False), {})
            for name in names
            if name != "point_id"
        },
        "x": (("patch", "x"), affine[:, 2, None] + (np.arange(width) + 0.5) * affine[:, 0, None], {}),
        "y": (("patch", "y"), affine[:, 5, None] + (np.arange(height) + 0.5) * affine[:, 4, None], {}),
    }
    if len(set(codes)) == 1:
        coords["spatial_ref"] = spatial_ref(codes[0])
    else:
        coords["crs"] = ("patch", np.array(codes, object), {})
    return _Lazy(
        source,
        (len(patches), images.num_rows, len(source.bands), height, width),
        dtype,
        masked,
        where,
        leading=np.stack([_position(_named(keys), patches, _PATCH), _position(keys, images, "image_id")]),
        row=zeros,
        column=zeros,
        block=(height, width),
        coords=coords,
        whole=True,
    )


_PATCH = "patch.key"


def _named(rows: pa.Table) -> pa.Table:
    """Return rows with a name for the patch that each is an image of."""
    return rows.append_column(_PATCH, pc.binary_join_element_wise(rows[LATTICE], rows["point_id"], "/"))


_GRID = (
    *("tile_id", "image_id", "image_time", "crs", "transform", "width", "height", "margin"),
    *("tile_row", "tile_col", "bbox"),
)


def _position(keys: pa.Table, of: pa.Table, column: str) -> Ints:
    found = pc.index_in(keys[column], of[column].combine_chunks())
    return found.to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def _fill_value(source: Rows) -> dict[str, float]:
    values = set(source.fill.values())
    return {"_FillValue": values.pop()} if len(values) == 1 else {}
