"""resample, reduceResolution, reproject, clipToBoundsAndScale, against GDAL's warper and against loops in the test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import ee
import numpy as np
import pytest
import rasterio
from emulator_client import PROJECT, asset, compute, connect, grid, post, write_catalog, write_raster
from numpy.typing import NDArray
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject

import ee_emulator as emulator
from ee_emulator import Emulator

UTM = "EPSG:32633"
SIZE, LEFT, TOP = 30.0, 400_000.0, 5_000_000.0
NATIVE = [SIZE, 0, LEFT, 0, -SIZE, TOP]
HEIGHT, WIDTH = 60, 80
NODATA = -9999


@pytest.fixture(scope="module")
def surface() -> NDArray[Any]:
    rng = np.random.default_rng(8)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    heights = 1000 * np.sin(x / 7) * np.cos(y / 5) + rng.integers(0, 300, (HEIGHT, WIDTH))
    return np.asarray(heights, np.int16)


@pytest.fixture(scope="module")
def holes() -> NDArray[Any]:
    found = np.zeros((HEIGHT, WIDTH), bool)
    found[20:26, 30:41] = True
    return found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, surface: NDArray[Any], holes: NDArray[Any]) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("resampling")
    write_raster(folder / "s.tif", surface, NATIVE, UTM)
    write_raster(folder / "h.tif", np.where(holes, NODATA, surface).astype(np.int16), NATIVE, UTM, nodata=NODATA)
    with emulator.start(write_catalog(folder, [asset("R/A", {"s": "s.tif", "h": "h.tif"})])) as running:
        connect(running.url)
        yield running


def placed(column: float, row: float, size: float, width: int, height: int) -> dict[str, Any]:
    """A grid that begins at a native pixel position."""
    return grid(UTM, [size, 0, LEFT + column * SIZE, 0, -size, TOP - row * SIZE], width, height)


def warped(values: NDArray[Any], where: dict[str, Any], method: Resampling) -> NDArray[Any]:
    a = where["affineTransform"]
    transform = Affine(a["scaleX"], 0, a["translateX"], 0, a["scaleY"], a["translateY"])
    found = np.zeros((where["dimensions"]["height"], where["dimensions"]["width"]), np.float64)
    reproject(
        values.astype(np.float64),
        found,
        src_transform=Affine(*NATIVE),
        src_crs=UTM,
        dst_transform=transform,
        dst_crs=where["crsCode"],
        resampling=method,
    )
    return found


# resample


@pytest.mark.parametrize(
    ("mode", "method"), [("bilinear", Resampling.bilinear), ("bicubic", Resampling.cubic)], ids=["bilinear", "bicubic"]
)
@pytest.mark.parametrize("size", [30.0, 10.0, 7.5])
def test_interpolation_is_that_of_gdal(
    service: Emulator, surface: NDArray[Any], mode: str, method: Any, size: float
) -> None:
    where = placed(10.3, 12.7, size, 90, 70)
    found = compute(ee.Image("R/A").select("s").resample(mode), where)["s"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, warped(surface, where, method), atol=0.02)


def test_interpolation_across_coordinate_systems(service: Emulator, surface: NDArray[Any]) -> None:
    pyproj = pytest.importorskip("pyproj")
    lon, lat = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(LEFT + 600, TOP - 500)
    transform = [0.0001, 0, lon, 0, -0.0001, lat]
    found = compute(ee.Image("R/A").select("s").resample("bilinear"), grid("EPSG:4326", transform, 60, 50))["s"]
    to_utm = pyproj.Transformer.from_crs("EPSG:4326", UTM, always_xy=True)
    x, y = to_utm.transform(*np.meshgrid(lon + (np.arange(60) + 0.5) * 1e-4, lat - (np.arange(50) + 0.5) * 1e-4))
    u, v = (x - LEFT) / SIZE - 0.5, (TOP - y) / SIZE - 0.5
    c, r = np.floor(u).astype(int), np.floor(v).astype(int)
    p, q = u - c, v - r
    s = surface.astype(float)
    expected = (s[r, c] * (1 - p) + s[r, c + 1] * p) * (1 - q) + (s[r + 1, c] * (1 - p) + s[r + 1, c + 1] * p) * q
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_own_pixels_are_not_interpolated_and_levels_are(service: Emulator, surface: NDArray[Any]) -> None:
    whole = placed(0, 0, SIZE, WIDTH, HEIGHT)
    for mode in ("bilinear", "bicubic"):
        np.testing.assert_array_equal(compute(ee.Image("R/A").select("s").resample(mode), whole)["s"], surface)
    level = np.floor(surface.reshape(30, 2, 40, 2).mean(axis=(1, 3)) + 0.5)
    found = compute(ee.Image("R/A").select("s").resample(), placed(0, 0, 2 * SIZE, 40, 30))["s"]
    np.testing.assert_array_equal(found, level)
    halfway = compute(ee.Image("R/A").select("s").resample(), placed(1, 0, 2 * SIZE, 39, 30))["s"]
    np.testing.assert_allclose(halfway, (level[:, :-1] + level[:, 1:]) / 2, atol=1e-3)


def test_masked_neighbours_do_not_count_in_interpolation(
    service: Emulator, surface: NDArray[Any], holes: NDArray[Any]
) -> None:
    image = ee.Image("R/A").select("h").resample("bilinear")
    found = compute(image.addBands(image.mask().rename("mask")), placed(25, 10, 10, 60, 50))
    u, v = (np.arange(60) + 0.5) / 3 + 25 - 0.5, (np.arange(50) + 0.5) / 3 + 10 - 0.5
    for row in range(50):
        for column in range(60):
            c, r = int(np.floor(u[column] + 1e-9)), int(np.floor(v[row] + 1e-9))
            p, q = u[column] - c, v[row] - r
            total = share = 0.0
            for j, wy in ((0, 1 - q), (1, q)):
                for i, wx in ((0, 1 - p), (1, p)):
                    if not holes[r + j, c + i]:
                        total += wx * wy * float(surface[r + j, c + i])
                        share += wx * wy
            assert found["mask"][row, column] == pytest.approx(share, abs=1e-6)
            expected = total / share if share > 1e-9 else 0
            assert found["h"][row, column] == pytest.approx(expected, abs=1e-2)


def test_outside_the_footprint_stays_masked(service: Emulator, surface: NDArray[Any]) -> None:
    image = ee.Image("R/A").select("s").resample("bilinear")
    found = compute(image.addBands(image.mask().rename("mask")), placed(-2, 0, 10, 12, 3))
    np.testing.assert_array_equal(found["mask"][:, :6], 0)
    assert (found["mask"][:, 6:] > 0).all()
    composite = ee.ImageCollection("R").select("s").max()
    where = placed(3.4, 2.1, 20, 30, 20)
    np.testing.assert_array_equal(compute(composite.resample("bicubic"), where), compute(composite, where))


# reduceResolution


def coverage(start: float, size: float, count: int) -> NDArray[Any]:
    """For each output interval the covered part of each native pixel, in native pixels."""
    edges = start + size * np.arange(count + 1)
    pixels = np.arange(max(HEIGHT, WIDTH))
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.asarray(np.clip(covered, 0, None))


@pytest.mark.parametrize(("factor", "column", "row"), [(4.0, 0.0, 0.0), (5.0, 2.0, 3.0), (2.6, 1.3, 4.45)])
def test_means_are_weighted_by_the_covered_part(
    service: Emulator, surface: NDArray[Any], holes: NDArray[Any], factor: float, column: float, row: float
) -> None:
    image = ee.Image("R/A").select("h").reduceResolution(ee.Reducer.mean(), maxPixels=100)
    where = placed(column, row, SIZE * factor, 13, 10)
    found = compute(image.addBands(image.mask().rename("mask")), where)
    across, down = coverage(column, factor, 13)[:, :WIDTH], coverage(row, factor, 10)[:, :HEIGHT]
    valid = (~holes).astype(float)
    total, share = down @ (surface * valid) @ across.T, down @ valid @ across.T
    np.testing.assert_array_equal(found["mask"] > 0, share > 1e-9)
    np.testing.assert_allclose(found["h"], np.where(share > 1e-9, total / np.maximum(share, 1e-9), 0), rtol=1e-6)


def test_other_reducers_and_several_outputs(service: Emulator, surface: NDArray[Any]) -> None:
    reducer = ee.Reducer.minMax()
    found = compute(ee.Image("R/A").select("s").reduceResolution(reducer, maxPixels=64), placed(0, 0, SIZE * 4, 20, 15))
    blocks = surface.reshape(15, 4, 20, 4)
    np.testing.assert_array_equal(found["s_min"], blocks.min(axis=(1, 3)))
    np.testing.assert_array_equal(found["s_max"], blocks.max(axis=(1, 3)))
    assert found["s_min"].dtype == np.int16
    counted = ee.Image("R/A").select("s").reduceResolution(ee.Reducer.count(), maxPixels=64)
    assert (compute(counted, placed(0, 0, SIZE * 4, 20, 15))["s"] == 16).all()


def test_means_across_crs_are_close_to_area_weighted_ones(service: Emulator, surface: NDArray[Any]) -> None:
    pyproj = pytest.importorskip("pyproj")
    lon, lat = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(LEFT + 400, TOP - 300)
    step = 0.0012
    image = ee.Image("R/A").select("s").reduceResolution(ee.Reducer.mean(), maxPixels=64)
    found = compute(image, grid("EPSG:4326", [step, 0, lon, 0, -step, lat], 8, 6))["s"]
    fine = 40
    to_utm = pyproj.Transformer.from_crs("EPSG:4326", UTM, always_xy=True)
    lons, lats = lon + (np.arange(8 * fine) + 0.5) * step / fine, lat - (np.arange(6 * fine) + 0.5) * step / fine
    x, y = to_utm.transform(*np.meshgrid(lons, lats))
    dense = surface[((TOP - y) // SIZE).astype(int), ((x - LEFT) // SIZE).astype(int)].astype(float)
    np.testing.assert_allclose(found, dense.reshape(6, fine, 8, fine).mean(axis=(1, 3)), atol=12)


def test_too_many_pixels_are_refused_or_start_from_a_level(service: Emulator, surface: NDArray[Any]) -> None:
    image = ee.Image("R/A").select("s")
    where = placed(0, 0, SIZE * 20, 4, 3)
    with pytest.raises(ee.EEException, match="Too many input pixels per output pixel"):
        compute(image.reduceResolution(ee.Reducer.mean()), where)
    found = compute(image.reduceResolution(ee.Reducer.mean(), bestEffort=True), where)["s"]
    level = surface.astype(float)
    for _ in range(2):  # 20 / 4 = 5, and 5 × 5 ≤ 64
        level = np.floor(level.reshape(level.shape[0] // 2, 2, level.shape[1] // 2, 2).mean(axis=(1, 3)) + 0.5)
    np.testing.assert_allclose(found, level.reshape(3, 5, 4, 5).mean(axis=(1, 3)))


def test_finer_output_is_left_alone(service: Emulator, surface: NDArray[Any]) -> None:
    found = compute(ee.Image("R/A").select("s").reduceResolution(ee.Reducer.mean()), placed(0, 0, 15, 20, 10))["s"]
    np.testing.assert_array_equal(found, surface[:5, :10].repeat(2, axis=0).repeat(2, axis=1))


# reproject, projections


def test_reproject_puts_another_lattice_in_between(service: Emulator, surface: NDArray[Any]) -> None:
    blocky = ee.Image("R/A").select("s").reproject(UTM, [45, 0, LEFT, 0, -45, TOP])
    found = compute(blocky, placed(0, 0, 15, 60, 45))["s"]
    at = np.floor(np.arange(40) * 1.5 + 0.75).astype(int)
    middle = surface[np.ix_(at[:15], at[:20])]
    np.testing.assert_array_equal(found, middle.repeat(3, axis=0).repeat(3, axis=1))
    coarse = compute(ee.Image("R/A").select("s").reproject(UTM, None, 2 * SIZE), placed(4, 4, 15, 8, 8))["s"]
    level = np.floor(surface.reshape(30, 2, 40, 2).mean(axis=(1, 3)) + 0.5)
    # the middles of the pixels of 60 m, counted from the origin of the coordinate system, that hold the centres
    x = (LEFT + 4 * SIZE + (np.arange(8) + 0.5) * 15) // 60 * 60 + 30
    y = (TOP - 4 * SIZE - (np.arange(8) + 0.5) * 15) // 60 * 60 + 30
    rows, columns = ((TOP - y) // 60).astype(int), ((x - LEFT) // 60).astype(int)
    np.testing.assert_array_equal(coarse, level[np.ix_(rows, columns)])


def test_reduce_resolution_then_reproject_shows_in_any_output(service: Emulator, surface: NDArray[Any]) -> None:
    image = ee.Image("R/A").select("s").reduceResolution(ee.Reducer.max()).reproject(UTM, [120, 0, LEFT, 0, -120, TOP])
    found = compute(image, placed(0, 0, SIZE, WIDTH, HEIGHT))["s"]
    expected = surface.reshape(15, 4, 20, 4).max(axis=(1, 3)).repeat(4, axis=0).repeat(4, axis=1)
    np.testing.assert_array_equal(found, expected)


def test_a_reprojection_of_too_many_pixels_is_refused(service: Emulator) -> None:
    image = ee.Image("R/A").select("s").reproject(UTM, None, 0.5)
    with pytest.raises(ee.EEException, match=r"Reprojection output too large \(\d+x\d+ pixels\)"):
        compute(image, placed(0, 0, 1000, 50, 50))


def test_default_projections_are_told(service: Emulator) -> None:
    image = ee.Image("R/A")
    assert image.projection().getInfo() == {"type": "Projection", "crs": UTM, "transform": NATIVE}
    moved = image.setDefaultProjection("EPSG:3857", None, 50).projection().getInfo()
    assert moved == {"type": "Projection", "crs": "EPSG:3857", "transform": [50, 0, 0, 0, -50, 0]}
    assert ee.ImageCollection("R").mean().projection().getInfo()["transform"] == [1, 0, 0, 0, 1, 0]
    for wrong in (
        {"crs": UTM, "crsTransform": [1, 2]},
        {"crs": UTM, "crsTransform": [0] * 6},
        {"crs": UTM, "scale": -1},
    ):
        with pytest.raises(ee.EEException, match=r"Image.reproject"):
            image.reproject(**wrong).getInfo()


# clipToBoundsAndScale, as thumbnails and downloads use it


def bounded(**options: object) -> dict[str, Any]:
    """The first band's description after clipToBoundsAndScale."""
    arguments = {"input": ee.Image("R/A").select("s"), **options}
    found: dict[str, Any] = ee.apply("Image.clipToBoundsAndScale", arguments).getInfo()["bands"][0]
    return found


