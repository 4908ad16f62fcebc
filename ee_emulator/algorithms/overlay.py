"""Geometries out of geometries, and how two of them lie. https://developers.google.com/earth-engine/guides/geometric_operations

Everything is done on straight edges: in the given projection, else in the one that the first geometry was drawn in,
else in longitude and latitude. Metres are those of a projection about the middle of the geometry.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from ..errors import ServiceError, not_implemented
from ..evaluation.registry import algorithm
from ..evaluation.relation import RELATIONS, gap, outline, plane, related
from ..values import geometry as shapes
from ..values.crs import LONLAT
from ..values.element import Feature
from ..values.geometry import Geometry
from ..values.projection import Projection
from ..values.shape import around, geometry_of, moved, shape_in

_FARTHEST = 5e6
_QUARTER = 16
"""Edges of a quarter of a buffer's circle."""


def _kept(feature: Any, geometry: Geometry) -> Feature:
    """The feature's properties on another geometry."""
    return Feature(geometry, feature.properties)


def metres(margin: Any) -> float:
    """A tolerance in metres out of a number or an ErrorMargin."""
    found = margin.get("value") if isinstance(margin, dict) else margin
    if isinstance(margin, dict) and margin.get("unit", "meters") != "meters":
        raise not_implemented("An ErrorMargin in other units than meters")
    return float(found) if isinstance(found, (int, float)) else 0.0


# One geometry


def _bounds(geometry: Geometry, proj: Projection | None) -> Geometry:
    crs = LONLAT if proj is None else proj.crs
    shape = shape_in(geometry, crs)
    if shape.is_empty:
        raise ServiceError("Geometry.bounds: the geometry is empty.")
    west, south, east, north = shape.bounds
    if crs == LONLAT:
        return shapes.rectangle((west, south, east, north))
    return geometry_of(shapely.box(west, south, east, north, ccw=True), crs)


def _centroid(geometry: Geometry, proj: Projection | None) -> Geometry:
    shape = shape_in(geometry, plane(geometry, proj))
    if shape.is_empty:
        raise ServiceError("Geometry.centroid: the geometry is empty.")
    if proj is not None:
        return geometry_of(moved(shape.centroid, proj.crs, LONLAT))
    lonlat = shape_in(geometry)
    middle = around(lonlat)
    return geometry_of(moved(moved(lonlat, LONLAT, middle).centroid, middle, LONLAT))


def _hull(geometry: Geometry, proj: Projection | None) -> Geometry:
    crs = plane(geometry, proj)
    return geometry_of(shape_in(geometry, crs).convex_hull, crs)


def _dissolved(geometry: Geometry, proj: Projection | None) -> Geometry:
    crs = plane(geometry, proj)
    return geometry_of(shapely.union_all([shape_in(geometry, crs)]), crs)


def _register_one(name: str, compute: Callable[[Geometry, Projection | None], Geometry]) -> None:
    def of_geometry(geometry: Geometry, max_error: Any, proj: Projection | None) -> Geometry:
        return compute(geometry, proj)

    def of_feature(feature: Any, max_error: Any, proj: Projection | None) -> Feature:
        return _kept(feature, compute(outline(feature), proj))

    of_geometry.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-geometry-{name.lower()}"
    of_feature.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-feature-{name.lower()}"
    algorithm(f"Geometry.{name}")(of_geometry)
    algorithm(f"Feature.{name}")(of_feature)


for _name, _compute in {
    "bounds": _bounds,
    "centroid": _centroid,
    "convexHull": _hull,
    "dissolve": _dissolved,
}.items():
    _register_one(_name, _compute)


def _buffered(geometry: Geometry, distance: float, proj: Projection | None) -> Geometry:
    """Points become circles whose vertices lie at the distance; anything else is done in metres about its middle."""
    if not abs(distance) <= _FARTHEST:
        raise ServiceError(f"Geometry.buffer: distances above {_FARTHEST:.0f} are not implemented, got {distance:g}.")
    if proj is not None:
        return geometry_of(shape_in(geometry, proj.crs).buffer(distance, quad_segs=_QUARTER), proj.crs)
    if geometry.kind == "Point" and geometry.planar is None and distance > 0:
        lon, lat = geometry.coordinates
        return shapes.circle(lon, lat, distance)
    shape = shape_in(geometry)
    if shape.is_empty:
        return geometry
    middle = around(shape)
    return geometry_of(moved(moved(shape, LONLAT, middle).buffer(distance, quad_segs=_QUARTER), middle, LONLAT))


@algorithm("Geometry.buffer")
def buffer(geometry: Geometry, distance: float, max_error: Any, proj: Projection | None) -> Geometry:
    """Wider by a distance, narrower by a negative one. https://developers.google.com/earth-engine/apidocs/ee-geometry-buffer"""
    return _buffered(geometry, distance, proj)


