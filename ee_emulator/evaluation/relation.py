"""How two geometries lie: the distance between them, and relations such as containment.

On the ellipsoid unless a projection is given; the relations are those of straight edges: in the given projection, else
in the one that the first geometry was drawn in, else in longitude and latitude.
https://developers.google.com/earth-engine/guides/geometric_operations
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry
from shapely.ops import nearest_points

from ..values import spheroid
from ..values.crs import LONLAT
from ..values.element import geometry_of as element_geometry
from ..values.geometry import Geometry
from ..values.projection import Projection
from ..values.shape import around, moved, shape_in

_LEAST_RADIUS = 6.335e6
"""Metres; nowhere on the ellipsoid is a radius of curvature smaller, so no way is shorter than on this sphere."""


def outline(value: Any) -> Geometry:
    """The geometry of an element, an empty one where it has none."""
    found = value if isinstance(value, Geometry) else element_geometry(value)
    return found or Geometry("GeometryCollection")


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
    near = shapely.GeometryCollection(list(nearest_points(moved(first, LONLAT, middle), moved(second, LONLAT, middle))))
    (lon0, lat0), (lon1, lat1) = shapely.get_coordinates(moved(near, middle, LONLAT)).tolist()
    return float(spheroid.distance(lon0, lat0, lon1, lat1))


def at_least(left: Geometry, right: Geometry) -> float:
    """A lower bound of the distance between two geometries, by their boxes alone: cheap enough for every pair."""
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


def plane(geometry: Geometry, proj: Projection | None) -> str:
    """The coordinate system in which a geometry's edges are straight: the given one, else the one it was drawn in."""
    if proj is not None:
        return proj.crs
    return LONLAT if geometry.planar is None else geometry.planar[0]


Relation = Callable[[BaseGeometry, BaseGeometry], Any]
RELATIONS: dict[str, Relation] = {
    "contains": shapely.covers,
    "containedIn": shapely.covered_by,
    "intersects": shapely.intersects,
    "disjoint": shapely.disjoint,
}
"""How a left and a right shape may lie; a geometry contains its own boundary."""


def related(name: str, left: Geometry, right: Geometry, proj: Projection | None = None) -> bool:
    """Whether two geometries lie as one of `RELATIONS` says; nothing contains or meets an empty one."""
    crs = plane(left, proj)
    a, b = shape_in(left, crs), shape_in(right, crs)
    if a.is_empty or b.is_empty:
        return name == "disjoint"
    return bool(RELATIONS[name](a, b))
