"""Where: polygons in longitude and latitude, or points."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ee_spark.errors import JobError
from ee_spark.job import Region, Sample
from ee_spark.objects import read_input
from ee_spark.plan.grid import Floats, Ints

POINT_COLUMNS = ("point_id", "point_lon", "point_lat")
Polygon = tuple[Floats, ...]
"""Closed rings (n, 2) of lon, lat: the outer one, then its holes."""
Box = tuple[float, float, float, float]
"""West, south, east, north."""


@dataclass(frozen=True)
class Polygons:
    """An area as polygons whose edges are straight in longitude and latitude."""

    polygons: tuple[Polygon, ...]

    @property
    def bounds(self) -> Box:
        """West, south, east, north of all polygons."""
        return _bounds(np.concatenate([polygon[0] for polygon in self.polygons]))

    @property
    def boxes(self) -> tuple[Box, ...]:
        """One box around all polygons; two where they lie at both sides of the antimeridian."""
        return _sides(np.array([_bounds(polygon[0]) for polygon in self.polygons]))

    def geojson(self) -> dict[str, Any]:
        """Return the area as a GeoJSON geometry."""
        rings = [[ring.tolist() for ring in polygon] for polygon in self.polygons]
        if len(rings) == 1:
            return {"type": "Polygon", "coordinates": rings[0]}
        return {"type": "MultiPolygon", "coordinates": rings}


@dataclass(frozen=True)
class Points:
    """Places that get a patch each: n ids, longitudes, latitudes, and further columns to carry along."""

    ids: tuple[str, ...]
    lon: Floats
    lat: Floats
    columns: pa.Table

    def take(self, index: Ints) -> Points:
        """Return the points at these indices."""
        columns = self.columns.take(index) if self.columns.num_columns else self.columns
        return Points(tuple(self.ids[i] for i in index.tolist()), self.lon[index], self.lat[index], columns)

    @property
    def bounds(self) -> Box:
        """West, south, east, north of all points."""
        return _bounds(np.column_stack([self.lon, self.lat]))

    @property
    def boxes(self) -> tuple[Box, ...]:
        """One box around all points; two where they lie at both sides of the antimeridian."""
        return _sides(np.column_stack([self.lon, self.lat, self.lon, self.lat]))

    def geojson(self) -> dict[str, Any]:
        """Return the box of the points as a GeoJSON polygon, at least a hundredth of a degree wide and high."""
        west, south, east, north = self.bounds
        x, y = max(0.0, 0.01 - (east - west)) / 2, max(0.0, 0.01 - (north - south)) / 2
        return Polygons((_box(west - x, south - y, east + x, north + y),)).geojson()


def load(region: Region) -> Polygons | Points:
    """Return what the job file's region names.

    Raises:
        JobError: if a file cannot be read or holds something else, with its row.
    """
    if region.bbox:
        return Polygons(boxes(region.bbox))
    if region.geojson:
        return polygons_of(read_input(region.geojson, "region.geojson"), f"region.geojson: {region.geojson}")
    if region.points:
        return read_points(region.points)
    if region.sample:
        return draw(region.sample)
    raise JobError(f"region.{region.kind}: this version cannot read it yet; write bbox, geojson, points or sample")


def boxes(bbox: Box) -> tuple[Polygon, ...]:
    """Return a bounding box as polygons: two of them where it crosses the antimeridian (west > east)."""
    west, south, east, north = bbox
    if west < east:
        return (_box(west, south, east, north),)
    sides = ((west, 180.0), (-180.0, east))
    return tuple(_box(left, south, right, north) for left, right in sides if left < right)


def polygons_of(data: bytes, label: str) -> Polygons:
    """Return the polygons of a GeoJSON text: Polygon, MultiPolygon, Feature, FeatureCollection, GeometryCollection.

    Raises:
        JobError: if it is not GeoJSON, or holds no polygon or anything but polygons.
    """
    try:
        found = tuple(_polygons(json.loads(data), label))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise JobError(f"{label}: not GeoJSON ({error})") from None
    if not found:
        raise JobError(f"{label}: holds no polygon; write Polygon, MultiPolygon, Feature or FeatureCollection")
    return Polygons(found)


def polygons_of_geojson(geometry: dict[str, Any]) -> tuple[Polygon, ...]:
    """Return the polygons of a GeoJSON geometry object; none where it has no area."""
    if geometry.get("type") in ("Polygon", "MultiPolygon", "GeometryCollection"):
        parts = geometry.get("geometries", [geometry])
        areas = [part for part in parts if part["type"] in ("Polygon", "MultiPolygon", "GeometryCollection")]
        return tuple(polygon for part in areas for polygon in _polygons(part, "geometry"))
    return ()


def read_points(path: str) -> Points:
    """Return the points of a CSV, GeoJSON or Parquet file with columns lon, lat and perhaps id.

    Raises:
        JobError: if a column is missing, a coordinate is not one, or an id or a place comes twice, with the row.
    """
    data = read_input(path, "region.points")
    label = f"region.points: {path}"
    try:
        if path.endswith(".parquet"):
            table = pq.read_table(io.BytesIO(data))
        elif path.endswith((".json", ".geojson")):
            table = pa.Table.from_pylist([_point_row(feature) for feature in json.loads(data)["features"]])
        else:
            table = _csv_table(data.decode("utf-8-sig"))
    except (ValueError, KeyError, TypeError, pa.ArrowInvalid) as error:
        raise JobError(f"{label}: cannot be read as points ({error})") from None
    for column in ("lon", "lat"):
        if column not in table.column_names:
            raise JobError(f"{label}: has no column {column!r}, only {', '.join(table.column_names)}")
    if not table.num_rows:
        raise JobError(f"{label}: holds no point")
    lon, lat = (_degrees(table, column, limit, label) for column, limit in (("lon", 180), ("lat", 90)))
    given = "id" in table.column_names
    ids = tuple(str(value) for value in table["id"].to_pylist()) if given else point_ids(lon, lat)
    _refuse_repeated(ids, label, "id" if given else "place (give the points an id column)")
    extra = table.drop_columns([name for name in ("lon", "lat", "id") if name in table.column_names])
    taken = [name for name in extra.column_names if name.lower().startswith("point_")]
    if taken:
        raise JobError(f"{label}: column {taken[0]!r} would hide one of ours; rename it")
    return Points(ids, lon, lat, extra)


def point_ids(lon: Floats, lat: Floats) -> tuple[str, ...]:
    """Return an id for each point that is a function of its place alone: 16 hex digits of its coordinates' bits."""
    bits = np.column_stack([lon, lat]).astype("<f8")
    return tuple(hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in bits)


