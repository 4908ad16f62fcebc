"""Where blocks of pixels lie in longitude and latitude: their outlines as polygons, and the boxes around these."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ee_spark.planner.crs import LONLAT, Floats, Ints, crs_of, metres_of_unit, project
from ee_spark.planner.meridian import SLACK
from ee_spark.planner.polygon import Box, at_both_sides, box
from ee_spark.planner.seam import BACK, SPARE, Seamed, seamed
from ee_spark.planner.window import Window
from ee_spark.planner.wkb import wkb_multipolygon, wkb_outlines

_PIECES = (4, 16, 64)
"""Of each side of an outline: the first serves nearly every tile, and is what it always was."""
_BEND = 0.125
"""Pixels that a piece may lie off the side: a quarter of what a pixel's centre lies inside it."""
_STEP = 60.0
"""Degrees of longitude from one vertex to the next: more is a pole or the end of a map."""


@dataclass(frozen=True)
class Extents:
    """n blocks in longitude and latitude.

    ``boxes`` (n, 4: west, south, east, north) hold every corner and centre of their pixels, and exclude none from a
    plain comparison: a block across ±180° has -180 and 180, one that holds a pole all longitudes up to it. ``plain``
    has the outlines of ordinary blocks, alike in their number of vertices, and whose they are; ``seamed`` the others.
    """

    boxes: Floats
    plain: tuple[tuple[Ints, Floats], ...]
    seamed: dict[int, Seamed]

    def __len__(self) -> int:
        return len(self.boxes)

    def rings(self) -> list[tuple[Floats, ...]]:
        """Return each block's closed rings of lon, lat, clockwise: one, or one for each part where it is cut."""
        found: list[tuple[Floats, ...]] = [()] * len(self)
        for index, outlines in self.plain:
            for place, ring in zip(index.tolist(), outlines, strict=True):
                found[place] = (ring,)
        for place, block in self.seamed.items():
            found[place] = block.rings
        return found

    def wkb(self) -> list[bytes]:
        """Return the geometries: a Polygon, or a MultiPolygon of a block across ±180° or with a pole.

        One that has no place on Earth is an empty MultiPolygon.
        """
        found = [b""] * len(self)
        for index, outlines in self.plain:
            for place, data in zip(index.tolist(), wkb_outlines(outlines[..., 0], outlines[..., 1]), strict=True):
                found[place] = data
        for place, block in self.seamed.items():
            found[place] = wkb_multipolygon(tuple((ring,) for ring in block.rings))
        return found

    def touch(self, wanted: Box) -> npt.NDArray[np.bool_]:
        """Return for each block whether it touches a box; west > east crosses the antimeridian."""
        found = np.zeros(len(self), bool)
        for west, south, east, north in halves(wanted):
            for index, outlines in self.plain:
                found[index] |= _touch(outlines, (west, south, east, north))
            for place, block in self.seamed.items():
                found[place] |= any(_touch(ring[None], (west, south, east, north))[0] for ring in block.rings)
        return found


def halves(wanted: Box) -> tuple[Box, ...]:
    """Return a box within ±180° as it is; one that goes beyond, or whose west > east, as its parts there."""
    west, south, east, north = wanted
    if west > east:
        return (west, south, 180.0, north), (-180.0, south, east, north)
    if west >= -180 and east <= 180:
        return (wanted,)
    if east - west >= 360:
        return ((-180.0, south, 180.0, north),)
    parts = at_both_sides(box(west, south, east, north))
    return tuple((*part[0].min(0).tolist(), *part[0].max(0).tolist()) for part in parts)


def extents(crs: str, transforms: Floats, width: int, height: int) -> Extents:
    """Return where blocks of one size lie; ``transforms`` is (n, 6), as in the tables.

    Sides are followed to an eighth of a pixel. Of a block that lies partly outside what its CRS can show, the rest.
    """
    boxes = np.tile([-180.0, -90.0, 180.0, 90.0], (len(transforms), 1))
    plain: list[tuple[Ints, Floats]] = []
    special: dict[int, Seamed] = {}
    left = np.arange(len(transforms))
    for pieces in (1,) if crs_of(crs).is_geographic else _PIECES:
        if not len(left):
            break
        outlines, around, good, odd = _outlines(crs, transforms[left], width, height, pieces)
        boxes[left[good]] = around[good]
        plain.append((left[good], outlines[good]))
        special |= {int(i): seamed(_window(crs, transforms[i], width, height)) for i in left[odd].tolist()}
        left = left[~good & ~odd]
    special |= {int(i): seamed(_window(crs, transforms[i], width, height)) for i in left.tolist()}
    for place, block in special.items():
        boxes[place] = block.box
    return Extents(boxes, tuple(plain), special)


