"""The Image value: lazy bands that are evaluated on whatever grid a request asks for.

Evaluation is pull-based, as in Earth Engine: every input is asked for on the output's grid, nearest neighbour.
https://developers.google.com/earth-engine/guides/scale
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .blocks import BlockCache
from .errors import ServiceError
from .geometry import Geometry
from .limits import BANDS, too_large
from .pixeltype import PixelType
from .projection import WGS84, Grid, Projection, transform_points
from .pyramid import Centre
from .raster import Pixels

_MEMO_BYTES = 256 << 20
_OTHER_GRIDS = 4
STRIP = 1 << 18
"""Pixels evaluated at a time: bounds the memory of a deep stack whatever the size of the reply."""

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
    a, b, c, d, e, f = projection.transform
    x, y = np.array([a * column + b * row + c]), np.array([d * column + e * row + f])
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


@dataclass(frozen=True, eq=False)
class Image:
    """An ordered set of bands with properties; `id` and `version` only for a stored image as loaded."""

    bands: tuple[Band, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)
    geometry: Geometry | None = None
    id: str | None = None
    version: int | None = None

    def __post_init__(self) -> None:
        if len(self.bands) > BANDS:
            raise too_large()

    @property
    def names(self) -> list[str]:
        """The band names in order."""
        return [band.name for band in self.bands]

    def with_bands(self, bands: Iterable[Band]) -> Image:
        """The same metadata with other bands."""
        return Image(tuple(bands), self.properties, self.geometry, self.id, self.version)

    def with_properties(self, properties: Mapping[str, Any]) -> Image:
        """The same bands with other properties."""
        return Image(self.bands, dict(properties), self.geometry, self.id, self.version)

    def evaluate(self, grid: Grid, cache: BlockCache) -> list[Pixels]:
        """Compute every band on `grid`, strip by strip of at most `STRIP` pixels."""
        rows = max(1, STRIP // grid.width)
        if rows >= grid.height:
            canvas = Canvas(grid, cache)
            return [canvas.pixels(band) for band in self.bands]
        results = [(np.empty(grid.shape, b.type.dtype), np.empty(grid.shape, np.float32)) for b in self.bands]
        for start in range(0, grid.height, rows):
            stop = min(start + rows, grid.height)
            canvas = Canvas(grid.rows(start, stop), cache, grid.centre)
            for (values, mask), band in zip(results, self.bands, strict=True):
                values[start:stop], mask[start:stop] = canvas.pixels(band)
        return list(results)


def constant(value: float, name: str, pixel_type: PixelType) -> Band:
    """A band with one value everywhere, valid everywhere."""
    scalar = np.asarray(value, pixel_type.dtype)

    def read(canvas: Canvas) -> Pixels:
        shape = canvas.grid.shape
        return np.broadcast_to(scalar, shape), np.broadcast_to(np.True_, shape)

    return Band(name, pixel_type, read)


def meet(*extents: Extent | None) -> Extent | None:
    """Where all of the footprints are."""
    bounded = [extent for extent in extents if extent is not None]
    if len(bounded) < 2:
        return bounded[0] if bounded else None
    return lambda canvas: np.asarray(np.logical_and.reduce([extent(canvas) for extent in bounded]))


def join(*extents: Extent | None) -> Extent | None:
    """Where any of the footprints is; unbounded if one of them is."""
    bounded = [extent for extent in extents if extent is not None]
    if len(bounded) < len(extents):
        return None
    return lambda canvas: np.asarray(np.logical_or.reduce([extent(canvas) for extent in bounded]))


def both(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """The mask of a value computed from two: masked where either is, else the smaller of the two."""
    if first.dtype == bool and second.dtype == bool:
        return np.asarray(first & second)
    return np.asarray(np.minimum(fraction(first), fraction(second)))


def fraction(mask: NDArray[Any]) -> NDArray[Any]:
    """A mask as float32 in [0, 1]."""
    return mask.astype(np.float32, copy=False)


def as_mask(values: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
    """A mask image's pixels as a mask: its values limited to [0, 1], masked where the mask image is."""
    if values.dtype.kind in "iub":
        valid = values > 0
        return np.asarray(valid & mask if mask.dtype == bool else np.where(valid, mask, np.float32(0)))
    limited = np.clip(np.nan_to_num(values), 0, 1).astype(np.float32)
    return np.asarray(np.where(mask > 0, limited, np.float32(0)))


def only_band(image: Image, operation: str) -> Band:
    """The first band, or a 400 when there is none."""
    if not image.bands:
        raise ServiceError(f"{operation}: Image has no bands.")
    return image.bands[0]
