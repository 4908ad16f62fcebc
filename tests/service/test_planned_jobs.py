"""End to end: what the planner decides, as it stands in the tables. The truth is read off the rasters by the test."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely
from emulator_client import asset, write_catalog, write_raster
from job_files import job, scene
from object_servers import BUCKET, gcs_server
from places import DATA, REPO
from read_data import SCENE, landsat

import ee_emulator as emulator
from ee_spark.config import load
from ee_spark.errors import JobError
from ee_spark.extract import Options, run
from ee_spark.objects import Settings, open_store

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

QUIET = Options(progress="none")


def block(row: dict[str, Any], column: str) -> np.ndarray[Any, Any]:
    """Return a row's plane as (height, width)."""
    return np.array(row[column]).reshape(row["height"], row["width"])


def centres(row: dict[str, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return x and y of a row's pixel centres, each (height, width)."""
    scale_x, _, x, _, scale_y, y = row["transform"]
    across, down = np.arange(row["width"]) + 0.5, np.arange(row["height"])[:, None] + 0.5
    return x + scale_x * across + 0 * down, y + scale_y * down + 0 * across


# Composites by period


def test_quarterly_composites_hold_the_highest_clear_ndvi(spark: SparkSession, tmp_path: Path) -> None:
    settings = [f"output.path={tmp_path}/out", "earth_engine.emulator.latency_ms=0", "source.end=2011-01-01"]
    report = run(load(str(REPO / "conf/quickstart_composites.yaml"), settings), spark, QUIET)
    assert (report["status"], report["planned"]) == ("complete", 8 * 8)
    starts = {
        entry["id"]: entry.get("startTime", "")[:10]
        for entry in json.loads((DATA / "catalog.json").read_text())["assets"]
    }
    area = shapely.geometry.shape(json.loads((REPO / "conf/valley.geojson").read_text()))
    to_lonlat = pyproj.Transformer.from_crs("EPSG:32613", "EPSG:4326", always_xy=True)
    rows = pq.read_table(tmp_path / "out/pixels").to_pylist()
    assert len(rows) == report["ok"]
    held = 0
    for row in rows:
        first, end = row["image_id"].split("/")
        assert row["image_time"] == dt.datetime.fromisoformat(first).replace(tzinfo=dt.UTC)
        scenes = [pair for name, pair in landsat().items() if first <= starts[name] < end]
        x, y = centres(row)
        column, line = (x - SCENE[0]) / 30 - 0.5, (SCENE[1] - y) / 30 - 0.5
        assert (column == column.round()).all() and (line == line.round()).all(), "the asset's own pixels"  # noqa: PT018
        at = np.clip(line, 0, 60).astype(int), np.clip(column, 0, 60).astype(int)
        inside = (column >= 0) & (column <= 60) & (line >= 0) & (line <= 60)
        lon, lat = to_lonlat.transform(x, y)
        inside &= shapely.contains_xy(area, lon, lat)
        stack = np.array([np.where(valid[at] & inside, ndvi[at], -np.inf) for ndvi, valid in scenes])
        best = stack.max(0, initial=-np.inf)
        decided = shapely.distance(area.exterior, shapely.points(lon, lat)) > 1e-6
        np.testing.assert_allclose(block(row, "NDVI")[decided], np.where(np.isinf(best), -9, best)[decided], atol=1e-6)
        held += int(np.isfinite(best).sum())
    assert held > 8 * 1000


# Both sides of the antimeridian


def test_a_box_across_180_degrees_has_every_pixel_once(spark: SparkSession, tmp_path: Path) -> None:
    """Images end at ±180°, where a tile goes on: 100 pixels at either side, of which 60 and 45 lie in the box."""
    folder = tmp_path / "catalog"
    folder.mkdir()
    sides = {"EAST": 179.0, "WEST": -180.0}
    values = {side: np.random.default_rng(len(side)).integers(1, 999, (80, 100), np.uint16) for side in sides}
    values["WEST"] += 1000
    for side, west in sides.items():
        write_raster(folder / f"{side}.tif", values[side], [0.01, 0, west, 0, -0.01, 0.4], "EPSG:4326")
    assets = [asset(f"SIDES/{side}", {"v": f"{side}.tif"}, "2020-01-01T00:00:00Z") for side in sides]
    with emulator.start(write_catalog(folder, assets)) as service:
        keys = {
            "earth_engine": {"endpoint": service.url},
            "source": {"collection": "SIDES"},
            "region": {"bbox": [179.4001, -0.2999, -179.5501, 0.2999]},
            "grid": {"crs": "EPSG:4326", "resolution": 0.01, "tile": 32},
            "output": {"path": str(tmp_path / "out")},
        }
        report = run(job(keys), spark, QUIET)
    assert (report["status"], report["failed"]) == ("complete", 0)
    seen = {side: np.zeros((80, 100), int) for side in sides}
    for row in pq.read_table(tmp_path / "out/pixels").to_pylist():
        side = row["image_id"].rpartition("/")[2]
        x, y = centres(row)
        column, line = np.floor((x - sides[side]) / 0.01).astype(int), np.floor((0.4 - y) / 0.01).astype(int)
        inside = (column >= 0) & (column < 100) & (line >= 0) & (line < 80)
        assert np.array_equal(block(row, "valid"), inside)
        assert np.array_equal(block(row, "v")[inside], values[side][line[inside], column[inside]])
        assert not block(row, "v")[~inside].any()
        np.add.at(seen[side], (line[inside], column[inside]), 1)
    assert max(counts.max() for counts in seen.values()) == 1
    assert (seen["EAST"][10:70, 40:] == 1).all()
    assert (seen["WEST"][10:70, :45] == 1).all()


# Functions and points on object storage


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with gcs_server() as url:
        yield url


def test_functions_and_points_on_object_storage(spark: SparkSession, bucket: str, tmp_path: Path) -> None:
    store = open_store(f"gs://{BUCKET}/jobs", Settings(gs_endpoint=bucket, anonymous=True))
    store.create("maps.py", b"def doubled(image, by):\n    return image.multiply(by)\n")
    store.create("points.csv", b"lon,lat,crop\n-121.8598,37.9405,oats\n-121.8582,37.9396,rye\n")
    entry = scene(tmp_path, "ONE/A", [30, 0, 600000, 0, -30, 4200000], "EPSG:32610", size=(64, 64))
    with emulator.start(write_catalog(tmp_path, [entry])) as service:
        keys = {
            "earth_engine": {"endpoint": service.url},
            "source": {"collection": "ONE", "map": f"gs://{BUCKET}/jobs/maps.py:doubled", "args": {"by": 2}},
            "region": {"points": f"gs://{BUCKET}/jobs/points.csv"},
            "grid": {"crs": "native", "tile": 5},
            "output": {"path": f"gs://{BUCKET}/out"},
            "storage": {"gs_endpoint": bucket, "anonymous": True},
        }
        with pytest.raises(JobError, match="run with --allow-remote-code"):
            run(job(keys), spark, QUIET)
        assert [
            entry.name
            for entry in open_store(f"gs://{BUCKET}/out", Settings(gs_endpoint=bucket, anonymous=True)).list("")
        ] == []
        report = run(job(keys), spark, Options(progress="none", remote_code=True))
    assert (report["status"], report["ok"]) == ("complete", 2)
    out = open_store(f"gs://{BUCKET}/out", Settings(gs_endpoint=bucket, anonymous=True))
    names = [entry.name for entry in out.list("pixels/")]
    import io

    rows = [row for name in names for row in pq.read_table(io.BytesIO(out.read(name)[0])).to_pylist()]
    assert sorted(row["crop"] for row in rows) == ["oats", "rye"]
    to_utm = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32610", always_xy=True)
    for row in rows:
        px, py = to_utm.transform(row["point_lon"], row["point_lat"])
        column, line = int((px - 600000) // 30), int((4200000 - py) // 30)
        x, y = centres(row)
        assert (x[2, 2], y[2, 2]) == (600015 + 30 * column, 4199985 - 30 * line), "the point's pixel is in the middle"
        expected = 2 * ((line + np.arange(-2, 3))[:, None] * 100 + column + np.arange(-2, 3))
        assert np.array_equal(block(row, "B1"), expected)
