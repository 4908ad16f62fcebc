"""Which cells of a grid a polygon touches, as runs of cells: exact, and by rows and edges, not by cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ee_spark.planner.crs import Floats, Ints

_ROW = 1 << 32  # one key for (row, column): columns are far below 2^31
_BEYOND = (1 << 31) - 1


@dataclass(frozen=True)
class Runs:
    """Cells of a grid as runs: row ``row[i]``, columns ``start[i]`` up to but not including ``stop[i]``.

    Sorted by row and column; runs of one row neither overlap nor touch.
    """

    row: Ints
    start: Ints
    stop: Ints

    @property
    def count(self) -> int:
        """How many cells there are."""
        return int((self.stop - self.start).sum())

    def cells(self) -> tuple[Ints, Ints]:
        """Return (rows, columns) of every cell."""
        length = self.stop - self.start
        offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        return np.repeat(self.row, length), np.repeat(self.start, length) + offset

    def __and__(self, other: Runs) -> Runs:
        """Return the cells that are in both."""
        low = np.searchsorted(_key(other.row, other.stop), _key(self.row, self.start), "right")
        high = np.searchsorted(_key(other.row, other.start), _key(self.row, self.stop), "left")
        count = np.maximum(high - low, 0)
        mine = np.repeat(np.arange(len(self.row)), count)
        theirs = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
        start = np.maximum(self.start[mine], other.start[theirs])
        stop = np.minimum(self.stop[mine], other.stop[theirs])
        return Runs(self.row[mine], start, stop)

    def __sub__(self, other: Runs) -> Runs:
        """Return the cells that are in this and not in the other."""
        if not len(other.row) or not len(self.row):
            return self
        opens = np.append(True, other.row[1:] != other.row[:-1])
        closes = np.append(opens[1:], True)
        row = np.concatenate([other.row, other.row[closes]])
        start = np.concatenate([np.where(opens, -_BEYOND, np.roll(other.stop, 1)), other.stop[closes]])
        stop = np.concatenate([other.start, np.full(int(closes.sum()), _BEYOND)])
        apart = ~np.isin(self.row, other.row)
        rest = Runs(self.row[apart], self.start[apart], self.stop[apart])
        return union([self & _merge(row, start, stop), rest])

    def split(self, width: int) -> Runs:
        """Return the same cells with no run that crosses a multiple of ``width`` columns."""
        first, last = self.start // width, (self.stop - 1) // width
        count = last - first + 1
        run = np.repeat(np.arange(len(self.row)), count)
        block = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[run]
        return Runs(
            self.row[run],
            np.maximum(self.start[run], block * width),
            np.minimum(self.stop[run], (block + 1) * width),
        )


def union(parts: Sequence[Runs]) -> Runs:
    """Return the cells that are in any of ``parts``."""
    if not parts:
        return _merge(*np.zeros((3, 0), np.int64))
    row, start, stop = (np.concatenate([getattr(part, name) for part in parts]) for name in ("row", "start", "stop"))
    return _merge(row, start, stop)


def cover(edges: Floats, tolerance: float = 0.0) -> Runs:
    """Return the cells whose inside a polygon overlaps.

    ``edges`` (n, 4) are its edges, those of holes too, in any order, as (column, row, column, row) positions in
    cells; it is filled even-odd. A cell that a boundary only runs along is not touched; ``tolerance`` (cells)
    is how far a boundary may cross a cell's edge and still run along it.
    """
    if tolerance:
        whole = np.rint(edges)
        edges = np.where(np.abs(edges - whole) <= tolerance, whole, edges)
    row, (u1, v1, u2, v2) = _by_row(edges)
    slope = (u2 - u1) / (v2 - v1)

    def at(v: Floats) -> Floats:
        inside = u1 + (np.clip(v, np.minimum(v1, v2), np.maximum(v1, v2)) - v1) * slope
        clipped: Floats = np.clip(inside, np.minimum(u1, u2), np.maximum(u1, u2))
        return clipped  # float noise must not leave the edge's own columns

    top, bottom = at(row.astype(np.float64)), at((row + 1).astype(np.float64))
    touched = (row, *_columns(np.minimum(top, bottom), np.maximum(top, bottom)))
    level = (edges[:, 1] == edges[:, 3]) & (edges[:, 1] != np.floor(edges[:, 1]))
    flat_u1, flat_v, flat_u2, _ = edges[level].T
    flat = (np.floor(flat_v).astype(np.int64), *_columns(np.minimum(flat_u1, flat_u2), np.maximum(flat_u1, flat_u2)))
    inner, left, right = _crossings(row, u1, v1, u2, v2)
    filled = (inner, *_columns(left, right))
    return _merge(*(np.concatenate(parts) for parts in zip(touched, flat, filled, strict=True)))


def thick(edges: Floats, reach: Floats) -> Runs:
    """Return the cells that lie within a distance of any of the edges, the least distances being an ellipse.

    ``edges`` are as for :func:`cover`; ``reach`` (n, 2) are the half axes of each one's ellipse in columns and rows.
    """
    low, high = np.minimum(edges[:, 1], edges[:, 3]) - reach[:, 1], np.maximum(edges[:, 1], edges[:, 3]) + reach[:, 1]
    first = np.floor(low).astype(np.int64)
    count = np.maximum(np.ceil(high).astype(np.int64) - first, 1)
    edge = np.repeat(np.arange(len(edges)), count)
    row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    u1, v1, u2, v2 = (edges / np.tile(reach, 2))[edge].T  # where every ellipse is a circle of radius 1
    across, down = reach[edge].T
    top, bottom = row / down, (row + 1) / down
    right = _rightmost(u1, v1, u2, v2, top, bottom) * across
    left = -_rightmost(-u1, v1, -u2, v2, top, bottom) * across
    return _merge(row, *_columns(left, right))


def _rightmost(u1: Floats, v1: Floats, u2: Floats, v2: Floats, top: Floats, bottom: Floats) -> Floats:
    """Return how far right, between two rows, places within 1 of the line from (u1, v1) to (u2, v2) lie."""
    swap = v1 > v2
    u1, u2, v1, v2 = np.where(swap, u2, u1), np.where(swap, u1, u2), np.where(swap, v2, v1), np.where(swap, v1, v2)
    v = np.clip(np.where(u1 >= u2, v1, v2), top, bottom)  # the edge bulges: it is rightmost beside the end that is
    length = np.hypot(u2 - u1, v2 - v1)
    with np.errstate(divide="ignore", invalid="ignore"):
        beside, above = (v2 - v1) / length, (u1 - u2) / length
        share = (v - v1 - above) / (v2 - v1)
        line = u1 + beside + share * (u2 - u1)
    start, end = (u + np.sqrt(np.maximum(0.0, 1 - (v - w) ** 2)) for u, w in ((u1, v1), (u2, v2)))
    disk = np.where(share < 0, start, end)
    flat = v2 - v1 <= 1e-12 * np.maximum(1.0, length)
    return np.asarray(np.where(flat, np.maximum(start, end), np.where((share >= 0) & (share <= 1), line, disk)))


def centres(edges: Floats) -> Runs:
    """Return the cells whose centre lies inside a polygon (even-odd); ``edges`` as for :func:`cover`."""
    row, ends = _by_row(edges)
    row, left, right = _crossings(row, *ends)
    return _merge(row, np.ceil(left - 0.5).astype(np.int64), np.ceil(right - 0.5).astype(np.int64))


def _by_row(edges: Floats) -> tuple[Ints, tuple[Floats, ...]]:
    """Return each row that an edge passes, and the u1, v1, u2, v2 of that edge; none for an edge along a row."""
    ends = edges[edges[:, 1] != edges[:, 3]].T
    low, high = np.minimum(ends[1], ends[3]), np.maximum(ends[1], ends[3])
    first = np.floor(low).astype(np.int64)
    count = np.ceil(high).astype(np.int64) - first
    edge = np.repeat(np.arange(len(low)), count)
    row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    return row, tuple(end[edge] for end in ends)


def _crossings(row: Ints, u1: Floats, v1: Floats, u2: Floats, v2: Floats) -> tuple[Ints, Floats, Floats]:
    """Return (row, left, right) of what lies between pairs of boundary crossings on the middle line of each row."""
    middle = row + 0.5
    crosses = (np.minimum(v1, v2) <= middle) & (middle < np.maximum(v1, v2))
    row = row[crosses]
    u = (u1 + (middle - v1) * (u2 - u1) / (v2 - v1))[crosses]
    order = np.lexsort((u, row))
    row, u = row[order], u[order]
    if len(row):  # a boundary with a gap, where a projection ends, leaves a crossing without a partner
        last = np.append(np.diff(row) != 0, True)
        count = np.diff(np.flatnonzero(last), prepend=-1)
        single = np.flatnonzero(last)[count % 2 == 1]
        row, u = np.delete(row, single), np.delete(u, single)
    return row[::2], u[::2], u[1::2]


def _columns(left: Floats, right: Floats) -> tuple[Ints, Ints]:
    return np.floor(left).astype(np.int64), np.ceil(right).astype(np.int64)


def _merge(row: Ints, start: Ints, stop: Ints) -> Runs:
    keep = stop > start
    row, start, stop = row[keep], start[keep], stop[keep]
    order = np.lexsort((start, row))
    row, start, stop = row[order], start[order], stop[order]
    reach = np.maximum.accumulate(_key(row, stop)) if len(row) else row
    begins = np.ones(len(row), bool)
    begins[1:] = _key(row, start)[1:] > reach[:-1]
    ends = np.append(np.flatnonzero(begins)[1:] - 1, len(row) - 1) if len(row) else np.zeros(0, np.int64)
    return Runs(row[begins], start[begins], reach[ends] - row[ends] * _ROW if len(row) else stop)


def _key(row: Ints, column: Ints) -> Ints:
    return row * _ROW + column