def draw(sample: Sample) -> Points:
    """Return ``count`` points drawn uniformly by area within the sample's box or polygons.

    Longitudes are uniform, latitudes by their sine; what falls outside a polygon is drawn again. The same seed gives
    the same points everywhere.
    """
    if sample.stratify:
        raise JobError("region.sample.stratify: this version draws uniformly only; leave it out")
    within = sample.within
    area = (
        Polygons(boxes(within.bbox))
        if within.bbox
        else polygons_of(read_input(str(within.geojson), "region.sample.within.geojson"), str(within.geojson))
    )
    rng = np.random.Generator(np.random.PCG64(sample.seed))
    weights = np.array([_box_weight(_bounds(polygon[0])) for polygon in area.polygons])
    lon, lat = np.zeros(0), np.zeros(0)
    for _ in range(10_000):
        if len(lon) >= sample.count:
            break
        which = rng.choice(len(weights), size=sample.count, p=weights / weights.sum())
        box = np.array([_bounds(polygon[0]) for polygon in area.polygons])[which]
        x = rng.uniform(box[:, 0], box[:, 2])
        sines = np.sin(np.radians(box[:, [1, 3]]))
        y = np.degrees(np.arcsin(rng.uniform(sines[:, 0], sines[:, 1])))
        inside = np.array(
            [
                contains(area.polygons[i], np.array([px]), np.array([py]))[0]
                for i, px, py in zip(which, x, y, strict=True)
            ]
        )
        lon, lat = np.concatenate([lon, x[inside]]), np.concatenate([lat, y[inside]])
    else:
        raise JobError("region.sample.within: its polygons fill almost nothing of their boxes; write smaller ones")
    lon, lat = lon[: sample.count], lat[: sample.count]
    return Points(point_ids(lon, lat), lon, lat, pa.table({}))


