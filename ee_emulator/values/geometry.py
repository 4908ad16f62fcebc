"""Geometries: GeoJSON in longitude and latitude, with edges that are straight there (planar) or geodesics.

Whatever is done with a geometry is done with `straight`, whose edges follow the geodesics.
https://developers.google.com/earth-engine/guides/geodesic_planar_geometries
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from ..errors import ServiceError
from .geodesic import straightened
from .spheroid import MAJOR

Box = tuple[float, float, float, float]
"""west, south, east, north in degrees."""

_DEPTH = {"Point": 0, "MultiPoint": 1, "LineString": 1, "LinearRing": 1, "MultiLineString": 2, "Polygon": 2}
_DEPTH["MultiPolygon"] = 3
_NARROW, _FLAT = 30.0, 80.0
_NO_EDGES = ("Point", "MultiPoint", "GeometryCollection")


@dataclass(frozen=True)
class Geometry:
    """`kind` as in GeoJSON; `coordinates` nested lists of lon/lat; `parts` for a GeometryCollection.

    `planar` is the coordinate system in which the geometry was drawn, with its vertices there, shape (n, 2); None for
    longitude and latitude. `shapes` are the shapes by coordinate system that were made of it (`shape.shape_in`).
    `geodesic` edges are the shortest lines between vertices; else they are straight where the geometry was drawn.
    """

    kind: str
    coordinates: Any = None
    parts: tuple[Geometry, ...] = ()
    planar: tuple[str, NDArray[Any]] | None = field(default=None, compare=False)
    shapes: dict[str, BaseGeometry] = field(default_factory=dict, compare=False, repr=False)
    geodesic: bool = False

    @property
    def straight_here(self) -> bool:
        """True where no edge is a geodesic."""
        return not self.geodesic or self.planar is not None or self.kind in _NO_EDGES

    @cached_property
    def straight(self) -> Geometry:
        """The same with straight edges in longitude and latitude, or in the coordinate system it was drawn in."""
        if self.straight_here:
            return self
        return Geometry(*straightened(self.kind, self.coordinates))

    @cached_property
    def polygons(self) -> list[list[NDArray[Any]]]:
        """Polygons as lists of closed rings, each of shape (n, 2)."""
        if self.straight is not self:
            return self.straight.polygons
        if self.kind == "GeometryCollection":
            return [polygon for part in self.parts for polygon in part.polygons]
        if self.kind == "Polygon":
            return [[_ring(r) for r in self.coordinates if len(r)]] if self.coordinates else []
        if self.kind == "MultiPolygon":
            return [[_ring(r) for r in polygon if len(r)] for polygon in self.coordinates]
        return []

    @cached_property
    def lines(self) -> list[NDArray[Any]]:
        """Polylines that are not edges of polygons."""
        if self.straight is not self:
            return self.straight.lines
        if self.kind == "GeometryCollection":
            return [line for part in self.parts for line in part.lines]
        if self.kind == "LineString":
            return [np.asarray(self.coordinates, float).reshape(-1, 2)]
        if self.kind == "LinearRing":
            return [_ring(self.coordinates)]
        if self.kind == "MultiLineString":
            return [np.asarray(line, float).reshape(-1, 2) for line in self.coordinates]
        return []

    @cached_property
    def points(self) -> NDArray[Any]:
        """Lone points, shape (n, 2)."""
        if self.kind == "GeometryCollection":
            found = [part.points for part in self.parts]
            return np.concatenate(found) if found else np.empty((0, 2))
        if self.kind == "Point":
            return np.asarray([self.coordinates], float).reshape(-1, 2)
        if self.kind == "MultiPoint":
            return np.asarray(self.coordinates, float).reshape(-1, 2)
        return np.empty((0, 2))

    @cached_property
    def vertices(self) -> NDArray[Any]:
        """Every vertex, shape (n, 2)."""
        rings = [ring for polygon in self.polygons for ring in polygon]
        return np.concatenate([self.points, *self.lines, *rings])

    @cached_property
    def box(self) -> Box | None:
        """The bounding box, or None for an empty geometry."""
        if len(self.vertices) == 0:
            return None
        west, south = self.vertices.min(axis=0)
        east, north = self.vertices.max(axis=0)
        return float(west), float(south), float(east), float(north)

    @cached_property
    def rough_box(self) -> Box | None:
        """A box that the bounding box lies in, without following geodesics where that can be said; None for empty.

        The bend of an edge of D radians of longitude is D²/16 at most, along a parallel at 45°.
        """
        if self.straight_here:
            return self.box
        vertices = np.asarray(list(points_of(self.coordinates)), float).reshape(-1, 2)
        if not len(vertices):
            return None
        west, south = vertices.min(axis=0).tolist()
        east, north = vertices.max(axis=0).tolist()
        if east - west > _NARROW or max(-south, north) > _FLAT:
            return self.box
        bend = math.degrees(math.radians(east - west) ** 2 / 16) * 1.1
        return west, south - bend, east, north + bend

    def contains_points(self, xs: NDArray[Any], ys: NDArray[Any]) -> NDArray[Any]:
        """True where a point lies inside a polygon (even-odd), for arrays of any one shape."""
        inside = np.zeros(np.shape(xs), bool)
        for polygon in self.polygons:
            crossings = np.zeros(np.shape(xs), bool)
            for ring in polygon:
                for (x0, y0), (x1, y1) in pairwise(ring):
                    if y0 == y1:
                        continue
                    spans = (ys >= y0) != (ys >= y1)
                    crossings ^= spans & (xs < x0 + (ys - y0) * (x1 - x0) / (y1 - y0))
            inside |= crossings
        return inside

    def geojson(self) -> dict[str, Any]:
        """The geometry as a GeoJSON object."""
        if self.kind == "GeometryCollection":
            return {"type": self.kind, "geometries": [part.geojson() for part in self.parts]}
        return {"type": self.kind, "coordinates": self.coordinates}

    @property
    def drawn_coordinates(self) -> Any:
        """The coordinate lists in the coordinate system the geometry was drawn in."""
        if self.kind == "GeometryCollection":
            return [part.drawn_coordinates for part in self.parts]
        if self.planar is None:
            return self.coordinates
        return replace_points(self.coordinates, self.planar[1].tolist())

    def describe(self) -> dict[str, Any]:
        """The form of getInfo: GeoJSON, `geodesic: false` for straight edges, and `crs` where it was drawn in one."""
        if self.kind == "GeometryCollection":
            return {"type": self.kind, "geometries": [part.describe() for part in self.parts]}
        found: dict[str, Any] = {"type": self.kind, "coordinates": self.drawn_coordinates}
        if self.kind not in _NO_EDGES and not self.geodesic:
            found["geodesic"] = False
        if self.planar is not None:
            found["crs"] = {"type": "name", "properties": {"name": self.planar[0]}}
        return found


def from_geojson(value: Any, geodesic: bool = False) -> Geometry:
    """Read a GeoJSON geometry or feature; a 400 that names what is wrong with it.

    Where it does not say whether its edges are geodesics, `geodesic` does.
    """
    if isinstance(value, Geometry):
        return value
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise ServiceError(f"Invalid GeoJSON geometry: {str(value)[:100]}")
    kind = value["type"]
    if kind == "Feature":
        return from_geojson(value.get("geometry"), geodesic)
    if kind == "FeatureCollection":
        return Geometry("GeometryCollection", parts=tuple(from_geojson(f, geodesic) for f in value.get("features", [])))
    if kind == "GeometryCollection":
        return Geometry(kind, parts=tuple(from_geojson(part, geodesic) for part in value.get("geometries", [])))
    if kind not in _DEPTH:
        raise ServiceError(f"Invalid GeoJSON geometry: type '{kind}' is not known.")
    edges = value.get("geodesic", geodesic)
    return Geometry(kind, _checked(value.get("coordinates"), _DEPTH[kind]), geodesic=edges is True)


def rectangle(box: Box) -> Geometry:
    """The polygon of a bounding box."""
    west, south, east, north = box
    return Geometry("Polygon", [[[west, south], [east, south], [east, north], [west, north], [west, south]]])


def circle(lon: float, lat: float, metres: float, vertices: int = 64) -> Geometry:
    """A polygon whose vertices lie `metres` from a point on a sphere of radius 6378137 m, north first."""
    angle = metres / MAJOR
    phi = math.radians(lat)
    bearings = np.linspace(0, -2 * np.pi, vertices, endpoint=False)
    lats = np.arcsin(math.sin(phi) * math.cos(angle) + math.cos(phi) * math.sin(angle) * np.cos(bearings))
    shift = np.arctan2(
        np.sin(bearings) * math.sin(angle) * math.cos(phi), math.cos(angle) - math.sin(phi) * np.sin(lats)
    )
    ring = [[float(x), float(y)] for x, y in zip(lon + np.degrees(shift), np.degrees(lats), strict=True)]
    return Geometry("Polygon", [[*ring, ring[0]]])


def points_of(coordinates: Any) -> Iterator[list[float]]:
    """Every [x, y] pair of nested coordinate lists, in order."""
    if coordinates and not isinstance(coordinates[0], (list, tuple)):
        yield coordinates
        return
    for part in coordinates:
        yield from points_of(part)


def replace_points(coordinates: Any, points: Iterable[list[float]]) -> Any:
    """The same nesting with other points."""
    source = iter(points)

    def rebuild(part: Any) -> Any:
        if part and not isinstance(part[0], (list, tuple)):
            return next(source)
        return [rebuild(inner) for inner in part]

    return rebuild(coordinates)


def _checked(coordinates: Any, depth: int) -> Any:
    if not isinstance(coordinates, (list, tuple)):
        raise ServiceError(f"Invalid GeoJSON geometry: coordinates {str(coordinates)[:60]} are not a list.")
    if depth > 0:
        return [_checked(part, depth - 1) for part in coordinates]
    numbers = [v for v in coordinates if isinstance(v, (int, float)) and math.isfinite(v)]
    if len(numbers) != len(coordinates) or len(numbers) < 2:
        raise ServiceError(f"Invalid GeoJSON geometry: {str(coordinates)[:60]} is not a point [lon, lat].")
    return [float(numbers[0]), float(numbers[1])]


def _ring(points: Any) -> NDArray[Any]:
    ring = np.asarray(points, float).reshape(-1, 2)
    return ring if (ring[0] == ring[-1]).all() else np.concatenate([ring, ring[:1]])
