"""Which pixels of a lattice lie in an area, as runs of pixels: by its edges and rows, not by its pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ee_spark.planner.cover import Runs, centres, union
from ee_spark.planner.crs import Floats
from ee_spark.planner.edges import Edges
from ee_spark.planner.extent import extents
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.plan import Plan
from ee_spark.planner.points import Points
from ee_spark.planner.polygon import Polygons
from ee_spark.planner.tile import Shape, grid_tiles
from ee_spark.planner.window import Window

MOST_ROWS = 1 << 24
"""Rows of pixels of a window that are looked at: the Earth has so many at one metre."""
MOST_NAMED = 4_096
"""Tiles that are named: they travel with every lane."""
BEND = 0.001
"""Pixels. How closely the area's edges are followed: a pixel is told apart by its centre."""


def pixels(area: Polygons, window: Window, of: Callable[[Floats], Runs] = centres) -> Runs | None:
    """Return the pixels of a window (north up) that ``of`` finds for each polygon: those whose centre lies in it.

    Rows and columns count from the window's corner. None where the window has more rows than are looked at.
    """
    if window.height > MOST_ROWS:
        return None
    lattice = Lattice(window.crs, *window.resolution, *window.corner)
    box = extents(window.crs, np.array([window.transform]), window.width, window.height).boxes[0].tolist()
    bent = Edges.of(area.polygons).cut((box[0], box[1], box[2], box[3])).bent(lattice.from_lonlat, BEND)
    order = np.argsort(bent.owner, kind="stable")
    each = np.split(bent.lines[order], np.flatnonzero(np.diff(bent.owner[order])) + 1)
    found = union([of(lines) for lines in each if len(lines)])
    start, stop = found.start.clip(0, window.width), found.stop.clip(0, window.width)
    kept = (found.row >= 0) & (found.row < window.height) & (start < stop)
    return Runs(found.row[kept], start[kept], stop[kept])


def outside_clip(plan: Plan) -> frozenset[str] | None:
    """Return the ids of the planned tiles whose core has no pixel in the job's clip, if it has one.

    None where they are too many to be named.
    """
    if isinstance(plan.region, Points) or not plan.config.region.clip:
        return frozenset()
    names: list[str] = []
    pairs, shape = plan.pairs, plan.frozen.shape
    for index, lattice in enumerate(pairs.lattices):
        mine = pairs.lattice == index
        tiles = union([Runs(pairs.row[mine], pairs.start[mine], pairs.stop[mine])])
        outside = _without(plan.region, lattice, shape, tiles) if len(tiles.row) else tiles
        if outside is None or len(names) + outside.count > MOST_NAMED:
            return None
        names += grid_tiles(lattice, shape, *outside.cells()).ids
    return frozenset(names)


def _without(area: Polygons, lattice: Lattice, shape: Shape, tiles: Runs) -> Runs | None:
    """Return those of the tiles of a lattice that have no pixel in an area; None where nobody looks."""
    width, height = shape.width, shape.height
    top, left = int(tiles.row.min()), int(tiles.start.min())
    wide, high = int(tiles.stop.max()) - left, int(tiles.row.max()) + 1 - top
    inside = pixels(area, lattice.window(left * width, top * height, wide * width, high * height))
    if inside is None:
        return None
    first, last = inside.start // width, (inside.stop - 1) // width
    return tiles - union([Runs(inside.row // height + top, first + left, last + 1 + left)])
