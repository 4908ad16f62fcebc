"""Where the rows of the tables lie: what their columns bbox and geometry say, worked out from their transforms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ee_spark.planner.crs import LONLAT, Floats, Ints, project
from ee_spark.planner.extent import Extents, extents, halves
from ee_spark.planner.polygon import Box, around, open_gap

GEOREFERENCE = ("crs", "transform", "width", "height", "margin", "bbox")
"""The columns that are needed for that."""
_WIDE = 180.0  # degrees: boxes that say no more than that their tile crosses ±180° or holds a pole


@dataclass(frozen=True)
class Ground:
    """The distinct tiles of n rows: ``tile`` (n) says which of them each row shows.

    ``groups`` has, for each CRS and size, which of these tiles are its own, and where these lie.
    """

    tile: Ints
    groups: tuple[tuple[Ints, Extents], ...]

    def touch(self, wanted: Box) -> npt.NDArray[np.bool_]:
        """Return for each row whether its tile touches a box; west > east crosses the antimeridian."""
        found = np.zeros(int(self.tile.max(initial=-1)) + 1, bool)
        for index, group in self.groups:
            found[index] = group.touch(wanted)
        return found[self.tile]

    def rings(self) -> list[tuple[Floats, ...]]:
        """Return the closed rings of each row's tile; two or more where it is cut at ±180°."""
        found: list[tuple[Floats, ...]] = [()] * (int(self.tile.max(initial=-1)) + 1)
        for index, group in self.groups:
            for place, rings in zip(index.tolist(), group.rings(), strict=True):
                found[place] = rings
        return [found[tile] for tile in self.tile.tolist()]


def ground(table: pa.Table) -> Ground:
    """Return where the tiles of a table's rows lie, margins left out, by :data:`GEOREFERENCE`."""
    names, code = np.unique(np.array(table["crs"].to_pylist(), str), return_inverse=True)
    sizes = [table[name].to_numpy() for name in ("width", "height", "margin")]
    keys, tile = np.unique(np.column_stack([code, *sizes, _transforms(table)]), axis=0, return_inverse=True)
    groups = []
    for start in np.unique(keys[:, :4], axis=0):
        width, height, margin = (int(number) for number in start[1:])
        affine = keys[:, 4:]
        sound = (keys[:, :4] == start).all(1) & np.isfinite(affine).all(1)
        sound &= affine[:, 0] * affine[:, 4] != affine[:, 1] * affine[:, 3]
        index = np.flatnonzero(sound)
        core = affine[index]
        core[:, 2] += margin * (core[:, 0] + core[:, 1])
        core[:, 5] += margin * (core[:, 3] + core[:, 4])
        inner = width - 2 * margin, height - 2 * margin
        if len(index) and min(inner) > 0:
            groups.append((index, extents(str(names[int(start[0])]), core, *inner)))
    return Ground(tile.ravel(), tuple(groups))


def touches(table: pa.Table, wanted: Box, *, covered: bool) -> npt.NDArray[np.bool_]:
    """Return which rows' tiles touch a box; west > east crosses the antimeridian.

    Where the boxes of the table can be relied upon (``covered``), most rows are decided by them.
    """
    found = np.zeros(table.num_rows, bool)
    if covered:
        west, south, east, north = _boxes(table).T
        for part in halves(wanted):
            found |= (west >= part[0]) & (east <= part[2]) & (south >= part[1]) & (north <= part[3])
        found &= east - west < _WIDE
    rest = np.flatnonzero(~found)
    if len(rest):
        found[rest] = ground(table.select(GEOREFERENCE).take(pa.array(rest))).touch(wanted)
    return found


def rings(table: pa.Table) -> list[tuple[Floats, ...]]:
    """Return what to draw for each row: the box of its tile, or the tile's own rings where the box says too little."""
    boxes = _boxes(table)
    corners = np.stack([boxes[:, [0, 2, 2, 0, 0]], boxes[:, [1, 1, 3, 3, 1]]], -1)
    found: list[tuple[Floats, ...]] = [(ring,) for ring in corners]
    wide = np.flatnonzero(~(boxes[:, 2] - boxes[:, 0] < _WIDE))
    if len(wide):
        for place, own in zip(wide.tolist(), ground(table.take(pa.array(wide))).rings(), strict=True):
            found[place] = own
    return found


def centres(table: pa.Table) -> tuple[Floats, Floats]:
    """Return longitude and latitude of the middle of each row's box, of a tile across ±180° those of its middle."""
    west, south, east, north = _boxes(table).T
    lon, lat = (west + east) / 2, (south + north) / 2
    wide = np.flatnonzero(~(east - west < _WIDE))
    if not len(wide):
        return lon, lat
    rows = table.take(pa.array(wide))
    sx, shx, x, shy, sy, y = _transforms(rows).T
    across, down = rows["width"].to_numpy() / 2, rows["height"].to_numpy() / 2
    codes = np.array(rows["crs"].to_pylist(), str)
    for crs in np.unique(codes).tolist():
        mine = codes == crs
        places = project(crs, LONLAT, (x + across * sx + down * shx)[mine], (y + across * shy + down * sy)[mine])
        known = np.isfinite(places[0]) & np.isfinite(places[1])
        lon[wide[mine][known]], lat[wide[mine][known]] = (places[0][known] + 180) % 360 - 180, places[1][known]
    return lon, lat


def extent(table: pa.Table) -> Box | None:
    """Return the box around a table's rows in the order of RFC 7946: west > east where it is the shorter way round.

    None where there are no rows.
    """
    boxes = _boxes(table)
    wide = np.flatnonzero(~(boxes[:, 2] - boxes[:, 0] < _WIDE))
    if len(wide):
        own = {id(part): part for tile in ground(table.take(pa.array(wide))).rings() for part in tile}.values()
        parts = [np.concatenate([ring.min(0), ring.max(0)]) for ring in own]
        boxes = np.concatenate([np.delete(boxes, wide, 0), np.array(parts).reshape(-1, 4)])
    if not len(boxes):
        return None
    west, south, east, north = around(boxes)
    gap = open_gap(boxes)
    return (gap[1], south, gap[0], north) if gap else (west, south, east, north)


def _boxes(table: pa.Table) -> Floats:
    edges = [pc.struct_field(table["bbox"], name).to_numpy() for name in ("xmin", "ymin", "xmax", "ymax")]
    return np.column_stack(edges).astype(np.float64)


def _transforms(table: pa.Table) -> Floats:
    return np.array(table["transform"].to_pylist(), np.float64).reshape(-1, 6)
