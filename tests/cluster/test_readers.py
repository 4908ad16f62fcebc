"""Whoever opens the tables sees right types and values: Spark, DuckDB, pandas, GeoPandas, Polars, PyArrow, datasets.

Three datasets: a small one, one of empty tiles only (its parts have no row), and one before its first tile.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import geopandas
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest
from store_data import DAY, FINGERPRINT, block, layout, part, row

from ee_spark.objects import FileStore
from ee_spark.store import manifest
from ee_spark.store.log import ChunkLog
from ee_spark.store.part import failed_table
from ee_spark.store.schema import JOB

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
LAYOUT = layout([(f"b_{dtype}", dtype) for dtype in DTYPES], side=4)
STATUS = {"full": ("ok", "ok", "empty", "failed"), "empty": ("empty", "empty"), "before": ()}


def dataset(folder: Path, statuses: tuple[str, ...]) -> Path:
    """Write the tables as a run does: schema parts, one part, its chunk's tiles."""
    store = FileStore(folder)
    store.create(JOB, json.dumps({"fingerprint": FINGERPRINT}).encode())
    manifest.open_tables(store, LAYOUT)
    if statuses:
        rows = [row(LAYOUT, n, how, error_message="no" if how == "failed" else None) for n, how in enumerate(statuses)]
        log = ChunkLog(store, LAYOUT, "0a1b2c3d_r0c0_t0")
        log.publish([item for item in rows if item.status != "failed"], lambda left: part(LAYOUT, left))
        log.fold(failed_table([item for item in rows if item.status == "failed"], LAYOUT, "run"))
    store.create("_SUCCESS", b"{}")
    return folder


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: dataset(tmp_path_factory.mktemp(kind), statuses) for kind, statuses in STATUS.items()}


Rows = list[dict[str, Any]]


def by_pandas(path: Path) -> Rows:
    return list(pd.read_parquet(path).to_dict("records"))


def by_geopandas(path: Path) -> Rows:
    frame = geopandas.read_parquet(path)
    assert frame.crs == "OGC:CRS84"
    return list(frame.to_dict("records"))


def by_duckdb(path: Path) -> Rows:
    with duckdb.connect() as connection:
        found = connection.sql(f"SELECT * EXCLUDE geometry FROM read_parquet('{path}/*.parquet')")
        return list(found.to_arrow_table().to_pylist())


def by_polars(path: Path) -> Rows:
    return list(pl.read_parquet(path / "*.parquet").to_dicts())


def by_pyarrow(path: Path) -> Rows:
    return list(ds.dataset(path).to_table().to_pylist())


def hugging_face(path: Path) -> Any:
    from datasets import load_dataset  # here, as it takes seconds and only two tests need it

    return load_dataset("parquet", data_files=f"{path}/*.parquet", split="train", streaming=True)


def by_hugging_face(path: Path) -> Rows:
    return list(hugging_face(path))


READERS = (by_pandas, by_geopandas, by_duckdb, by_polars, by_pyarrow, by_hugging_face)


@pytest.mark.parametrize("kind", STATUS)
@pytest.mark.parametrize("read", READERS)
def test_readers_see_pixels_and_tiles(read: Callable[[Path], Rows], kind: str, paths: dict[str, Path]) -> None:
    check_pixels(read(paths[kind] / "pixels"), STATUS[kind])
    check_tiles(read(paths[kind] / "tiles"), STATUS[kind])


@pytest.mark.parametrize("kind", STATUS)
def test_spark_sees_pixels_and_tiles(spark: SparkSession, kind: str, paths: dict[str, Path]) -> None:
    pixels = spark.read.parquet(str(paths[kind] / "pixels"))
    widths = {"uint8": "smallint", "int8": "tinyint", "uint16": "int", "uint32": "bigint", "float32": "float"}
    widths |= {"int16": "smallint", "int32": "int", "float64": "double"}
    types = dict(pixels.dtypes)
    for dtype in DTYPES:
        assert types[f"b_{dtype}"] == f"array<{widths[dtype]}>"
    assert types["image_time"] == "timestamp"
    assert types["geometry"] == "binary"
    assert types["bbox"] == "struct<xmin:double,ymin:double,xmax:double,ymax:double>"
    check_pixels([found.asDict() for found in pixels.collect()], STATUS[kind])
    check_tiles([found.asDict() for found in spark.read.parquet(str(paths[kind] / "tiles")).collect()], STATUS[kind])


def check_pixels(found: Rows, statuses: tuple[str, ...]) -> None:
    wanted = [n for n, how in enumerate(statuses) if how == "ok"]
    assert sorted(item["tile_id"] for item in found) == sorted(row(LAYOUT, n).key[0] for n in wanted)
    for item in found:
        number = next(n for n in wanted if row(LAYOUT, n).key[0] == item["tile_id"])
        for name, plane in block(LAYOUT, number).items():
            assert np.array_equal(np.asarray(item[name], plane.dtype).reshape(4, 4), plane), name
        assert pd.Timestamp(item["image_time"]).timestamp() == 19_000 * DAY / 1e6
        assert list(item["transform"])[0::4] == [30.0, -30.0]


def check_tiles(found: Rows, statuses: tuple[str, ...]) -> None:
    wanted = {row(LAYOUT, n, how).key[0]: how for n, how in enumerate(statuses)}
    assert {item["tile_id"]: item["status"] for item in found} == wanted
    assert len(found) == len(wanted)
    for item in found:
        has_pixels = item["status"] == "ok"
        assert (item["part"] is not None and not pd.isna(item["part"])) == has_pixels
        assert pd.isna(item["b_uint16_mean"]) != has_pixels
        number = next(n for n in range(len(statuses)) if row(LAYOUT, n).key[0] == item["tile_id"])
        if has_pixels:
            planes = block(LAYOUT, number)
            assert item["valid_count"] == planes["valid"].sum()
            assert item["b_int16_max"] == planes["b_int16"][planes["valid"] > 0].max()


def test_hugging_face_sees_the_bands_own_types(paths: dict[str, Path]) -> None:
    features = hugging_face(paths["full"] / "pixels").features
    assert {name: features[f"b_{name}"].feature.dtype for name in DTYPES} == {name: name for name in DTYPES}
    assert features["image_time"].dtype == "timestamp[us, tz=UTC]"
    assert features["geometry"].dtype == "binary"


def test_duckdb_sees_unsigned_types_and_a_geometry(paths: dict[str, Path]) -> None:
    with duckdb.connect() as connection:
        found = connection.sql(f"SELECT * FROM read_parquet('{paths['before']}/pixels/*.parquet')")
        types = dict(zip(found.columns, map(str, found.types), strict=True))
    assert types["b_uint16"] == "USMALLINT[]"
    assert types["b_float32"] == "FLOAT[]"
    assert types["geometry"].startswith(("GEOMETRY", "BLOB"))
