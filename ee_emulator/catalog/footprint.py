"""Footprints: the outline of a raster in longitude and latitude, bent as its projection bends it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import ServiceError
from ..values.crs import LONLAT, transform_points
from ..values.geometry import Geometry, from_geojson, rectangle
from ..values.raster import RasterBand
from ..values.shape import shape_in

_EDGE_POINTS = 4096
_FOOTPRINT_ERROR = 0.01
"""How far, in pixels, a footprint may leave the raster's edge."""


def outline(raster: RasterBand) -> Geometry:
    """The edge of a raster in longitude and latitude, with enough points to follow it; else ServiceError."""
    width, height = raster.width, raster.height
    corners = [(0, 0), (0, height), (width, height), (width, 0), (0, 0)]
    steps = 1
    while True:
        columns, rows = _along(corners, steps)
        lons, lats = transform_points(raster.crs, LONLAT, *raster.projection.points_at(columns, rows))
        if (
            steps * 8 > _EDGE_POINTS
            or not np.isfinite(lons).all()
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
    return Geometry("Polygon", [ring])


def enclosed(footprint: Any) -> Geometry | None:
    """The area of a recorded footprint: inside its ring, the whole world where it has no bounds; None for no area."""
    if isinstance(footprint, dict) and "Infinity" in str(footprint.get("coordinates")):
        return rectangle((-180.0, -90.0, 180.0, 90.0))
    try:
        found = from_geojson(footprint)
        if found.kind == "LinearRing":
            found = from_geojson({"type": "Polygon", "coordinates": [found.coordinates]})
        return found if found.polygons and not shape_in(found).is_empty else None
    except (ServiceError, ValueError, TypeError, LookupError, AttributeError):
        return None


def _along(corners: list[tuple[int, int]], steps: int) -> tuple[Any, Any]:
    """Pixel coordinates along the edges, `steps` points to an edge, closed."""
    parts = [np.linspace(start, stop, steps, endpoint=False) for start, stop in pairwise(corners)]
    path = np.concatenate([*parts, np.array([corners[-1]], float)])
    return path[:, 0], path[:, 1]


def _bend(raster: RasterBand, columns: Any, rows: Any, lons: Any, lats: Any) -> float:
    """How far, in pixels, the middles of straight lon/lat edges lie from the raster's edge they stand for."""
    xs, ys = transform_points(LONLAT, raster.crs, (lons[:-1] + lons[1:]) / 2, (lats[:-1] + lats[1:]) / 2)
    at_column, at_row = raster.projection.pixels_at(xs, ys)
    # Distance from the edge's own line: along an edge only one of the two coordinates changes.
    flat = columns[:-1] == columns[1:]
    off = np.where(flat, at_column - columns[:-1], at_row - rows[:-1])
    return float(np.nanmax(np.abs(off))) if np.isfinite(off).any() else 0.0
