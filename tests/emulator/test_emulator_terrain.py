"""Slope, aspect and hillshade over the packaged DEM of Olinda and over a plane, against plain numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ee
import numpy as np
import pytest
import rasterio
from emulator_client import compute, connect, grid
from numpy.typing import NDArray

import ee_emulator as emulator

DEM = Path(emulator.__file__).parent / "data" / "olinda"


@pytest.fixture
def service(service_url: str) -> None:
    connect(service_url)


def test_terrain_products_are_those_of_the_four_neighbours(service: None) -> None:
    path = next(DEM.glob("*dem*.tif"))
    with rasterio.open(path) as source:
        heights, transform = source.read(1).astype(float), source.transform
    dem = ee.Image("STARS/DEM/OLINDA")
    band = dem.bandNames().getInfo()[0]
    products = ee.Terrain.products(dem)
    assert products.bandNames().getInfo() == [band, "slope", "aspect", "hillshade"]
    native = compute_native(products, dem)
    slope = compute_native(ee.Terrain.slope(dem), dem)["slope"]
    size = transform.a
    east = (heights[1:-1, 2:] - heights[1:-1, :-2]) / (2 * size)
    north = (heights[:-2, 1:-1] - heights[2:, 1:-1]) / (2 * size)
    expected = np.degrees(np.arctan(np.hypot(east, north)))
    assert expected.max() > 10
    # the ground is up to 0.1 % longer than the map at this place of the zone
    np.testing.assert_allclose(native["slope"][1:-1, 1:-1], expected, rtol=3e-3)
    np.testing.assert_array_equal(slope, native["slope"])
    steep = expected > 0.5
    turned = np.degrees(np.arctan2(-east, -north)) % 360
    gap = np.abs((native["aspect"][1:-1, 1:-1] - turned + 180) % 360 - 180)
    assert gap[steep].max() < 0.2
    # light from the west, half way up: the cosine of the angle between it and the normal (-east, -north, 1)
    light = np.array([-1, 0, 1]) / np.sqrt(2)
    lit = 255 * (light[0] * -east + light[2]) / np.sqrt(east**2 + north**2 + 1)
    assert np.abs(native["hillshade"][1:-1, 1:-1] - np.clip(lit, 0, 255)).max() < 1.5
    assert (native["slope"][0] == 0).all()  # no neighbour beyond the edge
    assert native["hillshade"].dtype == np.uint8
    assert native["slope"].dtype == np.float32


def compute_native(image: ee.Image, dem: ee.Image) -> NDArray[Any]:
    """An image on a stored image's own pixels."""
    (band,) = dem.getInfo()["bands"]
    pixels = grid(band["crs"], band["crs_transform"], *band["dimensions"])
    pixels["crsWkt"] = pixels.pop("crsCode")
    return compute(image, pixels)


def test_a_plane_in_degrees_has_one_slope_and_aspect(service: None) -> None:
    # it rises 0.3 m a metre to the north-east, on pixels that are not square on the ground
    lonlat = ee.Image.pixelLonLat()
    east = lonlat.select("longitude").subtract(15).multiply(111319.4908 * np.cos(np.radians(60)))
    north = lonlat.select("latitude").subtract(60).multiply(111412.3)
    plane = east.add(north).multiply(0.3 / np.sqrt(2)).rename("elevation")
    found = compute(ee.Terrain.products(plane), grid("EPSG:4326", [1e-4, 0, 15, 0, -1e-4, 60.0002], 4, 4))
    np.testing.assert_allclose(found["slope"], np.degrees(np.arctan(0.3)), rtol=5e-3)
    np.testing.assert_allclose(found["aspect"], 225, atol=0.3)
