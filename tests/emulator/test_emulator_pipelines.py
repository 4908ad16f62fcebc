"""What people run on Earth Engine, end to end: cloud masks, composites, joins, series, trends, training samples.

Expected values come from the arrays that the test wrote, by plain numpy.
"""

from __future__ import annotations

from collections.abc import Iterator

import ee
import numpy as np
import pytest
from emulator_client import asset, compute, connect, grid, write_catalog, write_raster

import ee_emulator as emulator
from ee_emulator import Emulator

UTM = "EPSG:32633"
SIZE = 48
LANDSAT = [30, 0, 399975, 0, -30, 5600025]
SENTINEL = [10, 0, 400000, 0, -10, 5600000]
MONTHS = [3, 3, 4, 4, 4, 5]
RNG = np.random.default_rng(21)
RED = RNG.integers(7000, 12000, (6, SIZE, SIZE), dtype=np.uint16)
NIR = RNG.integers(9000, 30000, (6, SIZE, SIZE), dtype=np.uint16)
QA = np.where(RNG.random((6, SIZE, SIZE)) < 0.4, 1 << 3, 0) | np.where(RNG.random((6, SIZE, SIZE)) < 0.2, 1 << 4, 0)
QA = (QA | 64).astype(np.uint16)
S2 = RNG.integers(1, 9000, (3, 2, SIZE, SIZE), dtype=np.uint16)
SCORE = RNG.random((3, SIZE, SIZE)).astype(np.float32)
VEGETATION = RNG.integers(-2000, 10000, (12, 20, 20)).astype(np.int16)
CLASSES = RNG.integers(0, 4, (SIZE, SIZE)).astype(np.uint8)


@pytest.fixture(scope="module", autouse=True)
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("pipelines")
    entries = []
    for i, month in enumerate(MONTHS):
        write_raster(folder / f"l{i}.tif", np.stack([RED[i], NIR[i], QA[i]]), LANDSAT, UTM)
        bands = {"SR_B4": f"l{i}.tif:1", "SR_B5": f"l{i}.tif:2", "QA_PIXEL": f"l{i}.tif:3"}
        entries.append(asset(f"LANDSAT/LC08/C02/T1_L2/LC08_{i}", bands, f"2021-{month:02d}-0{i + 1}"))
    for i in range(3):
        write_raster(folder / f"s{i}.tif", S2[i], SENTINEL, UTM)
        write_raster(folder / f"c{i}.tif", SCORE[i], SENTINEL, UTM)
        day = f"2022-06-{10 + i}"
        entries.append(asset(f"COPERNICUS/S2_SR_HARMONIZED/S{i}", {"B4": f"s{i}.tif:1", "B8": f"s{i}.tif:2"}, day))
        if i != 1:
            entries.append(asset(f"GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED/S{i}", {"cs_cdf": f"c{i}.tif"}, day))
    for i in range(12):
        write_raster(folder / f"v{i}.tif", VEGETATION[i], [1000, 0, 0, 0, -1000, 20000], "EPSG:3857", nodata=-3000)
        entries.append(asset(f"MODIS/061/MOD13A3/m{i:02d}", {"NDVI": f"v{i}.tif"}, f"2019-{i + 1:02d}-01"))
    write_raster(folder / "classes.tif", CLASSES, SENTINEL, UTM)
    entries.append(asset("LC/map", {"class": "classes.tif"}))
    with emulator.start(write_catalog(folder, entries)) as running:
        connect(running.url)
        yield running


def masked(image: ee.Image) -> ee.Image:
    """Collection 2 surface reflectance where neither cloud nor shadow bits are set."""
    qa = image.select("QA_PIXEL")
    clear = qa.bitwiseAnd(1 << 3).eq(0).And(qa.bitwiseAnd(1 << 4).eq(0))
    optical = image.select("SR_B.").multiply(0.0000275).add(-0.2)
    return image.addBands(optical, None, True).updateMask(clear)


