"""Blocks of pixels where longitude and latitude have a seam: across ±180°, at a pole, at the end of what a CRS shows.

Each is worked out on its own, its sides followed as finely as they bend; what comes out is checked by the places of
pixels, and where that fails a box of longitudes and latitudes stands for the block.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ee_spark.planner.crs import LONLAT, Floats, crs_of, metres_of_unit, project
from ee_spark.planner.meridian import SLACK, within_180, without_repeats
from ee_spark.planner.polygon import Box, box, contains
from ee_spark.planner.window import Window, ends_of_world

SPARE = 1e-7
"""Degrees, a centimetre, by which a box is larger: other versions of PROJ come to other places by a tenth of that."""
_FIRST = 16  # pieces of a side to begin with
_ROUNDS = 48  # each halves a piece: from 32,768 pixels to a millionth of one, and some more
_MOST = 20_000  # vertices of an outline
_BEND = 0.125  # pixels that a piece may lie off the side
_STEP = 30.0  # degrees of longitude from one vertex to the next
_AT = 1e-6  # pixels: what is nearer to a pole lies on it
BACK = 30.0
"""Metres that a place may miss on its way to lon/lat and back, by a datum's other way; what is folded misses more."""
_PROOF = 17  # places a side by which an outline is checked
_POLAR = 75.0  # degrees of latitude
_GRID = 65  # places a side of which a box is made


@dataclass(frozen=True)
class Seamed:
    """A block's closed rings, clockwise, none where it has no place; and a box that excludes it from no comparison."""

    rings: tuple[Floats, ...]
    box: Box


def seamed(window: Window) -> Seamed:
    """Return where a block of pixels lies; all longitudes are in the box of one that crosses ±180° or holds a pole."""
    outline = _outline(window)
    found = outline and _cut(window, *outline)
    if found and _holds(window, found.rings):
        return found
    return _boxed(window)


def _outline(window: Window) -> tuple[Floats, Floats, Floats] | None:
    """Return a closed outline that may go on beyond ±180°, as lon, lat, and by how much its sides bend off it."""
    poles = _poles(window)
    at = _corners(window, poles)
    for _ in range(_ROUNDS):
        middle = (at[:-1] + at[1:]) / 2
        lon, lat, _ = _places(window, at)
        lon_m, lat_m, _ = _places(window, middle)
        if not (np.isfinite(lon).all() and np.isfinite(lat_m).all() and len(at) < _MOST):
            return None
        polar = _near(at, poles)
        if crs_of(window.crs).is_geographic:
            step, off_x = np.diff(lon), lon_m - (lon[:-1] + lon[1:]) / 2
        else:
            step = np.where(polar[:-1] | polar[1:], 0.0, _turned(np.diff(lon)))
            start = np.where(polar[:-1], lon[1:], lon[:-1])
            off_x = _turned(lon_m - start - step / 2)
        off_y = lat_m - (lat[:-1] + lat[1:]) / 2
        level = np.cos(np.radians(lat_m))
        pixels = np.hypot(*np.diff(at, axis=0).T)
        bend = np.hypot(off_x * level, off_y) * pixels
        coarse = bend > _BEND * np.hypot(step * level, np.diff(lat))
        if not crs_of(window.crs).is_geographic:
            coarse |= np.abs(step) > _STEP
        if not coarse.any():
            if not crs_of(window.crs).is_geographic:
                lon, lat = _followed(window, lon, lat, polar, step)
            spare = np.array([np.abs(off_x).max(), np.abs(off_y).max()]) + SPARE
            return lon, lat, spare
        if (pixels[coarse] < _AT / 4).any():
            return None
        at = np.insert(at, np.flatnonzero(coarse) + 1, middle[coarse], axis=0)
    return None


def _followed(
    window: Window, lon: Floats, lat: Floats, polar: npt.NDArray[np.bool_], step: Floats
) -> tuple[Floats, Floats]:
    """Return an outline as longitudes that go on beyond ±180°, and latitudes.

    A vertex on a pole becomes two, with the longitudes by which the outline comes and goes.
    """
    if polar.any():
        first = int(np.flatnonzero(~polar)[0])
        order = np.r_[np.arange(first, len(lon) - 1), np.arange(first + 1)]
        polar, lon, lat = polar[order], lon[order], lat[order]
        step = np.roll(step, -first)
    sense = _sense(window)
    along, up, here = [lon[0]], [lat[0]], lon[0]
    for index in range(1, len(lon)):
        if polar[index]:
            east = sense * np.sign(lat[index])
            turn = (lon[index + 1] - lon[index - 1]) * east % 360
            turn = 0.0 if turn > 359.9 else turn
            along += [here, here + east * turn]
            up += [np.sign(lat[index]) * 90] * 2
            here += east * turn
        else:
            here = lon[index] + 360 * np.round((here + step[index - 1] - lon[index]) / 360)
            along.append(here)
            up.append(lat[index])
    whole = np.array(along)
    near = 180 * np.round(whole / 180)  # where a side runs along ±180°, noise must not cross it
    return np.where(np.abs(whole - near) < SLACK, near, whole), np.array(up)


