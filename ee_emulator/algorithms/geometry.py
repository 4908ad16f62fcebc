"""Geometries. https://developers.google.com/earth-engine/apidocs/ee-geometry"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ServiceError
from ..evaluation.registry import algorithm
from ..values import geometry as shapes
from ..values.crs import LONLAT, parse_crs, transform_points
from ..values.geometry import Geometry, from_geojson
from ..values.projection import WGS84, Projection


def _made(kind: str, coordinates: Any, crs: Projection | None, geodesic: bool | None = None) -> Geometry:
    """A geometry whose vertices are given in pixels of `crs` (default: longitude and latitude).

    Its edges are geodesics where `geodesic` says so, or does not say and the coordinate system is geographic.
    """
    found = from_geojson({"type": kind, "coordinates": coordinates})
    if geodesic is None:
        geodesic = crs is None or parse_crs(crs.crs).is_geographic
    if crs is None or crs == WGS84:
        return replace(found, geodesic=geodesic)
    points = np.asarray(list(shapes.points_of(found.coordinates)), float).reshape(-1, 2)
    points = np.column_stack(crs.points_at(points[:, 0], points[:, 1]))
    xs, ys = transform_points(crs.crs, LONLAT, points[:, 0], points[:, 1])
    if not np.isfinite(xs).all():
        raise ServiceError(f"GeometryConstructors.{kind}: a vertex has no longitude and latitude in '{crs.crs:.40}'.")
    moved = [[float(x), float(y)] for x, y in zip(xs, ys, strict=True)]
    drawn = shapes.replace_points(found.coordinates, moved)
    return Geometry(kind, drawn, geodesic=True) if geodesic else Geometry(kind, drawn, planar=(crs.crs, points))


@algorithm("GeometryConstructors.Point")
def point(coordinates: list[float], crs: Projection | None) -> Geometry:
    """A point. https://developers.google.com/earth-engine/apidocs/ee-geometry-point"""
    return _made("Point", coordinates, crs)


@algorithm("GeometryConstructors.MultiPoint")
def multi_point(coordinates: list[Any], crs: Projection | None) -> Geometry:
    """Points. https://developers.google.com/earth-engine/apidocs/ee-geometry-multipoint"""
    return _made("MultiPoint", coordinates, crs)


@algorithm("GeometryConstructors.LineString")
def line_string(coordinates: list[Any], crs: Projection | None, geodesic: bool | None, max_error: Any) -> Geometry:
    """A line. https://developers.google.com/earth-engine/apidocs/ee-geometry-linestring"""
    return _made("LineString", coordinates, crs, geodesic)


@algorithm("GeometryConstructors.Polygon")
def polygon(
    coordinates: list[Any], crs: Projection | None, geodesic: bool | None, max_error: Any, even_odd: bool
) -> Geometry:
    """A polygon; rings need not be closed. https://developers.google.com/earth-engine/apidocs/ee-geometry-polygon"""
    return _made("Polygon", coordinates, crs, geodesic)


@algorithm("GeometryConstructors.MultiPolygon")
def multi_polygon(
    coordinates: list[Any], crs: Projection | None, geodesic: bool | None, max_error: Any, even_odd: bool
) -> Geometry:
    """Polygons. https://developers.google.com/earth-engine/apidocs/ee-geometry-multipolygon"""
    return _made("MultiPolygon", coordinates, crs, geodesic)


@algorithm("GeometryConstructors.Rectangle")
def rectangle(coordinates: list[Any], crs: Projection | None, geodesic: bool | None, even_odd: bool) -> Geometry:
    """A rectangle from two corners, as points or as four numbers. https://developers.google.com/earth-engine/apidocs/ee-geometry-rectangle"""
    if len(coordinates) == 4 and all(isinstance(number, (int, float)) for number in coordinates):
        coordinates = [coordinates[:2], coordinates[2:]]
    corners = from_geojson({"type": "MultiPoint", "coordinates": coordinates}).points
    if len(corners) != 2:
        raise ServiceError(f"GeometryConstructors.Rectangle: needs two corners, got {len(corners)}.")
    west, south = corners.min(axis=0)
    east, north = corners.max(axis=0)
    return _made(
        "Polygon", [[[west, south], [east, south], [east, north], [west, north], [west, south]]], crs, geodesic
    )