@algorithm("Feature.buffer")
def feature_buffer(feature: Any, distance: float, max_error: Any, proj: Projection | None) -> Feature:
    """Wider by a distance, narrower by a negative one. https://developers.google.com/earth-engine/apidocs/ee-feature-buffer"""
    return _kept(feature, _buffered(outline(feature), distance, proj))


def _simplified(geometry: Geometry, max_error: Any, proj: Projection | None) -> Geometry:
    tolerance = metres(max_error)
    if not 0 <= tolerance < math.inf:
        raise ServiceError(f"Geometry.simplify: 'maxError' must not be negative, got {tolerance}.")
    if proj is not None:
        return geometry_of(shape_in(geometry, proj.crs).simplify(tolerance), proj.crs)
    shape = shape_in(geometry)
    if shape.is_empty:
        return geometry
    # the vertices that stay are the geometry's own
    west, south, east, north = shape.bounds
    middle = around(shape)
    corner = moved(shapely.Point(east, north), LONLAT, middle)
    degrees = max(east - west, north - south) / max(2 * max(abs(corner.x), abs(corner.y)), 1e-9)
    return geometry_of(shape.simplify(tolerance * degrees))


@algorithm("Geometry.simplify")
def simplify(geometry: Geometry, max_error: Any, proj: Projection | None) -> Geometry:
    """Fewer vertices, at most so many metres off. https://developers.google.com/earth-engine/apidocs/ee-geometry-simplify"""
    return _simplified(geometry, max_error, proj)


@algorithm("Feature.simplify")
def feature_simplify(feature: Any, max_error: Any, proj: Projection | None) -> Feature:
    """Fewer vertices, at most so many metres off. https://developers.google.com/earth-engine/apidocs/ee-feature-simplify"""
    return _kept(feature, _simplified(outline(feature), max_error, proj))


@algorithm("Geometry.transform")
def transform(geometry: Geometry, proj: Projection, max_error: Any, geodesic: bool | None) -> Geometry:
    """The geometry drawn in another coordinate system. https://developers.google.com/earth-engine/apidocs/ee-geometry-transform"""
    return geometry_of(shape_in(geometry, proj.crs), proj.crs)


@algorithm("Feature.transform")
def feature_transform(feature: Any, proj: Projection, max_error: Any, geodesic: bool | None) -> Feature:
    """The feature drawn in another coordinate system. https://developers.google.com/earth-engine/apidocs/ee-feature-transform"""
    return _kept(feature, geometry_of(shape_in(outline(feature), proj.crs), proj.crs))


# Two geometries


def _register_two(name: str, compute: Callable[[BaseGeometry, BaseGeometry], BaseGeometry]) -> None:
    def combined(left: Geometry, right: Geometry, proj: Projection | None) -> Geometry:
        crs = plane(left, proj)
        return geometry_of(compute(shape_in(left, crs), shape_in(right, crs)), crs)

    def of_geometry(left: Geometry, right: Geometry, max_error: Any, proj: Projection | None) -> Geometry:
        return combined(left, right, proj)

    def of_feature(left: Any, right: Any, max_error: Any, proj: Projection | None) -> Feature:
        return _kept(left, combined(outline(left), outline(right), proj))

    of_geometry.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-geometry-{name.lower()}"
    of_feature.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-feature-{name.lower()}"
    algorithm(f"Geometry.{name}")(of_geometry)
    algorithm(f"Feature.{name}")(of_feature)


for _name, _combine in {
    "intersection": shapely.intersection,
    "union": shapely.union,
    "difference": shapely.difference,
    "symmetricDifference": shapely.symmetric_difference,
}.items():
    _register_two(_name, _combine)


def _register_relation(name: str) -> None:
    def of_geometry(left: Geometry, right: Geometry, max_error: Any, proj: Projection | None) -> bool:
        return related(name, left, right, proj)

    def of_feature(left: Any, right: Any, max_error: Any, proj: Projection | None) -> bool:
        return related(name, outline(left), outline(right), proj)

    of_geometry.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-geometry-{name.lower()}"
    of_feature.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-feature-{name.lower()}"
    algorithm(f"Geometry.{name}")(of_geometry)
    algorithm(f"Feature.{name}")(of_feature)


for _name in RELATIONS:
    _register_relation(_name)


@algorithm("Geometry.withinDistance")
def within_distance(left: Geometry, right: Geometry, distance: float, max_error: Any, proj: Projection | None) -> bool:
    """Whether two geometries are at most so far apart. https://developers.google.com/earth-engine/apidocs/ee-geometry-withindistance"""
    found = gap(left, right, proj)
    return found is not None and found <= distance


@algorithm("Feature.withinDistance")
def feature_within_distance(left: Any, right: Any, distance: float, max_error: Any, proj: Projection | None) -> bool:
    """Whether two features are at most so far apart. https://developers.google.com/earth-engine/apidocs/ee-feature-withindistance"""
    found = gap(outline(left), outline(right), proj)
    return found is not None and found <= distance