def test_landsat_monthly_medians_ndvi_and_regional_means() -> None:
    pixels = grid(UTM, LANDSAT, SIZE, SIZE)
    region = ee.Geometry.Rectangle([399975, 5600025 - 30 * SIZE, 399975 + 30 * SIZE, 5600025], UTM, False)
    images = ee.ImageCollection("LANDSAT/LC08/C02/T1_L2").map(masked)

    def monthly(month: ee.Number) -> ee.Image:
        month = ee.Number(month)
        composite = images.filter(ee.Filter.calendarRange(month, month, "month")).median()
        return composite.normalizedDifference(["SR_B5", "SR_B4"]).rename("NDVI").set("month", month)

    series = ee.ImageCollection.fromImages(ee.List.sequence(3, 5).map(monthly))
    means = series.map(
        lambda image: image.set(
            image.reduceRegion(ee.Reducer.mean(), region, crs=UTM, crsTransform=LANDSAT).rename(["NDVI"], ["mean"])
        )
    )
    clear = (QA & 24) == 0
    for i, month in enumerate((3, 4, 5)):
        chosen = [k for k, m in enumerate(MONTHS) if m == month]
        stack = np.ma.masked_array(np.stack([NIR[chosen], RED[chosen]]) * 0.0000275 - 0.2,
                                   np.broadcast_to(~clear[chosen], (2, len(chosen), SIZE, SIZE)))  # fmt: skip
        nir, red = np.ma.median(stack, axis=1)  # type: ignore[no-untyped-call, unused-ignore]
        ndvi = (nir - red) / (nir + red)
        ndvi = np.ma.masked_where((nir < 0) | (red < 0), ndvi)
        found = compute(ee.Image(series.toList(3).get(i)).unmask(-9, False), pixels)["NDVI"]
        np.testing.assert_allclose(found, ndvi.filled(-9), rtol=2e-4, atol=2e-5)
        assert means.aggregate_array("mean").getInfo()[i] == pytest.approx(float(ndvi.mean()), rel=1e-4)
    assert means.aggregate_array("month").getInfo() == [3, 4, 5]


def test_sentinel_composite_by_a_linked_cloud_score() -> None:
    scores = ee.ImageCollection("GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED")
    images = ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED").linkCollection(scores, ["cs_cdf"])
    assert images.first().bandNames().getInfo() == ["B4", "B8", "cs_cdf"]
    composite = images.map(lambda image: image.updateMask(image.select("cs_cdf").gte(0.6))).median()
    found = compute(composite.unmask(-1, False), grid(UTM, SENTINEL, SIZE, SIZE))
    used = [0, 2]  # an image without a score is masked wholly
    clear = SCORE[used] >= np.float32(0.6)
    for k, band in enumerate(("B4", "B8")):
        expected = np.ma.median(np.ma.masked_array(S2[used, k], ~clear), axis=0).filled(-1)  # type: ignore[no-untyped-call, unused-ignore]
        np.testing.assert_array_equal(found[band], expected)


def test_quality_mosaic_takes_every_band_from_the_greenest_image() -> None:
    images = ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED").map(
        lambda image: image.addBands(image.normalizedDifference(["B8", "B4"]).rename("ndvi"))
    )
    found = compute(images.qualityMosaic("ndvi"), grid(UTM, SENTINEL, SIZE, SIZE))
    red, nir = S2[:, 0].astype(float), S2[:, 1].astype(float)
    best = ((nir - red) / (nir + red)).argmax(axis=0)
    np.testing.assert_array_equal(found["B4"], np.take_along_axis(S2[:, 0], best[None], 0)[0])
    np.testing.assert_array_equal(found["B8"], np.take_along_axis(S2[:, 1], best[None], 0)[0])