def _cut(window: Window, lon: Floats, lat: Floats, spare: Floats) -> Seamed | None:
    """Return an outline cut at ±180°, closed there and at a pole; None where that gives no polygon."""
    lat = np.clip(lat, -90, 90)
    if lat.min() >= lat.max() or np.ptp(lon) == 0:
        return None
    whole = lon[-1] - lon[0]
    if abs(whole) > 359:
        pole = -90.0 * _sense(window) * np.sign(whole)
        ring = _around_pole(lon, lat, pole)
        ends = (lat.min() - spare[1], 90.0) if pole > 0 else (-90.0, lat.max() + spare[1])
        return None if ring is None else Seamed((ring,), (-180.0, ends[0], 180.0, ends[1]))
    if abs(whole) > 1e-6:
        return None
    lon = lon - 360 * np.round((lon.min() + lon.max()) / 720)
    south, north = max(-90.0, lat.min() - spare[1]), min(90.0, lat.max() + spare[1])
    all_round = (-180.0, south, 180.0, north)
    if np.ptp(lon) >= 360 - SLACK:
        return Seamed(box(-180, lat.min(), 180, lat.max()), all_round) if crs_of(window.crs).is_geographic else None
    ring = np.column_stack([lon, lat])
    parts = []
    for turn in (-360.0, 0.0, 360.0):
        for part in within_180(ring + np.array([turn, 0.0])):
            if _belongs(window, part):
                parts.append(part)
    if not parts:
        return None
    across = lon.min() < -180 - SLACK or lon.max() > 180 + SLACK
    polar = not crs_of(window.crs).is_geographic and bool((np.abs(lat) > 90 - 1e-6).any())
    if across or polar:
        return Seamed(tuple(parts), all_round)
    return Seamed(tuple(parts), (max(-180.0, lon.min() - spare[0]), south, min(180.0, lon.max() + spare[0]), north))


def _around_pole(lon: Floats, lat: Floats, pole: float) -> Floats | None:
    """Return an outline that goes once around a pole as a ring that is closed along ±180° and the pole."""
    edge = 180 + 360 * np.floor((np.maximum(lon[:-1], lon[1:]) - 180) / 360)
    crosses = np.flatnonzero((np.minimum(lon[:-1], lon[1:]) < edge) & (np.maximum(lon[:-1], lon[1:]) >= edge))
    if len(crosses) != 1:
        return None
    (at,) = crosses
    share = (edge[at] - lon[at]) / (lon[at + 1] - lon[at])
    level = lat[at] + share * (lat[at + 1] - lat[at])
    east = np.sign(lon[-1] - lon[0])
    order = np.r_[np.arange(at + 1, len(lon) - 1), np.arange(at + 1)]
    inner = (lon[order] + 180) % 360 - 180
    inner = np.where((np.arange(len(inner)) == 0) & (np.abs(inner) == 180), -180 * east, inner)
    ends = np.array([-180.0, 180.0]) * east
    ring = np.column_stack([
        np.concatenate([ends[:1], inner, ends[1:], ends[1:], ends[:1], ends[:1]]),
        np.concatenate([[level], lat[order], [level, pole, pole, level]]),
    ])  # fmt: skip
    return without_repeats(ring) if (np.diff(ring[1:-4, 0]) * east > -_STEP).all() else None


def _belongs(window: Window, ring: Floats) -> bool:
    """Return True if a part lies in the block, and not only beyond the end of the map, as if folded back."""
    if crs_of(window.crs).is_geographic or ends_of_world(window.crs, window.resolution[0]) is not None:
        return True
    lon, lat = ring[(np.abs(ring[:, 0]) < 180) & (np.abs(ring[:, 1]) < 90)].T
    column, row = _pixels(window, *project(LONLAT, window.crs, lon, lat))
    mine = (column > -1) & (column < window.width + 1) & (row > -1) & (row < window.height + 1)
    return bool(mine.mean() > 0.5) if len(mine) else False


def _holds(window: Window, rings: tuple[Floats, ...]) -> bool:
    """Return True if pixels' centres, from all over the block, lie in its rings."""
    columns, rows = (
        np.unique(np.linspace(0, side - 1, min(side, _PROOF)).round()) + 0.5 for side in (window.width, window.height)
    )
    lon, lat, known = _places(window, _grid(columns, rows))
    lon, lat = ((lon + 180) % 360 - 180)[known], lat[known]
    shrunk = 1 - SLACK  # off ±180° and the poles, which are sides of the rings
    inside = np.zeros(len(lon), bool)
    for ring in rings:
        for side in (lon, np.where(lon == -180, 180.0, lon)):
            inside |= contains((ring,), side * shrunk, lat * shrunk)
    return bool(inside.all() and len(lon))


