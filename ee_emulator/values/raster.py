"""Stored rasters: opened by rasterio, read in blocks through one bounded cache, sampled at pixel centres."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.windows import Window

from . import pyramid
from .block import Block, BlockCache
from .crs import code_of
from .grid import Grid, Pixels
from .pixeltype import PixelType, of_dtype
from .projection import Affine6, Projection

_WHOLE = 1 << 21
"""Bands of at most this many pixels are one block: a small raster is decoded once."""
_BLOCK = 512
_SURE = 0.499
"""Shifts of a lattice, in pixels, below which every centre lies in the same pixel whatever the rounding."""
_SHORT_AXES = 4096
"""Axes of grids up to this many rows and columns are remembered: tiles repeat for every image of a series."""


@dataclass(frozen=True, eq=False)
class RasterBand:
    """One level of one band of one file, as it was when the catalog was read.

    `nodata` is the catalog's value if it gave one; else `own_mask` says whether the file masks pixels itself. `policy`
    makes the levels above the file's own pixels, which are level 0; size and transform are those of this level.
    """

    path: Path
    index: int
    stamp: int
    width: int
    height: int
    dtype: str
    crs: str
    transform: Affine6
    nodata: float | None
    own_mask: bool
    type: PixelType
    policy: str = "MEAN"
    level: int = 0
    finer: RasterBand | None = None

    @cached_property
    def identity(self) -> Hashable:
        """Equal where the blocks are: what they are decoded and made from."""
        return self.path, self.stamp, self.index, self.nodata, self.type, self.level, self.policy

    @cached_property
    def projection(self) -> Projection:
        """The projection whose pixels these are."""
        return Projection(self.crs, self.transform)

    def seen_from(self, centre: pyramid.Centre) -> RasterBand:
        """The level that a request with this centre reads; asked of level 0."""
        level = pyramid.level_at(pyramid.scale_ratio(self.crs, self.transform, centre))
        return _at_level(self, level) if level else self

    def inside(self, grid: Grid) -> NDArray[Any]:
        """True where a pixel centre of `grid` lies on the raster."""
        if grid.aligned and grid.same_crs(self.crs) and self.transform[1] == self.transform[3] == 0:
            columns, rows = self._axis_indices(grid)
            return ((rows >= 0) & (rows < self.height))[:, None] & ((columns >= 0) & (columns < self.width))
        if self._apart(grid):
            return np.broadcast_to(np.False_, grid.shape)
        columns, rows = self._indices(grid)
        return (rows >= 0) & (rows < self.height) & (columns >= 0) & (columns < self.width)

    def sample(self, grid: Grid, cache: BlockCache) -> Pixels:
        """The pixel that holds each pixel centre of `grid`, exactly: floor((x - x0) / size) in the raster's CRS."""
        if grid.aligned and grid.same_crs(self.crs) and self.transform[1] == self.transform[3] == 0:
            found = self._window(grid, cache)
            if found is not None:
                return found
            columns, rows = self._axis_indices(grid)
            return self._gather_axes(rows, columns, cache)
        if self._apart(grid):
            return np.zeros(grid.shape, self.type.dtype), np.zeros(grid.shape, self._mask_dtype)
        columns, rows = self._indices(grid)
        return self._gather(rows, columns, cache)

    def _apart(self, grid: Grid) -> bool:
        """True where the raster's box and that of the grid's pixel centres do not meet: most images of a collection."""
        west, south, east, north = _centre_box(grid, self.crs)
        a, b, c, d, e, f = self.transform
        if b or d:
            return False
        xs, ys = sorted((c, c + a * self.width)), sorted((f, f + e * self.height))
        return bool(west > xs[1] or east < xs[0] or south > ys[1] or north < ys[0])

    def _window(self, grid: Grid, cache: BlockCache) -> Pixels | None:
        """A grid of the raster's own pixel size inside one of its blocks: a part of that block. None for others."""
        a, _, c, _, e, f = grid.projection.transform
        if a != self.transform[0] or e != self.transform[4]:
            return None
        # Where the lattices are shifted by half a pixel, rounding decides pixel by pixel: not here.
        across, down = (c - self.transform[2]) / a, (f - self.transform[5]) / e
        column, row = math.floor(across + 0.5), math.floor(down + 0.5)
        if max(abs(across - column), abs(down - row)) > _SURE:
            return None
        column, row = column + grid.column, row + grid.row
        height, width = self._block_shape
        at_row, at_column = row // height, column // width
        top, left = row - at_row * height, column - at_column * width
        bottom, right = top + grid.height, left + grid.width
        inside = 0 <= row <= self.height - grid.height and 0 <= column <= self.width - grid.width
        if not inside or bottom > height or right > width:
            return None
        values, mask = cache.block(self, at_row, at_column)
        if mask is None:
            return values[top:bottom, left:right], np.broadcast_to(np.True_, grid.shape)
        return values[top:bottom, left:right], mask[top:bottom, left:right]

    def _axis_indices(self, grid: Grid) -> tuple[NDArray[Any], NDArray[Any]]:
        if grid.width + grid.height > _SHORT_AXES:
            return _axis_indices(grid, self.transform)
        return _kept_axis_indices(grid, self.transform)

    def _indices(self, grid: Grid) -> tuple[NDArray[Any], NDArray[Any]]:
        columns, rows = self.projection.pixels_at(*grid.centres_in(self.crs))
        return _floor(columns), _floor(rows)

    @property
    def _mask_dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32 if self.level and self.policy != "SAMPLE" else bool)

    @property
    def _block_shape(self) -> tuple[int, int]:
        if self.width * self.height <= _WHOLE:
            return self.height, self.width
        return _BLOCK, _BLOCK

    def _gather_axes(self, rows: NDArray[Any], columns: NDArray[Any], cache: BlockCache) -> Pixels:
        inner_rows = np.flatnonzero((rows >= 0) & (rows < self.height))
        inner_columns = np.flatnonzero((columns >= 0) & (columns < self.width))
        shape = (len(rows), len(columns))
        whole = inner_rows.size == shape[0] and inner_columns.size == shape[1]
        block_height, block_width = self._block_shape
        at_row, at_column = int(rows[0]) // block_height, int(columns[0]) // block_width
        if whole and at_row == int(rows[-1]) // block_height and at_column == int(columns[-1]) // block_width:
            block = cache.block(self, at_row, at_column)
            local = _selection(rows - at_row * block_height), _selection(columns - at_column * block_width)
            return _take(block[0], local), _take_mask(block[1], local, shape)
        values, mask = np.zeros(shape, self.type.dtype), np.zeros(shape, self._mask_dtype)
        for at_row in np.unique(rows[inner_rows] // block_height).tolist():
            to_rows = inner_rows[rows[inner_rows] // block_height == at_row]
            for at_column in np.unique(columns[inner_columns] // block_width).tolist():
                to_columns = inner_columns[columns[inner_columns] // block_width == at_column]
                block = cache.block(self, at_row, at_column)
                local = (
                    _selection(rows[to_rows] - at_row * block_height),
                    _selection(columns[to_columns] - at_column * block_width),
                )
                # rows and columns that fall on the raster are one run each, so both targets are slices
                target = _selection(to_rows), _selection(to_columns)
                part = (len(to_rows), len(to_columns))
                _put(values, target, _take(block[0], local))
                _put(mask, target, _take_mask(block[1], local, part))
        return values, mask

    def _gather(self, rows: NDArray[Any], columns: NDArray[Any], cache: BlockCache) -> Pixels:
        inner = (rows >= 0) & (rows < self.height) & (columns >= 0) & (columns < self.width)
        values, mask = np.zeros(rows.shape, self.type.dtype), np.zeros(rows.shape, self._mask_dtype)
        at = np.flatnonzero(inner)
        if at.size == 0:
            return values, mask
        block_height, block_width = self._block_shape
        flat_rows, flat_columns = rows.ravel()[at], columns.ravel()[at]
        across = -(-self.width // block_width)
        numbers = (flat_rows // block_height) * across + flat_columns // block_width
        for number in np.unique(numbers):
            here = numbers == number
            at_row, at_column = divmod(int(number), across)
            block = cache.block(self, at_row, at_column)
            local = flat_rows[here] - at_row * block_height, flat_columns[here] - at_column * block_width
            values.reshape(-1)[at[here]] = block[0][local]
            mask.reshape(-1)[at[here]] = True if block[1] is None else block[1][local]
        return values, mask

    def make_block(self, at_row: int, at_column: int, cache: BlockCache) -> Block:
        """One block: values in the band's type, and its mask (None: every pixel is valid)."""
        if self.finer is None:
            return self._decoded(at_row, at_column)
        height, width = self._block_shape
        rows = np.arange(2 * at_row * height, 2 * min((at_row + 1) * height, self.height))
        columns = np.arange(2 * at_column * width, 2 * min((at_column + 1) * width, self.width))
        return pyramid.halve(*self.finer._gather_axes(rows, columns, cache), self.policy)

    def _decoded(self, at_row: int, at_column: int) -> Block:
        height, width = self._block_shape
        window = Window(at_column * width, at_row * height, width, height)  # cut at the raster's edge by the reader
        window = window.intersection(Window(0, 0, self.width, self.height))
        with rasterio.open(self.path) as dataset:
            raw = dataset.read(self.index, window=window)
            valid: NDArray[Any] | None = None
            if self.nodata is not None:
                valid = ~np.isnan(raw) if self.nodata != self.nodata else raw != self.nodata
            elif self.own_mask:
                valid = dataset.read_masks(self.index, window=window) > 0
        values = self.type.cast(raw, of_dtype(raw.dtype))
        if valid is not None and bool(valid.all()):
            valid = None
        return values, valid


def open_bands(path: Path, crs: str | None) -> list[RasterBand]:
    """Every band of a file; `crs` names its coordinate system, else the file's own code or WKT is used.

    Raises rasterio's error when the file cannot be opened, ValueError when it has no georeference or complex numbers.
    """
    stat = path.stat()
    with rasterio.open(path) as dataset:
        if dataset.crs is None and crs is None:
            raise ValueError("it has no coordinate system; name one with `crs`")
        name = crs or code_of(dataset.crs) or dataset.crs.to_wkt()
        transform: Affine6 = tuple(float(v) for v in dataset.transform[:6])  # type: ignore[assignment]
        return [
            RasterBand(
                path=path,
                index=i + 1,
                stamp=stat.st_mtime_ns ^ stat.st_size,
                width=dataset.width,
                height=dataset.height,
                dtype=dataset.dtypes[i],
                crs=name,
                transform=transform,
                nodata=dataset.nodatavals[i],
                own_mask=MaskFlags.all_valid not in dataset.mask_flag_enums[i],
                type=of_dtype(np.dtype(dataset.dtypes[i])),
            )
            for i in range(dataset.count)
        ]


@lru_cache(maxsize=1024)
def _at_level(native: RasterBand, level: int) -> RasterBand:
    """A level of a band; the one with a single pixel for what is above it."""
    finer = native if level <= 1 else _at_level(native, level - 1)
    if finer.width == finer.height == 1:
        return finer
    transform = pyramid.coarser(native.transform, finer.level + 1)
    width, height = -(-finer.width // 2), -(-finer.height // 2)
    return replace(finer, width=width, height=height, transform=transform, level=finer.level + 1, finer=finer)


@lru_cache(maxsize=64)
def _centre_box(grid: Grid, crs: str) -> tuple[float, float, float, float]:
    """West, south, east and north of a grid's pixel centres in a coordinate system; everywhere where one is nowhere."""
    xs, ys = grid.centres_in(crs)
    box = float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())
    return box if np.isfinite(box).all() else (-np.inf, -np.inf, np.inf, np.inf)


def _axis_indices(grid: Grid, transform: Affine6) -> tuple[NDArray[Any], NDArray[Any]]:
    """Column and row numbers of an aligned grid's axes on a raster of the same coordinate system."""
    xs, ys = grid.axes()
    a, _, c, _, e, f = transform
    return _whole(np.floor((xs - c) / a)), _whole(np.floor((ys - f) / e))


_kept_axis_indices = lru_cache(maxsize=512)(_axis_indices)


def _whole(numbers: NDArray[Any]) -> NDArray[Any]:
    """Finite whole numbers as integers; what is far off the raster stays off it."""
    return np.asarray(np.clip(numbers, -1.0, 2.0**40), np.int64)


def _floor(positions: NDArray[Any]) -> NDArray[Any]:
    """Whole pixel numbers; -1 where there is no position, far ones stay off the raster."""
    return _whole(np.nan_to_num(np.floor(positions), nan=-1.0))


def _selection(indices: NDArray[Any]) -> slice | NDArray[Any]:
    """Consecutive indices as a slice, which numpy copies far faster than a list of them."""
    first, last = int(indices[0]), int(indices[-1])
    if last - first + 1 == len(indices) and (len(indices) < 3 or bool((np.diff(indices) == 1).all())):
        return slice(first, last + 1)
    return indices


def _take(values: NDArray[Any], where: tuple[slice | NDArray[Any], slice | NDArray[Any]]) -> NDArray[Any]:
    return np.asarray(values[where[0]][:, where[1]])


def _take_mask(
    mask: NDArray[Any] | None, where: tuple[slice | NDArray[Any], slice | NDArray[Any]], shape: tuple[int, int]
) -> NDArray[Any]:
    return np.broadcast_to(np.True_, shape) if mask is None else _take(mask, where)


def _put(target: NDArray[Any], where: tuple[slice | NDArray[Any], slice | NDArray[Any]], part: NDArray[Any]) -> None:
    if isinstance(where[0], slice) or isinstance(where[1], slice):
        target[where] = part
    else:
        target[np.ix_(where[0], where[1])] = part