@algorithm("GeometryConstructors.BBox")
def bbox(west: float, south: float, east: float, north: float) -> Geometry:
    """A box in degrees, with planar edges. https://developers.google.com/earth-engine/apidocs/ee-geometry-bbox"""
    if south > north:
        raise ServiceError(f"Geometry.BBox: south ({south}) is above north ({north}).")
    return shapes.rectangle((west, south, east, north))


@algorithm("GeometryConstructors.LinearRing")
def linear_ring(coordinates: list[Any], crs: Projection | None, geodesic: bool | None, max_error: Any) -> Geometry:
    """A closed line. https://developers.google.com/earth-engine/apidocs/ee-geometry-linearring"""
    if coordinates and coordinates[0] != coordinates[-1]:
        coordinates = [*coordinates, coordinates[0]]
    return _made("LinearRing", coordinates, crs, geodesic)


@algorithm("GeometryConstructors.MultiLineString")
def multi_line_string(
    coordinates: list[Any], crs: Projection | None, geodesic: bool | None, max_error: Any
) -> Geometry:
    """Lines. https://developers.google.com/earth-engine/apidocs/ee-geometry-multilinestring"""
    return _made("MultiLineString", coordinates, crs, geodesic)


@algorithm("GeometryConstructors.MultiGeometry")
def multi_geometry(
    geometries: list[Geometry], crs: Projection | None, geodesic: bool | None, max_error: Any
) -> Geometry:
    """Geometries together. https://developers.google.com/earth-engine/apidocs/ee-geometry"""
    return Geometry("GeometryCollection", parts=tuple(geometries))


@algorithm("Geometry.coordinates")
def coordinates(geometry: Geometry) -> Any:
    """The coordinate lists, in the coordinate system it was drawn in. https://developers.google.com/earth-engine/apidocs/ee-geometry-coordinates"""
    return geometry.drawn_coordinates


@algorithm("Geometry.type")
def type_(geometry: Geometry) -> str:
    """The GeoJSON type. https://developers.google.com/earth-engine/apidocs/ee-geometry-type"""
    return geometry.kind


@algorithm("Geometry.geometries")
def geometries(geometry: Geometry) -> list[Geometry]:
    """The parts of a collection or of a multi-geometry; a single geometry in a list. https://developers.google.com/earth-engine/apidocs/ee-geometry-geometries"""
    if geometry.kind == "GeometryCollection":
        return list(geometry.parts)
    if not geometry.kind.startswith("Multi"):
        return [geometry]
    single = geometry.kind.removeprefix("Multi")
    return [Geometry(single, part, geodesic=geometry.geodesic) for part in geometry.coordinates]


@algorithm("Geometry.projection")
def projection(geometry: Geometry) -> Projection:
    """The coordinate system it was drawn in. https://developers.google.com/earth-engine/apidocs/ee-geometry-projection"""
    return WGS84 if geometry.planar is None else Projection(geometry.planar[0])


@algorithm("Geometry.isUnbounded")
def is_unbounded(geometry: Geometry) -> bool:
    """False: every geometry here has bounds. https://developers.google.com/earth-engine/apidocs/ee-geometry-isunbounded"""
    return False


def _geodesic(name: str) -> None:
    def apply(geometry: Geometry) -> bool:
        return all(map(apply, geometry.parts)) if geometry.parts else geometry.geodesic

    apply.__doc__ = (
        f"Whether edges are geodesics. https://developers.google.com/earth-engine/apidocs/ee-geometry-{name.lower()}"
    )
    algorithm(f"Geometry.{name}")(apply)


for _name in ("geodesic", "edgesAreGeodesics"):
    _geodesic(_name)


@algorithm("ErrorMargin")
def error_margin(value: float | None, unit: str) -> dict[str, Any]:
    """A tolerance; results here are not approximated by it. https://developers.google.com/earth-engine/apidocs/ee-errormargin"""
    return {"type": "ErrorMargin", "value": value, "unit": unit}