def _boxed(window: Window) -> Seamed:
    """Return a box around all places of a block that has an outline we cannot follow; nothing if it has no place."""
    columns, rows = (
        np.unique(np.linspace(0, side, min(side + 1, _GRID)).round()) for side in (window.width, window.height)
    )
    lon, lat, known = (values.reshape(len(rows), len(columns)) for values in _places(window, _grid(columns, rows)))
    if not known.any():
        return Seamed((), (-180.0, -90.0, 180.0, 90.0))
    lon, lat = np.where(known, lon, np.nan), np.where(known, lat, np.nan)
    spare_x = max(_greatest(_turned(np.diff(lon, axis=axis))) for axis in (0, 1)) + SPARE
    spare_y = max(_greatest(np.diff(lat, axis=axis)) for axis in (0, 1)) + SPARE
    south, north = float(np.nanmin(lat)) - spare_y, float(np.nanmax(lat)) + spare_y
    found = np.sort((lon[known] + 180) % 360 - 180)
    gaps = np.diff(found, append=found[0] + 360)
    widest = int(gaps.argmax())
    west, length = float(found[(widest + 1) % len(found)]) - spare_x, 360 - float(gaps[widest]) + 2 * spare_x
    south, north = max(-90.0, south), min(90.0, north)
    if not known.all():  # latitude may run ever faster to the end of the map
        south, north = -90.0 if south < -_POLAR else south, 90.0 if north > _POLAR else north
    all_round = (-180.0, south, 180.0, north)
    if length >= 350 or north >= 90 or south <= -90:
        return Seamed(box(-180, south, 180, north), all_round)
    west = (west + 180) % 360 - 180
    if west + length <= 180:
        around = (west, south, west + length, north) if known.all() else all_round  # others fold what lies beyond
        return Seamed(box(west, south, west + length, north), around)
    rings = (*box(west, south, 180, north), *box(-180, south, west + length - 360, north))
    return Seamed(rings, all_round)


def _greatest(values: Floats) -> float:
    known = np.abs(values[np.isfinite(values)])
    return float(known.max()) if known.size else 180.0


def _corners(window: Window, poles: Floats) -> Floats:
    """Return the columns and rows of vertices to begin with: sides in pieces, and where a side is nearest to a pole."""
    width, height = float(window.width), float(window.height)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height], [0, 0]])
    found = []
    for start, end in itertools.pairwise(corners):
        shares = np.arange(_FIRST) / _FIRST
        length = float(np.abs(end - start).sum())
        feet = (poles - start) @ (end - start) / length**2
        feet = feet[(feet * length > _AT) & ((1 - feet) * length > _AT)]
        whole = np.unique(np.concatenate([shares, feet]))
        found.append(start + whole[:, None] * (end - start))
    return np.concatenate([*found, corners[:1]])


def _poles(window: Window) -> Floats:
    """Return the (column, row) of those poles that are a single place in the CRS."""
    found = []
    for lat in (90.0, -90.0):
        x, y = project(LONLAT, window.crs, np.array([0.0, 90.0, 180.0, -90.0]), np.full(4, lat))
        column, row = _pixels(window, x, y)
        if np.isfinite(column).all() and np.ptp(column) < _AT and np.ptp(row) < _AT:
            found.append([column[0], row[0]])
    return np.array(found, np.float64).reshape(-1, 2)


def _near(at: Floats, poles: Floats) -> npt.NDArray[np.bool_]:
    near: npt.NDArray[np.bool_] = np.abs(at[:, None] - poles[None]).max(2) < _AT
    return np.asarray(near.any(1))


def _sense(window: Window) -> float:
    """Return 1 where east is to the right of north in the block, -1 where it is mirrored."""
    at = np.array([0.3137 * window.width, 0.2719 * window.height])
    lon, lat, _ = _places(window, at + 0.01 * np.array([[0, 0], [1, 0], [0, -1]]))
    step_x, step_y = _turned(lon[1:] - lon[0]), lat[1:] - lat[0]
    return 1.0 if step_x[0] * step_y[1] - step_y[0] * step_x[1] >= 0 else -1.0


def _places(window: Window, at: Floats) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Return lon and lat of (column, row) positions, and which of these lie in what the CRS shows."""
    sx, shx, x0, shy, sy, y0 = window.transform
    x, y = x0 + at[:, 0] * sx + at[:, 1] * shx, y0 + at[:, 0] * shy + at[:, 1] * sy
    lon, lat = project(window.crs, LONLAT, x, y)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90)
        if crs_of(window.crs).is_geographic or ends_of_world(window.crs, window.resolution[0]) is not None:
            return lon, lat, known
        column, row = _pixels(window, *project(LONLAT, window.crs, np.where(known, lon, np.inf), lat))
        miss = np.hypot(column - at[:, 0], row - at[:, 1]) * window.resolution[0]
        return lon, lat, known & (miss <= BACK / metres_of_unit(window.crs))


def _pixels(window: Window, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    sx, shx, x0, shy, sy, y0 = window.transform
    scale = sx * sy - shx * shy
    return ((x - x0) * sy - (y - y0) * shx) / scale, ((y - y0) * sx - (x - x0) * shy) / scale


def _grid(columns: Floats, rows: Floats) -> Floats:
    return np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2)


def _turned(step: Floats) -> Floats:
    """Return differences of longitude as the shorter way round."""
    with np.errstate(invalid="ignore"):
        return np.asarray(step - 360 * np.round(step / 360))
