"""The two jobs of Earth Engine's own guide, as conf/ ships them, against catalogs with those ids, bands and grids.

Expected values come from the arrays that the test wrote, placed by formulas and pyproj.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from emulator_client import asset, write_catalog, write_raster
from places import REPO
from pyproj import Transformer

import ee_emulator as emulator
from ee_spark.config import load
from ee_spark.extract import Options, run

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BOX = (-123.05832753906247, 37.03109527141115, -121.14121328124997, 38.24468432993584)
RADIUS = 6371007.181
MODIS = 231.65635826395825
GLOBAL_LEFT, GLOBAL_TOP = -20015109.354, 10007554.677
SINUSOIDAL = f"+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R={RADIUS} +units=m +no_defs"
DEGREES = 8.98315284120e-05


def extract(name: str, url: str, out: Path, spark: SparkSession, *settings: str) -> dict[str, Any]:
    over = [f"earth_engine.endpoint={url}", f"output.path={out}", "earth_engine.requests_per_minute=60000", *settings]
    return run(load(str(REPO / "conf" / f"{name}.yaml"), over), spark, Options(progress="none"))


def sinusoidal(lon: float, lat: float) -> tuple[float, float]:
    return RADIUS * np.radians(lon) * np.cos(np.radians(lat)), RADIUS * np.radians(lat)


# MODIS NDVI on its own grid


@pytest.fixture(scope="module")
def modis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, np.ndarray[Any, Any], int, int]]:
    folder = tmp_path_factory.mktemp("modis")
    corners = [sinusoidal(lon, lat) for lon in BOX[::2] for lat in BOX[1::2]]
    column = int((min(x for x, _ in corners) - GLOBAL_LEFT) // MODIS) - 30
    row = int((GLOBAL_TOP - max(y for _, y in corners)) // MODIS) - 30
    width = int((max(x for x, _ in corners) - GLOBAL_LEFT) // MODIS) + 30 - column
    height = int((GLOBAL_TOP - min(y for _, y in corners)) // MODIS) + 30 - row
    days = [dt.date(2010, 1, 1) + dt.timedelta(days=16 * i) for i in range(6)]
    series = np.random.default_rng(7).integers(-2000, 10000, (len(days), height, width), np.int16)
    series[:, 200:220, 300:330] = -3000
    entries = []
    for values, day in zip(series, days, strict=True):
        transform = [MODIS, 0, GLOBAL_LEFT + column * MODIS, 0, -MODIS, GLOBAL_TOP - row * MODIS]
        write_raster(folder / f"{day}.tif", values, transform, SINUSOIDAL, nodata=-3000)
        name = f"MODIS/061/MOD13Q1/{day:%Y_%m_%d}"
        entries.append(asset(name, {"NDVI": f"{day}.tif"}, day.isoformat(), crs="SR-ORG:6974"))
    with emulator.start(write_catalog(folder, entries)) as service:
        yield service.url, np.where(series == -3000, 0, series), column, row


def test_modis_ndvi_patches(
    modis: tuple[str, np.ndarray[Any, Any], int, int], spark: SparkSession, tmp_path: Path
) -> None:
    url, series, first_column, first_row = modis
    out = tmp_path / "out"
    report = extract("modis_ndvi_patches", url, out, spark, "source.end=2010-03-10")
    assert (report["status"], report["exit_code"]) == ("complete", 0)
    assert report["planned"] == report["ok"] == report["requests"] == 64 * 5, "the sixth date is after the end"
    rows = pq.read_table(out / "pixels").to_pylist()
    assert len({row["point_id"] for row in rows}) == 64
    dates = sorted({row["image_time"] for row in rows})
    for row in rows:
        assert (row["crs"], row["width"], row["height"]) == ("SR-ORG:6974", 23, 11)
        x, y = sinusoidal(row["point_lon"], row["point_lat"])
        # Odd sides: the pixel that holds the point is in the middle.
        column = int((x - GLOBAL_LEFT) // MODIS) - 11 - first_column
        line = int((GLOBAL_TOP - y) // MODIS) - 5 - first_row
        truth = series[dates.index(row["image_time"]), line : line + 11, column : column + 23]
        np.testing.assert_array_equal(np.array(row["NDVI"], np.int16).reshape(11, 23), truth)
        assert BOX[0] <= row["point_lon"] <= BOX[2]
        assert BOX[1] <= row["point_lat"] <= BOX[3]
    kilometre = np.degrees(1000 / RADIUS)
    for row in rows[:: len(dates)]:
        left, _, right, top, _, bottom = (*row["transform"][2:3], 0, 0, row["transform"][5], 0, 0)
        right, bottom = left + 23 * MODIS, top - 11 * MODIS
        wide = kilometre / np.cos(np.radians(row["point_lat"]))
        lons = [row["point_lon"] - wide, row["point_lon"] + wide]
        lats = [row["point_lat"] - kilometre, row["point_lat"] + kilometre]
        corners = [sinusoidal(lon, lat) for lon in lons for lat in lats]
        assert left <= min(x for x, _ in corners), "a patch holds the box of a 1,000 m buffer"
        assert max(x for x, _ in corners) <= right
        assert bottom <= min(y for _, y in corners) + MODIS
        assert max(y for _, y in corners) <= top + MODIS


def test_a_later_end_asks_only_for_what_is_new(
    modis: tuple[str, np.ndarray[Any, Any], int, int], spark: SparkSession, tmp_path: Path
) -> None:
    url, out = modis[0], tmp_path / "out"
    first = extract("modis_ndvi_patches", url, out, spark, "source.end=2010-02-01")
    second = extract("modis_ndvi_patches", url, out, spark, "source.end=2010-04-01")
    assert (first["ok"], second["ok"], second["skipped"]) == (64 * 2, 64 * 4, 64 * 2)
    assert second["requests"] == 64 * 4
    tiles = pq.read_table(out / "tiles", columns=["tile_id", "image_id"]).to_pylist()
    assert len(tiles) == len({(row["tile_id"], row["image_id"]) for row in tiles}) == 64 * 6


# The cloud-free Sentinel-2 composite

DATES = ("2021-05-12", "2021-06-11", "2021-09-01")
SIDE = 176


@pytest.fixture(scope="module")
def sentinel2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, Any]]]:
    """A scene of 176 pixels around each of the job's points, on three dates, of which the last is out of the period."""
    from ee_spark.planner.region import draw
    from ee_spark.where import Sample, Within

    folder = tmp_path_factory.mktemp("sentinel2")
    points = draw(Sample(count=64, seed=7, within=Within(bbox=BOX)))
    to_utm = Transformer.from_crs("EPSG:4326", "EPSG:32610", always_xy=True)
    rng = np.random.default_rng(11)
    entries, scenes = [], {}
    for point, lon, lat in zip(points.ids, points.lon, points.lat, strict=True):
        x, y = to_utm.transform(lon, lat)
        left, top = (round(x / 20) - SIDE // 4) * 20, (round(y / 20) + SIDE // 4) * 20
        optical = rng.integers(1, 9000, (len(DATES), 4, SIDE, SIDE), np.uint16)
        aerosol = rng.integers(1, 400, (len(DATES), SIDE // 2, SIDE // 2), np.uint16)
        clouds = rng.integers(0, 101, (len(DATES), SIDE, SIDE), np.uint8)
        clouds[:2, 90:100, 90:100] = 90  # never clear
        scenes[point] = (left, top, optical, aerosol, clouds)
        for i, date in enumerate(DATES):
            index, stem = f"{date.replace('-', '')}_{point}", f"{point}_{i}"
            write_raster(folder / f"{stem}_10.tif", optical[i], [10, 0, left, 0, -10, top], "EPSG:32610")
            write_raster(folder / f"{stem}_20.tif", aerosol[i], [20, 0, left, 0, -20, top], "EPSG:32610")
            write_raster(folder / f"{stem}_p.tif", clouds[i], [10, 0, left, 0, -10, top], "EPSG:32610")
            bands = {f"B{band}": f"{stem}_10.tif:{at}" for at, band in enumerate((2, 3, 4, 8), 1)}
            bands["AOT"] = f"{stem}_20.tif"
            entries.append(asset(f"COPERNICUS/S2_SR_HARMONIZED/{index}", bands, date))
            entries.append(asset(f"COPERNICUS/S2_CLOUD_PROBABILITY/{index}", {"probability": f"{stem}_p.tif"}, date))
    with emulator.start(write_catalog(folder, entries)) as service:
        yield service.url, scenes


def test_sentinel2_composite_patches(
    sentinel2: tuple[str, dict[str, Any]], spark: SparkSession, tmp_path: Path
) -> None:
    url, scenes = sentinel2
    out = tmp_path / "out"
    report = extract("sentinel2_composite_patches", url, out, spark)
    assert (report["status"], report["planned"], report["ok"]) == ("complete", 64, 64)
    to_utm = Transformer.from_crs("EPSG:4326", "EPSG:32610", always_xy=True)
    masked = 0
    for row in pq.read_table(out / "pixels").to_pylist():
        scale_x, _, x0, _, scale_y, y0 = row["transform"]
        assert (row["crs"], scale_x, scale_y, row["image_id"]) == ("EPSG:4326", DEGREES, -DEGREES, "")
        assert x0 == pytest.approx(row["point_lon"] - 64 * DEGREES, abs=1e-11), "centred exactly on its point"
        assert y0 == pytest.approx(row["point_lat"] + 64 * DEGREES, abs=1e-11)
        centre = np.arange(128) + 0.5
        lon, lat = np.meshgrid(x0 + centre * scale_x, y0 + centre * scale_y)
        x, y = to_utm.transform(lon, lat)
        stacks, clear = _scenes_at(scenes, x, y)
        valid = clear.any(0)
        np.testing.assert_array_equal(np.array(row["valid"], np.uint8).reshape(128, 128), valid)
        for name, values in zip(("B2", "B3", "B4", "B8", "AOT"), stacks, strict=True):
            seen = np.where(clear, values, np.nan)
            expected = np.zeros((128, 128))
            expected[valid] = np.nanmedian(seen[:, valid], axis=0)
            np.testing.assert_allclose(np.array(row[f"{name}_median"]).reshape(128, 128), expected, atol=1e-6)
        masked += int((~valid).sum())
    assert masked > 64 * 30


def _scenes_at(scenes: dict[str, Any], x: Any, y: Any) -> tuple[list[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """Return, for places in UTM, each band of every scene and date (n, h, w), and where it is clear: scenes overlap."""
    bands: list[list[Any]] = [[] for _ in range(5)]
    clear = []
    for left, top, optical, aerosol, clouds in scenes.values():
        column, line = np.floor((x - left) / 10).astype(int), np.floor((top - y) / 10).astype(int)
        inside = (column >= 0) & (column < SIDE) & (line >= 0) & (line < SIDE)
        if not inside.any():
            continue
        column, line = column.clip(0, SIDE - 1), line.clip(0, SIDE - 1)
        for date in (0, 1):
            for at in range(4):
                bands[at].append(optical[date, at, line, column])
            bands[4].append(aerosol[date, line // 2, column // 2])
            clear.append(inside & (clouds[date, line, column] < 50))
    return [np.array(stack) for stack in bands], np.array(clear)
