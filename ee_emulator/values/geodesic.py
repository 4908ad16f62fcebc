"""Edges that are geodesics, as paths of straight pieces in longitude and latitude that follow them.

https://developers.google.com/earth-engine/guides/geodesic_planar_geometries
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import affinity
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from . import spheroid

_OFF = 1e-7
"""Degrees, a centimetre, by which the path may leave a geodesic."""
_SHORT = 0.003
"""Edges of so many degrees are straight, but near a pole."""
_STEEP = 80.0
"""Beyond this latitude a geodesic bends within a small part of an edge, which is cut into this many at least."""
_STEEP_STEPS = 256
_MOST_STEPS = 16384
_WORLD = shapely.box(-180, -90, 180, 90)


def followed(path: NDArray[Any]) -> NDArray[Any]:
    """The vertices of a path (n, 2) with points of the geodesics between them; longitudes go on past ±180.

    An edge to the other side of the world, of which there is more than one, stays straight.
    """
    if len(path) < 2:
        return path
    lons, lats = path[:, 0], path[:, 1]
    span = (np.diff(lons) + 180) % 360 - 180
    turns = np.rint((lons[0] + np.concatenate([[0.0], np.cumsum(span)]) - lons) / 360)
    lons = lons + 360 * turns
    steps = _steps(lons[:-1], lats[:-1], span, lats[1:])
    which = np.repeat(np.arange(len(span)), steps)
    share = (np.arange(which.size) - (np.cumsum(steps) - steps)[which]) / steps[which]
    xs, ys = lons[which], lats[which]
    between = share > 0
    edge, part = which[between], share[between]
    xs[between], ys[between] = spheroid.along(lons[edge], lats[edge], lons[edge] + span[edge], lats[edge + 1], part)
    return np.column_stack([np.append(xs, lons[-1]), np.append(ys, lats[-1])])


def _steps(lons: NDArray[Any], lats: NDArray[Any], span: NDArray[Any], ends: NDArray[Any]) -> NDArray[Any]:
    """Pieces of each edge: the middle of n of them is 1/n² as far off as that of the whole."""
    steps = np.ones(len(lons), np.int64)
    high = np.maximum(np.abs(lats), np.abs(ends)) > _STEEP
    long = (np.maximum(np.abs(span), np.abs(ends - lats)) > _SHORT) | high
    # Along a meridian nothing bends, and of half a turn nobody says which way.
    edge = np.flatnonzero(long & (span != 0) & (np.abs(span) < 180))
    if not edge.size:
        return steps
    first, start, stop, across = lons[edge], lats[edge], ends[edge], span[edge]
    xs, ys = spheroid.along(first, start, first + across, stop, np.full(edge.size, 0.5))
    off = np.hypot(xs - first - across / 2, ys - (start + stop) / 2)
    wanted = np.clip(np.ceil(np.sqrt(np.nan_to_num(off) / _OFF)), 1, _MOST_STEPS).astype(np.int64)
    steep = (np.maximum(np.abs(ys), high[edge] * 90.0) > _STEEP) & (wanted > 1)
    steps[edge] = np.where(steep, np.maximum(wanted, _STEEP_STEPS), wanted)
    return steps


def straightened(kind: str, coordinates: Any) -> tuple[str, Any]:
    """Kind and coordinates of a line or an area with geodesic edges as one with straight edges, within ±180°."""
    if kind in ("Polygon", "MultiPolygon"):
        listed = [coordinates] if kind == "Polygon" else coordinates
        areas = [[_round(ring) for ring in rings if len(ring)] for rings in listed if rings]
        areas = [[ring for ring in rings if len(ring) > 3] for rings in areas]
        areas = [_together(rings) for rings in areas if rings]
        if all(_within(ring) for rings in areas for ring in rings):
            found = [[ring.tolist() for ring in rings] for rings in areas]
            return (kind, found[0] if found else []) if kind == "Polygon" else (kind, found)
        shapes = [_valid(shapely.Polygon(rings[0], rings[1:])) for rings in areas]
        return _coordinates(_wrapped(shapely.union_all(shapes)), "Polygon")
    listed = coordinates if kind == "MultiLineString" else [coordinates]
    paths = [followed(_path(line, closed=kind == "LinearRing")) for line in listed if len(line)]
    if all(_within(path) for path in paths):
        found = [path.tolist() for path in paths]
        return (kind, found) if kind == "MultiLineString" else (kind, found[0] if found else [])
    shapes = [shapely.LineString(path) for path in paths if len(path) > 1]
    return _coordinates(_wrapped(shapely.union_all(shapes)), "LineString")


def _path(points: Any, closed: bool) -> NDArray[Any]:
    path = np.asarray(points, float).reshape(-1, 2)
    return np.concatenate([path, path[:1]]) if closed and (path[0] != path[-1]).any() else path


def _round(points: Any) -> NDArray[Any]:
    """A closed ring; one that goes round the world is closed by way of the pole that it is nearer to."""
    ring = followed(_path(points, closed=True))
    if abs(ring[-1, 0] - ring[0, 0]) < 180:
        return ring
    pole = 90.0 if ring[:, 1].mean() >= 0 else -90.0
    return np.concatenate([ring, [[ring[-1, 0], pole], [ring[0, 0], pole]], ring[:1]])


def _together(rings: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """The rings of a polygon, the holes on the same turn about the earth as the shell."""
    shell, *holes = rings
    middle = (shell[:, 0].min() + shell[:, 0].max()) / 2
    turns = [np.rint((middle - (hole[:, 0].min() + hole[:, 0].max()) / 2) / 360) for hole in holes]
    return [shell, *(hole + np.array([360 * turn, 0.0]) for hole, turn in zip(holes, turns, strict=True))]


def _within(path: NDArray[Any]) -> bool:
    return bool(len(path) == 0 or np.abs(path[:, 0]).max() <= 180)


def _wrapped(shape: BaseGeometry) -> BaseGeometry:
    """A shape on several turns about the earth, all of it within ±180°."""
    west, _, east, _ = shape.bounds
    turns = range(int(np.floor((west + 180) / 360)), int(np.ceil((east - 180) / 360)) + 1)
    parts = [affinity.translate(shape, -360 * turn).intersection(_WORLD) for turn in turns]
    return shapely.union_all(parts)


def _coordinates(shape: BaseGeometry, single: str) -> tuple[str, Any]:
    parts = [part for part in getattr(shape, "geoms", [shape]) if part.geom_type == single and not part.is_empty]
    return f"Multi{single}", [mapping(part)["coordinates"] for part in parts]


def _valid(shape: BaseGeometry) -> BaseGeometry:
    return shape if shape.is_valid else shapely.make_valid(shape)
