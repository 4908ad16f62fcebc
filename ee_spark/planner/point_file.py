"""Files of points: read as what they are, with their columns found and typed, and refused with their row."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ee_spark.boundary import reading, shortened
from ee_spark.errors import JobError
from ee_spark.objects import INPUTS, Inputs
from ee_spark.planner.crs import LONLAT, Floats
from ee_spark.planner.delimited import texts_of_csv
from ee_spark.planner.file_crs import crs_of_geojson, lonlat_of
from ee_spark.planner.opened import opened
from ee_spark.planner.points import Points, point_ids
from ee_spark.planner.polygon import parse_json
from ee_spark.planner.typed import NOTHING_KNOWN, Known, of_values, typed
from ee_spark.planner.vector import Features, coverings, geometry_column, read_geoparquet, read_vector
from ee_spark.planner.wkb import places_in
from ee_spark.where import MOST_POINTS, PointsFile

USUAL: Mapping[str, tuple[str, ...]] = {
    "lon": ("lon", "longitude", "lng", "long", "x"),
    "lat": ("lat", "latitude", "y"),
}
"""Names of columns of degrees, in whatever case, that are found without being told."""
_UNREAD = "cannot be read as points"
_ROWS = 1 << 16  # values that are looked at in Python at once
_FLOAT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf)", re.I)
_INDEX = re.compile(r"__index_level_\d+__")  # a pandas index without a name


def read_points(file: str | PointsFile, inputs: Inputs = INPUTS, known: Known = NOTHING_KNOWN) -> Points:
    """Return the points of a file: CSV, GeoJSON, Parquet, or what pyogrio reads; by its geometries or two columns.

    Raises:
        JobError: if a column is missing, a coordinate is not one, or an id or a place comes twice, with the row.
    """
    said = PointsFile(file=file) if isinstance(file, str) else file
    known = replace(known, stated=said.types)
    label = f"region.points: {shortened(said.file)}"
    found = opened(said.file, inputs, "region.points", label)
    with reading(label, what=_UNREAD):
        if found.kind == "parquet":
            return _of_parquet(found.data, said, label, known)
        if found.kind == "geojson":
            return points_in(found.data, label, known, said)
        if found.kind == "vector":
            return _of_features(read_vector(found.data, label), said, label, known)
        table = texts_of_csv(found.data)
        return _of_columns(table, said, label, known, texts=True)
    raise AssertionError("reading raises")


def points_in(data: bytes, label: str, known: Known = NOTHING_KNOWN, said: PointsFile | None = None) -> Points:
    """Return the points of a GeoJSON text.

    Raises:
        JobError: as :func:`read_points` does.
    """
    with reading(label, what=_UNREAD):
        thing = parse_json(data)
        crs = crs_of_geojson(thing, label)
        kind = thing.get("type") if isinstance(thing, dict) else None
        if kind == "Feature":
            return points_of([{**thing, "crs": None}], label, known, said, crs)
        if not isinstance(thing, dict) or "features" not in thing:
            what = f"of type {shortened(kind)}" if kind else f"{shortened(json.dumps(thing))}, which has no features"
            raise JobError(f"{label}: it is {what}; write a FeatureCollection of Points")
        return points_of(thing["features"], label, known, said, crs)
    raise AssertionError("reading raises")


def points_of(
    features: Sequence[dict[str, Any]],
    label: str,
    known: Known = NOTHING_KNOWN,
    said: PointsFile | None = None,
    crs: str = LONLAT,
) -> Points:
    """Return GeoJSON features, each with a Point, as points with their properties as columns.

    Raises:
        JobError: as :func:`read_points` does.
    """
    if not isinstance(features, list):
        raise JobError(f"{label}: its features are {shortened(features)}; write a FeatureCollection of Points")
    said = said or PointsFile(file="")
    rows, places = [], []
    for number, feature in enumerate(features, 1):
        with reading(f"{label}: feature {number}", what="is not a Point with [longitude, latitude]"):
            row, place = _of_feature(feature, placed=said.lon is None)
            rows.append(row)
            places.append(place)
    with reading(label, what=_UNREAD):
        names = list(dict.fromkeys(name for row in rows for name in row))
        table = pa.table({name: of_values([row.get(name) for row in rows]) for name in names})
        if said.lon is not None:
            return _of_columns(table, said, label, known)
        x, y = np.array(places, np.float64).reshape(-1, 2).T
        key = said.id or "id"
        ids = [row.get(key) for row in rows] if key in names else None  # as they are written: 7, not 7.0
        return _points(
            table.drop_columns([name for name in ("lon", "lat") if name in names]), crs, (x, y), ids, said, label, known
        )
    raise AssertionError("reading raises")


def _of_parquet(data: bytes, said: PointsFile, label: str, known: Known) -> Points:
    """Read places first: no other column is read of what holds no points."""
    file = pq.ParquetFile(pa.BufferReader(data))
    _refuse_many(file.metadata.num_rows, label)
    names = file.schema_arrow.names
    twice = [name for name in (said.lon or "lon", said.lat or "lat", said.id or "id") if names.count(name) > 1]
    if twice:
        raise ValueError(f"column {twice[0]!r} stands twice")
    geo = geometry_column(file.schema_arrow, label)
    if geo and said.lon is None and not {"lon", "lat"} <= set(names):
        places_in(read_geoparquet(data, label, ()).geometry) if geo[1]["encoding"] == "WKB" else None
        return _of_features(read_geoparquet(data, label), said, label, known, {geo[0], *coverings(geo[1])})
    lon, lat = _named(names, said, label)
    _degree_columns(file.read(columns=[lon, lat]), lon, lat, label)
    table = file.read()
    if geo:
        table = table.drop_columns(
            [name for name in (geo[0], *coverings(geo[1])) if name in names and name not in known.held]
        )
    return _of_columns(table, said, label, known)


def _of_features(
    features: Features, said: PointsFile, label: str, known: Known, drawn: set[str] | frozenset[str] = frozenset()
) -> Points:
    """Return features with points; ``drawn`` are columns that only repeat where they lie."""
    table = features.columns.drop_columns([name for name in features.columns.column_names if name in drawn])
    if said.lon is not None:
        return _of_columns(table, said, label, known)
    if pa.types.is_struct(features.geometry.type):
        x, y = (pc.struct_field(features.geometry, name).to_numpy(zero_copy_only=False) for name in ("x", "y"))
    else:
        x, y = places_in(features.geometry)
    missing = np.isnan(x) | np.isnan(y)
    if missing.any():
        raise JobError(f"{label}: point {int(missing.argmax()) + 1} has no place; give it one, or leave it out")
    key = said.id or "id"
    ids = table[key].to_pylist() if key in table.column_names else None
    return _points(table, features.crs, (x, y), ids, said, label, known)


def _of_columns(table: pa.Table, said: PointsFile, label: str, known: Known, *, texts: bool = False) -> Points:
    """Return the points of a table with a column of longitudes and one of latitudes."""
    lon, lat = _named(table.column_names, said, label)
    places = _degree_columns(table, lon, lat, label)
    key = said.id or "id"
    ids = table[key].to_pylist() if key in table.column_names else None
    own = table.drop_columns([lon, lat])
    return _points(own, LONLAT, places, ids, said, label, known, texts=texts)


def _points(
    table: pa.Table,
    crs: str,
    places: tuple[Floats, Floats],
    given: Sequence[Any] | None,
    said: PointsFile,
    label: str,
    known: Known,
    *,
    texts: bool = False,
) -> Points:
    """Return points by their places in a CRS, their ids if they have some, and their own columns."""
    if not len(places[0]):
        raise JobError(f"{label}: contains no points")
    _refuse_many(len(places[0]), label)
    lon, lat = lonlat_of(crs, *places, label)
    for name, values, limit in (("lon", lon, 180), ("lat", lat, 90)):
        _refuse_degrees(np.asarray(values), pa.chunked_array([values]), name, limit, label)
    key = said.id or "id"
    if said.id and given is None:
        raise JobError(f"region.points.id: {label.partition(': ')[2]} has no column {shortened(said.id)!r}")
    if given is not None and (row := next((row for row, value in enumerate(given, 1) if value is None), 0)):
        raise JobError(f"{label}: point {row} has no id; write one for each point, or leave the column out")
    ids = tuple(_id(value) for value in given) if given is not None else point_ids(lon, lat)
    _refuse_repeated(ids, label, "id" if given is not None else "place (give the points an id column)")
    left_out = [name for name in table.column_names if name == key or _is_index(name, known)]
    own = table.drop_columns(left_out)
    taken = [name for name in own.column_names if name.lower().startswith("point_")]
    if taken:
        raise JobError(f"{label}: column {shortened(taken[0])!r} would hide one of ours; rename it")
    columns, notes = typed(own, known, label, texts=texts)
    return Points(ids, np.asarray(lon), np.asarray(lat), columns, notes)


def _named(names: Sequence[str], said: PointsFile, label: str) -> tuple[str, str]:
    """Return the columns of longitude and latitude: those that the job names, lon and lat, or the usual ones."""
    found: list[str] = []
    for key in ("lon", "lat"):
        stated = getattr(said, key)
        if stated is not None and stated not in names:
            raise JobError(
                f"region.points.{key}: {label.partition(': ')[2]} has no column {shortened(stated)!r}, only "
                f"{shortened(', '.join(names)) or 'none'}"
            )
        usual = [stated or key] if (stated or key) in names else [name for name in names if name.lower() in USUAL[key]]
        if len(usual) > 1:
            raise JobError(
                f"{label}: has the columns {shortened(', '.join(usual))}; say which one it is: region.points: "
                f"{{file: …, {key}: {shortened(usual[0])}}}"
            )
        if not usual:
            raise JobError(
                f"{label}: has no column {key!r}, only {shortened(', '.join(names)) or 'none'}; say which one it is: "
                f"region.points: {{file: …, {key}: COLUMN}}"
            )
        found += usual
    return found[0], found[1]


def _degree_columns(table: pa.Table, lon: str, lat: str, label: str) -> tuple[Floats, Floats]:
    """Return the longitudes and latitudes of a table."""
    if not table.num_rows:
        raise JobError(f"{label}: contains no points")
    _refuse_many(table.num_rows, label)
    return _degrees(table[lon], "lon", 180, label), _degrees(table[lat], "lat", 90, label)


def _of_feature(feature: dict[str, Any], *, placed: bool) -> tuple[dict[str, Any], tuple[float, float]]:
    """Return a feature's properties, with its id, and its place; not that where two properties are it."""
    properties = feature.get("properties") or {}
    row = dict(properties.items())
    if "id" in feature:
        row.setdefault("id", feature["id"])
    if not placed:
        return row, (math.nan, math.nan)
    geometry = feature["geometry"]
    if geometry is None:
        raise ValueError("its geometry is null")
    if geometry["type"] != "Point":
        raise ValueError(f"a {shortened(geometry['type'])} is not a Point")
    if feature.get("crs") is not None or geometry.get("crs") is not None:
        raise ValueError("it has a crs of its own; write one for the whole file")
    lon, lat = geometry["coordinates"][:2]
    for value in (lon, lat):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{shortened(value)!r} is not a number")
    return row, (float(lon), float(lat))


