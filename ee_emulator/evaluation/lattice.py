"""Bands on a pixel lattice other than the output's: taken from it by nearest neighbour, interpolated, or aggregated.

Each function evaluates its band on the part of the lattice that the canvas needs, and gives the canvas its pixels.
https://developers.google.com/earth-engine/guides/resample
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError
from ..values.band import Band, Canvas
from ..values.grid import Grid, Pixels
from ..values.mask import fraction
from ..values.projection import Projection

MAX_PIXELS = 1 << 24
"""Pixels of a lattice that one strip of a request may need; above it is a 400 with the service's text."""
_EXACT = 1e-6
"""Fractions of a pixel that count as none: centres that coincide are not interpolated."""
_MANY = 8
"""Input pixels per side of an output pixel from which on the share of a single one matters less."""
_STRAIGHT = 0.05
"""How far, in pixels of the input, an interpolated position may be off."""
_STACK = 1 << 22
"""Samples aggregated at a time."""

Aggregate = Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], Pixels]
"""Stacks of values, masks and weights, all (n, height, width), to values and mask."""


@dataclass(frozen=True)
class _Part:
    """The pixels of a part of a lattice, from (`column`, `row`) on."""

    values: NDArray[Any]
    mask: NDArray[Any]
    column: int
    row: int

    def at(self, columns: NDArray[Any], rows: NDArray[Any], known: NDArray[Any]) -> Pixels:
        """The pixels at these lattice positions; masked where a position is not `known`."""
        where = np.where(known, rows - self.row, 0), np.where(known, columns - self.column, 0)
        mask = self.mask[where]
        return self.values[where], mask & known if mask.dtype == bool else np.where(known, mask, np.float32(0))


def _evaluated(
    canvas: Canvas, band: Band, projection: Projection, columns: NDArray[Any], rows: NDArray[Any], margin: int = 0
) -> _Part | None:
    """The band on the pixels of `projection` that hold these positions, and `margin` more; None for no position."""
    known = np.isfinite(columns)
    if not known.any():
        return None
    left, right = math.floor(columns[known].min()) - margin, math.floor(columns[known].max()) + margin
    top, bottom = math.floor(rows[known].min()) - margin, math.floor(rows[known].max()) + margin
    width, height = right - left + 1, bottom - top + 1
    if width * height > MAX_PIXELS:
        raise ServiceError(f"Reprojection output too large ({width}x{height} pixels).")
    values, mask = canvas.on(Grid(projection, width, height, left, top)).pixels(band)
    return _Part(values, mask, left, top)


def _nothing(canvas: Canvas, dtype: np.dtype[Any]) -> Pixels:
    return np.zeros(canvas.grid.shape, dtype), np.zeros(canvas.grid.shape, bool)


def nearest(canvas: Canvas, band: Band, projection: Projection) -> Pixels:
    """Each output pixel is the pixel of `projection` that holds its centre."""
    if canvas.grid.projection == projection:
        return canvas.pixels(band)
    columns, rows = canvas.grid.positions_in(projection)
    part = _evaluated(canvas, band, projection, columns, rows)
    if part is None:
        return _nothing(canvas, band.type.dtype)
    return part.at(_whole(columns), _whole(rows), np.isfinite(columns))


def _whole(positions: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.floor(np.nan_to_num(positions)), np.int64)


def interpolated(canvas: Canvas, band: Band, projection: Projection, mode: str, dtype: np.dtype[Any]) -> Pixels:
    """Bilinear or bicubic (cubic convolution, a = -0.5) interpolation between the pixel centres of `projection`.

    Bilinear weighs by the masks, and the mask is interpolated too. Bicubic is used where all 16 pixels are wholly
    valid, else bilinear. Outside the band's footprint it stays masked.
    """
    columns, rows = canvas.grid.positions_in(projection)
    part = _evaluated(canvas, band, projection, columns, rows, 2)
    if part is None:
        return _nothing(canvas, dtype)
    known = np.isfinite(columns)
    left, across = _between(columns)
    top, down = _between(rows)
    total, mask = _blended(part, left, top, known, _linear(across), _linear(down), 0)
    values = total / np.where(mask > 0, mask, 1)
    if mode == "bicubic":
        cubic, whole = _blended(part, left, top, known, _cubic(across), _cubic(down), 1)
        values = np.where(whole > 1 - _EXACT, cubic, values)
    inside = known if band.extent is None else known & band.extent(canvas)
    return values.astype(dtype), np.where(inside, np.minimum(mask, 1), 0).astype(np.float32)


