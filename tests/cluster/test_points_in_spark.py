"""Columns that points carry, of every type that is taken, as Spark reads them in both tables."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
from emulator_client import asset, connect, write_catalog, write_raster

import ee_emulator
import ee_spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MOMENT = dt.datetime(2020, 6, 1, 12, 30, 0, 123456)
COLUMNS: dict[str, tuple[pa.DataType, Any, Any]] = {
    "ns": (pa.timestamp("ns"), MOMENT, MOMENT),
    "zoned": (pa.timestamp("ns", "UTC"), MOMENT, MOMENT.replace(tzinfo=dt.UTC)),
    "large": (pa.large_string(), "x", "x"),
    "unsigned": (pa.uint64(), 2**63 - 1, 2**63 - 1),
    "small": (pa.uint8(), 255, 255),
    "half": (pa.float16(), np.float16(1.5), 1.5),
    "clock": (pa.time64("us"), dt.time(1, 2, 3), "01:02:03.000000"),
    "day": (pa.date64(), dt.date(2020, 1, 1), dt.date(2020, 1, 1)),
    "price": (pa.decimal128(10, 2), Decimal("1.50"), Decimal("1.50")),
    "nothing": (pa.null(), None, None),
    "parts": (pa.large_list(pa.float32()), [1.5, None], [1.5, None]),
    "deep": (pa.list_(pa.list_(pa.int64())), [[1], []], [[1], []]),
    "pair": (pa.struct([("a", pa.int64()), ("b", pa.large_string())]), {"a": 1, "b": "x"}, {"a": 1, "b": "x"}),
    "bytes": (pa.binary(2), b"ab", b"ab"),
}


def plain(value: Any) -> Any:
    """Return what Spark gives as what was written."""
    if hasattr(value, "asDict"):
        return value.asDict()
    return bytes(value) if isinstance(value, bytearray) else value


def test_carried_columns_of_every_type(spark: SparkSession, tmp_path: Path) -> None:
    values = np.ones((64, 64), np.uint16)
    values[:32] = 0
    write_raster(tmp_path / "a.tif", values, [10, 0, 500_000, 0, -10, 5_000_000], "EPSG:32633", 0)
    columns = {name: pa.array([value, value], kind) for name, (kind, value, _) in COLUMNS.items()}
    table = pa.table({"lon": [15.0015, 15.0045], "lat": [45.1525, 45.1475], "id": ["empty", "full"], **columns})
    pq.write_table(table, tmp_path / "p.parquet")
    with ee_emulator.start(catalog=str(write_catalog(tmp_path, [asset("OWN/A", {"v": "a.tif"})]))) as service:
        connect(service.url)
        job = {
            "name": "carried-columns",
            "earth_engine": {"endpoint": service.url},
            "source": {"asset": "OWN/A"},
            "region": {"points": str(tmp_path / "p.parquet")},
            "grid": {"crs": "EPSG:32633", "scale": 10, "tile": 8},
            "output": {"path": str(tmp_path / "out")},
        }
        report = ee_spark.run(job, spark)
        assert (report["ok"], report["empty"]) == (1, 1)
    right = {name: value for name, (_, _, value) in COLUMNS.items()}
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    for name, rows in (("pixels", 1), ("tiles", 2)):
        path = f"{tmp_path}/out/{name}"
        found = spark.read.parquet(path).select(*COLUMNS).collect()
        assert len(found) == rows
        for row in found:
            got = {key: plain(row[key]) for key in COLUMNS if key != "zoned"}
            assert got == {key: value for key, value in right.items() if key != "zoned"}
            assert row["zoned"].timestamp() == right["zoned"].timestamp()
        names = ", ".join(COLUMNS)
        cursor = duckdb.sql(f"SET TimeZone='UTC'; SELECT {names} FROM read_parquet('{path}/*.parquet')").fetchall()
        assert [dict(zip(COLUMNS, row, strict=True)) for row in cursor] == [right] * rows
        assert polars.read_parquet(f"{path}/*.parquet", columns=list(COLUMNS)).to_dicts() == [right] * rows
        assert pq.read_table(path, columns=list(COLUMNS)).to_pylist() == [right] * rows
