"""reduceRegion(s), reducers with their weights and names, sampling: against numpy and shapely."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ee
import numpy as np
import pytest
import shapely
from emulator_client import asset, connect, write_catalog, write_raster
from numpy.typing import NDArray

import ee_emulator as emulator
from ee_emulator import Emulator

UTM = "EPSG:32633"
TRANSFORM = [10, 0, 500000, 0, -10, 5000000]
WIDTH, HEIGHT = 40, 30
RNG = np.random.default_rng(12)
A = RNG.integers(0, 200, (HEIGHT, WIDTH)).astype(np.uint8)
A[RNG.random(A.shape) < 0.1] = 255
VALID = A != 255
B = RNG.normal(50, 9, (HEIGHT, WIDTH)).astype(np.float32)
C = RNG.integers(1, 4, (HEIGHT, WIDTH)).astype(np.uint8)
RING = [[22.3, 31.7], [371.2, 55.1], [305.5, 281.9], [140.4, 201.3], [60.8, 288.2]]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("region")
    values: NDArray[Any]
    for name, values in (("a", A), ("b", B), ("c", C)):
        write_raster(folder / f"{name}.tif", values, TRANSFORM, UTM, nodata=255 if name == "a" else None)
    bands = {"a": "a.tif", "b": "b.tif", "c": "c.tif"}
    entries = [asset("T/R/i0", bands, "2021-01-01"), asset("T/R/i1", bands, "2021-02-01")]
    with emulator.start(write_catalog(folder, entries)) as running:
        connect(running.url)
        yield running


@pytest.fixture
def image(service: Emulator) -> ee.Image:
    return ee.Image("T/R/i0")


def ground(ring: list[list[float]]) -> ee.Geometry:
    """A polygon given in metres right of and below the raster's corner."""
    return ee.Geometry.Polygon([[[500000 + x, 5000000 - y] for x, y in ring]], UTM, False)


POLYGON = shapely.Polygon([[x / 10, y / 10] for x, y in RING])
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
SHARES = shapely.area(shapely.intersection(POLYGON, shapely.box(COLUMNS, ROWS, COLUMNS + 1, ROWS + 1)))
CENTRES = shapely.contains_xy(POLYGON, COLUMNS + 0.5, ROWS + 0.5)


def reduce(image: ee.Image, reducer: ee.Reducer, geometry: ee.Geometry | None = None, **more: Any) -> dict[str, Any]:
    where = {"crs": UTM, "crsTransform": TRANSFORM, **more}
    area = ground(RING) if geometry is None else geometry
    found: dict[str, Any] = image.reduceRegion(reducer, area, **where).getInfo()
    return found


def weighted(values: NDArray[Any], weights: NDArray[Any]) -> float:
    return float((values * weights).sum() / weights.sum())


def test_a_mean_weighs_pixels_by_the_fraction_in_the_region(image: ee.Image) -> None:
    found = reduce(image, ee.Reducer.mean())
    assert set(found) == {"a", "b", "c"}
    assert found["b"] == pytest.approx(weighted(B, SHARES), rel=1e-4)
    assert found["a"] == pytest.approx(weighted(A, SHARES * VALID), rel=1e-3)
    assert found["b"] != pytest.approx(B[CENTRES].mean(), rel=1e-5)
    assert reduce(image, ee.Reducer.sum())["b"] == pytest.approx((B * SHARES).sum(), rel=2e-3)


def test_unweighted_reducers_take_pixels_by_their_centre(image: ee.Image) -> None:
    assert reduce(image, ee.Reducer.count())["a"] == (CENTRES & VALID).sum()
    assert reduce(image, ee.Reducer.mean().unweighted())["a"] == pytest.approx(A[CENTRES & VALID].mean())
    assert reduce(image.select("a"), ee.Reducer.minMax()) == {
        "a_min": int(A[CENTRES & VALID].min()), "a_max": int(A[CENTRES & VALID].max()),
    }  # fmt: skip
    assert sorted(reduce(image.select("c"), ee.Reducer.toList())["c"]) == sorted(C[CENTRES].tolist())
    assert reduce(image, ee.Reducer.countDistinct())["c"] == 3
    assert reduce(image.select("c"), ee.Reducer.product().unweighted())["c"] == pytest.approx(
        np.prod(C[CENTRES].astype(float)), rel=1e-9
    )


