"""What every reader must say, by rasterio, numpy and pyproj alone, from the source rasters.

Tiles are those that the contract asks for: whole tiles of the lattice that the region touches, or patches around
points, of each image whose own raster touches them. A pixel is the pixel of the raster that holds its centre; beyond
180 degrees there is none. Nothing of ee_spark is used here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyproj
import rasterio
from agreement_jobs import BANDS, Box, Case, Grid, Layer, Layout, Source
from agreement_pixels import Array, Floats, Key, Pixels, Raster, centres, gathered

SLIVER = 1.5
"""Pixels by which the region and the rasters may grow or shrink without another tile: no case hangs on a hair."""
CLEAR = 1e-6
"""Parts of a pixel that every centre keeps from the edges of the source's pixels."""
Places = tuple[Floats, Floats]


@dataclass(frozen=True)
class Tile:
    """A planned tile: ``left`` and ``top`` of its core, in pixels from the origin of the lattice."""

    name: str
    grid: Grid
    left: int
    top: int
    width: int
    height: int
    margin: int

    @property
    def transform(self) -> tuple[float, ...]:
        """The transform of the stored block."""
        step = self.grid.resolution
        x = self.grid.x0 + (self.left - self.margin) * step
        y = self.grid.y0 - (self.top - self.margin) * step
        return step, 0.0, x, 0.0, -step, y

    def holds(self, column: Floats, row: Floats, margin: int) -> bool:
        """Return whether any of these positions lies in the core grown by a margin."""
        column, row = column - self.left + margin, row - self.top + margin
        wide, high = self.width + 2 * margin, self.height + 2 * margin
        return bool(((column > 0) & (column < wide) & (row > 0) & (row < high)).any())


@dataclass(frozen=True)
class Block:
    """One tile of one image: the values of each band, 0 where its own mask says so, and where each counts as valid."""

    tile: Tile
    image: str
    values: dict[str, Array]
    valid: dict[str, Array]
    margin: int

    def core(self) -> Block:
        """Return the block without its margin."""
        inner = slice(self.margin, -self.margin or None)
        return replace(
            self,
            values={band: plane[inner, inner] for band, plane in self.values.items()},
            valid={band: plane[inner, inner] for band, plane in self.valid.items()},
            margin=0,
        )

    def rasters(self) -> Iterator[Raster]:
        """Yield the bands."""
        tile = replace(self.tile, margin=self.margin)
        for band in BANDS:
            height, width = self.values[band].shape
            x, y = centres(tile.transform, width, height)
            yield Raster(Key(self.image, band, tile.grid.crs), x, y, self.values[band], self.valid[band])


@dataclass(frozen=True)
class Truth:
    """All planned blocks of a case."""

    blocks: tuple[Block, ...]

    def pixels(self, *, margins: bool = False, once: bool = False) -> Pixels:
        """Return the valid pixels of the blocks' cores, or with ``margins`` of the whole blocks, which repeat pixels.

        ``once``: a pixel that several tiles or patches hold counts once, as in a raster of them.
        """
        blocks = self.blocks if margins else [block.core() for block in self.blocks]
        found = gathered(raster for block in blocks for raster in block.rasters())
        return {key: np.unique(rows, axis=0) for key, rows in found.items()} if once else found


def truth_of(case: Case, folder: Path) -> Truth:
    """Return every planned block of a case, from the rasters in ``folder``."""
    return Truth(tuple(_block(case, tile, source, folder) for tile, source in planned(case.layout)))


def _block(case: Case, tile: Tile, source: Source, folder: Path) -> Block:
    width, height = tile.width + 2 * tile.margin, tile.height + 2 * tile.margin
    x, y = np.meshgrid(*centres(tile.transform, width, height))
    found = {band: _read(folder / source.file(case, band), tile.grid.crs, x, y) for band in BANDS}
    world = np.abs(x) <= 180 if tile.grid.crs == "EPSG:4326" else True
    masks = {band: mask & world for band, (_, mask) in found.items()}
    both: Array = np.logical_and.reduce(list(masks.values()))
    unknown: Array = np.ones((height, width), np.bool_)
    valid = {"band": dict.fromkeys(BANDS, both), "bands": masks, "fill": masks, "none": dict.fromkeys(BANDS, unknown)}
    values = {band: np.where(masks[band], plane, 0) for band, (plane, _) in found.items()}
    return Block(tile, source.image_id(case), values, valid[case.mask], tile.margin)


