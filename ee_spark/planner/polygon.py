"""Areas as polygons in longitude and latitude, their edges straight there."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ee_spark.boundary import reading, shortened
from ee_spark.errors import JobError
from ee_spark.json_answers import without_collection
from ee_spark.planner.crs import LONLAT, Floats
from ee_spark.planner.file_crs import bent, crs_of_geojson, is_straight, shifted
from ee_spark.planner.geodesic import along, turned, unwrapped

Polygon = tuple[Floats, ...]
"""Closed rings (n, 2) of lon, lat: the outer one, then its holes."""
Box = tuple[float, float, float, float]
"""West, south, east, north."""
HALF_TURN, AT_180 = 180.0, 1e-3
"""Degrees of longitude of an edge whose way is clear, and how close to ±180° the ends of one along a globe lie."""
GEODESIC_STEP = 0.05
"""Degrees of an edge between two positions where it is a geodesic."""
MOST_LISTS = 10_000_000
"""Lists and objects of one GeoJSON text: a position is one, of about a hundred bytes in memory."""


@dataclass(frozen=True)
class Polygons:
    """An area as polygons whose edges are straight in longitude and latitude."""

    polygons: tuple[Polygon, ...]

    @property
    def bounds(self) -> Box:
        """West, south, east, north of all polygons."""
        return bounds(np.concatenate([polygon[0] for polygon in self.polygons]))

    @property
    def boxes(self) -> tuple[Box, ...]:
        """One box around all polygons; two where they lie at both sides of the antimeridian."""
        return sides(np.array([bounds(polygon[0]) for polygon in self.polygons]))

    def geojson(self) -> dict[str, Any]:
        """Return the area as a GeoJSON geometry."""
        rings = [[ring.tolist() for ring in polygon] for polygon in self.polygons]
        if len(rings) == 1:
            return {"type": "Polygon", "coordinates": rings[0]}
        return {"type": "MultiPolygon", "coordinates": rings}


def boxes(bbox: Box) -> tuple[Polygon, ...]:
    """Return a bounding box as polygons: two of them where it crosses the antimeridian (west > east)."""
    west, south, east, north = bbox
    if west < east:
        return (box(west, south, east, north),)
    sides = ((west, 180.0), (-180.0, east))
    return tuple(box(left, south, right, north) for left, right in sides if left < right)


def parse_json(data: bytes) -> Any:
    """Return what a JSON text holds.

    Raises:
        ValueError: if it is not one, or holds more lists and objects than memory should.
        RecursionError: if it is too deep.
    """
    count = data.count(b"[") + data.count(b"{")
    if count > MOST_LISTS:
        raise ValueError(f"it holds {count:,} lists and objects, and at most {MOST_LISTS:,} are read: simplify it")
    with without_collection():
        return json.loads(data)


def polygons_of(data: bytes, label: str) -> Polygons:
    """Return the polygons of a GeoJSON text: Polygon, MultiPolygon, Feature, FeatureCollection, GeometryCollection.

    Raises:
        JobError: if it is not GeoJSON, holds no polygon or anything but polygons, or one whose edge could go either way
            around the Earth.
    """
    with reading(label, what="not GeoJSON"):
        thing = parse_json(data)
        crs = crs_of_geojson(thing, label)
        return area_of(_polygons(thing, label, lambda polygon: placed(polygon, crs, label)), label)
    raise AssertionError("reading raises")


def area_of(polygons: Iterable[Polygon], label: str) -> Polygons:
    """Return polygons in longitude and latitude as an area.

    Raises:
        JobError: if there is none.
    """
    found = tuple(polygons)
    if not found:
        raise JobError(f"{label}: contains no polygon; write Polygon, MultiPolygon, Feature or FeatureCollection")
    return Polygons(found)


def placed(polygon: Polygon, crs: str, label: str) -> list[Polygon]:
    """Return a polygon of a file in its CRS as those in longitude and latitude, cut where it crosses ±180°.

    Its edges are straight in the file's CRS.

    Raises:
        JobError: if an edge could go either way around the Earth, or lies outside of what the CRS shows.
        ValueError: if a position is not in degrees.
    """
    if not is_straight(crs):
        return at_both_sides(tuple(bent(ring, crs, label) for ring in polygon))
    for ring in polygon:
        _check_degrees(ring)
    _check_edges(polygon, label)
    if crs != LONLAT:
        polygon = tuple(shifted(ring, crs, label) for ring in polygon)
    return at_both_sides(polygon)


def _check_edges(polygon: Polygon, label: str) -> None:
    """Refuse an edge of more than 180° of longitude: across ±180° or the long way, nobody can tell which is meant.

    One from -180° to 180° is a side of a globe.
    """
    for ring in polygon:
        start, end = ring[:-1], ring[1:]
        globe = (np.abs(np.abs(np.stack([start, end])[..., 0]) - 180) <= AT_180).all(0)
        long = (np.abs(end[:, 0] - start[:, 0]) > HALF_TURN) & ~globe
        if long.any():
            first = int(long.argmax())
            (x1, y1), (x2, y2) = start[first].tolist(), end[first].tolist()
            west, span = min(x1, x2), abs(x2 - x1)
            raise JobError(
                f"{label}: the edge from {x1:g}, {y1:g} to {x2:g}, {y2:g} spans {span:g} degrees of longitude; if it "
                f"crosses ±180°, write {west:g} as {west + 360:g} or cut the polygon there; if not, add a position "
                "between the two"
            )


def polygons_of_geojson(geometry: dict[str, Any]) -> tuple[Polygon, ...]:
    """Return the polygons of a GeoJSON geometry object; none where it has no area."""
    if geometry.get("type") in ("Polygon", "MultiPolygon", "GeometryCollection"):
        parts = geometry.get("geometries", [geometry])
        areas = [part for part in parts if part["type"] in ("Polygon", "MultiPolygon", "GeometryCollection")]
        return tuple(polygon for part in areas for polygon in _polygons(part, "geometry", _in_degrees))
    return ()


def _in_degrees(polygon: Polygon) -> list[Polygon]:
    for ring in polygon:
        _check_degrees(ring)
    return [polygon]


def at_both_sides(polygon: Polygon, *, short_way: bool = False) -> list[Polygon]:
    """Return a polygon that goes beyond ±180° as its parts at both sides of the antimeridian, else as it is.

    ``short_way``: an edge of more than 180° is meant to cross the antimeridian, as in footprints of scenes
    (https://datatracker.ietf.org/doc/html/rfc7946#section-3.1.9 asks to cut them; not everyone does).
    """
    if short_way:
        polygon = tuple(_unwrapped(ring) for ring in polygon)
    west, _, east, _ = bounds(polygon[0])
    if west >= -180 and east <= 180:
        return [polygon]
    parts = []
    for turn in (-360.0, 0.0, 360.0):
        rings = [_between(ring + np.array([turn, 0.0]), -180.0, 180.0) for ring in polygon]
        if len(rings[0]) > 3 and np.ptp(rings[0][:, 0]) > 0:
            parts.append(tuple(ring for ring in rings if len(ring) > 3))
    return parts


def contains(polygon: Polygon, x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
    """Return for each place whether it lies inside the polygon (even-odd)."""
    inside = np.zeros(x.shape, bool)
    for ring in polygon:
        for (x1, y1), (x2, y2) in itertools.pairwise(ring.tolist()):
            if y1 != y2:
                inside ^= ((y1 > y) != (y2 > y)) & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return inside


def _unwrapped(ring: Floats) -> Floats:
    """Return a ring that goes on beyond ±180° where it jumped, if that makes a scene of it and not a line."""
    jumps = -360.0 * np.round(np.diff(ring[:, 0]) / 360)
    x = ring[:, 0] + np.concatenate([[0.0], np.cumsum(jumps)])
    if not jumps.any() or x[0] != x[-1] or not 1e-6 < np.ptp(x) < 90:
        return ring
    return np.column_stack([x, ring[:, 1]])


def _between(ring: Floats, west: float, east: float) -> Floats:
    """Return a closed ring cut to longitudes (Sutherland and Hodgman 1974); where it is cut it runs along them."""
    for limit, sign in ((west, 1.0), (east, -1.0)):
        if not len(ring):
            break
        depth = sign * (ring[:, 0] - limit)
        start, end, d1, d2 = ring[:-1], ring[1:], depth[:-1], depth[1:]
        crossing = (d1 >= 0) != (d2 >= 0)
        share = np.divide(d1, d1 - d2, out=np.zeros_like(d1), where=crossing)
        cut = start + (end - start) * share[:, None]
        cut[:, 0] = np.where(crossing, limit, cut[:, 0])
        kept = np.stack([cut, end], 1)[np.stack([crossing, d2 >= 0], 1)]
        ring = np.vstack([kept, kept[:1]]) if len(kept) else kept
    return ring


def box(west: float, south: float, east: float, north: float) -> Polygon:
    """Return a box as a polygon."""
    return (np.array([[west, south], [east, south], [east, north], [west, north], [west, south]], np.float64),)


def bounds(positions: Floats) -> Box:
    """Return the box around positions (n, 2)."""
    (west, south), (east, north) = positions.min(0).tolist(), positions.max(0).tolist()
    return west, south, east, north


def sides(boxes: Floats) -> tuple[Box, ...]:
    """Return one box around boxes (n, 4), or an eastern and a western one where one would span half the Earth."""
    west = (boxes[:, 0] + boxes[:, 2]) < 0
    if not (0 < west.sum() < len(west)) or boxes[:, 2].max() - boxes[:, 0].min() <= 180:
        return (around(boxes),)
    return around(boxes[~west]), around(boxes[west])


def open_gap(boxes: Floats) -> tuple[float, float] | None:
    """Return the widest stretch of longitudes that no box (n, 4) lies in, as (west, east).

    None where the widest is the one across ±180°, as for all that does not lie at both sides of it.
    """
    order = np.argsort(boxes[:, 0], kind="stable")
    west, reach = boxes[order, 0], np.maximum.accumulate(boxes[order, 2])
    widths = west[1:] - reach[:-1]
    if not len(widths) or widths.max() <= west[0] + 360 - reach[-1]:
        return None
    at = int(widths.argmax())
    return float(reach[at]), float(west[at + 1])


def joined(places: Sequence[Floats], *others: Sequence[Floats]) -> tuple[list[Floats], ...]:
    """Return rings to draw: what lies at both sides of ±180° becomes one, its longitudes going on beyond 180°.

    ``places``, rings (m, 2) of lon, lat within ±180°, say where; ``others`` go with them.
    """
    known = [ring for ring in places if len(ring) and np.isfinite(ring).all()]
    gap = open_gap(np.array([bounds(ring) for ring in known])) if known else None
    if gap is None:
        return tuple(list(group) for group in (places, *others))
    middle = (gap[0] + gap[1]) / 2
    turn = np.array([360.0, 0.0])
    return tuple(
        [ring + turn if len(ring) and ring[:, 0].mean() < middle else ring for ring in group]
        for group in (places, *others)
    )


def around(boxes: Floats) -> Box:
    """Return the box around boxes (n, 4)."""
    least, most = boxes.min(0).tolist(), boxes.max(0).tolist()
    return least[0], least[1], most[2], most[3]


def _polygons(thing: dict[str, Any], label: str, place: Callable[[Polygon], Iterable[Polygon]]) -> Iterable[Polygon]:
    """Yield what ``place`` makes of the polygons of a GeoJSON object."""
    if not isinstance(thing, dict):
        raise ValueError(f"{shortened(json.dumps(thing))} is not an object with a type")
    kind = thing["type"]
    if kind == "FeatureCollection":
        features = thing["features"]
        if not isinstance(features, list):
            raise ValueError(f"its features are {shortened(features)}, and not a list")
        for number, feature in enumerate(features, 1):
            with reading(f"{label}: feature {number}", what="not GeoJSON"):
                yield from _within_other(feature, label, place)
    elif kind == "Feature":
        if thing["geometry"]:
            yield from _within_other(thing["geometry"], label, place)
    elif kind == "GeometryCollection":
        for part in thing["geometries"]:
            yield from _within_other(part, label, place)
    elif kind in ("Polygon", "MultiPolygon"):
        for rings in [thing["coordinates"]] if kind == "Polygon" else thing["coordinates"]:
            yield from place(_polygon(rings, geodesic=thing.get("geodesic") is True))
    else:
        raise JobError(f"{label}: a {shortened(kind)} has no area; write polygons, or region.points for points")


def _within_other(
    thing: dict[str, Any], label: str, place: Callable[[Polygon], Iterable[Polygon]]
) -> Iterable[Polygon]:
    if thing.get("crs") is not None:
        raise ValueError("it has a crs of its own; write one for the whole file")
    return _polygons(thing, label, place)


def _polygon(rings: Sequence[Sequence[Sequence[float]]], *, geodesic: bool) -> Polygon:
    """Return a polygon; its edges may be geodesics, as Earth Engine writes it: in GeoJSON they are straight."""
    polygon = tuple(_ring(ring) for ring in rings)
    if not polygon:
        raise ValueError("a polygon without a ring")
    return tuple(_geodesic(ring) for ring in polygon) if geodesic else polygon


def _geodesic(ring: Floats) -> Floats:
    """Return a ring with so many positions on its geodesic edges that straight ones come within a metre of them."""
    lon = unwrapped(ring[:, 0], np.array([0, len(ring)]))  # a geodesic goes the short way, across ±180° too
    if lon[0] == lon[-1]:
        ring = np.column_stack([lon, ring[:, 1]])
    lines = np.hstack([ring[:-1], ring[1:]])
    parts = [ring[:1]]
    for line in lines:
        count = max(1, math.ceil(float(np.abs([turned(line[2] - line[0]), line[3] - line[1]]).max()) / GEODESIC_STEP))
        places = along(line[None], np.arange(1, count + 1) / count)[0]
        places[-1] = line[2:]
        parts.append(places)
    return np.concatenate(parts)


def _ring(positions: Sequence[Sequence[float]]) -> Floats:
    rows = positions if isinstance(positions, list | tuple) else [None]
    if not all(isinstance(position, list | tuple) for position in rows):
        raise ValueError("a ring that is not a list of [longitude, latitude]")
    found = np.array([position[:2] for position in positions])
    if len(found) < 3:
        raise ValueError(f"a ring of {len(found)} positions")
    if found.ndim != 2 or found.dtype.kind not in "iuf" or found.shape[1] != 2:
        raise ValueError("a ring with positions that are not two numbers")
    return closed(found.astype(np.float64))


def closed(ring: Floats) -> Floats:
    """Return a ring (n, 2) that ends where it begins.

    Raises:
        ValueError: if a position is not two finite numbers, or it has fewer than three.
    """
    if len(ring) < 3:
        raise ValueError(f"a ring of {len(ring)} positions")
    if not np.isfinite(ring).all():
        raise ValueError(f"{ring[~np.isfinite(ring).all(1)][0].tolist()} is not [longitude, latitude] in degrees")
    return ring if (ring[0] == ring[-1]).all() else np.vstack([ring, ring[:1]])


def _check_degrees(ring: Floats) -> None:
    if np.abs(ring[:, 1]).max() > 90 or np.abs(ring[:, 0]).max() > 360:
        raise ValueError(f"{ring[np.abs(ring).max(1).argmax()].tolist()} is not [longitude, latitude] in degrees")