def _id(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _is_index(name: str, known: Known) -> bool:
    return bool(_INDEX.fullmatch(name)) and name not in known.held and name not in known.stated


def _degrees(values: pa.ChunkedArray, column: str, limit: int, label: str) -> Floats:
    """Return a column as degrees; told is the first row whose value is not one."""
    found = np.full(len(values), np.nan)
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        found[:] = values.cast(pa.float64()).fill_null(np.nan).to_numpy()
    elif pa.types.is_string(values.type) and (read := _floats(values)) is not None:
        found = read
    elif not pa.types.is_boolean(values.type):
        for first in range(0, len(values), _ROWS):
            some = values.slice(first, _ROWS).to_pylist()
            found[first : first + len(some)] = [_degree(value) for value in some]
            if not (np.abs(found[first : first + len(some)]) <= limit).all():
                break
    _refuse_degrees(found, values, column, limit, label)
    return found


def _refuse_degrees(found: Floats, values: pa.ChunkedArray, column: str, limit: int, label: str) -> None:
    bad = ~(np.abs(found) <= limit)  # NaN is not
    if bad.any():
        row = int(bad.argmax())
        value: Any = values[row].as_py()
        plain = value is None or (isinstance(value, str) and _FLOAT.fullmatch(value))
        if isinstance(value, str) and np.isinf(found[row]):
            value = found[row]
        shown = (
            repr(float(value)).removesuffix(".0")
            if isinstance(value, float)
            else shortened(str(value) if plain else repr(value))
        )
        point = " with a decimal point" if isinstance(value, str) and re.fullmatch(r"[+-]?\d+,\d+", value) else ""
        turned = "; are lon and lat swapped?" if column == "lat" and limit < abs(found[row]) <= 180 else ""
        raise JobError(
            f"{label}: point {row + 1} has {column} {shown}; write degrees from -{limit} to {limit}{point}{turned}"
        )


def _floats(values: pa.ChunkedArray) -> Floats | None:
    """Return texts as numbers where all are; else None, and the first that is none is looked for."""
    try:
        values.slice(0, _ROWS).cast(pa.float64())  # a cast that fails goes on to the end, and takes long over it
        read: Floats = values.cast(pa.float64()).fill_null(np.nan).to_numpy()
    except pa.ArrowInvalid:
        return None
    return read


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
