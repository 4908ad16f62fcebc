"""Pyramids: what a request coarser than the asset reads, against levels made pixel by pixel in plain Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import ee
import numpy as np
import pytest
from emulator_client import array, asset, compute, connect, grid, post, write_catalog, write_raster
from numpy.typing import NDArray

import ee_emulator as emulator
from ee_emulator import Emulator

UTM = "EPSG:32633"
SIZE, LEFT, TOP = 30.0, 400_000.0, 5_000_000.0
HEIGHT, WIDTH = 45, 70  # odd levels: 45 → 23 → 12 → 6, 70 → 35 → 18 → 9
POLICIES = ("MEAN", "MODE", "SAMPLE", "MIN", "MAX", "MEDIAN")
NODATA = 250
PATH = "/v1/projects/earthengine-public/assets/P/A:getPixels"


def mean(pairs: list[tuple[float, float]]) -> float:
    return int(sum(v * w for v, w in pairs) / sum(w for _, w in pairs) + 0.5)


def mode(pairs: list[tuple[float, float]]) -> float:
    votes = {v: sum(w for u, w in pairs if u == v) for v, _ in pairs}
    return min(v for v in votes if votes[v] == max(votes.values()))


REDUCE: dict[str, Callable[[list[tuple[float, float]]], float]] = {
    "MEAN": mean,
    "MODE": mode,
    "MIN": lambda pairs: min(v for v, _ in pairs),
    "MAX": lambda pairs: max(v for v, _ in pairs),
    "MEDIAN": lambda pairs: int(median(v for v, _ in pairs) + 0.5),
}


def next_level(values: NDArray[Any], mask: NDArray[Any], policy: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """The coarser level, pixel by pixel; what lies beyond the edge is masked."""
    height, width = (values.shape[0] + 1) // 2, (values.shape[1] + 1) // 2
    found, weights = np.zeros((height, width)), np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            if policy == "SAMPLE":
                found[row, column] = values[2 * row, 2 * column] * (mask[2 * row, 2 * column] > 0)
                weights[row, column] = mask[2 * row, 2 * column]
                continue
            spots = [(2 * row + i, 2 * column + j) for i in (0, 1) for j in (0, 1)]
            inside = [spot for spot in spots if spot[0] < values.shape[0] and spot[1] < values.shape[1]]
            pairs = [(float(values[spot]), float(mask[spot])) for spot in inside if mask[spot] > 0]
            weights[row, column] = sum(w for _, w in pairs) / 4
            if pairs:
                found[row, column] = REDUCE[policy](pairs)
    return found, weights


def level(values: NDArray[Any], policy: str, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
    found, mask = np.where(values == NODATA, 0, values).astype(float), (values != NODATA).astype(float)
    for _ in range(number):
        found, mask = next_level(found, mask, policy)
    return found, mask


@pytest.fixture(scope="module")
def values() -> NDArray[Any]:
    rng = np.random.default_rng(3)
    found = rng.integers(0, 6, (HEIGHT, WIDTH)).astype(np.uint8) * 40
    found[rng.random((HEIGHT, WIDTH)) < 0.3] = NODATA
    found[10:22, 30:50] = NODATA  # holes that stay holes some levels up
    return found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, values: NDArray[Any]) -> Iterator[tuple[Emulator, NDArray[Any]]]:
    folder = tmp_path_factory.mktemp("pyramid")
    write_raster(folder / "a.tif", values, [SIZE, 0, LEFT, 0, -SIZE, TOP], UTM, nodata=NODATA)
    write_raster(folder / "f.tif", values.astype(np.float32) / 7, [SIZE, 0, LEFT, 0, -SIZE, TOP], UTM)
    entry = asset("P/A", dict.fromkeys(POLICIES, "a.tif") | {"float": "f.tif"})
    for band in entry["bands"][:-1]:
        band["pyramidingPolicy"] = band["id"]
    rng = np.random.default_rng(4)
    large = rng.integers(0, 60_000, (2300, 2100), dtype=np.uint16)
    write_raster(folder / "large.tif", large, [10, 0, 0, 0, -10, 100_000], UTM)
    catalog = write_catalog(folder, [entry, asset("P/LARGE", {"b": "large.tif"})])
    with emulator.start(catalog, cache_mb=4) as running:
        connect(running.url)
        yield running, large


def coarse(factor: float, width: int, height: int) -> dict[str, Any]:
    return grid(UTM, [SIZE * factor, 0, LEFT, 0, -SIZE * factor, TOP], width, height)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_power_of_two_reads_that_level(
    service: tuple[Emulator, NDArray[Any]], values: NDArray[Any], policy: str, number: int
) -> None:
    expected, mask = level(values, policy, number)
    pixel_grid = coarse(2**number, expected.shape[1] + 1, expected.shape[0] + 1)
    image = ee.Image("P/A").select(policy)
    found = compute(image.addBands(image.mask().rename("mask")), pixel_grid)
    assert found[policy].dtype == np.uint8
    np.testing.assert_array_equal(found[policy][:-1, :-1], expected)
    np.testing.assert_array_equal(found["mask"][:-1, :-1], mask.astype(np.float32))
    assert not found["mask"][-1].any()
    assert not found["mask"][:, -1].any()
    stored = array(post(service[0].url, PATH, {"bandIds": [policy], "grid": pixel_grid}))
    np.testing.assert_array_equal(stored[policy], found[policy])


@pytest.mark.parametrize(("factor", "number"), [(1.99, 0), (2.0000001, 1), (3.9, 1), (5.0, 2), (0.4, 0)])
def test_other_scales_read_the_closest_finer_level(
    service: tuple[Emulator, NDArray[Any]], values: NDArray[Any], factor: float, number: int
) -> None:
    expected, _ = level(values, "MODE", number)
    found = array(post(service[0].url, PATH, {"bandIds": ["MODE"], "grid": coarse(factor, 9, 7)}))["MODE"]
    rows = ((np.arange(7) + 0.5) * factor / 2**number).astype(int)
    columns = ((np.arange(9) + 0.5) * factor / 2**number).astype(int)
    np.testing.assert_array_equal(found, expected[np.ix_(rows, columns)])


def test_means_of_floats_are_not_rounded(service: tuple[Emulator, NDArray[Any]], values: NDArray[Any]) -> None:
    found = array(post(service[0].url, PATH, {"bandIds": ["float"], "grid": coarse(2, 35, 22)}))["float"]
    raw = (values.astype(np.float32) / 7)[:44].astype(float)
    np.testing.assert_allclose(found, raw.reshape(22, 2, 35, 2).mean(axis=(1, 3)), rtol=1e-6)


def test_levels_of_a_large_raster_are_made_in_blocks(
    service: tuple[Emulator, NDArray[Any]],
) -> None:
    running, large = service
    path = "/v1/projects/earthengine-public/assets/P/LARGE:getPixels"
    expected = large.astype(float)
    for number in (1, 2, 3, 4):
        odd = [(0, side % 2) for side in expected.shape]
        padded, valid = np.pad(expected, odd), np.pad(np.ones(expected.shape), odd)
        height, width = padded.shape[0] // 2, padded.shape[1] // 2
        quads = (height, 2, width, 2)
        weights = valid.reshape(quads).sum(axis=(1, 3))
        expected = np.floor(padded.reshape(quads).sum(axis=(1, 3)) / weights + 0.5)
        size = 10 * 2**number
        if number == 4:  # the last level has no partial pixels in its first 100 × 100
            body = {"grid": grid(UTM, [size, 0, 0, 0, -size, 100_000], 100, 100)}
            found = array(post(running.url, path, body))["b"]
            np.testing.assert_array_equal(found, expected[:100, :100])


def test_across_crs_the_scale_at_the_centre_decides(
    service: tuple[Emulator, NDArray[Any]], values: NDArray[Any]
) -> None:
    pyproj = pytest.importorskip("pyproj")
    to_utm = pyproj.Transformer.from_crs("EPSG:4326", UTM, always_xy=True)
    lon, lat = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(LEFT + 1000, TOP - 700)
    for factor, number in ((1.9, 0), (2.1, 1), (4.1, 2)):
        # a degree of longitude is cos(lat) of one of latitude: the pixel's area is what counts
        step = SIZE * factor / 111_194.9
        size = (step / np.cos(np.radians(lat)), step)
        transform = [size[0], 0, lon - 4 * size[0], 0, -size[1], lat + 3 * size[1]]
        found = array(post(service[0].url, PATH, {"bandIds": ["SAMPLE"], "grid": grid("EPSG:4326", transform, 8, 6)}))
        x, y = to_utm.transform(
            *np.meshgrid(transform[2] + (np.arange(8) + 0.5) * size[0], transform[5] - (np.arange(6) + 0.5) * size[1])
        )
        expected, _ = level(values, "SAMPLE", number)
        side = SIZE * 2**number
        rows, columns = ((TOP - y) // side).astype(int), ((x - LEFT) // side).astype(int)
        np.testing.assert_array_equal(found["SAMPLE"], expected[rows, columns])
