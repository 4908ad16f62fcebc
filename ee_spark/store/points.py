"""Points kept beside a dataset, named by their content: those of runs' records, and of samples that were drawn once.

``_ee_spark/points/<16 hex digits of the SHA-256>.arrow`` holds two Arrow IPC streams, one after the other: id, lon and
lat, then the points' own columns. It is created once, whoever comes first, and never changed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from ee_spark.objects import Store
from ee_spark.planner.points import Points
from ee_spark.store import content
from ee_spark.store.bounds import damage, read_table, write_table

POINTS = "_ee_spark/points"
_PLACES = pa.schema([("id", pa.large_string()), ("lon", pa.float64()), ("lat", pa.float64())])


def keep(store: Store, points: Points) -> dict[str, Any]:
    """Keep points beside the dataset, unless they are there; return what a record says of them."""
    return {"file": content.keep(store, POINTS, encode(points)), "count": len(points.ids)}


def kept(store: Store, record: Mapping[str, Any]) -> Points:
    """Return the points that a record tells of: kept by their content's name, or, by older versions, in the record.

    Raises:
        StoreError: if they are gone or damaged.
    """
    with damage(f"{store.root}/{POINTS}", "holds no points that can be read"):
        found = decode(content.kept(store, POINTS, record["file"])) if "file" in record else _inline(record)
        _check(found)
    return found


def encode(points: Points) -> bytes:
    """Return points as bytes."""
    sink = io.BytesIO()
    for table in tables_of(points):
        write_table(sink, table)
    return sink.getvalue()


def decode(data: bytes) -> Points:
    """Return what :func:`encode` was given."""
    reader = pa.BufferReader(data)
    return of_tables(read_table(reader), read_table(reader))


def tables_of(points: Points) -> Iterable[pa.Table]:
    """Return points as two tables: their places and their own columns."""
    places = [pa.array(points.ids, pa.large_string()), pa.array(points.lon), pa.array(points.lat)]
    return pa.Table.from_arrays(places, schema=_PLACES), points.columns


def of_tables(places: pa.Table, columns: pa.Table) -> Points:
    """Return what :func:`tables_of` was given."""
    lon, lat = (places[name].combine_chunks().to_numpy() for name in ("lon", "lat"))
    return Points(tuple(places["id"].to_pylist()), lon, lat, columns.combine_chunks())


def _check(points: Points) -> None:
    """Refuse what is not a table of points."""
    count = len(points.ids)
    if not len(points.lon) == len(points.lat) == count or (points.columns.num_columns and len(points.columns) != count):
        raise ValueError(f"{count} ids, and other numbers of places or of columns' values")
    if not all(isinstance(name, str) for name in points.ids):
        raise ValueError("an id that is not a text")
    if points.lon.dtype != np.float64 or points.lat.dtype != np.float64:
        raise ValueError("places that are not numbers")


def _inline(record: Mapping[str, Any]) -> Points:
    """Return the points of a record that holds their table."""
    columns = dict(record)
    ids, lon, lat = (columns.pop(name) for name in ("id", "lon", "lat"))
    return Points(tuple(ids), np.asarray(lon, np.float64), np.asarray(lat, np.float64), pa.table({}))
