"""A catalog folder that the test writes itself: sinusoidal, mixed resolutions, nodata, masks, categories, 60 dates.

And one that changes while the emulator runs: new versions, new files, a file that is broken for a while.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ee
import numpy as np
import pytest
import rasterio
from emulator_client import array, asset, compute, connect, get, grid, post, write_catalog, write_raster
from rasterio.transform import Affine

import ee_emulator as emulator
from ee_emulator.catalog.folder import Catalog
from ee_emulator.errors import CatalogError

PUBLIC = "/v1/projects/earthengine-public/assets/"
RADIUS = 6371007.181
PIXEL = 463.3127165279165
LEFT, TOP = -10_000_000 // PIXEL * PIXEL, 4_500_000 // PIXEL * PIXEL
SINUSOIDAL = f"+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R={RADIUS} +units=m +no_defs"
DATES = [datetime(2019, 1, 1, tzinfo=UTC) + timedelta(days=8 * i) for i in range(60)]
HEIGHT, WIDTH = 30, 40
UTM = "EPSG:32717"
COVER = [30, 0, 700_000, 0, -30, 9_800_000]


def stamp(date: datetime) -> str:
    return date.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(60)
    series = rng.integers(-2000, 10_000, (60, HEIGHT, WIDTH)).astype(np.int16)
    series[rng.random(series.shape) < 0.2] = -3000
    found = {"series": series, "quality": rng.integers(0, 4, (60, HEIGHT // 2, WIDTH // 2), dtype=np.uint8)}
    found["cover"] = rng.choice(np.array([10, 20, 30, 40], np.uint8), (48, 64))
    found["sensor"] = rng.integers(1, 200, (24, 32), dtype=np.uint8)
    found["float"] = rng.random((20, 20), dtype=np.float32)
    found["float"][3:9, 4:6] = np.nan
    found["valid"] = rng.random((20, 20)) > 0.4
    return found


@pytest.fixture(scope="module")
def service(tmp_path_factory, arrays):
    folder = tmp_path_factory.mktemp("catalog")
    entries = []
    for i, date in enumerate(DATES):
        name = date.strftime("%Y_%m_%d")
        transform = [PIXEL, 0, LEFT, 0, -PIXEL, TOP]
        write_raster(folder / f"{name}.tif", arrays["series"][i], transform, SINUSOIDAL)
        transform = [2 * PIXEL, 0, LEFT, 0, -2 * PIXEL, TOP]
        write_raster(folder / f"{name}_q.tif", arrays["quality"][i], transform, SINUSOIDAL)
        entry = asset(
            f"MINE/061/SERIES/{name}",
            {"NDVI": f"{name}.tif", "QA": f"{name}_q.tif"},
            stamp(date),
            endTime=stamp(date + timedelta(days=8)),
            crs="SR-ORG:6974",
            properties={"number": i, "season": "wet" if i % 3 else "dry"},
        )
        entry["bands"][0] |= {"nodata": -3000, "range": [-2000, 10_000]}
        entry["bands"][1]["pyramidingPolicy"] = "MODE"
        entries.append(entry)
    write_raster(folder / "cover.tif", arrays["cover"], COVER, UTM)
    write_raster(folder / "sensor.tif", arrays["sensor"], [60, *COVER[1:4], -60, COVER[5]], UTM)
    entry = asset("MINE/cover", {"class": "cover.tif", "sample": "cover.tif", "sensor": "sensor.tif"})
    for band, policy in zip(entry["bands"], ("MODE", "SAMPLE", "MAX"), strict=True):
        band["pyramidingPolicy"] = policy
    entries.append(entry)
    write_raster(folder / "float.tif", arrays["float"], COVER, UTM, nodata=float("nan"))
    masked = {"driver": "GTiff", "width": 20, "height": 20, "dtype": "uint8", "crs": UTM, "transform": Affine(*COVER)}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(folder / "mask.tif", "w", count=1, **masked) as target,
    ):
        target.write(np.full((20, 20), 9, np.uint8), 1)
        target.write_mask(arrays["valid"])
    with rasterio.open(folder / "alpha.tif", "w", count=2, **masked) as target:
        target.colorinterp = [rasterio.enums.ColorInterp.gray, rasterio.enums.ColorInterp.alpha]
        target.write(np.full((20, 20), 7, np.uint8), 1)
        target.write(arrays["valid"].astype(np.uint8) * 255, 2)
    entries.append(asset("MINE/masks", {"float": "float.tif", "mask": "mask.tif", "alpha": "alpha.tif"}))
    with emulator.start(write_catalog(folder, entries)) as running:
        connect(running.url)
        yield running


def native(column: int, row: int, width: int, height: int, size: float = PIXEL) -> dict[str, Any]:
    return grid("SR-ORG:6974", [size, 0, LEFT + column * PIXEL, 0, -size, TOP - row * PIXEL], width, height)


# The series


def test_sixty_dates_are_listed_by_time_and_property(service):
    path = PUBLIC + "MINE/061/SERIES:listAssets"
    text = 'startTime >= "2019-06-01T00:00:00Z" AND startTime < "2020-01-01T00:00:00Z" AND properties.season = "dry"'
    expected = [
        date.strftime("MINE/061/SERIES/%Y_%m_%d")
        for i, date in enumerate(DATES)
        if datetime(2019, 6, 1, tzinfo=UTC) <= date < datetime(2020, 1, 1, tzinfo=UTC) and i % 3 == 0
    ]
    found, token = [], ""
    while True:
        query = {"filter": text, "pageSize": "4", **({"pageToken": token} if token else {})}
        page = json.loads(get(service.url, path, **query).data)
        found += page["assets"]
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert [entry["id"] for entry in found] == expected
    assert found[0]["bands"][0]["dataType"] == {"precision": "INT", "range": {"min": -2000, "max": 10_000}}
    assert found[0]["bands"][0]["grid"]["crsCode"] == "SR-ORG:6974"
    assert found[0]["bands"][1]["pyramidingPolicy"] == "MODE"
    whole = ee.data.getAsset("MINE/061/SERIES")
    assert (whole["startTime"], whole["endTime"]) == (stamp(DATES[0]), stamp(DATES[-1] + timedelta(days=8)))


def test_every_date_has_its_own_pixels_in_both_resolutions(service, arrays):
    for i in range(0, 60, 7):
        path = PUBLIC + DATES[i].strftime("MINE/061/SERIES/%Y_%m_%d") + ":getPixels"
        found = array(post(service.url, path, {"grid": native(0, 0, WIDTH, HEIGHT)}))
        assert found.dtype.descr == [("NDVI", "<i2"), ("QA", "|u1")]
        values = arrays["series"][i]
        np.testing.assert_array_equal(found["NDVI"], np.where(values == -3000, 0, values))
        np.testing.assert_array_equal(found["QA"], arrays["quality"][i].repeat(2, axis=0).repeat(2, axis=1))


def test_the_same_pixels_by_the_text_of_the_coordinate_system(service, arrays):
    body = {"bandIds": ["NDVI"], "grid": native(5, 7, 11, 13)}
    body["grid"]["crsWkt"] = rasterio.crs.CRS.from_string(SINUSOIDAL).to_wkt()
    del body["grid"]["crsCode"]
    found = array(post(service.url, PUBLIC + "MINE/061/SERIES/2019_01_09:getPixels", body))["NDVI"]
    values = arrays["series"][1, 7:20, 5:16]
    np.testing.assert_array_equal(found, np.where(values == -3000, 0, values))


def test_statistics_over_the_sixty_dates(service, arrays):
    series = ee.ImageCollection("MINE/061/SERIES").select("NDVI")
    valid = arrays["series"] != -3000
    stack = np.ma.masked_array(arrays["series"], ~valid)
    found = compute(series.count().rename("n").addBands(series.mean()), native(0, 0, WIDTH, HEIGHT))
    np.testing.assert_array_equal(found["n"], valid.sum(axis=0))
    np.testing.assert_allclose(found["NDVI"], stack.mean(axis=0).filled(0), rtol=1e-6)
    year = series.filterDate("2019-01-01", "2020-01-01")
    count = sum(date.year == 2019 for date in DATES)
    assert year.size().getInfo() == count
    latest = compute(year.mosaic(), native(0, 0, WIDTH, HEIGHT))["NDVI"]
    expected = np.zeros((HEIGHT, WIDTH), np.int16)
    for i in range(count):
        expected = np.where(valid[i], arrays["series"][i], expected)
    np.testing.assert_array_equal(latest, expected)


# Categories and masks


def test_categories_keep_their_kind_at_coarser_scales(service, arrays):
    where = grid(UTM, [60, *COVER[1:4], -60, COVER[5]], 32, 24)
    found = array(post(service.url, PUBLIC + "MINE/cover:getPixels", {"grid": where}))
    quads = arrays["cover"].reshape(24, 2, 32, 2).transpose(0, 2, 1, 3).reshape(24, 32, 4)
    votes = (quads[..., None] == np.array([10, 20, 30, 40])).sum(axis=2)
    np.testing.assert_array_equal(found["class"], np.array([10, 20, 30, 40])[votes.argmax(axis=-1)])
    np.testing.assert_array_equal(found["sample"], arrays["cover"][::2, ::2])
    np.testing.assert_array_equal(found["sensor"], arrays["sensor"])
    where = grid(UTM, [120, *COVER[1:4], -120, COVER[5]], 16, 12)
    found = array(post(service.url, PUBLIC + "MINE/cover:getPixels", {"grid": where}))
    np.testing.assert_array_equal(found["sensor"], arrays["sensor"].reshape(12, 2, 16, 2).max(axis=(1, 3)))
    np.testing.assert_array_equal(found["sample"], arrays["cover"][::4, ::4])


def test_nodata_nan_internal_masks_and_alpha_mask_pixels(service, arrays):
    image = ee.Image("MINE/masks")
    masks = image.mask().rename(["m_float", "m_mask", "m_alpha"])
    found = compute(image.addBands(masks), grid(UTM, COVER, 20, 20))
    known = ~np.isnan(arrays["float"])
    np.testing.assert_array_equal(found["m_float"], known)
    np.testing.assert_array_equal(found["float"], np.where(known, arrays["float"], 0))
    for band, value in (("mask", 9), ("alpha", 7)):
        np.testing.assert_array_equal(found[f"m_{band}"], arrays["valid"])
        np.testing.assert_array_equal(found[band], np.where(arrays["valid"], value, 0))


# A catalog that changes


def value_of(url: str, version: int = -1) -> int:
    image = ee.Image.load("C/I", version)
    body = {"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid("EPSG:4326", [1, 0, 0, 0, -1, 2], 1, 1)}
    return int(ee.data.computePixels(body)["b"][0, 0])


def test_a_catalog_that_changes_while_it_is_served(tmp_path):
    def put(file: str, value: int) -> None:
        write_raster(tmp_path / file, np.full((2, 2), value, np.uint8), [1, 0, 0, 0, -1, 2], "EPSG:4326")

    def entry(file: str, day: int) -> dict[str, Any]:
        return asset("C/I", {"b": file}, updateTime=f"2024-06-{day:02}T00:00:00Z")

    def version(day: int) -> int:
        return int(datetime(2024, 6, day, tzinfo=UTC).timestamp() * 1_000_000)

    put("one.tif", 1)
    write_catalog(tmp_path, [entry("one.tif", 1)])
    with emulator.start(tmp_path) as running:
        connect(running.url)
        assert value_of(running.url) == 1
        put("two.tif", 2)
        write_catalog(tmp_path, [entry("one.tif", 1), entry("two.tif", 2)])
        assert value_of(running.url) == 2
        assert value_of(running.url, version(1)) == 1
        assert ee.data.getAsset("C/I")["updateTime"] == "2024-06-02T00:00:00Z"
        # a broken file: what was good is served on
        (tmp_path / "catalog.json").write_text("{")
        assert value_of(running.url) == 2
        # the raster is written again in place, as a third version
        put("two.tif", 3)
        write_catalog(tmp_path, [entry("one.tif", 1), entry("two.tif", 3)])
        assert value_of(running.url) == 3
        with pytest.raises(ee.EEException, match=r"Image.load: Image asset 'C/I' not found"):
            value_of(running.url, version(2))
        # an asset that is gone
        write_catalog(tmp_path, [asset("C/J", {"b": "one.tif"})])
        with pytest.raises(ee.EEException, match=r"Image.load: Image asset 'C/I' not found"):
            value_of(running.url)
        assert [found["id"] for found in ee.data.listAssets({"parent": "C"})["assets"]] == ["C/J"]


def test_a_raster_that_is_gone_is_an_error_of_its_own_pixels_only(tmp_path):
    for name in ("a", "b"):
        write_raster(tmp_path / f"{name}.tif", np.ones((2, 2), np.uint8), [1, 0, 0, 0, -1, 2], "EPSG:4326")
    write_catalog(tmp_path, [asset("C/A", {"b": "a.tif"}), asset("C/B", {"b": "b.tif"})])
    with emulator.start(tmp_path) as running:
        os.unlink(tmp_path / "a.tif")
        assert post(running.url, PUBLIC + "C/A:getPixels", {}).status == 500
        assert array(post(running.url, PUBLIC + "C/B:getPixels", {}))["b"].all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bands": []}, "at least one band"),
        ({"bands": [{"id": "b"}]}, "needs a text 'file'"),
        ({"bands": [{"id": "b", "file": "one.tif", "index": 2}]}, "index 2 is not a band"),
        ({"bands": [{"id": "b", "file": "one.tif"}, {"id": "b", "file": "one.tif"}]}, "two bands have the same id"),
        ({"bands": [{"id": "b", "file": "one.tif", "pyramidingPolicy": "AVERAGE"}]}, "pyramidingPolicy 'AVERAGE'"),
        ({"bands": [{"id": "b", "file": "one.tif", "range": [3]}]}, "range must be"),
        ({"bands": [{"id": "b", "file": "one.tif", "nodata": "x"}]}, "nodata 'x' is not a number"),
        ({"startTime": "yesterday"}, "yesterday"),
        ({"updateTime": 3}, "C/I"),
        ({"geometry": {"type": "Circle"}}, "Circle"),
        ({"crs": "EPSG:1"}, "EPSG:1"),
        ({"properties": []}, "'properties' must be an object"),
        ({"colour": 1}, "unknown key 'colour'"),
    ],
)
def test_entries_that_cannot_be_served_are_named(tmp_path: Path, change: dict[str, Any], said: str):
    write_raster(tmp_path / "one.tif", np.ones((2, 2), np.uint8), [1, 0, 0, 0, -1, 2], "EPSG:4326")
    write_catalog(tmp_path, [{**asset("C/I", {"b": "one.tif"}), **change}])
    with pytest.raises(CatalogError) as refusal:
        Catalog(tmp_path)
    assert said in str(refusal.value)
