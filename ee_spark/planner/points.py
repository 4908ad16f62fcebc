"""Points that get a patch each: read from a file, named, and refused with their row."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ee_spark.boundary import reading, shortened
from ee_spark.errors import JobError
from ee_spark.job import MOST_POINTS
from ee_spark.objects import INPUTS, Inputs
from ee_spark.planner.crs import Floats, Ints
from ee_spark.planner.delimited import table_of_csv
from ee_spark.planner.polygon import Box, Polygons, bounds, box, parse_json, sides

POINT_COLUMNS = ("point_id", "point_lon", "point_lat")
_UNREAD = "cannot be read as points"
_ROWS = 1 << 16  # values that are looked at in Python at once


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
    label = f"region.points: {shortened(path)}"
    with reading(label, what=_UNREAD):
        if path.endswith(".parquet"):
            return _points_of_parquet(data, label)
        if path.endswith((".json", ".geojson")):
            return points_in(data, label)
        return _points(table_of_csv(data), label)


def points_in(data: bytes, label: str) -> Points:
    """Return the points of a GeoJSON text.

    Raises:
        JobError: as :func:`read_points` does.
    """
    with reading(label, what=_UNREAD):
        return points_of(parse_json(data)["features"], label)


def points_of(features: Sequence[dict[str, Any]], label: str) -> Points:
    """Return GeoJSON features, each with a Point, as points with their properties as columns.

    Raises:
        JobError: as :func:`read_points` does.
    """
    if not isinstance(features, list):
        raise JobError(f"{label}: its features are {shortened(features)}; write a FeatureCollection of Points")
    rows = []
    for number, feature in enumerate(features, 1):
        with reading(f"{label}: feature {number}", what="is not a Point with [longitude, latitude]"):
            rows.append(_point_row(feature))
    with reading(label, what=_UNREAD):
        names = list(dict.fromkeys(name for row in rows for name in row))
        table = pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
        return _points(table, label)


def _points_of_parquet(data: bytes, label: str) -> Points:
    """Read places first: no other column is read of what holds no points."""
    file = pq.ParquetFile(pa.BufferReader(data))
    _refuse_many(file.metadata.num_rows, label)
    names = file.schema_arrow.names
    twice = [name for name in ("lon", "lat", "id") if names.count(name) > 1]
    if twice:
        raise ValueError(f"column {twice[0]!r} stands twice")
    places = file.read(columns=[name for name in ("lon", "lat") if name in names])
    _places(places.select([name for name in ("lon", "lat") if name in places.column_names]), label, names)
    return _points(file.read(), label)


def _points(table: pa.Table, label: str) -> Points:
    lon, lat = _places(table, label, table.column_names)
    given = "id" in table.column_names
    if given and table["id"].null_count:
        row = pc.index(pc.is_null(table["id"]), True).as_py() + 1
        raise JobError(f"{label}: point {row} has no id; write one for each point, or leave the column out")
    ids = tuple(str(value) for value in table["id"].to_pylist()) if given else point_ids(lon, lat)
    _refuse_repeated(ids, label, "id" if given else "place (give the points an id column)")
    extra = table.drop_columns([name for name in ("lon", "lat", "id") if name in table.column_names])
    taken = [name for name in extra.column_names if name.lower().startswith("point_")]
    if taken:
        raise JobError(f"{label}: column {shortened(taken[0])!r} would hide one of ours; rename it")
    return Points(ids, lon, lat, extra.combine_chunks())


def _places(table: pa.Table, label: str, names: Sequence[str]) -> tuple[Floats, Floats]:
    """Return the longitudes and latitudes of a table; ``names`` are those of all its columns."""
    for column in ("lon", "lat"):
        if column not in table.column_names:
            raise JobError(f"{label}: has no column {column!r}, only {shortened(', '.join(names)) or 'none'}")
    if not table.num_rows:
        raise JobError(f"{label}: contains no points")
    _refuse_many(table.num_rows, label)
    lon, lat = (_degrees(table[column], column, limit, label) for column, limit in (("lon", 180), ("lat", 90)))
    return lon, lat


def point_ids(lon: Floats, lat: Floats) -> tuple[str, ...]:
    """Return an id for each point that is a function of its place alone: 16 hex digits of its coordinates' bits."""
    bits = np.column_stack([lon, lat]).astype("<f8")
    return tuple(hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in bits)


def _point_row(feature: dict[str, Any]) -> dict[str, Any]:
    geometry = feature["geometry"]
    if geometry["type"] != "Point":
        raise ValueError(f"a {shortened(geometry['type'])} is not a Point")
    properties = (feature.get("properties") or {}).items()
    row = {key: json.dumps(value) if isinstance(value, (dict, list)) else value for key, value in properties}
    if "id" in feature:
        row.setdefault("id", feature["id"])
    lon, lat = geometry["coordinates"][:2]
    for value in (lon, lat):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{shortened(value)!r} is not a number")
    row["lon"], row["lat"] = float(lon), float(lat)
    return row


def _degrees(values: pa.ChunkedArray, column: str, limit: int, label: str) -> Floats:
    """Return a column as degrees; told is the first row whose value is not one."""
    found = np.full(len(values), np.nan)
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        found[:] = values.cast(pa.float64()).fill_null(np.nan).to_numpy()
    elif not pa.types.is_boolean(values.type):
        for first in range(0, len(values), _ROWS):
            some = values.slice(first, _ROWS).to_pylist()
            found[first : first + len(some)] = [_degree(value) for value in some]
            if not (np.abs(found[first : first + len(some)]) <= limit).all():
                break
    bad = ~(np.abs(found) <= limit)  # NaN is not
    if bad.any():
        row = int(bad.argmax())
        value = values[row].as_py()
        shown = f"{value:.17g}" if isinstance(value, float) else shortened(value if value is None else repr(value))
        raise JobError(f"{label}: point {row + 1} has {column} {shown}; write degrees from -{limit} to {limit}")
    return found


def _degree(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _refuse_many(count: int, label: str) -> None:
    if count > MOST_POINTS:
        raise JobError(f"{label}: has {count:,} points, and one job takes {MOST_POINTS:,}; write several jobs")


def _refuse_repeated(ids: Sequence[str], label: str, what: str) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: dict[str, int] = {}
    for row, name in enumerate(ids, 1):
        if name in seen:
            raise JobError(f"{label}: points {seen[name]} and {row} have the same {what}: {shortened(name)}")
        seen[name] = row