def contains(polygon: Polygon, x: Floats, y: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return for each place whether it lies inside the polygon (even-odd)."""
    inside = np.zeros(x.shape, bool)
    for ring in polygon:
        for (x1, y1), (x2, y2) in itertools.pairwise(ring.tolist()):
            if y1 != y2:
                inside ^= ((y1 > y) != (y2 > y)) & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return inside


def _box(west: float, south: float, east: float, north: float) -> Polygon:
    return (np.array([[west, south], [east, south], [east, north], [west, north], [west, south]], np.float64),)


def _bounds(positions: Floats) -> Box:
    (west, south), (east, north) = positions.min(0).tolist(), positions.max(0).tolist()
    return west, south, east, north


def _sides(boxes: Floats) -> tuple[Box, ...]:
    """Return one box around boxes (n, 4), or an eastern and a western one where one would span half the Earth."""
    west = (boxes[:, 0] + boxes[:, 2]) < 0
    if not (0 < west.sum() < len(west)) or boxes[:, 2].max() - boxes[:, 0].min() <= 180:
        return (_around(boxes),)
    return _around(boxes[~west]), _around(boxes[west])


def _around(boxes: Floats) -> Box:
    least, most = boxes.min(0).tolist(), boxes.max(0).tolist()
    return least[0], least[1], most[2], most[3]


def _box_weight(bounds: Box) -> float:
    west, south, east, north = bounds
    return (east - west) * (math.sin(math.radians(north)) - math.sin(math.radians(south)))


def _polygons(thing: dict[str, Any], label: str) -> Iterable[Polygon]:
    kind = thing["type"]
    if kind == "FeatureCollection":
        for feature in thing["features"]:
            yield from _polygons(feature, label)
    elif kind == "Feature":
        if thing["geometry"]:
            yield from _polygons(thing["geometry"], label)
    elif kind == "GeometryCollection":
        for part in thing["geometries"]:
            yield from _polygons(part, label)
    elif kind in ("Polygon", "MultiPolygon"):
        for rings in [thing["coordinates"]] if kind == "Polygon" else thing["coordinates"]:
            yield tuple(_ring(ring) for ring in rings)
    else:
        raise JobError(f"{label}: a {kind} has no area; write polygons, or region.points for points")


def _ring(positions: Sequence[Sequence[float]]) -> Floats:
    ring = np.array([position[:2] for position in positions], np.float64)
    if len(ring) < 3 or not np.isfinite(ring).all():
        raise ValueError(f"a ring of {len(ring)} positions")
    return ring if (ring[0] == ring[-1]).all() else np.vstack([ring, ring[:1]])


def _point_row(feature: dict[str, Any]) -> dict[str, Any]:
    geometry = feature["geometry"]
    if geometry["type"] != "Point":
        raise ValueError(f"a {geometry['type']} is no Point")
    row = dict(feature.get("properties") or {})
    if "id" in feature:
        row.setdefault("id", feature["id"])
    row["lon"], row["lat"] = geometry["coordinates"][:2]
    return row


def _csv_table(text: str) -> pa.Table:
    """Read a CSV with a header; a column is int64 or double where all its values are, else string."""
    rows = list(csv.reader(io.StringIO(text)))
    if not rows:
        raise ValueError("it is empty")
    header, body = rows[0], [row for row in rows[1:] if row]
    for number, row in enumerate(body, 2):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} fields, the header {len(header)}")
    columns = {}
    for index, name in enumerate(header):
        values = pa.array([row[index].strip() for row in body], pa.string())
        columns[name.strip()] = values if name.strip() == "id" else _typed(values)
    return pa.table(columns)


def _typed(values: pa.Array) -> pa.Array:
    for kind in (pa.int64(), pa.float64()):
        try:
            return values.cast(kind)
        except pa.ArrowInvalid:
            continue
    return values


def _degrees(table: pa.Table, column: str, limit: int, label: str) -> Floats:
    for row, value in enumerate(table[column].to_pylist(), 1):
        try:
            good = math.isfinite(float(value)) and abs(float(value)) <= limit
        except (TypeError, ValueError):
            good = False
        if not good:
            raise JobError(f"{label}: point {row} has {column} {value!r}; write degrees from -{limit} to {limit}")
    return np.asarray(table[column].to_pylist(), np.float64)


def _refuse_repeated(ids: Sequence[str], label: str, what: str) -> None:
    seen: dict[str, int] = {}
    for row, name in enumerate(ids, 1):
        if name in seen:
            raise JobError(f"{label}: points {seen[name]} and {row} have the same {what}: {name}")
        seen[name] = row