def test_boxes_and_sizes(service: Emulator) -> None:
    rectangle = ee.Geometry.Rectangle([10, 5, 30, 45], ee.Image("R/A").projection(), False)
    band = bounded(geometry=rectangle)
    assert (band["dimensions"], band["origin"], band["crs_transform"]) == ([20, 40], [10, 5], NATIVE)
    band = bounded(geometry=rectangle, width=7, height=8)
    assert band["dimensions"] == [7, 8]
    expected = [20 * SIZE / 7, 0, LEFT + 10 * SIZE, 0, -40 * SIZE / 8, TOP - 5 * SIZE]
    assert band["crs_transform"] == pytest.approx(expected)
    assert bounded(geometry=rectangle, maxDimension=20)["dimensions"] == [10, 20]
    band = bounded(geometry=rectangle, scale=100)
    assert band["crs_transform"] == [100, 0, 0, 0, -100, 0]
    assert (band["origin"], band["dimensions"]) == ([4003, -49999], [6, 13])
    assert bounded(maxDimension=40)["dimensions"] == [40, 30]
    for wrong in ({"width": 3}, {"maxDimension": 3, "scale": 2}, {"scale": -2}):
        with pytest.raises(ee.EEException, match="clipToBoundsAndScale"):
            bounded(**wrong)


