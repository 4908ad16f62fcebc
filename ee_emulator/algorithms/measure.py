"""Areas, lengths and distances of geometries and features, on the ellipsoid unless a projection is given.

Edges are straight in longitude and latitude, or in the projection a geometry was drawn in; the length of an edge in
longitude and latitude is that of the shortest line between its ends.
https://developers.google.com/earth-engine/guides/geometric_operations
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry
from shapely.ops import nearest_points

from .. import spheroid
from ..element import geometry_of as element_geometry
from ..errors import ServiceError
from ..geometry import Geometry
from ..image import Image
from ..projection import Projection
from ..shape import around, moved, shape_in
from .registry import algorithm

_LONLAT = "EPSG:4326"
_LEAST_RADIUS = 6.335e6
"""Metres; nowhere on the ellipsoid is a radius of curvature smaller, so no way is shorter than on this sphere."""


def outline(value: Any) -> Geometry:
    """The geometry of an element, an empty one where it has none."""
    found = value if isinstance(value, Geometry) else element_geometry(value)
    return found or Geometry("GeometryCollection")


def polygons(shape: BaseGeometry) -> list[BaseGeometry]:
    """The polygons of a shape."""
    return [part for part in _singles(shape) if part.geom_type == "Polygon"]


def _singles(shape: BaseGeometry) -> list[BaseGeometry]:
    if hasattr(shape, "geoms"):
        return [single for part in shape.geoms for single in _singles(part)]
    return [shape]


def _area(geometry: Geometry, proj: Projection | None) -> float:
    if geometry.parts:
        return sum(_area(part, proj) for part in geometry.parts)
    if proj is not None:
        return float(sum(part.area for part in polygons(shape_in(geometry, proj.crs))))
    total = 0.0
    for part in polygons(shape_in(geometry)):
        shell, *holes = [shapely.get_coordinates(ring) for ring in (part.exterior, *part.interiors)]
        total += spheroid.ring_area(shell[:, 0], shell[:, 1])
        total -= sum(spheroid.ring_area(hole[:, 0], hole[:, 1]) for hole in holes)
    return total


def _path(points: NDArray[Any], proj: Projection | None) -> float:
    if proj is not None:
        return float(np.hypot(*np.diff(points, axis=0).T).sum())
    lons, lats = points[:, 0], points[:, 1]
    return float(spheroid.distance(lons[:-1], lats[:-1], lons[1:], lats[1:]).sum())


def _length(geometry: Geometry, proj: Projection | None) -> float:
    parts = _singles(shape_in(geometry, _LONLAT if proj is None else proj.crs))
    lines = [part for part in parts if part.geom_type in ("LineString", "LinearRing")]
    return sum(_path(shapely.get_coordinates(line), proj) for line in lines)


def _perimeter(geometry: Geometry, proj: Projection | None) -> float:
    parts = polygons(shape_in(geometry, _LONLAT if proj is None else proj.crs))
    rings = [ring for part in parts for ring in (part.exterior, *part.interiors)]
    return sum(_path(shapely.get_coordinates(ring), proj) for ring in rings)


def _register(name: str, compute: Callable[[Geometry, Projection | None], float]) -> None:
    def of_geometry(geometry: Geometry, max_error: Any, proj: Projection | None) -> float:
        return compute(geometry, proj)

    def of_feature(feature: Any, max_error: Any, proj: Projection | None) -> float:
        return compute(outline(feature), proj)

    of_geometry.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-geometry-{name}"
    of_feature.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-feature-{name}"
    algorithm(f"Geometry.{name}")(of_geometry)
    algorithm(f"Feature.{name}")(of_feature)


for _name, _compute in {"area": _area, "length": _length, "perimeter": _perimeter}.items():
    _register(_name, _compute)


def gap(left: Geometry, right: Geometry, proj: Projection | None = None) -> float | None:
    """The least distance between two geometries, None where one is empty.

    The nearest points are found in a projection about the middle of both; they are the true ones for geometries that
    are not thousands of kilometres across.
    """
    if proj is not None:
        a, b = shape_in(left, proj.crs), shape_in(right, proj.crs)
        return None if a.is_empty or b.is_empty else float(a.distance(b))
    first, second = shape_in(left), shape_in(right)
    if first.is_empty or second.is_empty:
        return None
    if first.intersects(second):
        return 0.0
    if first.geom_type == second.geom_type == "Point":
        return float(spheroid.distance(first.x, first.y, second.x, second.y))
    middle = around(shapely.GeometryCollection([first, second]))
    near = shapely.GeometryCollection(
        list(nearest_points(moved(first, _LONLAT, middle), moved(second, _LONLAT, middle)))
    )
    (lon0, lat0), (lon1, lat1) = shapely.get_coordinates(moved(near, middle, _LONLAT)).tolist()
    return float(spheroid.distance(lon0, lat0, lon1, lat1))


def at_least(left: Geometry, right: Geometry) -> float:
    """A distance that two geometries are certainly apart, by their boxes alone: what a join asks of every pair."""
    for side in (left, right):
        if side.planar is not None or side.parts or side.box is None:
            return 0.0
    assert left.box is not None
    assert right.box is not None
    (west0, south0, east0, north0), (west1, south1, east1, north1) = left.box, right.box
    up = math.radians(max(0.0, south0 - north1, south1 - north0)) / 2
    across = max(0.0, min(max(west0 - east1, west1 - east0), 360 - max(east0, east1) + min(west0, west1)))
    farthest = math.radians(min(90.0, max(-south0, north0, -south1, north1)))
    haversine = math.sin(up) ** 2 + (math.cos(farthest) * math.sin(math.radians(across) / 2)) ** 2
    return 2 * _LEAST_RADIUS * math.asin(math.sqrt(min(1.0, haversine)))


def _distance(left: Any, right: Any, proj: Projection | None, spherical: bool, operation: str) -> float:
    if isinstance(left, Image) or isinstance(right, Image) or spherical:
        raise ServiceError(f"{operation} of images, or with 'spherical', is not implemented by this emulator.")
    found = gap(outline(left), outline(right), proj)
    if found is None:
        raise ServiceError(f"{operation}: a geometry is empty.")
    return found


@algorithm("Geometry.distance")
def distance(left: Geometry, right: Geometry, max_error: Any, proj: Projection | None, spherical: bool) -> float:
    """The least distance. https://developers.google.com/earth-engine/apidocs/ee-geometry-distance"""
    return _distance(left, right, proj, spherical, "Geometry.distance")


@algorithm("Feature.distance")
def feature_distance(left: Any, right: Any, max_error: Any, proj: Projection | None, spherical: bool) -> float:
    """The least distance. https://developers.google.com/earth-engine/apidocs/ee-feature-distance"""
    return _distance(left, right, proj, spherical, "Feature.distance")
