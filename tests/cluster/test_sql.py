"""Pixels in Spark and DuckDB against the scene's own: the functions, and every SQL example of the README."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from object_servers import BUCKET, gcs_server, s3_server, settings_for
from places import REPO
from rasterio.warp import transform as warp
from read_data import SCENE, Image, holes, landsat, texture, write_dataset

import ee_spark
from ee_spark.errors import ReadError
from ee_spark.extract import Options
from ee_spark.objects import Settings, open_store
from ee_spark.read import sql
from ee_spark.read.origin import validity_of_files

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


SUMMER = {name: planes for name, planes in YEAR.items() if "20100501" <= name[-8:] < "20100901"}
FILLED = {"source.start": "2010-05-01", "source.end": "2010-09-01", "pixels.mask": "fill", "pixels.fill": "-9999"}


@pytest.fixture(scope="module")
def filled(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart of one summer, where -9999 stands for masked pixels. Its folder has a space, as users' have."""
    path = tmp_path_factory.mktemp("filled") / "a dataset"
    settings = [f"output.path={path}", "earth_engine.emulator.latency_ms=0", *(f"{k}={v}" for k, v in FILLED.items())]
    config = ee_spark.load(str(REPO / "conf" / "quickstart.yaml"), settings)
    assert ee_spark.run(config, spark, Options(progress="none"))["status"] == "complete"
    return path


def check_summer(found: DataFrame) -> None:
    """Compare pixels with the scenes: 22,104 are valid, and their mean is 0.7257."""
    [(count, mean)] = found.selectExpr("count(*)", "avg(NDVI)").collect()
    valid = np.concatenate([ndvi[good] for ndvi, good in SUMMER.values()]).astype(float)
    assert count == len(valid) == 22_104
    assert mean == pytest.approx(valid.mean(), rel=1e-9)
    assert round(mean, 4) == 0.7257


def test_a_fill_value_is_no_pixel(filled: Path, spark: SparkSession) -> None:
    frame = spark.read.parquet(str(filled / "pixels"))
    check_summer(ee_spark.pixels(frame))
    check_summer(ee_spark.pixels(frame, fill=-9999))
    check_summer(ee_spark.pixels(frame, fill={"NDVI": -9999.0}))
    everything = ee_spark.pixels(frame, valid_only=False)
    assert everything.count() == frame.count() * 256
    check_summer(everything.where("NDVI IS NOT NULL"))
    assert ee_spark.pixels(frame, fill={}).selectExpr("min(NDVI)").first()[0] == -9999, "no masks, if so told"


def without(path: Path, *keys: str) -> Path:
    """Take keys out of the footers of all parts, as versions before them wrote parts."""
    for part in (path / "pixels").iterdir():
        table = pq.read_table(part)
        own = json.loads(table.schema.metadata[b"ee_spark"])
        kept = {key: value for key, value in own.items() if key not in keys}
        pq.write_table(table.replace_schema_metadata({"ee_spark": json.dumps(kept)}), part)
    return path


def test_parts_of_earlier_versions_are_told_by_job_json(filled: Path, spark: SparkSession, tmp_path: Path) -> None:
    old = without(Path(shutil.copytree(filled, tmp_path / "old")), "fill", "mask")
    frame = spark.read.parquet(str(old / "pixels"))
    check_summer(ee_spark.pixels(frame))
    assert sql.fill_of(frame) == {"NDVI": -9999}
    shutil.copytree(old / "pixels", tmp_path / "alone" / "pixels")
    alone = spark.read.parquet(str(tmp_path / "alone" / "pixels"))
    with pytest.raises(ReadError, match="files of it do not say it: pass fill=VALUE"):
        ee_spark.pixels(alone)
    check_summer(ee_spark.pixels(alone, fill=-9999))


def test_footers_tell_where_there_is_no_job_json(
    filled: Path, patches: Path, spark: SparkSession, tmp_path: Path
) -> None:
    for root, count in ((filled, 22_104), (patches, 64 * 64 * 64)):
        shutil.copytree(root / "pixels", tmp_path / root.name / "pixels")
        assert ee_spark.pixels(spark.read.parquet(str(tmp_path / root.name / "pixels"))).count() == count


def test_without_a_mask_all_pixels_count(patches: Path, spark: SparkSession, tmp_path: Path) -> None:
    old = without(Path(shutil.copytree(patches, tmp_path / "old")), "mask")
    assert ee_spark.pixels(spark.read.parquet(str(old / "pixels"))).count() == 64 * 64 * 64