def test_pixels_outside_the_box_are_masked(service: Emulator, surface: NDArray[Any]) -> None:
    rectangle = ee.Geometry.Rectangle([10, 5, 30, 45], ee.Image("R/A").projection(), False)
    arguments = {"input": ee.Image("R/A").select("s"), "geometry": rectangle}
    found = compute(ee.Image(ee.apply("Image.clipToBoundsAndScale", arguments)), placed(0, 0, SIZE, WIDTH, HEIGHT))
    expected = np.zeros_like(surface)
    expected[5:45, 10:30] = surface[5:45, 10:30]
    np.testing.assert_array_equal(found["s"], expected)


def test_clip_narrows_the_bounds(service: Emulator) -> None:
    rectangle = ee.Geometry.Rectangle([10, 5, 30, 45], ee.Image("R/A").projection(), False)
    band = ee.Image("R/A").clip(rectangle).getInfo()["bands"][0]
    assert (band["dimensions"], band["origin"], band["crs_transform"]) == ([20, 40], [10, 5], NATIVE)


def test_a_computed_image_without_a_grid_is_its_own_bounds(service: Emulator, surface: NDArray[Any]) -> None:
    rectangle = ee.Geometry.Rectangle([10, 5, 30, 45], ee.Image("R/A").projection(), False)
    arguments = {"input": ee.Image("R/A").select("s").add(1), "geometry": rectangle}
    image = ee.Image(ee.apply("Image.clipToBoundsAndScale", arguments))
    body = {"expression": json.loads(image.serialize()), "fileFormat": "GEO_TIFF"}
    reply = post(service.url, f"/v1/projects/{PROJECT}/image:computePixels", body)
    assert reply.status == 200, reply.data
    with rasterio.MemoryFile(reply.data) as memory, memory.open() as found:
        assert found.transform == Affine(SIZE, 0, LEFT + 10 * SIZE, 0, -SIZE, TOP - 5 * SIZE)
        np.testing.assert_array_equal(found.read(1), surface[5:45, 10:30] + 1)
