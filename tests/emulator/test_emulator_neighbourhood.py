"""Kernels as their documentation prints them; neighbourhoods against loops in plain numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ee
import numpy as np
import pytest
from emulator_client import asset, compute, connect, grid, write_catalog, write_raster
from numpy.typing import NDArray

import ee_emulator as emulator
from ee_emulator import Emulator

UTM = "EPSG:32633"
TRANSFORM = [10, 0, 500000, 0, -10, 5000000]
WIDTH, HEIGHT = 14, 11
GRID = grid(UTM, TRANSFORM, WIDTH, HEIGHT)
RNG = np.random.default_rng(5)
V = RNG.integers(1, 200, (HEIGHT, WIDTH)).astype(np.uint8)
V[RNG.random(V.shape) < 0.2] = 255
VALID = V != 255
F = RNG.normal(size=(HEIGHT, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("neighbourhood")
    write_raster(folder / "v.tif", V, TRANSFORM, UTM, nodata=255)
    write_raster(folder / "f.tif", F, TRANSFORM, UTM)
    with emulator.start(write_catalog(folder, [asset("T/N/one", {"v": "v.tif", "f": "f.tif"})])) as running:
        connect(running.url)
        yield running


@pytest.fixture
def image(service: Emulator) -> ee.Image:
    return ee.Image("T/N/one")


def around(values: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """The neighbours of every pixel under a kernel, NaN outside, shape (places, height, width)."""
    rows, columns = weights.shape
    up, left = (rows - 1) // 2, (columns - 1) // 2
    padded = np.pad(values.astype(float), ((up, rows - 1 - up), (left, columns - 1 - left)), constant_values=np.nan)
    found = [
        padded[r : r + values.shape[0], c : c + values.shape[1]]
        for r in range(rows)
        for c in range(columns)
        if weights[r, c]
    ]
    return np.stack(found)


MASKED = np.where(VALID, V.astype(float), np.nan)
PRINTED = {
    "circle": "0001000 0111110 0111110 1111111 0111110 0111110 0001000",
    "octagon": "0011100 0111110 1111111 1111111 1111111 0111110 0011100",
    "diamond": "0001000 0011100 0111110 1111111 0111110 0011100 0001000",
    "plus": "0001000 0001000 0001000 1111111 0001000 0001000 0001000",
    "cross": "1000001 0100010 0010100 0001000 0010100 0100010 1000001",
    "square": " ".join(["1111111"] * 7),
}


@pytest.mark.parametrize("name", PRINTED)
def test_shapes_are_those_that_the_documentation_prints(image: ee.Image, name: str) -> None:
    shape = np.array([[int(bit) for bit in row] for row in PRINTED[name].split()])
    kernel = getattr(ee.Kernel, name)(3)
    one = ee.Image(1).rename("one").reduceNeighborhood(ee.Reducer.count(), kernel)
    assert compute(one, grid(UTM, TRANSFORM, 1, 1))["one_count"][0, 0] == shape.sum()
    found = compute(image.select("f").convolve(kernel), grid(UTM, [10, 0, 500030, 0, -10, 4999970], 5, 4))["f"]
    expected = np.nanmean(around(F, shape), axis=0)[3:7, 3:8]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kernel", "first"),
    [
        (lambda: ee.Kernel.chebyshev(3), [3, 3, 3, 3, 3, 3, 3]),
        (lambda: ee.Kernel.manhattan(3), [6, 5, 4, 3, 4, 5, 6]),
        (lambda: ee.Kernel.euclidean(3), [18**0.5, 13**0.5, 10**0.5, 3, 10**0.5, 13**0.5, 18**0.5]),
    ],
)
def test_distances_are_those_that_the_documentation_prints(
    service: Emulator, kernel: Callable[..., Any], first: list[Any]
) -> None:
    # 1 at one pixel: convolving gives the kernel itself, mirrored, and these are symmetric
    x = ee.Image.pixelCoordinates(ee.Projection(UTM, TRANSFORM)).toInt()
    spike = x.select("x").eq(3).And(x.select("y").eq(3)).toDouble()
    found = compute(spike.convolve(kernel()), grid(UTM, TRANSFORM, 7, 7))["x"]
    np.testing.assert_allclose(found[0], first, rtol=1e-6)
    np.testing.assert_allclose(found[:, 0], first, rtol=1e-6)
    assert found[3, 3] == 0


def test_convolution_with_given_weights(image: ee.Image) -> None:
    weights = [[1, 2, 0], [0, -4, 0], [0, 0, 3]]
    found = compute(image.select("f").convolve(ee.Kernel.fixed(3, 3, weights)), GRID)["f"]
    inner = 1 * F[:-2, :-2] + 2 * F[:-2, 1:-1] - 4 * F[1:-1, 1:-1] + 3 * F[2:, 2:]
    np.testing.assert_allclose(found[1:-1, 1:-1], inner, rtol=1e-4, atol=1e-6)
    assert (found[0] == 0).all()  # a neighbour with a weight is missing there
    edge = compute(image.select("f").convolve(ee.Kernel.sobel()), GRID)["f"]
    sobel = F[:-2, 2:] - F[:-2, :-2] + 2 * (F[1:-1, 2:] - F[1:-1, :-2]) + F[2:, 2:] - F[2:, :-2]
    np.testing.assert_allclose(edge[1:-1, 1:-1], sobel, rtol=1e-4, atol=1e-5)


def test_a_gaussian_of_metres(image: ee.Image) -> None:
    found = compute(image.select("f").convolve(ee.Kernel.gaussian(30, 15, "meters")), GRID)["f"]
    dy, dx = np.mgrid[-3:4, -3:4]
    weights = np.exp(-(dx**2 + dy**2) / (2 * 1.5**2))
    inner = (around(F, np.ones((7, 7))) * (weights / weights.sum()).reshape(-1, 1, 1)).sum(axis=0)
    np.testing.assert_allclose(found[3:-3, 3:-3], inner[3:-3, 3:-3], rtol=1e-4, atol=1e-6)


PLUS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])


@pytest.mark.parametrize("reducer", ["mean", "min", "max", "median", "sum", "count", "stdDev"])
def test_reduce_neighborhood_leaves_out_what_is_masked(image: ee.Image, reducer: str) -> None:
    kernel = ee.Kernel.plus(1, "pixels", False)
    reduced = image.select("v").reduceNeighborhood(getattr(ee.Reducer, reducer)(), kernel)
    assert reduced.bandNames().getInfo() == [f"v_{reducer}"]
    found = compute(reduced.rename("r").addBands(reduced.mask().rename("m")), GRID)
    stack = around(MASKED, PLUS)
    truths: dict[str, Callable[..., Any]] = {
        "mean": np.nanmean, "min": np.nanmin, "max": np.nanmax, "median": np.nanmedian, "sum": np.nansum,
        "stdDev": np.nanstd, "count": lambda s, axis: np.isfinite(s).sum(axis=axis),
    }  # fmt: skip
    with np.errstate(all="ignore"), pytest.warns() if not np.isfinite(stack).any(axis=0).all() else np.errstate():
        expected = truths[reducer](stack, axis=0)
    np.testing.assert_array_equal(found["m"] > 0, VALID)
    np.testing.assert_allclose(found["r"][VALID], expected[VALID], rtol=1e-5)


def test_weights_of_the_kernel_weigh_the_mean(image: ee.Image) -> None:
    weights = np.array([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])
    reduced = image.select("v").reduceNeighborhood(ee.Reducer.mean(), ee.Kernel.fixed(3, 3, weights.tolist()))
    found = compute(reduced, GRID)["v_mean"]
    stack, factors = around(MASKED, weights), weights.reshape(-1, 1, 1)
    expected = np.nansum(stack * factors, axis=0) / (np.isfinite(stack) * factors).sum(axis=0)
    np.testing.assert_allclose(found[VALID], expected[VALID], rtol=1e-6)
    flat = image.select("v").reduceNeighborhood(ee.Reducer.mean(), ee.Kernel.fixed(3, 3, weights.tolist()), "mask")
    np.testing.assert_allclose(compute(flat, GRID)["v_mean"][VALID], np.nanmean(stack, axis=0)[VALID], rtol=1e-6)


def test_focal_mean_fills_masked_pixels_and_keeps_names(image: ee.Image) -> None:
    found = compute(image.select("v").focalMean(1, "square"), GRID)["v"]
    expected = np.nanmean(around(MASKED, np.ones((3, 3))), axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    twice = compute(image.select("v").focal_max(1, "plus", "pixels", 2), GRID)["v"]
    once = np.nanmax(around(MASKED, PLUS), axis=0)
    np.testing.assert_array_equal(twice, np.nanmax(around(once, PLUS), axis=0))


def test_a_large_disc_is_its_sum_by_loops(image: ee.Image) -> None:
    dy, dx = np.mgrid[-6:7, -6:7]
    disc = dx**2 + dy**2 <= 36
    found = compute(image.select("v").focalMean(6), GRID)["v"]
    np.testing.assert_allclose(found, np.nanmean(around(MASKED, disc), axis=0), rtol=1e-6)


def test_a_neighbourhood_is_the_same_in_every_tile(image: ee.Image) -> None:
    smooth = image.select("f").focalMean(2)
    whole = compute(smooth, GRID)["f"]
    part = compute(smooth, grid(UTM, [10, 0, 500050, 0, -10, 4999960], 6, 5))["f"]
    np.testing.assert_allclose(part, whole[4:9, 5:11], rtol=1e-6)


def test_neighbours_as_bands(image: ee.Image) -> None:
    found = image.select("f").neighborhoodToBands(ee.Kernel.plus(1))
    assert set(found.bandNames().getInfo()) == {"f_0_-1", "f_-1_0", "f_0_0", "f_1_0", "f_0_1"}
    values = compute(found, GRID)
    np.testing.assert_array_equal(values["f_1_0"][:, :-1], F[:, 1:])
    np.testing.assert_array_equal(values["f_0_-1"][1:], F[:-1])
