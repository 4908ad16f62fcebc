"""Pixels in Spark and DuckDB against the scene's own: the functions, and every SQL example of the README."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from places import REPO
from rasterio.warp import transform as warp
from read_data import SCENE, Image, holes, landsat, texture, write_dataset

import ee_spark
from ee_spark.errors import ReadError
from ee_spark.read import sql

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

YEAR = {name: planes for name, planes in landsat().items() if name[-8:-4] == "2010"}
X, Y = 337000.0, 4461500.0
"""The coordinate of the README's examples."""
LABELS = [("a", 336500.0, 4462000.0), ("b", 337450.0, 4461111.0), ("outside", 330000.0, 4462000.0)]


@pytest.fixture(scope="module")
def rows(series: Path, spark: SparkSession) -> DataFrame:
    return spark.read.parquet(str(series / "pixels"))


def at(x: float, y: float) -> tuple[int, int]:
    """Row and column of the scene's pixel that holds a coordinate."""
    return int((SCENE[1] - y) // 30), int((x - SCENE[0]) // 30)


def day(name: str) -> dt.date:
    return dt.datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=dt.UTC).date()


def test_every_valid_pixel_once(rows: DataFrame) -> None:
    found = ee_spark.pixels(rows).toPandas()
    assert len(found) == sum(int(valid.sum()) for _, valid in YEAR.values())
    assert found.valid.all()
    lon, lat = warp("EPSG:32613", "OGC:CRS84", found.x.to_list(), found.y.to_list())
    np.testing.assert_allclose(found.lon, lon, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.lat, lat, rtol=0, atol=1e-12)
    for name, (ndvi, valid) in YEAR.items():
        mine = found[found.image_id == name]
        row, column = ((SCENE[1] - mine.y) // 30).astype(int), ((mine.x - SCENE[0]) // 30).astype(int)
        mosaic = np.zeros((61, 61), np.float32)
        mosaic[row, column] = mine.NDVI
        np.testing.assert_array_equal(mosaic, np.where(valid, ndvi, 0))


def test_masked_pixels_too_when_asked(rows: DataFrame) -> None:
    one = rows.where(f"image_id = '{min(YEAR)}'")
    blocks = one.count()
    everything = ee_spark.pixels(one, valid_only=False)
    assert everything.count() == blocks * 256
    assert everything.where("not valid").selectExpr("max(abs(NDVI))").first()[0] == 0


def test_patches_carry_their_point(patches: Path, spark: SparkSession) -> None:
    frame = spark.read.parquet(str(patches / "pixels")).where("point_lon > 12.6")
    found = ee_spark.pixels(frame, bands=["B04"])
    assert found.columns[10:] == ["point_id", "point_lon", "point_lat", "B04"]
    truth = {block.tile_id: block for block in ee_spark.open_dataset(patches).select(bands="B04")}
    picked = found.where("row = 10 and col = 20").collect()
    assert len(picked) == frame.count() > 0
    for row in picked:
        block = truth[row.tile_id]
        assert block["B04"][10, 20] == row.B04
        assert row.x == block.transform[2] + 20.5 * 10
        assert row.point_lon == block.keys["point_lon"]


def test_margins_are_left_out(tmp_path: Path, spark: SparkSession) -> None:
    plane, good = texture((16, 24), "int16", 4), holes((16, 24), 4)
    image = Image("i", dt.datetime(2021, 5, 3, tzinfo=dt.UTC), {"a": plane * good}, {"valid": good})
    write_dataset(tmp_path, [image], tile=(12, 8), margin=3)
    found = ee_spark.pixels(spark.read.parquet(str(tmp_path / "pixels"))).toPandas()
    assert len(found) == good.sum(), "each pixel of the ground once, though margins overlap"
    left, top = 40 * 12 * 10, -420 * 8 * 10
    mosaic = np.zeros_like(plane)
    mosaic[((top - found.y) // 10).astype(int), ((found.x - left) // 10).astype(int)] = found.a
    np.testing.assert_array_equal(mosaic, plane * good)


def test_blocks_in_a_function_of_ones_own(rows: DataFrame) -> None:
    def clear(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for block in sql.blocks(batches):
            valid = block.valid("NDVI")
            assert valid is not None
            yield pa.RecordBatch.from_pydict({"tile_id": [block.tile_id], "clear": [int(valid.sum())]})

    found = rows.mapInArrow(clear, "tile_id string, clear long").groupBy().sum("clear").first()
    assert found is not None
    assert found[0] == sum(int(valid.sum()) for _, valid in YEAR.values())
    assert sql.batch_rows(512 * 512 * 10 * 2) == 6


def test_wrong_frames_are_one_line(rows: DataFrame, series: Path, spark: SparkSession) -> None:
    with pytest.raises(ReadError, match="no column 'transform'; hand on rows of the table pixels"):
        ee_spark.pixels(rows.drop("transform"))
    with pytest.raises(ReadError, match="no band 'B4'; the bands are NDVI"):
        ee_spark.pixels(rows, bands=["B4"])


def readme_blocks(kind: str, series: Path) -> list[str]:
    text = (REPO / "README.md").read_text().replace("out/quickstart/", f"{series}/")
    section = text.partition("\n## SQL\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{kind}\n(.*?)^```", section, re.M | re.S)


def truth_by_tile_and_month(series: Path) -> dict[tuple[str, int], tuple[float, int]]:
    """Mean and count of valid NDVI by tile and month, from the scene cut by the tiles' transforms."""
    sums: dict[tuple[str, int], list[float]] = {}
    tiles = ee_spark.open_dataset(series).tiles(["tile_id", "transform"]).to_pylist()
    for tile, transform in {row["tile_id"]: row["transform"] for row in tiles}.items():
        top, left = round((SCENE[1] - transform[5]) / 30), round((transform[2] - SCENE[0]) / 30)
        part = (slice(max(0, top), max(0, top + 16)), slice(max(0, left), max(0, left + 16)))
        for name, (ndvi, valid) in YEAR.items():
            entry = sums.setdefault((tile, day(name).month), [0.0, 0])
            entry[0] += float(ndvi[part][valid[part]].astype(float).sum())
            entry[1] += int(valid[part].sum())
    return {key: (total / count, int(count)) for key, (total, count) in sums.items() if count}


def check_examples(monthly: list[Any], value: list[Any], joined: list[Any], series: Path) -> None:
    """Compare what the three examples of an engine found with the rasters."""
    truth = truth_by_tile_and_month(series)
    assert {
        (tile, month.month): (pytest.approx(mean, rel=1e-6), count) for tile, month, mean, count in monthly
    } == truth
    row, column = at(X, Y)
    series_at = [(day(name), float(ndvi[row, column])) for name, (ndvi, valid) in YEAR.items() if valid[row, column]]
    assert len(series_at) > 3
    assert [(time.date(), ndvi) for time, ndvi in value] == sorted(series_at)
    expected = []
    for label, x, y in LABELS[:2]:
        row, column = at(x, y)
        expected += [
            (label, day(name), float(ndvi[row, column])) for name, (ndvi, valid) in YEAR.items() if valid[row, column]
        ]
    assert sorted((label, time.date(), ndvi) for label, time, ndvi in joined) == sorted(expected)


def test_readme_examples_in_duckdb(series: Path) -> None:
    import duckdb

    examples = [block for block in readme_blocks("sql", series) if "read_parquet" in block]
    assert len(examples) == 3
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE labels (label VARCHAR, x DOUBLE, y DOUBLE)")
        connection.executemany("INSERT INTO labels VALUES (?, ?, ?)", LABELS)
        check_examples(*(connection.sql(block).fetchall() for block in examples), series)  # type: ignore[call-arg]


def test_readme_examples_in_spark(series: Path, spark: SparkSession) -> None:
    examples = [block for block in readme_blocks("sql", series) if "read_parquet" not in block]
    assert len(examples) == 3
    [python] = [block for block in readme_blocks("python", series) if "ee_spark.pixels" in block]
    spark.createDataFrame(LABELS, "label string, x double, y double").createOrReplaceTempView("labels")
    zone = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    try:
        exec(python, {"spark": spark})
        found = [[tuple(row) for row in spark.sql(block.rstrip().rstrip(";")).collect()] for block in examples]
    finally:
        spark.conf.set("spark.sql.session.timeZone", str(zone))
    check_examples(*found, series)  # type: ignore[call-arg]