def test_combined_reducers_keep_their_own_weights_and_names(image: ee.Image) -> None:
    both = ee.Reducer.mean().combine(ee.Reducer.count(), sharedInputs=True).combine(ee.Reducer.stdDev(), "s_", True)
    found = reduce(image.select("b"), both)
    assert set(found) == {"b_mean", "b_count", "b_s_stdDev"}
    assert found["b_mean"] == pytest.approx(weighted(B, SHARES), rel=1e-4)
    assert found["b_count"] == CENTRES.sum()
    spread = np.sqrt(weighted((B - weighted(B, SHARES)) ** 2, SHARES))
    assert found["b_s_stdDev"] == pytest.approx(spread, rel=1e-3)


PERCENTILES = ["p0", "p25", "p50", "p90", "p100"]


def test_percentiles_medians_and_modes(image: ee.Image) -> None:
    box = ee.Geometry.Rectangle([500000, 4999800, 500300, 5000000], UTM, False)  # whole pixels
    inner = B[:20, :30]
    found = reduce(image.select("b"), ee.Reducer.percentile([0, 25, 50, 90, 100]), box)
    expected = np.percentile(inner.astype(float), [0, 25, 50, 90, 100])
    assert [found[f"b_{name}"] for name in PERCENTILES] == pytest.approx(expected.tolist())
    assert reduce(image.select("b"), ee.Reducer.median(), box)["b"] == pytest.approx(np.median(inner.astype(float)))
    counts = np.bincount(C[:20, :30].ravel())
    assert reduce(image.select("c"), ee.Reducer.mode(), box)["c"] == counts.argmax()
    assert reduce(image.select("c"), ee.Reducer.frequencyHistogram(), box)["c"] == {
        str(value): counts[value] for value in (1, 2, 3)
    }
    assert reduce(image.select("b"), ee.Reducer.sampleVariance(), box)["b"] == pytest.approx(
        inner.astype(float).var(ddof=1)
    )
    named = reduce(image.select("b"), ee.Reducer.percentile([5, 95], ["low", "high"]), box)
    assert set(named) == {"b_low", "b_high"}
    assert set(reduce(image.select("b"), ee.Reducer.percentile([5]), box)) == {"b"}


def test_histograms(image: ee.Image) -> None:
    box = ee.Geometry.Rectangle([500000, 4999700, 500400, 5000000], UTM, False)
    found = reduce(image.select("b"), ee.Reducer.fixedHistogram(20, 80, 6), box)["b"]
    counts, edges = np.histogram(B, bins=6, range=(20, 80))
    assert found == [[e, n] for e, n in zip(edges[:-1].tolist(), counts.tolist(), strict=True)]
    auto = reduce(image.select("a"), ee.Reducer.histogram(), box)["a"]
    assert auto["bucketWidth"] == 1
    assert auto["bucketMin"] == A[VALID].min()
    assert auto["histogram"] == np.bincount(A[VALID])[A[VALID].min() :].tolist()


def test_groups(image: ee.Image) -> None:
    grouped = ee.Reducer.mean().repeat(2).group(2, "class")
    found = reduce(image.select(["a", "b", "c"]).unmask(0), grouped)["groups"]
    assert [entry["class"] for entry in found] == [1, 2, 3]
    whole = np.where(VALID, A, 0)
    for entry in found:
        here = SHARES * (entry["class"] == C)
        assert entry["mean"] == pytest.approx([weighted(whole, here), weighted(B, here)], rel=2e-3)
    area = ee.Image.pixelArea().addBands(image.select("c"))
    sums = reduce(area, ee.Reducer.sum().group(1))["groups"]
    # the zone's central meridian: the ground is 1 / 0.9996 as long as the map
    assert sums[0]["sum"] == pytest.approx((SHARES * (C == 1)).sum() * 100 / 0.9996**2, rel=2e-3)


def test_linear_fit_and_extremes_with_companions(image: ee.Image) -> None:
    box = ee.Geometry.Rectangle([500000, 4999700, 500400, 5000000], UTM, False)
    found = reduce(image.select(["b", "c"]), ee.Reducer.linearFit(), box)
    slope, offset = np.polyfit(B.ravel().astype(float), C.ravel().astype(float), 1)
    assert (found["scale"], found["offset"]) == pytest.approx((slope, offset), rel=1e-6)
    top = reduce(image.select(["b", "c"]), ee.Reducer.max(2), box)
    assert top == {"max": pytest.approx(float(B.max())), "max1": int(C.ravel()[B.argmax()])}


