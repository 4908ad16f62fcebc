"""Edges: geodesics unless they are said to be planar, in all that is done with a geometry; against PROJ's geodesics."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import ee
import numpy as np
import pytest
import shapely
from emulator_client import compute, connect, grid, write_catalog, write_raster
from numpy.typing import NDArray

import ee_emulator

pyproj = pytest.importorskip("pyproj")
GEOD = pyproj.Geod(ellps="WGS84")
WIDE = [[0, 40], [60, 40], [60, 60], [0, 60]]


@pytest.fixture(autouse=True, scope="module")
def service(service_url: str) -> None:
    connect(service_url)


def dense(ring: list[list[float]], steps: int = 2000) -> NDArray[Any]:
    """A closed ring with points on the geodesics between its vertices, longitudes going on past ±180."""
    points = []
    for (lon0, lat0), (lon1, lat1) in pairwise([*ring, ring[0]]):
        middle = GEOD.npts(lon0, lat0, lon1, lat1, steps - 1)
        points += [(lon0, lat0), *middle]
    lons = np.unwrap(np.array([lon for lon, _ in points]), period=360)
    return np.column_stack([lons, [lat for _, lat in points]])


def proj_area(ring: list[list[float]]) -> float:
    lons, lats = zip(*ring, strict=True)
    return float(abs(GEOD.polygon_area_perimeter(lons, lats)[0]))


def test_a_wide_polygon_has_the_area_inside_its_geodesics() -> None:
    bent, planar = ee.Geometry.Polygon([WIDE]), ee.Geometry.Polygon([WIDE], None, False)
    areas = ee.List([bent.area(1), ee.Geometry.Polygon([WIDE], None, True).area(1), planar.area(1)]).getInfo()
    assert areas[0] == areas[1] == pytest.approx(proj_area(WIDE), rel=1e-7) == pytest.approx(8.819e12, rel=1e-4)
    assert areas[2] == pytest.approx(9.519e12, rel=1e-4)
    ring = np.array([*WIDE, WIDE[0]], float)
    assert bent.perimeter(1).getInfo() == pytest.approx(GEOD.line_length(ring[:, 0], ring[:, 1]), rel=1e-9)


RINGS = {
    "a star": [[14.0, 50.0], [14.3, 50.05], [14.5, 50.4], [14.2, 50.25], [13.9, 50.3]],
    "a Sentinel-2 tile": [[-63.0003, -34.4291], [-61.8055, -34.4234], [-61.8192, -33.4333], [-63.0, -33.4388]],
    "across the equator": [[-20, -30], [25, -12], [60, 33], [-15, 28]],
    "across 180°": [[170, -20], [-165, -25], [-160, 15], [175, 10]],
    "around the north pole": [[0, 70], [90, 65], [180, 72], [-90, 68]],
    "around the south pole": [[-120, -60], [120, -70], [0, -65]],
}


@pytest.mark.parametrize("name", RINGS)
def test_areas_are_those_of_proj(name: str) -> None:
    ring = RINGS[name]
    found = ee.Geometry.Polygon([ring]).area(1).getInfo()
    assert found == pytest.approx(proj_area(ring), rel=2e-6)


@pytest.mark.parametrize("name", ["a star", "across the equator", "across 180°"])
def test_points_are_inside_as_for_shapely_along_the_geodesics(name: str) -> None:
    ring = RINGS[name]
    truth = shapely.Polygon(dense(ring))
    west, south, east, north = truth.bounds
    draw = np.random.default_rng(5)
    points = np.column_stack([draw.uniform(west - 1, east + 1, 300), draw.uniform(south - 1, north + 1, 300)])
    polygon = ee.Geometry.Polygon([ring])
    asked = [polygon.contains(ee.Geometry.Point([(x + 180) % 360 - 180, y])) for x, y in points]
    assert ee.List(asked).getInfo() == shapely.contains_xy(truth, points[:, 0], points[:, 1]).tolist()


def test_what_lies_between_chord_and_geodesic_tells_them_apart() -> None:
    bent, planar = ee.Geometry.Polygon([WIDE]), ee.Geometry.Polygon([WIDE], None, False)
    south, north = ee.Geometry.Point([30, 41]), ee.Geometry.Point([30, 61])
    small = ee.Geometry.BBox(29, 60.5, 31, 61.5)
    features = ee.FeatureCollection([ee.Feature(south, {"at": "south"}), ee.Feature(north, {"at": "north"})])
    for polygon, names, meets in ((bent, ["north"], True), (planar, ["south"], False)):
        assert features.filterBounds(polygon).aggregate_array("at").getInfo() == names
        assert polygon.intersects(small, 1).getInfo() is meets
        assert polygon.contains(south, 1).getInfo() is ("south" in names)
        assert (polygon.intersection(small, 1).area(1).getInfo() > 0) is meets


@pytest.mark.parametrize("planar", [False, True])
def test_pixels_are_clipped_and_reduced_along_the_edges(planar: bool) -> None:
    side, columns, rows = 0.5, 140, 60
    polygon = ee.Geometry.Polygon([WIDE], None, False) if planar else ee.Geometry.Polygon([WIDE])
    truth = shapely.Polygon(WIDE) if planar else shapely.Polygon(dense(WIDE))
    lons = -5.01 + side * (np.arange(columns) + 0.5)
    lats = 66.01 - side * (np.arange(rows) + 0.5)
    inside = shapely.contains_xy(truth, *np.meshgrid(lons, lats))
    where = grid("EPSG:4326", [side, 0.0, -5.01, 0.0, -side, 66.01], columns, rows)
    clipped = compute(ee.Image(1).clip(polygon), where)["constant"]
    np.testing.assert_array_equal(clipped == 1, inside)
    painted = compute(ee.Image(0).byte().paint(ee.FeatureCollection([ee.Feature(polygon)]), 1), where)["constant"]
    assert abs(int((painted == 1).sum()) - int(inside.sum())) <= 2
    lattice = {"crs": "EPSG:4326", "crsTransform": [side, 0, -5.01, 0, -side, 66.01]}
    reducer = ee.Reducer.count().combine(ee.Reducer.sum(), None, True)
    reduced = ee.Image(1).reduceRegion(reducer, polygon, **lattice).getInfo()
    assert reduced["constant_count"] == int(inside.sum())
    boxes = shapely.box(*np.meshgrid(lons - side / 2, lats - side / 2), *np.meshgrid(lons + side / 2, lats + side / 2))
    parts = shapely.area(shapely.intersection(boxes, truth)) / side**2
    assert reduced["constant_sum"] == pytest.approx(parts.sum(), rel=1e-3)


def test_constructors_are_geodesic_where_the_crs_is_geographic() -> None:
    box = [0, 40, 60, 60]
    cases = {
        "polygon": (ee.Geometry.Polygon([WIDE]), True),
        "rectangle": (ee.Geometry.Rectangle(box), True),
        "planar rectangle": (ee.Geometry.Rectangle(box, None, False), False),
        "box": (ee.Geometry.BBox(*box), False),
        "computed box": (ee.Geometry.BBox(ee.Number(0), 40, 60, 60), False),
        "line": (ee.Geometry.LineString([[0, 40], [60, 40]]), True),
        "other datum": (ee.Geometry.Polygon([WIDE], "EPSG:4269"), True),
        "projected": (ee.Geometry.Polygon([[[4e5, 5e6], [5e5, 5e6], [5e5, 6e6]]], "EPSG:32633"), False),
        "geodesic of projected": (
            ee.Geometry.Polygon([[[4e5, 5e6], [5e5, 5e6], [5e5, 6e6]]], "EPSG:32633", True),
            True,
        ),
        "from GeoJSON": (ee.Geometry({"type": "Polygon", "coordinates": [WIDE]}), True),
        "planar GeoJSON": (ee.Geometry({"type": "Polygon", "coordinates": [WIDE], "geodesic": False}), False),
    }
    asked = ee.List([geometry.geodesic() for geometry, _ in cases.values()]).getInfo()
    assert dict(zip(cases, asked, strict=True)) == {name: bent for name, (_, bent) in cases.items()}
    computed = ee.Feature(ee.Geometry.Polygon([WIDE]), {}).geometry().getInfo()
    assert set(computed) == {"type", "coordinates"}, "as recorded: no key where edges are geodesics"
    assert ee.Feature(ee.Geometry.BBox(*box), {}).geometry().getInfo()["geodesic"] is False
    assert ee.Geometry(computed).area(1).getInfo() == pytest.approx(proj_area(WIDE), rel=1e-7)


def test_a_box_of_the_whole_world_is_empty_along_geodesics() -> None:
    world = [-180, -90, 180, 90]
    assert ee.Geometry.Rectangle(world).area(1).getInfo() == pytest.approx(0, abs=1)
    earth = 510_065_621_724_078.9  # pyproj: the ellipsoid's surface
    assert ee.Geometry.Rectangle(world, None, False).area(1).getInfo() == pytest.approx(earth, rel=1e-6)


def test_lines_follow_geodesics_too() -> None:
    line = ee.Geometry.LineString([[0, 40], [60, 40]])
    lon, lat = GEOD.npts(0, 40, 60, 40, 1)[0]
    found = line.distance(ee.Geometry.Point([lon, lat]), 1).getInfo()
    assert found < 1
    assert line.length(1).getInfo() == pytest.approx(GEOD.inv(0, 40, 60, 40)[2], rel=1e-9)
    parallel = ee.Geometry.LineString([[0, 40], [60, 40]], None, False)
    assert parallel.distance(ee.Geometry.Point([lon, lat]), 1).getInfo() > 3e5


def test_collections_are_filtered_by_geodesic_footprints(tmp_path: Path) -> None:
    draw = np.random.default_rng(11)
    write_raster(tmp_path / "a.tif", np.ones((2, 2), np.uint8), [1, 0, 0, 0, -1, 2], "EPSG:4326")
    rings, entries = [], []
    for number in range(300):
        lon, lat, wide, high = draw.uniform([-170, -75, 0.5, 0.5], [140, 60, 29, 14])
        ring = [[lon, lat], [lon + wide, lat], [lon + wide, lat + high], [lon, lat + high]]
        rings.append(ring)
        told = {"type": "LinearRing", "coordinates": [*ring, ring[0]]}
        entries.append({"id": f"G/{number:03}", "bands": [{"id": "a", "file": "a.tif"}], "geometry": told})
    shapes = [shapely.Polygon(dense(ring, 400)) for ring in rings]
    with ee_emulator.start(write_catalog(tmp_path, entries)) as service:
        connect(service.url)
        for _ in range(20):
            west, south = draw.uniform([-175, -80], [150, 70])
            box = shapely.box(west, south, west + 12, south + 8)
            found = ee.ImageCollection("G").filterBounds(ee.Geometry.BBox(*box.bounds)).aggregate_array("system:index")
            truth = [f"{number:03}" for number, shape in enumerate(shapes) if shape.intersects(box)]
            assert found.getInfo() == truth