def _read(path: Path, crs: str, x: Floats, y: Floats) -> tuple[Array, Array]:
    """Return value and validity of the pixel of a raster that holds each centre; beyond the raster none is valid."""
    with rasterio.open(path) as raster:
        values, mask, own = raster.read(1), raster.read_masks(1) != 0, raster.transform
        theirs = f"EPSG:{raster.crs.to_epsg()}"
    x, y = _projected(crs, theirs, x, y)
    column, row = (x - own.c) / own.a, (y - own.f) / own.e
    for place in (column, row):
        assert (np.abs(place - np.round(place)) > CLEAR).all(), f"{path.name}: a centre lies on an edge of its pixels"
    high, wide = values.shape
    inside = (column > 0) & (row > 0) & (column < wide) & (row < high)
    at = np.clip(np.floor(row).astype(int), 0, high - 1), np.clip(np.floor(column).astype(int), 0, wide - 1)
    return values[at], mask[at] & inside


@lru_cache
def planned(layout: Layout) -> tuple[tuple[Tile, Source], ...]:
    """Return the planned pairs of tile and image."""
    found = []
    for layer in layout.layers:
        tiles = _patches(layout, layer) if layout.points else _tiles(layout, layer)
        for source in layer.sources:
            inner, outer = (_raster_places(source, layer.grid, grow) for grow in (-SLIVER, SLIVER))
            for tile in tiles:
                touches = tile.holds(*inner, 0)
                assert touches == tile.holds(*outer, tile.margin), f"{tile.name} and {source.name} touch by a hair"
                if touches:
                    found.append((tile, source))
    return tuple(found)


def _tiles(layout: Layout, layer: Layer) -> list[Tile]:
    """Return the tiles of the lattice that the layer's part of the region touches."""

    def touched(grow: float) -> set[tuple[int, int]]:
        cells = set()
        for box in layout.boxes:
            column, row = _box_places(box, layer, grow)
            at = np.floor(row / layout.tile[1]).ravel(), np.floor(column / layout.tile[0]).ravel()
            cells |= {(int(r), int(c)) for r, c in zip(*at, strict=True)}
        return cells

    wanted = touched(0)
    assert touched(-SLIVER) == wanted == touched(SLIVER), f"{layout.name}: the region touches a tile by a hair"
    width, height = layout.tile
    prefix = layer.grid.crs.replace(":", "-")
    return [
        Tile(f"{prefix}/r{row}c{column}", layer.grid, column * width, row * height, width, height, layout.margin)
        for row, column in sorted(wanted)
    ]


def _patches(layout: Layout, layer: Layer) -> list[Tile]:
    """Return one patch per point: an odd side centres the pixel of the point, an even one the nearest corner."""
    (width, height), found = layout.tile, []
    for name, lon, lat in layout.points:
        column, row = _positions(layer.grid, *_projected("EPSG:4326", layer.grid.crs, np.array(lon), np.array(lat)))
        left, top = np.floor(column - width / 2 + 0.5), np.floor(row - height / 2 + 0.5)
        found.append(Tile(name, layer.grid, int(left), int(top), width, height, layout.margin))
    return found


def _box_places(box: Box, layer: Layer, grow: float) -> Places:
    """Return close positions all over a box in degrees, cut to the layer and grown by so many pixels."""
    degrees = grow * layer.grid.resolution / (1 if layer.grid.crs == "EPSG:4326" else 111_000)
    west, east = max(box[0] - degrees, layer.west, -180.0), min(box[2] + degrees, layer.east, 180.0)
    lon, lat = _mesh((west, box[1] - degrees, east, box[3] + degrees))
    return _positions(layer.grid, *_projected("EPSG:4326", layer.grid.crs, lon, lat))


def _raster_places(source: Source, grid: Grid, grow: float) -> Places:
    """Return close positions, on another lattice, all over a source's raster grown by so many pixels."""
    column, row = _mesh(
        (
            source.left - grow,
            source.top - grow,
            source.left + source.width + grow,
            source.top + source.height + grow,
        )
    )
    step = source.grid.resolution
    x, y = source.grid.x0 + column * step, source.grid.y0 - row * step
    return _positions(grid, *_projected(source.grid.crs, grid.crs, x, y))


def _mesh(box: Box, steps: int = 300) -> Places:
    x, y = np.meshgrid(np.linspace(box[0], box[2], steps), np.linspace(box[1], box[3], steps))
    return x, y


def _positions(grid: Grid, x: Floats, y: Floats) -> Places:
    """Return columns and rows, in pixels from the origin of a lattice."""
    return (x - grid.x0) / grid.resolution, (grid.y0 - y) / grid.resolution


def _projected(source: str, target: str, x: Floats, y: Floats) -> Places:
    if source == target:
        return x, y
    return _transformer(source, target)(x, y)


@lru_cache
def _transformer(source: str, target: str) -> Callable[[Floats, Floats], Places]:
    transform: Callable[[Floats, Floats], Places] = pyproj.Transformer.from_crs(
        source, target, always_xy=True
    ).transform
    return transform
