"""Where a listing looks for images: boxes around a region that hold it whichever way their edges are read.

Nobody says whether the service reads the edges of a filter's geometry as geodesics or as straight lines in longitude
and latitude (https://developers.google.com/earth-engine/guides/geodesic_planar_geometries), so the boxes are such that
it does not matter: wider than the region by a padding, with so many vertices that both readings differ by a fourth of
it.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ee_spark.planner.crs import Floats
from ee_spark.planner.polygon import Box

PAD = 0.1
"""Degrees of latitude that boxes are wider than the region at least; as far on the ground in longitude."""
SHARE = 0.01
"""Of the largest image's size: rasters reach beyond their footprints, those of radar by some 0.5 %."""
_POLE = 89.9999
"""Degrees: nearer to a pole, the ends of a box's edge would be one point."""
_WIDEST, _LONGEST_EDGE = 120.0, 30.0
"""Degrees of longitude of one box, and of one of its edges."""
_DIGITS = 4
_SLIVER = 1e-3
"""Degrees: some pixels of any scene."""


def filter_text(boxes: Sequence[Box], pad: float) -> str:
    """Return the filter ``intersects("…")`` of boxes and what lies within ``pad`` degrees of them; empty for none.

    None is where the boxes are over a hemisphere. The GeoJSON has single quotes, as both official clients write it: the
    service takes no others.
    """
    wide = padded(boxes, pad)
    if sum(map(_area, wide)) > 2 * math.pi:
        return ""
    rings = [[_ring(part, pad)] for one in wide for part in _parts(one)]
    single = len(rings) == 1
    geometry = {"type": "Polygon" if single else "MultiPolygon", "coordinates": rings[0] if single else rings}
    text = json.dumps(geometry, separators=(",", ":")).replace('"', "'")
    return f'intersects("{text}")'


def padded(boxes: Sequence[Box], pad: float) -> list[Box]:
    """Return boxes widened by ``pad`` degrees on the ground, within ±180°, none of which overlaps another."""
    found: list[Box] = []
    for box in [part for one in boxes for part in _widened(one, pad)]:
        near = box
        while touching := [other for other in found if _overlap(near, other)]:
            found = [other for other in found if other not in touching]
            west, south, east, north = zip(near, *touching, strict=True)
            near = min(west), min(south), max(east), max(north)
        found.append(near)
    return found


def reach(geometries: Iterable[object]) -> float:
    """Return how far boxes have to reach beyond a region for images with these footprints (GeoJSON), in degrees.

    That is a hundredth of the largest, or by how much its edges differ as geodesics and as straight lines. What cannot
    be read adds nothing.
    """
    found = 0.0
    for geometry in geometries:
        for ring in rings(geometry):
            found = max(found, _reach(ring))
    return found


def meets(geometry: object, boxes: Sequence[Box]) -> bool:
    """Return whether an image with this footprint (GeoJSON) may touch boxes: by its own, grown by its reach.

    So what is listed does not depend on how far boxes had to reach. What cannot be read may lie anywhere.
    """
    found = False
    for ring in rings(geometry):
        found = True
        (west, south), (east, north) = ring.min(0).tolist(), ring.max(0).tolist()
        if any(_overlap((west, south, east, north), box) for box in boxes):
            return True
        turn = 360 * math.floor((west + 180) / 360)
        grown = padded([(west - turn, south, east - turn, north)], _reach(ring) + _SLIVER)
        if any(_overlap(part, box) for part in grown for box in boxes):
            return True
    return not found


def rings(value: Any) -> Iterator[Floats]:
    """Yield the finite rings and lines of a GeoJSON geometry, whatever its kind, as arrays (n, 2)."""
    if isinstance(value, dict):
        for key in ("geometries", "coordinates"):
            yield from rings(value.get(key))
    elif isinstance(value, list) and value:
        if isinstance(value[0], list) and value[0] and not isinstance(value[0][0], list):
            try:
                ring = np.array([position[:2] for position in value], np.float64)
            except (ValueError, TypeError):
                return
            if ring.ndim == 2 and ring.shape[1] == 2 and np.isfinite(ring).all():
                yield ring
        else:
            for part in value:
                yield from rings(part)


