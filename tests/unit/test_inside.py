"""Which pixels lie in an area: their centres against shapely's answer, in many projections, across ±180° too."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely

from ee_spark.planner.cover import cover
from ee_spark.planner.inside import MOST_ROWS, pixels
from ee_spark.planner.polygon import Polygons, boxes
from ee_spark.planner.window import Window

SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
PLACES = {
    "metres": ("EPSG:32632", 60.0, 9.0, 47.0),
    "degrees": ("EPSG:4326", 0.001, 9.0, 47.0),
    "south": ("EPSG:32733", 60.0, 15.0, -31.0),
    "web": ("EPSG:3857", 90.0, -3.0, 55.0),
    "polar": ("EPSG:3031", 250.0, 45.0, -80.0),
    "sinusoidal": ("SR-ORG:6974", 231.65635826395825, 120.0, 30.0),
    "albers": ("EPSG:5070", 90.0, -100.0, 40.0),
}


def places(crs: str) -> tuple[str, str]:
    """The CRS and its degrees, for pyproj."""
    return (SINUSOIDAL, "+proj=longlat +R=6371007.181") if crs == "SR-ORG:6974" else (crs, "EPSG:4326")


def lonlat(window: Window) -> tuple[np.ndarray, np.ndarray]:
    transformer = pyproj.Transformer.from_crs(*places(window.crs), always_xy=True)
    return transformer.transform(*np.meshgrid(window.xs, window.ys))


def window_at(crs: str, resolution: float, lon: float, lat: float, side: int) -> Window:
    x, y = pyproj.Transformer.from_crs(*reversed(places(crs)), always_xy=True).transform(lon, lat)
    left, top = x - (side / 2 - 0.3) * resolution, y + (side / 2 - 0.2) * resolution
    return Window(crs, (resolution, 0.0, left, 0.0, -resolution, top), side, side)


def mask_of(found: object, window: Window) -> np.ndarray:
    mask = np.zeros((window.height, window.width), bool)
    for row, start, stop in zip(found.row, found.start, found.stop, strict=True):
        mask[row, start:stop] = True
    return mask


def star(rng: np.random.Generator, lon: float, lat: float, size: float) -> np.ndarray:
    """A ring around a place, of random reach in each direction."""
    angle = np.sort(rng.uniform(0, 2 * np.pi, 9))
    reach = size * rng.uniform(0.2, 1, 9)
    ring = np.column_stack([lon + reach * np.cos(angle) / np.cos(np.radians(lat)), lat + reach * np.sin(angle)])
    return np.vstack([ring, ring[:1]])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("seed", range(2))
def test_centres_are_those_that_shapely_has(place: str, seed: int) -> None:
    crs, resolution, lon, lat = PLACES[place]
    side, rng = 70, np.random.default_rng([seed, len(place)])
    window = window_at(crs, resolution, lon, lat, side)
    lons, lats = lonlat(window)
    size = (lats.max() - lats.min()) * rng.uniform(0.3, 0.9)
    rings = [star(rng, lon, lat, size), star(rng, lon + size / 3, lat, size / 2)]  # two that overlap
    hole = rings[0].mean(0) + (rings[0] - rings[0].mean(0)) * 0.3
    area = Polygons(((rings[0], hole), (rings[1],)))
    truth, edge = np.zeros(lons.shape, bool), np.zeros(lons.shape, bool)
    for polygon in (shapely.Polygon(rings[0]).symmetric_difference(shapely.Polygon(hole)), shapely.Polygon(rings[1])):
        truth |= shapely.contains_xy(polygon, lons, lats)
        edge |= shapely.distance(polygon.boundary, shapely.points(lons, lats)) < size / side * 0.01
    found = pixels(area, window)
    assert found is not None
    mask = mask_of(found, window)
    assert (mask == truth)[~edge].all()
    assert 0 < truth.sum() < truth.size
    assert edge.mean() < 0.02
    touched = pixels(area, window, cover)
    assert touched is not None
    assert not (truth & ~edge & ~mask_of(touched, window)).any(), "what is in it is touched"


@pytest.mark.parametrize(("crs", "lon"), [("EPSG:32760", 179.98), ("EPSG:32701", -179.98), ("EPSG:32760", 179.6)])
def test_zones_beside_the_antimeridian_see_both_sides(crs: str, lon: float) -> None:
    window = window_at(crs, 100.0, lon, -16.9, 120)
    lons, lats = lonlat(window)
    assert lon == 179.6 or (lons.min() < -179.9 and lons.max() > 179.9), "the window goes across"
    area = Polygons(boxes((179.95, -16.93, -179.97, -16.88)) + boxes((-40.0, -20.0, 60.0, 20.0)))
    across = ((lons > 179.95) | (lons < -179.97)) & (lats > -16.93) & (lats < -16.88)
    found = pixels(area, window)
    assert found is not None
    np.testing.assert_array_equal(mask_of(found, window), across)


def test_what_has_too_many_rows_is_not_looked_at() -> None:
    window = Window("EPSG:4326", (1e-7, 0, 0, 0, -1e-7, 1), 10, MOST_ROWS + 1)
    assert pixels(Polygons(boxes((0, 0, 1, 1))), window) is None
    assert pixels(Polygons(()), window_at("EPSG:32632", 10, 9, 47, 8)).count == 0
