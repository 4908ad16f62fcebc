"""Edges as the service reads those of footprints: the shortest way on a sphere from one place to the next.

https://developers.google.com/earth-engine/guides/geometry_visualization_info#geodesic-vs.-planar-geometries
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ee_spark.planner.crs import Floats, Ints

METRES_PER_DEGREE = 111_319.490793
"""Of a great circle, and of a degree at the equator: π × 6,378,137 / 180."""


def turned(degrees: Floats) -> Floats:
    """Return differences of longitude the short way round, from -180 up to but not including 180."""
    return (degrees + 180.0) % 360.0 - 180.0


def along(lines: Floats, shares: Floats) -> Floats:
    """Return the places (n, k, 2) at ``shares`` (k, or n × k) of the shortest ways between the ends of lines (n, 4).

    Longitudes go on beyond ±180° from where a line begins; the ends themselves come back to float noise.
    """
    start, end = _vector(lines[:, 0], lines[:, 1]), _vector(lines[:, 2], lines[:, 3])
    angle = np.arctan2(np.linalg.norm(np.cross(start, end), axis=1), (start * end).sum(1))[:, None]
    share = np.broadcast_to(shares, (len(lines), np.shape(shares)[-1]))
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.where(angle > 0, np.sin((1 - share) * angle) / np.sin(angle), 1 - share)
        second = np.where(angle > 0, np.sin(share * angle) / np.sin(angle), share)
    x, y, z = np.moveaxis(first[..., None] * start[:, None] + second[..., None] * end[:, None], -1, 0)
    lon = lines[:, :1] + turned(np.degrees(np.arctan2(y, x)) - lines[:, :1])
    return np.stack([lon, np.degrees(np.arctan2(z, np.hypot(x, y)))], -1)


def ring_areas(lon: Floats, lat: Floats, rings: Ints) -> tuple[Floats, Floats]:
    """Return what rings enclose on the unit sphere, read as geodesics and as straight in longitude and latitude.

    Ring i is the closed line of the places ``rings[i]`` to ``rings[i + 1]``; longitudes do not jump.
    """
    inner = _within(rings, len(lon))
    step, low, high = np.radians(np.diff(lon)), np.radians(lat[:-1]), np.radians(lat[1:])
    t1, t2 = np.tan(low / 2), np.tan(high / 2)
    geodesic = 2 * np.arctan2(np.tan(step / 2) * (t1 + t2), 1 + t1 * t2)
    rise = high - low
    level = np.abs(rise) < 1e-9
    mean = np.where(level, np.sin((low + high) / 2), (np.cos(low) - np.cos(high)) / np.where(level, 1.0, rise))
    return _sums(geodesic * inner, rings), _sums(step * mean * inner, rings)


def unwrapped(lon: Floats, rings: Ints) -> Floats:
    """Return longitudes of rings that go on beyond ±180° where they jumped: every edge the short way round."""
    jumps = -360.0 * np.rint(np.diff(lon) / 360.0) * _within(rings, len(lon))
    moved = np.concatenate([[0.0], np.cumsum(jumps)]) if len(lon) else lon
    lengths = np.diff(rings)
    return np.asarray(lon + moved - np.repeat(moved[rings[:-1]] if len(lengths) else moved, lengths))


def _within(rings: Ints, count: int) -> npt.NDArray[np.bool_]:
    """Return for each step from one place to the next whether both belong to one ring."""
    inner = np.ones(max(0, count - 1), bool)
    inner[rings[1:-1] - 1] = False
    return inner


def _sums(steps: Floats, rings: Ints) -> Floats:
    return np.abs(np.add.reduceat(np.append(steps, 0.0), rings[:-1]))


def _vector(lon: Floats, lat: Floats) -> Floats:
    x, y = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)], -1)
