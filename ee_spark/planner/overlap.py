"""Which cells, tiles of a grid or patches around points, outlines in pixels overlap: many outlines at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ee_spark.planner.cover import Runs, cover, thick, union
from ee_spark.planner.crs import Floats, Ints
from ee_spark.planner.edges import Edges
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.outline import TURNS, Drawn, Outlines, draw_rasters, is_geographic
from ee_spark.planner.polygon import Box
from ee_spark.planner.tile import Shape, Tiles

TOLERANCE = 0.05
"""Pixels. The corners of footprints are given to about a hundredth of a pixel; a boundary that stays this close to a
tile's edge runs along it."""
_BANDS = 1 << 30  # rows of all polygons of one batch, stacked
_MATRIX = 1_000_000  # edges × patches looked at in one step


@dataclass(frozen=True)
class Tiling:
    """The tiles of a grid that are wanted."""

    shape: Shape
    everything: Runs

    def of(self, drawn: Iterable[Drawn], count: int) -> list[Runs]:
        """Return the wanted tiles that each of ``count`` outlines overlaps; all of them where it is unknown."""
        found: list[list[Runs]] = [[] for _ in range(count)]
        unknown: set[int] = set()
        for part in drawn:
            unknown.update(part.unknown.tolist())
            for owner, runs in covered(part.edges, self.shape, part.reach):
                found[int(part.number[owner])].append(runs)
        none = union([])
        return [
            self.everything if number in unknown else (union(parts) & self.everything if parts else none)
            for number, parts in enumerate(found)
        ]

    def of_rasters(self, outlines: Outlines, crs: Sequence[str], lattice: Lattice, boxes: Sequence[Box]) -> list[Runs]:
        """Return the wanted tiles that each outline of a raster overlaps, near the boxes (lon/lat)."""
        level = outlines.is_level() & (np.array([name == lattice.crs for name in crs], bool)[outlines.code])
        rest = np.flatnonzero(~level)
        found = [union([])] * len(level)
        for number, runs in zip(
            np.flatnonzero(level).tolist(), self._boxes(outlines.take(level), lattice), strict=True
        ):
            found[number] = runs
        for number, runs in zip(
            rest.tolist(), self.of(draw_rasters(outlines.take(rest), crs, lattice, boxes), len(rest)), strict=True
        ):
            found[number] = runs
        return found

    def _boxes(self, outlines: Outlines, lattice: Lattice) -> Iterator[Runs]:
        """Yield the wanted tiles of outlines along the lattice's own axes: no more than whole numbers."""
        opposite = outlines.corner + outlines.across + outlines.down
        sides = [np.stack(lattice.pixels(place[:, 0], place[:, 1])) for place in (outlines.corner, opposite)]
        low, high = np.minimum(*sides), np.maximum(*sides)
        size = np.array([[self.shape.width], [self.shape.height]])
        degrees = is_geographic(lattice.crs)
        turns = [turn / lattice.res_x for turn in TURNS] if degrees else [0.0]
        ends = lattice.pixels(np.array([-180.0, 180.0]), np.zeros(2))[0] if degrees else np.array([-np.inf, np.inf])
        rows = self.everything.row
        north, south = (int(rows[0]), int(rows[-1])) if len(rows) else (0, -1)
        cells = []
        for turn in turns:  # what of a tile lies beyond ±180° is not asked for
            first, last = (np.stack([(end[0] + turn).clip(*ends), end[1]]) for end in (low, high))
            begin, top = _whole(first / size, np.floor, size)
            stop, below = _whole(last / size, np.ceil, size)
            stop[last[0] - first[0] <= TOLERANCE] = -(2**31)
            cells.append((begin, top, stop, below))
        for index in range(outlines.code.size):
            parts = []
            for left, up, right, bottom in (tuple(int(one[index]) for one in cell) for cell in cells):
                row = np.arange(max(up, north), min(bottom, south + 1))
                parts.append(Runs(row, np.full_like(row, left), np.full_like(row, right)))
            yield (union(parts) if len(parts) > 1 else parts[0]) & self.everything


def _whole(cells: Floats, rounded: np.ufunc, size: Ints) -> tuple[Ints, Ints]:
    """Return (columns, rows) of edges as whole tiles; an edge that lies within the tolerance of a tile's is there."""
    near = np.rint(cells)
    there = np.where(np.abs(cells - near) <= TOLERANCE / size, near, rounded(cells)).clip(-(2.0**31) + 1, 2.0**31 - 1)
    column, row = there.astype(np.int64)
    return column, row


