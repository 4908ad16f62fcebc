"""Polygons as loose edges, many polygons at once: cut to boxes, and bent as projections bend them.

A polygon is filled even-odd, so that its edges need no order: what is cut off is closed along the cut by the parity of
the crossings there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ee_spark.planner.crs import Floats, Ints
from ee_spark.planner.polygon import Box, Polygon

_ROUNDS = 12  # each cuts an edge into four or more: 4^12 pieces are more than pixels in any edge
_PIECES = 64
_SHARES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])


@dataclass(frozen=True)
class Edges:
    """The edges of many polygons: ``lines`` (n, 4) as x1, y1, x2, y2, and for each the index of its polygon."""

    lines: Floats
    owner: Ints

    def __len__(self) -> int:
        return len(self.owner)

    @classmethod
    def of(cls, polygons: Sequence[Polygon]) -> Edges:
        """Return the edges of polygons; each is named by its index."""
        lines = [np.column_stack([ring[:-1], ring[1:]]) for polygon in polygons for ring in polygon]
        owners = [index for index, polygon in enumerate(polygons) for _ in polygon]
        if not lines:
            return cls(np.zeros((0, 4)), np.zeros(0, np.int64))
        return cls(np.concatenate(lines), np.repeat(np.array(owners), [len(part) for part in lines]))

    def take(self, index: Ints | npt.NDArray[np.bool_]) -> Edges:
        """Return the edges at these indices, or where a mask is True."""
        return Edges(self.lines[index], self.owner[index])

    def cut(self, box: Box) -> Edges:
        """Return the edges of the polygons' parts strictly inside a box (west, south, east, north).

        Along the box only what bounds such a part is an edge: a polygon that ends on the box leaves nothing beyond it.
        """
        edges = self
        for axis, limit, sign in ((0, box[0], 1.0), (1, box[1], 1.0), (0, box[2], -1.0), (1, box[3], -1.0)):
            edges = edges._half(axis, limit, sign)
        return edges

    def _half(self, axis: int, limit: float, sign: float) -> Edges:
        lines = self.lines
        depth1, depth2 = sign * (lines[:, axis] - limit), sign * (lines[:, axis + 2] - limit)
        inside1, inside2 = depth1 > 0, depth2 > 0
        if (inside1 & inside2).all():
            return self
        crosses = np.flatnonzero(inside1 != inside2)
        cut = lines[crosses].copy()
        share = depth1[crosses] / (depth1[crosses] - depth2[crosses])
        place = cut[:, :2] + (cut[:, 2:] - cut[:, :2]) * share[:, None]
        place[:, axis] = limit
        leaves = inside1[crosses]
        cut[leaves, 2:], cut[~leaves, :2] = place[leaves], place[~leaves]
        owner = self.owner[crosses]
        order = np.lexsort((place[:, 1 - axis], owner))
        closing = place[order].reshape(-1, 4)
        whole = inside1 & inside2
        return Edges(
            np.concatenate([lines[whole], cut, closing]),
            np.concatenate([self.owner[whole], owner, owner[order][::2]]),
        )

    def bent(self, to_pixels: Callable[[Floats, Floats], tuple[Floats, Floats]], tolerance: float | Floats) -> Edges:
        """Return edges that are straight in lon/lat as edges in pixels, followed to ``tolerance`` pixels.

        What has no place in the projection is left out.
        """
        return self.along(straight, to_pixels, tolerance).known()

    def along(
        self,
        way: Callable[[Floats, Floats], Floats],
        to_plane: Callable[[Floats, Floats], tuple[Floats, Floats]],
        tolerance: float | Floats,
    ) -> Edges:
        """Return edges that follow ``way`` as straight edges of another plane, to ``tolerance`` (one, or one an edge).

        ``way(lines, shares)`` are the places (n, k, 2) at shares (k, or n × k) of the ways between the ends of lines.
        An edge is cut into as many pieces as its bend asks for until the inner ones of five points lie within the
        tolerance of the straight line. What has no place in the plane is infinite there.
        """
        lines, owner = self.lines, self.owner
        within = np.broadcast_to(np.asarray(tolerance, np.float64), owner.shape)
        done: list[Edges] = []
        for round_ in range(_ROUNDS):
            place = way(lines, _SHARES)
            place[:, 0], place[:, 4] = lines[:, :2], lines[:, 2:]
            pixels = np.stack(to_plane(place[..., 0], place[..., 1]), -1)
            pieces = pieces_of(pixels, within) if round_ < _ROUNDS - 1 else np.ones(len(pixels), np.int64)
            far = pieces > 1
            done.append(Edges(np.concatenate([pixels[~far, 0], pixels[~far, 4]], 1), owner[~far]))
            if not far.any():
                break
            count = pieces[far]
            edge = np.repeat(np.arange(len(count)), count)
            piece = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            places = way(lines[far][edge], np.stack([piece, piece + 1], 1) / count[edge, None])
            first, last = piece == 0, piece == count[edge] - 1
            places[first, 0], places[last, 1] = lines[far, :2], lines[far, 2:]
            lines, owner, within = places.reshape(-1, 4), owner[far][edge], within[far][edge]
        return Edges(np.concatenate([part.lines for part in done]), np.concatenate([part.owner for part in done]))

    def known(self) -> Edges:
        """Return the edges that have a place."""
        finite = np.isfinite(self.lines).all(1)
        return self if finite.all() else self.take(np.asarray(finite))


def straight(lines: Floats, shares: Floats) -> Floats:
    """Return the places (n, k, 2) at shares (k, or n × k) of straight lines (n, 4)."""
    place: Floats = lines[:, None, :2] + (lines[:, None, 2:] - lines[:, None, :2]) * np.atleast_2d(shares)[..., None]
    return place


def pieces_of(pixels: Floats, tolerance: float | Floats, most: int = _PIECES) -> Ints:
    """Return into how many pieces each edge, five points (n, 5, 2), is to be cut: 1 where the inner ones lie on it.

    A bend shrinks with the square of the pieces. An edge that is undefined at some of its points only is cut further,
    to find where it ends.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        step = pixels[:, 4] - pixels[:, 0]
        length = np.hypot(step[:, 0], step[:, 1])
        off = pixels[:, 1:4] - pixels[:, :1]
        unit = step / np.where(length > 0, length, 1.0)[:, None]
        along = off[..., 0] * unit[:, None, 0] + off[..., 1] * unit[:, None, 1]
        across = np.abs(off[..., 0] * unit[:, None, 1] - off[..., 1] * unit[:, None, 0])
        beyond = np.maximum(-along, along - length[:, None])
        distance = np.where(length[:, None] > 0, np.maximum(across, beyond), np.hypot(off[..., 0], off[..., 1]))
        bend = np.sqrt(distance.max(1) / tolerance)
    known = np.asarray(np.isfinite(pixels).all(2))
    whole = known.all(1)
    cut = np.where(bend > 1, np.clip(np.ceil(np.where(whole, bend, 1)), 2, most), 1).astype(np.int64)
    return np.where(whole, cut, np.where(known.any(1), 4, 1))
