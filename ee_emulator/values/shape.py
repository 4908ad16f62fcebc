"""Geometries as shapes of shapely, in longitude and latitude or in any coordinate system, and back.

Between coordinate systems the straight edges of a geometry are followed by many points, as geodesics are anywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from ..errors import ServiceError
from .crs import FARTHEST, LONLAT, parse_crs, same_crs, transform_points
from .geometry import Geometry, from_geojson, points_of, replace_points

_STEPS = 256
"""Parts of a shape's larger side that an edge is cut into before it is bent."""
_EMPTY = shapely.GeometryCollection()


def shape_in(geometry: Geometry | None, crs: str = LONLAT) -> BaseGeometry:
    """The shape in a coordinate system, from the one it was drawn in; rings that cross themselves by the even-odd rule.

    Raises a 400 for a geometry of which a part cannot be expressed there.
    """
    if geometry is None:
        return _EMPTY
    if crs not in geometry.shapes:
        geometry.shapes[crs] = _shape_in(geometry, crs)
    return geometry.shapes[crs]


def _shape_in(geometry: Geometry, crs: str) -> BaseGeometry:
    if geometry.parts:
        return shapely.union_all([shape_in(part, crs) for part in geometry.parts])
    straight = geometry.straight
    shape = _assembled(straight.kind, straight.drawn_coordinates)
    return moved(shape, LONLAT if geometry.planar is None else geometry.planar[0], crs)


def intersect(first: Geometry, second: Geometry) -> bool:
    """True when two geometries share a point, in longitude and latitude; an empty one shares none."""
    mine, theirs = first.rough_box, second.rough_box
    if mine is None or theirs is None:
        return False
    if mine[0] > theirs[2] or theirs[0] > mine[2] or mine[1] > theirs[3] or theirs[1] > mine[3]:
        return False
    if first.parts:
        return any(intersect(part, second) for part in first.parts)
    if second.parts:
        return any(intersect(first, part) for part in second.parts)
    if not first.straight_here and LONLAT not in first.shapes:  # a vertex inside says so without following geodesics
        points = np.asarray(list(points_of(first.coordinates)), float).reshape(-1, 2)
        if shapely.contains_xy(shape_in(second), points[:, 0], points[:, 1]).any():
            return True
    return bool(shapely.intersects(shape_in(first), shape_in(second)))


def moved(shape: BaseGeometry, source: str, target: str) -> BaseGeometry:
    """A shape from one coordinate system in another."""
    if same_crs(source, target) or shape.is_empty:
        return shape
    west, south, east, north = shape.bounds
    longest = max(east - west, north - south)
    dense = shapely.segmentize(shape, longest / _STEPS) if longest > 0 else shape

    def transform(points: NDArray[Any]) -> NDArray[Any]:
        xs, ys = transform_points(source, target, points[:, 0], points[:, 1])
        if not np.isfinite(xs).all():
            raise ServiceError(f"Geometry: a part of it has no coordinates in '{target:.40}'.")
        return np.column_stack([xs, ys])

    found = shapely.transform(dense, transform)
    return found if found.is_valid else shapely.make_valid(found)


def geometry_of(shape: BaseGeometry, crs: str = LONLAT) -> Geometry:
    """A shape in a coordinate system as a geometry drawn there."""
    if shape.is_empty:
        return Geometry("GeometryCollection")
    if shape.geom_type == "GeometryCollection":
        return Geometry("GeometryCollection", parts=tuple(geometry_of(part, crs) for part in shape.geoms))
    found = from_geojson(mapping(shape))
    if same_crs(crs, LONLAT):
        return found
    points = np.asarray(list(points_of(found.coordinates)), float).reshape(-1, 2)
    lons, lats = transform_points(crs, LONLAT, points[:, 0], points[:, 1])
    if not np.isfinite(lons).all():
        raise ServiceError(f"Geometry: a part of it in '{crs:.40}' has no longitude and latitude.")
    moved_to = [[float(x), float(y)] for x, y in zip(lons, lats, strict=True)]
    return Geometry(found.kind, replace_points(found.coordinates, moved_to), planar=(crs, points))


def singles(shape: BaseGeometry) -> list[BaseGeometry]:
    """The points, lines and polygons that a shape is made of."""
    if hasattr(shape, "geoms"):
        return [single for part in shape.geoms for single in singles(part)]
    return [shape]


def polygons(shape: BaseGeometry) -> list[BaseGeometry]:
    """The polygons of a shape."""
    return [part for part in singles(shape) if part.geom_type == "Polygon"]


def around(shape: BaseGeometry) -> str:
    """A projection about the middle of a lon/lat shape, true to distances from there (azimuthal equidistant)."""
    west, south, east, north = shape.bounds
    text = f"+proj=aeqd +lat_0={(south + north) / 2:.9f} +lon_0={(west + east) / 2:.9f} +datum=WGS84 +units=m +no_defs"
    parse_crs(text)
    return text


def _assembled(kind: str, coordinates: Any) -> BaseGeometry:
    try:
        found = _make(kind, coordinates)
    except (shapely.errors.GEOSException, ValueError, TypeError, IndexError) as error:
        raise ServiceError(f"Geometry: invalid {kind} coordinates: {error!s:.100}") from error
    if not found.is_empty and not max(map(abs, found.bounds)) < FARTHEST:
        raise ServiceError(f"Geometry: the coordinate {max(map(abs, found.bounds)):g} is not on the earth.")
    return found if found.is_valid else shapely.make_valid(found)


def _make(kind: str, coordinates: Any) -> BaseGeometry:
    if not coordinates:
        return _EMPTY
    if kind == "Point":
        return shapely.Point(coordinates)
    if kind == "MultiPoint":
        return shapely.MultiPoint(coordinates)
    if kind == "LineString":
        return shapely.LineString(coordinates) if len(coordinates) > 1 else shapely.Point(coordinates[0])
    if kind == "LinearRing":
        return shapely.LinearRing(coordinates)
    if kind == "MultiLineString":
        return shapely.MultiLineString([line for line in coordinates if len(line) > 1])
    polygons = [coordinates] if kind == "Polygon" else coordinates
    made = [shapely.Polygon(rings[0], [ring for ring in rings[1:] if ring]) for rings in polygons if rings and rings[0]]
    return made[0] if kind == "Polygon" and made else shapely.MultiPolygon(made)