def test_it_refuses_where_nobody_knows(filled: Path, patches: Path, rows: DataFrame, spark: SparkSession) -> None:
    frame = spark.read.parquet(str(filled / "pixels"))
    both = frame.withColumnRenamed("NDVI", "B02")
    memory = spark.createDataFrame(frame.limit(2).collect(), frame.schema)
    one = rows.where(f"image_id = '{min(YEAR)}'")
    for given, fill, text in (
        (memory, None, "it was read from no file: pass fill=VALUE"),
        (one.drop("valid"), None, "no column 'valid', which says where it is valid; keep it, or pass fill="),
        (both, None, "no fill value of the band 'B02'"),
        (both, {"NDVI": -9999}, "no value for the band 'B02'"),
        (one, -9999, "says by valid what is valid; leave out fill"),
        (frame.unionByName(spark.read.parquet(str(patches / "pixels")), True), None, "several jobs that mask"),
    ):
        with pytest.raises(ReadError, match=text) as raised:
            ee_spark.pixels(given, fill=fill)
        assert "\n" not in str(raised.value)
    assert ee_spark.pixels(memory, fill=-9999).where("NDVI = -9999").count() == 0


def test_fill_values_are_found_in_object_storage(filled: Path) -> None:
    """By footers, with the names that Spark gives files on gs:// and s3://."""
    for scheme, named, server in (("gs", "gs", gcs_server), ("s3", "s3a", s3_server)):
        with server() as endpoint:
            settings = settings_for(scheme, endpoint)
            store = open_store(f"{scheme}://{BUCKET}/some/set", settings)
            [part, *_] = [path for path in sorted((filled / "pixels").iterdir()) if "schema" not in path.name]
            store.create(f"pixels/{part.name}", part.read_bytes())
            files = [f"{named}://{BUCKET}/some/set/pixels/{part.name}"]
            found = validity_of_files(files, settings)
            assert found is not None
            assert (found.mask, found.fill) == ("fill", {"NDVI": -9999})
            bare = "part-00000000-0a1b2c3d_r0c0_t0-0.parquet"
            pq.write_table(pq.read_table(part).replace_schema_metadata(), filled / bare)
            store.create(f"pixels/{bare}", (filled / bare).read_bytes())
            files = [f"{named}://{BUCKET}/some/set/pixels/{bare}"]
            assert validity_of_files(files, settings) is None, "no footer says it, and there is no job.json"
    with pytest.raises(ReadError, match=r"cannot read in .*ftp:// is not a known kind of store.*; pass fill=VALUE"):
        validity_of_files([f"ftp://b/x/pixels/{part.name}"], Settings())


def test_blocks_honour_a_fill_value(filled: Path, spark: SparkSession) -> None:
    frame = spark.read.parquet(str(filled / "pixels"))
    fill = sql.fill_of(frame)

    def clear(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for block in sql.blocks(batches, fill):
            valid = block.valid("NDVI")
            assert valid is not None
            yield pa.RecordBatch.from_pydict({"clear": [int(valid.sum())]})

    found = frame.mapInArrow(clear, "clear long").groupBy().sum("clear").first()
    assert found is not None
    assert found[0] == 22_104
    part = next(path for path in sorted((filled / "pixels").iterdir()) if "schema" not in path.name)
    table = pq.read_table(part)
    [first, *_] = sql.blocks(table.to_batches())
    np.testing.assert_array_equal(first.valid("NDVI"), first["NDVI"] != -9999, "by the footer that Arrow kept")
    [bare, *_] = sql.blocks(table.replace_schema_metadata().to_batches())
    assert bare["NDVI"].shape == (16, 16)
    with pytest.raises(ReadError, match="do not say what stands for masked pixels; pass fill="):
        bare.masked("NDVI")


def test_the_recipe_for_a_fill_value_in_duckdb(filled: Path) -> None:
    import duckdb

    [recipe] = re.findall(r"^```sql\n(.*?)^```", (REPO / "docs" / "tables.md").read_text(), re.M | re.S)
    with duckdb.connect() as connection:
        [(count, mean)] = connection.sql(recipe.replace("out/filled", str(filled))).fetchall()
    valid = np.concatenate([ndvi[good] for ndvi, good in SUMMER.values()]).astype(float)
    assert (count, mean) == (22_104, pytest.approx(valid.mean(), rel=1e-9))


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