def _between(positions: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The pixel whose centre is before a position, and how far the position is to the next centre, in [0, 1)."""
    shifted = np.nan_to_num(positions) - 0.5
    nearest_centre = np.round(shifted)
    shifted = np.where(np.abs(shifted - nearest_centre) < _EXACT, nearest_centre, shifted)
    before = np.floor(shifted)
    return before.astype(np.int64), shifted - before


def _linear(t: NDArray[Any]) -> list[NDArray[Any]]:
    return [1 - t, t]


def _cubic(t: NDArray[Any]) -> list[NDArray[Any]]:
    return [
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    ]


def _blended(
    part: _Part,
    left: NDArray[Any],
    top: NDArray[Any],
    known: NDArray[Any],
    across: list[NDArray[Any]],
    down: list[NDArray[Any]],
    before: int,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The weighted sum of the pixels around each position, and of their masks; for 4 x 4 the smallest mask instead."""
    total, share = np.zeros(left.shape), np.zeros(left.shape)
    smallest = np.ones(left.shape)
    for j, v in enumerate(down):
        for i, u in enumerate(across):
            values, mask = part.at(left + (i - before), top + (j - before), known)
            weight = u * v
            if before == 0:
                weight = weight * fraction(mask)
            total += np.where(weight != 0, weight * values, 0)
            share += weight
            smallest = np.minimum(smallest, fraction(mask))
    return total, share if before == 0 else smallest


def aggregated(
    canvas: Canvas, band: Band, projection: Projection, ratio: float, dtype: np.dtype[Any], aggregate: Aggregate
) -> Pixels:
    """All pixels of `projection` that an output pixel covers, given to `aggregate` with their covered fractions.

    Exact where the two lattices have parallel axes; else an output pixel is divided into small ones, four for each side
    of an input pixel (two where there are many; `ratio` input pixels are one output pixel's side), which count for the
    pixel that holds them.
    """
    grid = canvas.grid
    parallel = (
        grid.same_crs(projection.crs) and grid.aligned and projection.transform[1] == projection.transform[3] == 0
    )
    stack = _overlaps if parallel else _samples
    side = math.ceil(ratio) + 1 if parallel else max(4, math.ceil(max(2 * ratio, 4 * min(ratio, _MANY))))
    rows = max(1, _STACK // (side * side * grid.width))
    parts = []
    for start in range(0, grid.height, rows):
        strip = canvas.on(grid.rows(start, min(start + rows, grid.height)))
        found = stack(strip, band, projection, ratio, side)
        values, mask = _nothing(strip, dtype) if found is None else aggregate(*found)
        parts.append((values.astype(dtype, copy=False), mask))
    return np.concatenate([values for values, _ in parts]), np.concatenate([mask for _, mask in parts])


_Stack = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


def _overlaps(canvas: Canvas, band: Band, projection: Projection, ratio: float, side: int) -> _Stack | None:
    """Input pixels of the same axes: each axis has its own overlaps, and a pixel's weight is their product."""
    grid = canvas.grid
    a, _, c, _, e, f = grid.projection.transform
    own = projection.transform
    columns = (c + np.arange(grid.column, grid.column + grid.width + 1) * a - own[2]) / own[0]
    rows = (f + np.arange(grid.row, grid.row + grid.height + 1) * e - own[5]) / own[4]
    at_column, across = _covered(columns)
    at_row, down = _covered(rows)
    part = _evaluated(
        canvas,
        band,
        projection,
        np.array([at_column.min(), at_column.max()]),
        np.array([at_row.min(), at_row.max()]),
    )
    assert part is not None
    take = at_row[:, None, :, None], at_column[None, :, None, :]
    weights = (down[:, None, :, None] * across[None, :, None, :]).reshape(-1, *grid.shape)
    where = take[0] - part.row, take[1] - part.column
    return (
        part.values[where].reshape(-1, *grid.shape),
        fraction(part.mask[where]).reshape(-1, *grid.shape),
        weights,
    )


def _covered(edges: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """For each interval between edges the pixels it touches and how much of each it covers, both (k, n)."""
    whole = np.round(edges)
    edges = np.where(np.abs(edges - whole) < _EXACT, whole, edges)
    low, high = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
    first = np.floor(low).astype(np.int64)
    count = int((np.ceil(high) - first).max())
    pixels = first + np.arange(count)[:, None]
    shares = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, 1)
    return np.where(shares > 0, pixels, first), shares


def _small_positions(grid: Grid, projection: Projection, side: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Where the centres of side x side parts of each pixel lie in another projection.

    Interpolated between the corners of the pixel, as far as its middle shows that this is exact enough: a coordinate
    system costs a hundred times as much for each position.
    """
    a, b, c, d, e, f = grid.projection.transform
    crs = grid.projection.crs
    shifted = Projection(crs, (a, b, c - (a + b) / 2, d, e, f - (d + e) / 2))
    corners = Grid(shifted, grid.width + 1, grid.height + 1, grid.column, grid.row).positions_in(projection)
    middles = grid.positions_in(projection)
    share = (np.arange(side) + 0.5) / side
    found = []
    for corner, middle in zip(corners, middles, strict=True):
        guess = (corner[:-1, :-1] + corner[:-1, 1:] + corner[1:, :-1] + corner[1:, 1:]) / 4
        if not (np.abs(guess - middle) < _STRAIGHT).all():
            fine = Projection(crs, (a / side, b / side, c, d / side, e / side, f))
            small = Grid(fine, grid.width * side, grid.height * side, grid.column * side, grid.row * side)
            return small.positions_in(projection)
        across = corner[:, :-1, None] + (corner[:, 1:] - corner[:, :-1])[:, :, None] * share
        across = across.reshape(len(corner), -1)
        down = across[:-1, None] + (across[1:] - across[:-1])[:, None] * share[:, None]
        found.append(down.reshape(grid.height * side, -1))
    return found[0], found[1]


def _samples(canvas: Canvas, band: Band, projection: Projection, ratio: float, side: int) -> _Stack | None:
    """Small pixels of the output, side x side in each, gathered by the input pixel that holds them."""
    grid = canvas.grid
    columns, rows = _small_positions(grid, projection, side)
    part = _evaluated(canvas, band, projection, columns, rows)
    if part is None:
        return None
    known = np.isfinite(columns)
    values, mask = part.at(_whole(columns), _whole(rows), known)
    places = np.where(known, (_whole(rows) - part.row) * part.values.shape[1] + _whole(columns) - part.column, -1)

    def stacked(pixels: NDArray[Any]) -> NDArray[Any]:
        shaped = pixels.reshape(grid.height, side, grid.width, side)
        return shaped.transpose(1, 3, 0, 2).reshape(side * side, grid.height * grid.width)

    order = np.argsort(stacked(places), axis=0, kind="stable")
    places, values, share = (np.take_along_axis(stacked(p), order, axis=0) for p in (places, values, fraction(mask)))
    # Samples of one input pixel are neighbours now: each run becomes one entry, weighted by its length.
    runs = np.cumsum(np.diff(places, axis=0, prepend=places[:1] - 1) != 0, axis=0) - 1
    at = runs * places.shape[1] + np.arange(places.shape[1])
    lengths = np.bincount(at.ravel(), minlength=places.size).reshape(places.shape)
    found_values, found_mask = np.zeros_like(values), np.zeros_like(share)
    found_values.reshape(-1)[at], found_mask.reshape(-1)[at] = values, share
    shape = (side * side, *grid.shape)
    weights = lengths * (ratio / side) ** 2
    return found_values.reshape(shape), found_mask.reshape(shape), weights.reshape(shape)