def test_a_modis_like_series_iterated_anomalies_and_trend() -> None:
    series = ee.ImageCollection("MODIS/061/MOD13A3").select("NDVI")
    pixels = grid("EPSG:3857", [1000, 0, 0, 0, -1000, 20000], 20, 20)
    valid = VEGETATION != -3000
    data = np.ma.masked_array(VEGETATION.astype(float), ~valid)
    mean = series.mean()

    def cumulate(image: ee.Image, so_far: ee.List) -> ee.List:
        last = ee.Image(ee.List(so_far).get(-1))
        return ee.List(so_far).add(last.add(image.subtract(mean).unmask(0)).toFloat())

    first = ee.List([ee.Image(0).toFloat().rename("NDVI")])
    sums = ee.ImageCollection(ee.List(series.iterate(cumulate, first)).slice(1))
    assert sums.size().getInfo() == 12
    found = compute(ee.Image(sums.toList(12).get(7)), pixels)
    expected = (data - data.mean(axis=0)).filled(0)[:8].sum(axis=0)
    np.testing.assert_allclose(found["NDVI"], expected, rtol=1e-4, atol=0.02)

    timed = series.map(
        lambda image: image.addBands(image.metadata("system:time_start").divide(86400000 * 365.25).rename("t"))
    )
    trend = compute(timed.select(["t", "NDVI"]).reduce(ee.Reducer.linearFit()), pixels)
    times = np.array([ee.Date(f"2019-{i + 1:02d}-01").millis().getInfo() for i in range(12)]) / (86400000 * 365.25)
    slopes = np.array([np.ma.polyfit(times, data[:, r, 3], 1)[0] for r in range(20)])  # type: ignore[no-untyped-call, unused-ignore]
    np.testing.assert_allclose(trend["scale"][:, 3], slopes, rtol=1e-6)
    spread = compute(series.reduce(ee.Reducer.stdDev().combine(ee.Reducer.percentile([10]), "", True)), pixels)
    assert spread.dtype.names == ("NDVI_stdDev", "NDVI_p10")
    np.testing.assert_allclose(spread["NDVI_stdDev"], data.std(axis=0), rtol=1e-6)