def _window(crs: str, transform: Floats, width: int, height: int) -> Window:
    return Window(crs, tuple(transform.tolist()), width, height)


def _outlines(
    crs: str, transforms: Floats, width: int, height: int, pieces: int
) -> tuple[Floats, Floats, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return outlines (n, m, 2) and boxes (n, 4), which of them are good, and which no number of pieces makes so."""
    geographic = crs_of(crs).is_geographic
    x, y = _sides(transforms, width, height, 2 * pieces)
    lon, lat = project(crs, LONLAT, x, y)
    with np.errstate(invalid="ignore"):
        step = np.diff(lon)
        turns = np.zeros_like(step) if geographic else -np.round(step / 360)
        lon = lon + 360 * np.concatenate([np.zeros((len(lon), 1)), np.cumsum(turns, 1)], 1)
        lon -= 360 * np.round((lon.min(1) + lon.max(1)) / 720)[:, None]
        if geographic:
            lat = np.where(np.isfinite(lat), np.clip(lat, -90, 90), lat)
        around = np.stack([lon.min(1), lat.min(1), lon.max(1), lat.max(1)], 1)
        bend_x, bend_y = (values[:, 1::2] - (values[:, :-1:2] + values[:, 2::2]) / 2 for values in (lon, lat))
        pixels = np.concatenate([np.repeat(side / pieces, pieces) for side in (width, height, width, height)])
        level = np.cos(np.radians(lat[:, 1::2]))
        length = np.hypot(np.diff(lon[:, ::2]) * level, np.diff(lat[:, ::2])) / pixels
        odd = ~(np.isfinite(around).all(1) & (np.abs(around[:, ::2]) <= 180 + SLACK).all(1))
        odd |= (around[:, 1] >= around[:, 3]) | (around[:, 0] >= around[:, 2])
        if not geographic:
            odd |= (np.abs(np.diff(lon)) > _STEP).any(1) | (np.abs(lon[:, 0] - lon[:, -1]) > 1)
            odd |= (np.abs(lat) > 90 - 1e-6).any(1) | _lost(crs, x, y, lon, lat, pieces)
        good = ~odd & (np.hypot(bend_x * level, bend_y) <= _BEND * length).all(1)
    spare = np.stack([np.abs(bend_x).max(1), np.abs(bend_y).max(1)], 1) + SPARE
    around += np.concatenate([-spare, spare], 1)
    outline = np.stack([np.clip(lon, -180, 180), lat], -1)[:, ::2]
    return outline, np.clip(around, [-180, -90, -180, -90], [180, 90, 180, 90]), good, odd


def _sides(transforms: Floats, width: int, height: int, pieces: int) -> tuple[Floats, Floats]:
    """Return x and y (n, m) of closed outlines, clockwise from the top left, each side in pieces."""
    step = np.arange(pieces) / pieces
    across = np.concatenate([step, np.ones(pieces), 1 - step, np.zeros(pieces), [0.0]]) * width
    down = np.concatenate([np.zeros(pieces), step, np.ones(pieces), 1 - step, [0.0]]) * height
    sx, shx, x, shy, sy, y = (column[:, None] for column in transforms.T)
    return x + across * sx + down * shx, y + across * shy + down * sy


def _lost(crs: str, x: Floats, y: Floats, lon: Floats, lat: Floats, pieces: int) -> npt.NDArray[np.bool_]:
    """Return which blocks have a corner that its longitude and latitude do not lead back to: off what the CRS shows."""
    corners = slice(0, -1, 2 * pieces)
    turned = (lon[:, corners] + 180) % 360 - 180
    back = project(LONLAT, crs, turned, lat[:, corners])
    miss = np.hypot(back[0] - x[:, corners], back[1] - y[:, corners])
    return np.asarray(~(miss <= BACK / metres_of_unit(crs)).all(1))


def _touch(outlines: Floats, wanted: Box) -> npt.NDArray[np.bool_]:
    """Return for each of n polygons, given by one closed ring (n, m, 2), whether it touches a box."""
    west, south, east, north = wanted
    x1, y1, x2, y2 = outlines[:, :-1, 0], outlines[:, :-1, 1], outlines[:, 1:, 0], outlines[:, 1:, 1]
    near = (np.maximum(x1, x2) >= west) & (np.minimum(x1, x2) <= east)
    near &= (np.maximum(y1, y2) >= south) & (np.minimum(y1, y2) <= north)
    beside = np.stack([(x2 - x1) * (v - y1) - (y2 - y1) * (u - x1) for u in (west, east) for v in (south, north)])
    near &= (beside.min(0) <= 0) & (beside.max(0) >= 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = ((y1 > south) != (y2 > south)) & (west < (x2 - x1) * (south - y1) / (y2 - y1) + x1)
    return np.asarray(near.any(1) | (crossing.sum(1) % 2 == 1))
