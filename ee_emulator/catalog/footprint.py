"""Footprints: the outline of a raster as a ring of geodesics in longitude and latitude, as the service keeps it.

Recorded footprints are LinearRings, closed and counter-clockwise, with a vertex where a geodesic would leave the
raster's edge by a tenth of a pixel or two.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError
from ..values import spheroid
from ..values.crs import LONLAT, parse_crs, transform_points
from ..values.geometry import Geometry, from_geojson, rectangle
from ..values.raster import RasterBand

_EDGE_POINTS = 4096
_FOOTPRINT_ERROR = 0.1
"""How far, in pixels, a footprint may leave the raster's edge."""
_ROUND = 360 - 1e-6
"""An edge of so many degrees ends where it began."""


def outline(raster: RasterBand) -> Geometry:
    """The area inside the edge of a raster, with enough points for geodesics to follow it; else ServiceError."""
    width, height = raster.width, raster.height
    corners = [(0, 0), (0, height), (width, height), (width, 0), (0, 0)]
    steps = 1
    while True:
        columns, rows = _along(corners, steps)
        lons, lats = transform_points(raster.crs, LONLAT, *raster.projection.points_at(columns, rows))
        if (
            steps * 8 > _EDGE_POINTS
            or not np.isfinite(lons).all()
            or _is_round(raster, lons)
            or _bend(raster, columns, rows, lons, lats) <= _FOOTPRINT_ERROR
        ):
            break
        steps *= 2
    known = np.isfinite(lons) & np.isfinite(lats)
    ring = [[float(x), float(y)] for x, y in zip(lons[known], lats[known], strict=True)]
    if len(ring) < 4:
        raise ServiceError("the raster's edge cannot be expressed in longitude and latitude; give it a 'geometry'")
    if ring[0] != ring[-1]:
        ring.append(ring[0])
    return Geometry("Polygon", [ring], geodesic=not _spans(ring))


def ring_of(area: Geometry) -> dict[str, Any]:
    """The footprint of an area as it is described: its outer ring."""
    return {"type": "LinearRing", "coordinates": area.coordinates[0]}


def enclosed(footprint: Any) -> Geometry | None:
    """The area of a given footprint: inside its ring, the whole world where it has no bounds; None for no area."""
    try:
        return _enclosed(json.dumps(footprint))
    except (ValueError, TypeError, RecursionError):
        return None


@lru_cache(maxsize=4096)
def _enclosed(text: str) -> Geometry | None:
    """Equal footprints, as a series has, are one geometry: following its geodesics takes a millisecond."""
    footprint = json.loads(text)
    if "Infinity" in text:  # as a number or as text
        return rectangle((-180.0, -90.0, 180.0, 90.0))
    try:
        found = from_geojson(footprint, geodesic=True)
    except (ServiceError, ValueError, TypeError, LookupError, AttributeError):
        return None
    if found.kind == "LinearRing":
        found = replace(found, kind="Polygon", coordinates=[found.coordinates])
    parts = [found.coordinates] if found.kind == "Polygon" else found.coordinates
    if found.kind not in ("Polygon", "MultiPolygon") or not any(len(set(map(tuple, p[0]))) > 2 for p in parts if p):
        return None
    return replace(found, geodesic=False) if any(_spans(ring) for part in parts for ring in part) else found


def _spans(ring: list[list[float]]) -> bool:
    """True for a ring that goes round the world by a single edge, which no geodesic does."""
    return any(abs(stop[0] - start[0]) >= _ROUND for start, stop in pairwise(ring))


def _is_round(raster: RasterBand, lons: NDArray[Any]) -> bool:
    return parse_crs(raster.crs).is_geographic and float(np.ptp(lons)) >= _ROUND


def _along(corners: list[tuple[int, int]], steps: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pixel coordinates along the edges, `steps` points to an edge, closed."""
    parts = [np.linspace(start, stop, steps, endpoint=False) for start, stop in pairwise(corners)]
    path = np.concatenate([*parts, np.array([corners[-1]], float)])
    return path[:, 0], path[:, 1]


def _bend(
    raster: RasterBand, columns: NDArray[Any], rows: NDArray[Any], lons: NDArray[Any], lats: NDArray[Any]
) -> float:
    """How far, in pixels, the middles of geodesic edges lie from the raster's edge they stand for."""
    middle = spheroid.along(lons[:-1], lats[:-1], lons[1:], lats[1:], np.full(len(lons) - 1, 0.5))
    at_column, at_row = raster.projection.pixels_at(*transform_points(LONLAT, raster.crs, *middle))
    # Distance from the edge's own line: along an edge only one of the two coordinates changes.
    flat = columns[:-1] == columns[1:]
    off = np.where(flat, at_column - columns[:-1], at_row - rows[:-1])
    return float(np.nanmax(np.abs(off))) if np.isfinite(off).any() else 0.0