def test_bands_of_a_series_sampled_for_training() -> None:
    stack = ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED").toBands().addBands(ee.Image("LC/map"))
    assert stack.bandNames().getInfo() == ["S0_B4", "S0_B8", "S1_B4", "S1_B8", "S2_B4", "S2_B8", "class"]
    box = ee.Geometry.Rectangle([400000, 5600000 - 10 * SIZE, 400000 + 10 * SIZE, 5600000], UTM, False)
    where = {"region": box, "projection": ee.Projection(UTM, SENTINEL), "seed": 3}
    sample = stack.stratifiedSample(20, "class", geometries=True, **where)
    rows = sample.getInfo()["features"]
    assert sorted(row["properties"]["class"] for row in rows) == sorted([0, 1, 2, 3] * 20)
    to_utm = pytest.importorskip("pyproj").Transformer.from_crs("EPSG:4326", UTM, always_xy=True)
    for row in rows:
        x, y = to_utm.transform(*row["geometry"]["coordinates"])
        r, c = int((5600000 - y) // 10), int((x - 400000) // 10)
        assert row["properties"]["class"] == CLASSES[r, c]
        assert row["properties"]["S1_B8"] == S2[1, 1, r, c]
    split = sample.randomColumn("split", 1)
    train, test = split.filter(ee.Filter.lt("split", 0.7)), split.filter("split >= 0.7")
    assert train.size().add(test.size()).getInfo() == 80
    table = stack.select(["S0_B4", "class"]).reduceRegion(
        ee.Reducer.mean().combine(ee.Reducer.count(), "", True).group(1, "class"), box, crs=UTM, crsTransform=SENTINEL
    )
    for entry in table.getInfo()["groups"]:
        here = entry["class"] == CLASSES
        assert entry["count"] == here.sum()
        assert entry["mean"] == pytest.approx(S2[0, 0][here].mean())


def test_zones_painted_remapped_and_counted() -> None:
    boxes = [[400000 + 100 * i, 5599800, 400000 + 100 * (i + 1), 5600000] for i in range(4)]
    zones = ee.FeatureCollection(
        [ee.Feature(ee.Geometry.Rectangle(box, UTM, False), {"zone": i + 1}) for i, box in enumerate(boxes)]
    )
    pixels = grid(UTM, SENTINEL, SIZE, SIZE)
    expected = np.zeros((SIZE, SIZE))
    for i in range(4):
        expected[:20, 10 * i : 10 * i + 10] = i + 1
    painted = ee.Image(0).byte().paint(zones, "zone")
    np.testing.assert_array_equal(compute(painted, pixels)["constant"], expected)
    reduced = zones.reduceToImage(["zone"], ee.Reducer.first())
    np.testing.assert_array_equal(compute(reduced.unmask(0, False), pixels)["first"], expected)
    forest = ee.Image("LC/map").remap([1, 2], [1, 1], 0, "class")
    share = forest.reduceRegions(zones, ee.Reducer.mean(), crs=UTM, crsTransform=SENTINEL)
    found = share.sort("zone", False).aggregate_array("mean").getInfo()
    inner = np.isin(CLASSES, [1, 2])
    assert found == pytest.approx([inner[:20, 10 * i : 10 * i + 10].mean() for i in (3, 2, 1, 0)])
    inside = compute(ee.Image("LC/map").clipToCollection(zones.filter("zone > 2")).mask(), pixels)["class"]
    np.testing.assert_array_equal(inside > 0, expected > 2)


def test_values_remapped_with_defaults_and_masks() -> None:
    image = ee.Image("LC/map")
    pixels = grid(UTM, SENTINEL, SIZE, SIZE)
    by_default = compute(image.remap([0, 3], [10, 2.5], -1), pixels)["remapped"]
    np.testing.assert_allclose(by_default, np.select([CLASSES == 0, CLASSES == 3], [10, 2.5], -1))
    valid = compute(image.remap([0, 3], [10, 20]).mask(), pixels)["remapped"]
    np.testing.assert_array_equal(valid > 0, np.isin(CLASSES, [0, 3]))
    line = compute(image.interpolate([0, 1, 3], [5, 10, 0], "clamp"), pixels)["class"]
    np.testing.assert_allclose(line, np.interp(CLASSES, [0, 1, 3], [5, 10, 0]))


def test_where_a_pixel_is_and_how_large() -> None:
    pixels = grid("EPSG:4326", [0.5, 0, 10, 0, -0.25, 60], 4, 6)
    found = compute(ee.Image.pixelArea(), pixels)["area"]
    geod = pytest.importorskip("pyproj").Geod(ellps="WGS84")
    for row in range(6):
        top, bottom = 60 - 0.25 * row, 59.75 - 0.25 * row
        edge = np.linspace(10, 10.5, 500)
        lons, lats = np.concatenate([edge, edge[::-1]]), np.concatenate([np.full(500, bottom), np.full(500, top)])
        assert found[row, 0] == pytest.approx(abs(geod.polygon_area_perimeter(lons, lats)[0]), rel=1e-6)
    place = compute(ee.Image.pixelCoordinates(ee.Projection(UTM, SENTINEL)), grid(UTM, SENTINEL, 3, 2))
    np.testing.assert_allclose(place["x"][0], [0.5, 1.5, 2.5])
    np.testing.assert_allclose(place["y"][:, 0], [0.5, 1.5])
    noise = compute(ee.Image.random(7), grid(UTM, SENTINEL, 200, 100))["random"]
    again = compute(ee.Image.random(7), grid(UTM, [10, 0, 400500, 0, -10, 5599900], 20, 10))["random"]
    np.testing.assert_array_equal(noise[10:20, 50:70], again)
    assert noise.mean() == pytest.approx(0.5, abs=0.01)
    assert np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1] == pytest.approx(0, abs=0.03)
    normal = compute(ee.Image.random(1, "normal"), grid(UTM, SENTINEL, 200, 100))["random"]
    assert (normal.mean(), normal.std()) == pytest.approx((0, 1), abs=0.03)