def test_points_lines_and_nothing(image: ee.Image) -> None:
    point = ee.Geometry.Point([500105, 4999915], UTM)
    assert reduce(image, ee.Reducer.first(), point) == {
        "a": int(A[8, 10]) if VALID[8, 10] else None, "b": pytest.approx(float(B[8, 10])), "c": int(C[8, 10]),
    }  # fmt: skip
    line = ee.Geometry.LineString([[500005, 4999995], [500255, 4999995]], UTM, False)
    assert reduce(image.select("b"), ee.Reducer.count(), line)["b"] == 26
    away = ee.Geometry.Point([600000, 4999915], UTM)
    everything = ee.Reducer.mean().combine(ee.Reducer.count(), "", True).combine(ee.Reducer.sum(), "", True)
    assert reduce(image.select("b"), everything, away) == {"b_mean": None, "b_count": 0, "b_sum": 0}


def test_scale_crs_and_too_many_pixels(image: ee.Image) -> None:
    by_scale = image.select("b").reduceRegion(ee.Reducer.count(), ground(RING), 20).getInfo()
    halved = shapely.Polygon([[x / 20, y / 20] for x, y in RING])
    rows, columns = np.mgrid[0:15, 0:20]
    assert by_scale["b"] == shapely.contains_xy(halved, columns + 0.5, rows + 0.5).sum()
    with pytest.raises(
        ee.EEException, match=r"Too many pixels in the region. Found \d+, but maxPixels allows only 100"
    ):
        reduce(image, ee.Reducer.mean(), maxPixels=100)
    best = reduce(image, ee.Reducer.mean(), maxPixels=100, bestEffort=True)
    assert best["b"] == pytest.approx(50, abs=3)
    world = ee.Geometry.BBox(-180, -90, 180, 90)
    with pytest.raises(ee.EEException, match="Too many pixels in the region"):
        ee.Image(1).reduceRegion(ee.Reducer.mean(), world, 10).getInfo()
    with pytest.raises(ee.EEException, match="User memory limit exceeded"):
        ee.Image(1).reduceRegion(ee.Reducer.mean(), world, 10, maxPixels=1e13).getInfo()
    assert ee.Image(3).reduceRegion(ee.Reducer.mean(), world, 100000, "EPSG:4326").getInfo() == {"constant": 3}
    with pytest.raises(ee.EEException, match="The reducer has 2 inputs"):
        reduce(image, ee.Reducer.linearFit())
    with pytest.raises(ee.EEException, match="unbounded"):
        ee.Image(1).reduceRegion(ee.Reducer.mean(), scale=10).getInfo()


def test_reduce_regions_names_properties_by_bands_and_outputs(image: ee.Image) -> None:
    boxes = [ground([[x, 10], [x + 50, 10], [x + 50, 60], [x, 60]]) for x in (10, 200)]
    plots = ee.FeatureCollection([ee.Feature(box, {"plot": i}) for i, box in enumerate(boxes)])
    where = {"crs": UTM, "crsTransform": TRANSFORM}
    one = image.select("b").reduceRegions(plots, ee.Reducer.mean(), **where).getInfo()["features"]
    assert one[0]["properties"] == {"plot": 0, "mean": pytest.approx(float(B[1:6, 1:6].mean()), rel=1e-6)}
    assert one[1]["properties"]["mean"] == pytest.approx(float(B[1:6, 20:25].mean()), rel=1e-6)
    several = image.select(["b", "c"]).reduceRegions(plots, ee.Reducer.mean(), **where).first().toDictionary().getInfo()
    assert set(several) == {"plot", "b", "c"}
    both = image.select(["b", "c"]).reduceRegions(plots, ee.Reducer.minMax(), **where).first().toDictionary().getInfo()
    assert set(both) == {"plot", "b_min", "b_max", "c_min", "c_max"}
    single = image.select("b").reduceRegions(plots, ee.Reducer.minMax(), **where).first().toDictionary().getInfo()
    assert set(single) == {"plot", "min", "max"}


