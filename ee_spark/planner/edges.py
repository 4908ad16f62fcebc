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

_ROUNDS = 12  # each cuts an edge into four: 4^12 pieces are more than pixels in any edge


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

    def take(self, index: Ints) -> Edges:
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

    def bent(self, to_pixels: Callable[[Floats, Floats], tuple[Floats, Floats]], tolerance: float) -> Edges:
        """Return edges that are straight in lon/lat as edges in pixels, followed to ``tolerance`` pixels.

        An edge is cut in four until its three inner points lie within the tolerance of the straight line. What has no
        place in the projection is left out.
        """
        shares = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
        open_lines, open_owner = self.lines, self.owner
        done: list[Edges] = []
        for round_ in range(_ROUNDS):
            place = open_lines[:, None, :2] + (open_lines[:, None, 2:] - open_lines[:, None, :2]) * shares[:, None]
            place[:, 4] = open_lines[:, 2:]
            pixels = np.stack(to_pixels(place[..., 0], place[..., 1]), -1)
            far = _bends(pixels, tolerance) if round_ < _ROUNDS - 1 else np.zeros(len(pixels), bool)
            done.append(Edges(np.concatenate([pixels[~far, 0], pixels[~far, 4]], 1), open_owner[~far]))
            open_lines = np.concatenate([place[far, :-1], place[far, 1:]], 2).reshape(-1, 4)
            open_owner = np.repeat(open_owner[far], 4)
            if not len(open_owner):
                break
        lines, owner = np.concatenate([part.lines for part in done]), np.concatenate([part.owner for part in done])
        known = np.isfinite(lines).all(1)
        return Edges(lines[known], owner[known])


def _bends(pixels: Floats, tolerance: float) -> npt.NDArray[np.bool_]:
    """Return for each edge, five points (n, 5, 2), whether an inner one lies off the line from first to last.

    An edge that is undefined at some of its points only is cut further, to find where it ends.
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
    known = np.asarray(np.isfinite(pixels).all(2))
    whole = known.all(1)
    return np.where(whole, (distance > tolerance).any(1), known.any(1) & ~whole)
