"""Points that get a patch each: read from a file, named, and refused with their row."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ee_spark.boundary import reading
from ee_spark.errors import JobError
from ee_spark.objects import INPUTS, Inputs
from ee_spark.planner.crs import Floats, Ints
from ee_spark.planner.polygon import Box, Polygons, bounds, box, sides

POINT_COLUMNS = ("point_id", "point_lon", "point_lat")
_UNREAD = "cannot be read as points"


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
        return bounds(np.column_stack([self.lon, self.lat]))

    @property
    def boxes(self) -> tuple[Box, ...]:
        """One box around all points; two where they lie at both sides of the antimeridian."""
        return sides(np.column_stack([self.lon, self.lat, self.lon, self.lat]))

    def geojson(self) -> dict[str, Any]:
        """Return the box of the points as a GeoJSON polygon, at least a hundredth of a degree wide and high."""
        wide = []
        for west, south, east, north in self.boxes:
            x, y = max(0.0, 0.01 - (east - west)) / 2, max(0.0, 0.01 - (north - south)) / 2
            wide.append(box(max(west - x, -180.0), south - y, min(east + x, 180.0), north + y))
        return Polygons(tuple(wide)).geojson()


def read_points(path: str, inputs: Inputs = INPUTS) -> Points:
    """Return the points of a CSV, GeoJSON or Parquet file with columns lon, lat and perhaps id.

    Raises:
        JobError: if a column is missing, a coordinate is not one, or an id or a place comes twice, with the row.
    """
    data = inputs.read(path, "region.points")
    label = f"region.points: {path}"
    with reading(label, what=_UNREAD):
        if path.endswith(".parquet"):
            table = pq.read_table(io.BytesIO(data))
        elif path.endswith((".json", ".geojson")):
            return points_of(json.loads(data)["features"], label)
        else:
            table = _csv_table(data.decode("utf-8-sig"))
        return _points(table, label)


def points_of(features: Sequence[dict[str, Any]], label: str) -> Points:
    """Return GeoJSON features, each with a Point, as points with their properties as columns.

    Raises:
        JobError: as :func:`read_points` does.
    """
    with reading(label, what=_UNREAD):
        rows = [_point_row(feature) for feature in features]
        names = list(dict.fromkeys(name for row in rows for name in row))
        table = pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
        return _points(table, label)


def _points(table: pa.Table, label: str) -> Points:
    for column in ("lon", "lat"):
        if column not in table.column_names:
            raise JobError(f"{label}: has no column {column!r}, only {', '.join(table.column_names) or 'none'}")
    if not table.num_rows:
        raise JobError(f"{label}: contains no points")
    lon, lat = (_degrees(table, column, limit, label) for column, limit in (("lon", 180), ("lat", 90)))
    given = "id" in table.column_names
    if given and table["id"].null_count:
        row = table["id"].is_null().to_pylist().index(True) + 1
        raise JobError(f"{label}: point {row} has no id; write one for each point, or leave the column out")
    ids = tuple(str(value) for value in table["id"].to_pylist()) if given else point_ids(lon, lat)
    _refuse_repeated(ids, label, "id" if given else "place (give the points an id column)")
    extra = table.drop_columns([name for name in ("lon", "lat", "id") if name in table.column_names])
    taken = [name for name in extra.column_names if name.lower().startswith("point_")]
    if taken:
        raise JobError(f"{label}: column {taken[0]!r} would hide one of ours; rename it")
    return Points(ids, lon, lat, extra.combine_chunks())


def point_ids(lon: Floats, lat: Floats) -> tuple[str, ...]:
    """Return an id for each point that is a function of its place alone: 16 hex digits of its coordinates' bits."""
    bits = np.column_stack([lon, lat]).astype("<f8")
    return tuple(hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in bits)


def _point_row(feature: dict[str, Any]) -> dict[str, Any]:
    geometry = feature["geometry"]
    if geometry["type"] != "Point":
        raise ValueError(f"a {geometry['type']} is not a Point")
    properties = (feature.get("properties") or {}).items()
    row = {key: json.dumps(value) if isinstance(value, (dict, list)) else value for key, value in properties}
    if "id" in feature:
        row.setdefault("id", feature["id"])
    row["lon"], row["lat"] = geometry["coordinates"][:2]
    return row


def _csv_table(text: str) -> pa.Table:
    """Read a CSV with a header; empty is null; a column is int64 or double where all its values are, else string."""
    rows = list(csv.reader(io.StringIO(text)))
    if not rows:
        raise ValueError("it is empty")
    header, body = rows[0], [row for row in rows[1:] if row]
    for number, row in enumerate(body, 2):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} fields, the header {len(header)}")
    columns: dict[str, pa.Array] = {}
    for index, name in enumerate(header):
        if name.strip() in columns:
            raise ValueError(f"column {name.strip()!r} stands twice")
        values = pa.array([row[index].strip() or None for row in body], pa.string())
        columns[name.strip()] = values if name.strip() == "id" else _typed(values)
    return pa.table(columns)


def _typed(values: pa.Array) -> pa.Array:
    for kind in (pa.int64(), pa.float64()) if values.null_count < len(values) else ():
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
