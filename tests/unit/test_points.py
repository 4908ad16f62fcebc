"""Files of points and areas: every line end and length of a field is read; what is wrong is told by row and value."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ee_spark.errors import JobError
from ee_spark.planner.point_file import read_points
from ee_spark.planner.polygon import polygons_of
from ee_spark.planner.sample import draw
from ee_spark.where import Sample


def read(folder: Path, data: str | bytes, name: str = "p.csv"):  # type: ignore[no-untyped-def]
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_points(str(folder / name))


def refusal(call: Callable[..., object], *given: object) -> str:
    with pytest.raises(JobError) as caught:
        call(*given)
    return str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_read_alike(end: str, tmp_path: Path) -> None:
    points = read(tmp_path, f"id,lon,lat,note{end}a,1.5,2,x{end}{end}b,3,-4,y z{end}")
    assert points.ids == ("a", "b")
    assert points.lon.tolist() == [1.5, 3.0]
    assert points.columns.to_pydict() == {"note": ["x", "y z"]}


def test_a_field_may_be_of_any_length(tmp_path: Path) -> None:
    text = "ab" * 500_000
    points = read(tmp_path, f'id,lon,lat,note\na,1,2,"{text},"\nb,3,4,\n')
    assert points.columns["note"].to_pylist() == [f"{text},", None]


def test_quoted_fields_hold_commas_quotes_and_lines(tmp_path: Path) -> None:
    points = read(tmp_path, b'\xef\xbb\xbf"id",lon,lat,"a,b"\r\n"x ""1""",1,2,"two\r\nlines"\r\n')
    assert points.ids == ('x "1"',)
    assert points.columns.to_pydict() == {"a,b": ["two\r\nlines"]}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("lon,lat\n1,2\n".encode("utf-16"), "it is in UTF-16; save it as UTF-8"),
        ("lon,lat\n1,2\n".encode("utf-16-le"), "it has a NUL at byte 1"),
        (
            b"lon,lat\n1,2\n\xff,3\n",
            "line 3 has the byte 0xFF at 12, which is not UTF-8 ('ÿ' in Latin-1); save it as UTF-8",
        ),
        (b"lon,lat,n\n1,2,a\0\n", "it has a NUL at byte 15"),
        (b'lon,lat\n"1,2\n3,4\n', "row 2 has 1 fields, the header 2; is a quote never closed?"),
        (b"," * 20_000 + b"\n", "it has more than 10,000 columns"),
        (b"lon,lat\n" + b"7" * 5000 + b",2\n", "point 1 has lon inf; write degrees"),
        (b"lon,lat\n1,2\n" + b"x" * 5000 + b",2\n", "point 2 has lon 'xxxx"),
        (b"\r\r\r", "it is empty"),
    ],
)
def test_what_is_no_csv_is_told_in_a_line(data: bytes, said: str, tmp_path: Path) -> None:
    message = refusal(read, tmp_path, data)
    assert said in message
    assert len(message) < 300 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ([{"type": "Point"}], "feature 1: is not a Point with [longitude, latitude] (no 'geometry')"),
        ([{"geometry": {"type": "Point", "coordinates": [1, True]}}], "feature 1: is not a Point with [longitude"),
        ([{"geometry": {"type": "Point", "coordinates": ["1", 2]}}], "'1' is not a number"),
        ([{"geometry": {"type": "Point", "coordinates": [float("nan"), 2]}}], "point 1 has lon nan"),
        ([{"geometry": {"type": "Point", "coordinates": [10**300, 2]}}], "point 1 has lon 1e+300"),
        ([{"geometry": None}], "feature 1: is not a Point"),
        ({"a": 1}, "its features are {'a': 1}; write a FeatureCollection of Points"),
    ],
)
def test_of_features_number_and_value_are_told(features: object, said: str, tmp_path: Path) -> None:
    assert said in refusal(read, tmp_path, json.dumps({"features": features}), "p.geojson")


def test_json_that_is_too_deep_is_told_in_a_line(tmp_path: Path) -> None:
    for name in ("p.geojson", "area.geojson"):
        deep = '{"type": "GeometryCollection", "geometries": [' * 3_000 + "1" + "]}" * 3_000
        call = read if name[0] == "p" else lambda folder, data, label: polygons_of(data.encode(), label)
        assert "recursion" in refusal(call, tmp_path, deep, name)


@pytest.mark.parametrize("position", [["1", "2"], [1, None], [10**400, 0], [[1, 2], [3, 4]], [1]])
def test_positions_that_are_no_numbers_are_refused(position: object) -> None:
    ring = [[0, 0], position, [1, 1], [0, 0]]
    collection = {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": None}]}
    collection["features"].append({"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}})  # type: ignore[attr-defined]
    assert "area.geojson: feature 2: not GeoJSON" in refusal(
        polygons_of, json.dumps(collection).encode(), "area.geojson"
    )


def parquet(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def test_of_a_parquet_places_are_read_before_the_rest(tmp_path: Path) -> None:
    rows = 30_000_000
    sink = io.BytesIO()
    part = pa.table({"lon": np.zeros(rows // 10), "lat": np.zeros(rows // 10)})
    with pq.ParquetWriter(sink, part.schema, compression="zstd") as writer:
        for _ in range(10):
            writer.write_table(part)
    assert len(sink.getvalue()) < 400_000
    assert "has 30,000,000 points, and one job takes 20,000,000" in refusal(
        read, tmp_path, sink.getvalue(), "p.parquet"
    )
    table = pa.table({"lon": [1.0, 200.0], "lat": [1.0, 2.0], "n": ["a", "b"]})
    damaged = bytearray(parquet(table, compression="none"))
    damaged[damaged.index(b"a\x01\0\0\0b")] = 0xFF
    assert "point 2 has lon 200; write degrees" in refusal(read, tmp_path, bytes(damaged), "p.parquet")


@pytest.mark.parametrize("kind", [pa.string(), pa.bool_(), pa.list_(pa.float64()), pa.timestamp("us"), pa.null()])
def test_columns_of_other_types_are_no_degrees(kind: pa.DataType, tmp_path: Path) -> None:
    value = {"string": "north", "bool": True, "null": None}.get(str(kind), [1.0] if pa.types.is_list(kind) else 1)
    table = pa.table({"lon": [1.0], "lat": pa.array([value], kind)})
    assert "p.parquet: point 1 has lat " in refusal(read, tmp_path, parquet(table), "p.parquet")


def test_a_sample_that_cannot_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thin.geojson").write_text('{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, 2], [0, 0]]]}')
    (tmp_path / "line.geojson").write_text('{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [2, 0], [0, 0]]]}')
    for count in (4, 300_000):
        sample = Sample(count=count, within={"geojson": str(tmp_path / "thin.geojson")})  # type: ignore[arg-type]
        assert "fill almost nothing of their boxes" in refusal(draw, sample)
    assert "have no area" in refusal(draw, Sample(count=4, within={"geojson": str(tmp_path / "line.geojson")}))  # type: ignore[arg-type]