# Sampling


def test_sample_of_everything_is_the_raster(image: ee.Image) -> None:
    box = ee.Geometry.Rectangle([500000, 4999900, 500100, 5000000], UTM, False)
    found = image.sample(box, projection=ee.Projection(UTM, TRANSFORM), dropNulls=True, geometries=True).getInfo()
    values = [feature["properties"] for feature in found["features"]]
    inner = VALID[:10, :10]
    assert [v["a"] for v in values] == A[:10, :10][inner].tolist()
    np.testing.assert_allclose([v["b"] for v in values], B[:10, :10][inner])
    assert found["features"][0]["geometry"]["type"] == "Point"
    kept = image.sample(box, projection=ee.Projection(UTM, TRANSFORM), dropNulls=False)
    assert kept.size().getInfo() == 100


def test_sample_draws_without_repetition_and_again_the_same(image: ee.Image) -> None:
    box = ee.Geometry.Rectangle([500000, 4999700, 500400, 5000000], UTM, False)
    where = {"region": box, "projection": ee.Projection(UTM, TRANSFORM), "geometries": True}
    spots = image.select("b").sample(numPixels=200, seed=4, **where).getInfo()["features"]
    again = image.select("b").sample(numPixels=200, seed=4, **where).getInfo()["features"]
    other = image.select("b").sample(numPixels=200, seed=5, **where).getInfo()["features"]
    assert spots == again
    assert spots != other
    assert len({tuple(spot["geometry"]["coordinates"]) for spot in spots}) == 200
    assert image.select("b").sample(factor=0.25, **where).size().getInfo() == 300


def test_sample_regions_copies_properties_of_points_and_polygons(image: ee.Image) -> None:
    points = [
        ee.Feature(ee.Geometry.Point([500005 + 10 * i, 4999995 - 10 * i], UTM), {"k": i, "l": 0}) for i in range(25)
    ]
    table = ee.FeatureCollection(points)
    found = image.sampleRegions(table, ["k"], projection=ee.Projection(UTM, TRANSFORM)).getInfo()["features"]
    diagonal = [i for i in range(25) if VALID[i, i]]
    assert [feature["properties"]["k"] for feature in found] == diagonal
    assert [feature["properties"]["a"] for feature in found] == [int(A[i, i]) for i in diagonal]
    assert "l" not in found[0]["properties"]
    assert found[1]["id"].endswith("_0")
    inside = image.select("c").sampleRegions(ee.FeatureCollection([ee.Feature(ground(RING))]), scale=10)
    assert inside.size().getInfo() == pytest.approx(CENTRES.sum(), abs=2)


def test_stratified_sample_takes_so_many_of_each_class(image: ee.Image) -> None:
    box = ee.Geometry.Rectangle([500000, 4999700, 500400, 5000000], UTM, False)
    where = {"region": box, "projection": ee.Projection(UTM, TRANSFORM)}
    drawn = image.select(["c", "b"]).stratifiedSample(7, "c", seed=1, **where)
    assert drawn.aggregate_histogram("c").getInfo() == {"1": 7, "2": 7, "3": 7}
    given = image.select(["c", "b"]).stratifiedSample(5, "c", classValues=[1, 2], classPoints=[2, 0], **where)
    assert given.aggregate_histogram("c").getInfo() == {"1": 2, "3": 5}
    with pytest.raises(ee.EEException, match="must hold integers"):
        image.stratifiedSample(5, "b", **where).size().getInfo()


def test_get_region_and_sample_rectangle(service: Emulator) -> None:
    series = ee.ImageCollection("T/R").select(["b", "c"])
    table = series.getRegion(ee.Geometry.Point([500105, 4999915], UTM), 10, UTM).getInfo()
    assert table[0] == ["id", "longitude", "latitude", "time", "b", "c"]
    assert [row[0] for row in table[1:]] == ["i0", "i1"]
    assert [row[4] for row in table[1:]] == pytest.approx([float(B[8, 10])] * 2)
    box = ee.Geometry.Rectangle([500020, 4999950, 500060, 4999990], UTM, False)
    feature = ee.Image("T/R/i0").select("b").sampleRectangle(box)
    np.testing.assert_allclose(feature.get("b").getInfo(), B[1:5, 2:6])
