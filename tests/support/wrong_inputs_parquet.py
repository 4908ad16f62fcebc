"""Parquet files of points that are none: damaged, of other types, or far larger than they look."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Mapping
from functools import cache, partial
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from wrong_inputs_place import Make, Place, Wrong, choices, planning, points_job


def _table(**columns: Any) -> pa.Table:
    good = {"id": ["a", "b", "c"], "lon": [-106.92, -106.91, -106.905], "lat": [40.28, 40.29, 40.285]}
    return pa.table({name: value for name, value in {**good, **columns}.items() if value is not None})


def _parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


NO_LON: tuple[Any, ...] = (
    None,
    ["x", "y", "z"],
    [b"1", b"2", b"3"],
    [[1.0], [2.0], [3.0]],
    [{"a": 1.0}, {"a": 2.0}, {"a": 3.0}],
    [None, 1.0, 2.0],
    [float("nan"), 1.0, 2.0],
    [float("inf"), 1.0, 2.0],
    [181, 1, 2],
    pa.nulls(3),
    pa.array([1, 2, 3], pa.timestamp("us")),
    pa.array([1, 2, 3], pa.date32()),
    pa.array(["a", "b", "c"]).dictionary_encode(),
    pa.array([[("k", 1)], [("k", 2)], []], pa.map_(pa.string(), pa.int64())),
)


NO_READER = (
    pa.array([1, 2, 3], pa.duration("s")),
    pa.array([[("k", 1)], [], []], pa.map_(pa.string(), pa.int64())),
    pa.array([1, 2, 3], pa.timestamp("ns")),
    pa.array([None, 2**63, 1], pa.uint64()),
    pa.array([[1], [2], [3]], pa.list_(pa.duration("us"))),
)
_PLACE = struct.pack("<BIdd", 1, 1, -106.92, 40.28)
GEOMETRIES: tuple[tuple[Any, Any], ...] = (
    ([b"", b"", b""], {}),
    ([_PLACE, None, _PLACE], {}),
    ([_PLACE, _PLACE[:-1], _PLACE], {}),
    ([struct.pack("<BIdd", 1, 1, 181, 1), _PLACE, _PLACE], {}),
    ([struct.pack("<BII", 1, 2, 0)] * 3, {}),
    ([struct.pack("<BIII", 1, 3, 1, 2**31)] * 3, {}),
    ([_PLACE] * 3, {"crs": None}),
    ([_PLACE] * 3, {"crs": "nowhere"}),
    ([_PLACE] * 3, {"crs": {"id": {"authority": "EPSG", "code": 999999}}}),
    ([_PLACE] * 3, {"crs": {"type": "x"}}),
    ([_PLACE] * 3, {"encoding": "polygon"}),
    ([1, 2, 3], {}),
    (["POINT (1 2)"] * 3, {}),
)


def _geometry(random: Random) -> bytes:
    values, said = random.choice(GEOMETRIES)
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": {"encoding": "WKB", **said}}}
    table = pa.table({"id": ["a", "b", "c"], "geometry": values})
    whole = random.choice((geo, geo, {**geo, "primary_column": "none"}, {**geo, "columns": []}, 7))
    return _parquet(table.replace_schema_metadata({"geo": json.dumps(whole)}))


@choices("points-parquet", "points")
def parquet() -> Mapping[str, Make]:
    return {
        "column": partial(
            _parquet_file,
            lambda random: _parquet(_table(**{random.choice(("lon", "lat")): random.choice(NO_LON)})),
            "a column of no degrees",
        ),
        "no-rows": partial(_parquet_file, lambda random: _parquet(_table().slice(0, 0)), "no rows"),
        "truncated": partial(
            _parquet_file, lambda random: (data := _parquet(_table()))[: random.randrange(len(data) - 1)], "no end"
        ),
        "garbage": partial(_parquet_file, _garbage, "no footer that can be read"),
        "magic": partial(
            _parquet_file,
            lambda random: random.choice((b"", b"PAR1", b"PAR1PAR1", b"PARE" * 3, b"PAR1" + bytes(4) + b"PAR1")),
            "nothing but its magic",
        ),
        "footer-length": partial(_parquet_file, _footer_length, "a footer that is not as long as it says"),
        "encrypted": partial(_parquet_file, lambda random: _parquet(_table())[:-4] + b"PARE", "an encrypted footer"),
        "bomb": partial(_parquet_file, lambda random: _bomb(), "40 million times the same place in a few kilobytes"),
        "repeated": partial(_parquet_file, lambda random: _parquet(_table(id=["a", "b", "a"])), "an id twice"),
        "lies": partial(_parquet_file, _lies, "a page that is not as long as it says"),
        "own-column": partial(_parquet_file, lambda random: _parquet(_table(point_id=[1, 2, 3])), "a column of ours"),
        "type": partial(
            _parquet_file,
            lambda random: _parquet(_table(v=random.choice(NO_READER))),
            "a column that not all readers know, or whose values would change",
        ),
        "geometry": partial(_parquet_file, _geometry, "geometries that are no points of a known CRS"),
        "doubled": partial(
            _parquet_file,
            lambda random: _parquet(pa.table([pa.array([1.0, 2.0])] * 3, ["lon", "lat", "lon"])),
            "lon twice",
        ),
        "nested": partial(
            _parquet_file,
            lambda random: _parquet(_table(x=[_deep(60)] * 3, lon=None)),
            "a column of 60 levels, and no lon",
        ),
    }


def _parquet_file(make: Callable[[Random], bytes], why: str, random: Random, place: Place) -> Wrong:
    file = place.write("points.parquet", make(random))
    return Wrong(planning(random, points_job(place, file)), f"the Parquet has {why}")


def _garbage(random: Random) -> bytes:
    data = bytearray(_parquet(_table()))
    length = struct.unpack("<I", data[-8:-4])[0]
    for at in range(len(data) - 8 - length, len(data) - 8):  # the whole footer, so that nothing of it is left
        data[at] = random.randrange(256)
    return bytes(data)


def _footer_length(random: Random) -> bytes:
    data = _parquet(_table())
    length = random.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, len(data), len(data) * 2))
    return data[:-8] + struct.pack("<I", length) + b"PAR1"


def _lies(random: Random) -> bytes:
    """Cut a page short and leave the footer as it was."""
    data = _parquet(_table(x=list(np.arange(3))), compression="zstd")
    at = random.randrange(4, 40)
    return data[:4] + bytes(random.randrange(256) for _ in range(at)) + data[4 + at + random.choice((1, 7)) :]


@cache
def _bomb() -> bytes:
    sink = io.BytesIO()
    rows = 4_000_000
    table = pa.table({"lon": np.full(rows, -106.9), "lat": np.full(rows, 40.28)})
    with pq.ParquetWriter(sink, table.schema, compression="zstd") as writer:
        for _ in range(10):
            writer.write_table(table, row_group_size=rows)
    return sink.getvalue()


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value
