"""Areas, lengths and distances of geometries and features, on the ellipsoid unless a projection is given.

Edges are straight in longitude and latitude, or in the projection a geometry was drawn in; the length of an edge in
longitude and latitude is that of the shortest line between its ends.
https://developers.google.com/earth-engine/guides/geometric_operations
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from ..errors import ServiceError, not_implemented
from ..evaluation.registry import algorithm
from ..evaluation.relation import gap, outline
from ..values import spheroid
from ..values.crs import LONLAT
from ..values.geometry import Geometry
from ..values.image import Image
from ..values.projection import Projection
from ..values.shape import polygons, shape_in, singles


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
    parts = singles(shape_in(geometry, LONLAT if proj is None else proj.crs))
    lines = [part for part in parts if part.geom_type in ("LineString", "LinearRing")]
    return sum(_path(shapely.get_coordinates(line), proj) for line in lines)


def _perimeter(geometry: Geometry, proj: Projection | None) -> float:
    parts = polygons(shape_in(geometry, LONLAT if proj is None else proj.crs))
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


def _distance(left: Any, right: Any, proj: Projection | None, spherical: bool, operation: str) -> float:
    if isinstance(left, Image) or isinstance(right, Image) or spherical:
        raise not_implemented(f"{operation} of images, or with 'spherical',")
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