@dataclass(frozen=True)
class Patches:
    """Patches of pixels around points, of which some have a place in the lattice; cells are runs of one point."""

    tiles: Tiles
    placed: npt.NDArray[np.bool_]

    @property
    def everything(self) -> Runs:
        """Every patch that has a place."""
        return _points(self.placed)

    def of(self, drawn: Iterable[Drawn], count: int) -> list[Runs]:
        """Return the patches that each of ``count`` outlines overlaps by more than a sliver; all where unknown."""
        found: list[list[Runs]] = [[] for _ in range(count)]
        for part in drawn:
            for number in part.unknown.tolist():
                found[number] = [self.everything]
            for owner, lines in _by_owner(part.edges):
                reach = None if part.reach is None else part.reach[owner]
                found[int(part.number[owner])].append(_points(self._overlapped(lines, reach)))
        return [union(parts) for parts in found]

    def of_rasters(self, outlines: Outlines, crs: Sequence[str], lattice: Lattice, boxes: Sequence[Box]) -> list[Runs]:
        """Return the patches that each outline of a raster overlaps, near the boxes (lon/lat)."""
        return self.of(draw_rasters(outlines, crs, lattice, boxes), outlines.code.size)

    def _overlapped(self, lines: Floats, reach: Floats | None) -> npt.NDArray[np.bool_]:
        across, down = (-TOLERANCE, -TOLERANCE) if reach is None else reach.tolist()
        left, top, shape = self.tiles.left, self.tiles.top, self.tiles.shape
        box = (left - across, top - down, left + shape.width + across, top + shape.height + down)
        found = np.zeros(left.shape, bool)
        x, y = lines[:, [0, 2]], lines[:, [1, 3]]
        with np.errstate(invalid="ignore"):
            candidate = np.flatnonzero(
                (x.min() < box[2]) & (x.max() > box[0]) & (y.min() < box[3]) & (y.max() > box[1]) & self.placed
            )
        step = max(1, _MATRIX // len(lines))
        for first in range(0, len(candidate), step):
            some = candidate[first : first + step]
            found[some] = _overlap(lines, *(edge[some] for edge in box))
        return found


def _points(where: npt.NDArray[np.bool_]) -> Runs:
    index = np.flatnonzero(where)
    return Runs(index, np.zeros_like(index), np.ones_like(index))


def _by_owner(edges: Edges) -> Iterator[tuple[int, Floats]]:
    order = np.argsort(edges.owner, kind="stable")
    owners, starts = np.unique(edges.owner[order], return_index=True)
    yield from zip(owners.tolist(), np.split(edges.lines[order], starts[1:]), strict=False)


def covered(edges: Edges, shape: Shape, reach: Floats | None = None) -> Iterator[tuple[int, Runs]]:
    """Yield (owner, tiles it overlaps) for the polygons of ``edges`` (pixels): many of them stacked into bands of rows.

    ``reach`` (owners, 2) are the half axes of the ellipse, in pixels, by which each polygon is grown.
    """
    if not len(edges):
        return
    cells = edges.lines / (shape.width, shape.height, shape.width, shape.height)
    whole = np.rint(cells)
    cells = np.where(np.abs(cells - whole) <= TOLERANCE / max(shape.width, shape.height), whole, cells)
    more = np.zeros((len(edges), 2)) if reach is None else (reach / (shape.width, shape.height))[edges.owner]
    base = int(np.floor((cells[:, [1, 3]].min(1) - more[:, 1]).min()))
    stride = int(np.ceil((cells[:, [1, 3]].max(1) + more[:, 1]).max())) - base + 1
    owners, rank = np.unique(edges.owner, return_inverse=True)
    step = max(1, _BANDS // stride)
    for first in range(0, len(owners), step):
        mine = (rank >= first) & (rank < first + step)
        shift = (rank[mine] - first) * stride - base
        lines = cells[mine] + np.column_stack([np.zeros_like(shift), shift, np.zeros_like(shift), shift])
        runs = cover(lines) if reach is None else union([cover(lines), thick(lines, more[mine])])
        band = runs.row // stride
        edges_of = np.searchsorted(band, np.arange(min(step, len(owners) - first) + 1))
        for number, (low, high) in enumerate(zip(edges_of[:-1].tolist(), edges_of[1:].tolist(), strict=True)):
            if high > low:
                part = slice(low, high)
                row = runs.row[part] - number * stride + base
                yield int(owners[first + number]), Runs(row, runs.start[part], runs.stop[part])


def _overlap(lines: Floats, u1: Floats, v1: Floats, u2: Floats, v2: Floats) -> npt.NDArray[np.bool_]:
    """Return for each box whether an edge passes through it or its middle lies inside the polygon (even-odd)."""
    a, b, c, d = (column[:, None] for column in lines.T)
    u, v = (u1 + u2) / 2, (v1 + v2) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = (b > v) != (d > v)
        inside = (crossing & (u < (c - a) * (v - b) / (d - b) + a)).sum(0) % 2 == 1
        enter, leave = np.zeros((len(lines), len(u))), np.ones((len(lines), len(u)))
        for origin, step, low, high in ((a, c - a, u1, u2), (b, d - b, v1, v2)):
            ends = (low - origin) / step, (high - origin) / step
            moves = step != 0
            within = (low < origin) & (origin < high)
            enter = np.where(moves, np.maximum(enter, np.minimum(*ends)), enter)
            leave = np.where(moves, np.minimum(leave, np.maximum(*ends)), np.where(within, leave, -1.0))
    return np.asarray(inside | (enter < leave).any(0))