def _widened(box: Box, pad: float) -> list[Box]:
    west, south, east, north = box
    south, north = (min(max(lat, -_POLE), _POLE) for lat in (south - pad, north + pad))
    side = pad / math.cos(math.radians(max(abs(south), abs(north))))
    if east - west + 2 * side >= 360:
        return [(-180.0, south, 180.0, north)]
    west, east = west - side, east + side
    if west < -180:
        return [(-180.0, south, east, north), (west + 360, south, 180.0, north)]
    if east > 180:
        return [(west, south, 180.0, north), (-180.0, south, east - 360, north)]
    return [(west, south, east, north)]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _area(box: Box) -> float:
    """Return the area of a box on the unit sphere."""
    west, south, east, north = map(math.radians, box)
    return (east - west) * (math.sin(north) - math.sin(south))


def _parts(box: Box) -> Iterator[Box]:
    """Yield a box as parts that are narrow enough for any reading."""
    west, south, east, north = box
    edges = np.linspace(west, east, max(1, math.ceil((east - west) / _WIDEST)) + 1).tolist()
    for left, right in itertools.pairwise(edges):
        yield left, south, right, north


def _ring(box: Box, pad: float) -> list[list[float]]:
    """Return a box as a closed ring, counter-clockwise; along it both readings are within a fourth of ``pad``."""
    west, south, east, north = box
    below = [[x, south] for x in _along(west, east, south, pad / 4)]
    above = [[x, north] for x in _along(west, east, north, pad / 4)]
    ring = [*below, *above[::-1], below[0]]
    return [[round(x, _DIGITS), round(y, _DIGITS)] for x, y in ring]


def _along(west: float, east: float, lat: float, error: float) -> list[float]:
    """Return longitudes along a parallel; geodesics between them leave it by ``error`` degrees at most.

    On the sphere a geodesic between two points of latitude φ that are Δ apart rises to atan(tan φ / cos(Δ / 2)).
    """
    step, high = _LONGEST_EDGE, abs(lat) + error
    if lat and high < 90:
        half = math.acos(math.tan(math.radians(abs(lat))) / math.tan(math.radians(high)))
        step = min(step, 2 * math.degrees(half))
    return [float(x) for x in np.linspace(west, east, max(1, math.ceil((east - west) / step)) + 1)]


def _reach(ring: Floats) -> float:
    """Return the larger of a hundredth of a ring's diagonal and the most that its edges bow, in degrees."""
    steps = (np.diff(ring[:, 0]) + 180) % 360 - 180  # the short way: a footprint may jump at ±180°
    lon, lat = np.radians(ring[0, 0] + np.concatenate([[0.0], np.cumsum(steps)])), np.radians(ring[:, 1])
    size = math.hypot(float(np.ptp(lon)) * math.cos(float(lat.mean())), float(np.ptp(lat)))
    ends = np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    chords = ends[:-1] + ends[1:]
    middle_lon, middle_lat = (lon[:-1] + lon[1:]) / 2, (lat[:-1] + lat[1:]) / 2
    straight = np.column_stack(
        [np.cos(middle_lat) * np.cos(middle_lon), np.cos(middle_lat) * np.sin(middle_lon), np.sin(middle_lat)]
    )
    length = np.linalg.norm(chords, axis=1)
    away = np.linalg.norm(np.cross(chords, straight), axis=1)[length > 1e-6] / length[length > 1e-6]
    bow = float(np.degrees(np.arcsin(np.minimum(1.0, away.max(initial=0.0)))))
    return max(SHARE * math.degrees(size), bow)
