"""Geometries and features: measures against PROJ's geodesics, overlays against shapely, filters on how they lie."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import ee
import numpy as np
import pytest
import shapely
from emulator_client import connect
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely.geometry import shape

pyproj = pytest.importorskip("pyproj")
GEOD = pyproj.Geod(ellps="WGS84")
UTM = "EPSG:32633"


@pytest.fixture(autouse=True, scope="module")
def service(service_url: str) -> None:
    connect(service_url)


STAR = [[14.0, 50.0], [14.3, 50.05], [14.5, 50.4], [14.2, 50.25], [13.9, 50.3]]


def dense(ring: list[list[float]], steps: int = 400) -> NDArray[Any]:
    """A ring with points along its edges, straight in longitude and latitude."""
    points = np.array([*ring, ring[0]], float)
    parts = [np.linspace(a, b, steps, endpoint=False) for a, b in pairwise(points)]
    return np.concatenate([*parts, points[-1:]])


def test_area_and_perimeter_are_those_of_the_ellipsoid() -> None:
    polygon = ee.Geometry.Polygon([STAR], None, False)
    found = polygon.area().getInfo()
    line = dense(STAR)
    assert found == pytest.approx(abs(GEOD.polygon_area_perimeter(line[:, 0], line[:, 1])[0]), rel=1e-7)
    ring = np.array([*STAR, STAR[0]])
    assert polygon.perimeter(1).getInfo() == pytest.approx(GEOD.line_length(ring[:, 0], ring[:, 1]), rel=1e-9)
    assert polygon.length().getInfo() == 0
    hole = [[14.1, 50.1], [14.15, 50.1], [14.15, 50.15]]
    inner = dense(hole)
    without = found - abs(GEOD.polygon_area_perimeter(inner[:, 0], inner[:, 1])[0])
    assert ee.Geometry.Polygon([STAR, hole], None, False).area().getInfo() == pytest.approx(without, rel=1e-7)
    both = ee.Geometry.MultiPolygon([[STAR], [[[x + 10, y] for x, y in STAR]]], None, False)
    assert both.area().getInfo() == pytest.approx(2 * found, rel=1e-9)
    assert ee.Geometry.Point([1, 2]).area().getInfo() == 0
    assert ee.Feature(polygon).area().getInfo() == found
    assert polygon.area(1, UTM).getInfo() == pytest.approx(found, rel=2e-3)


@pytest.mark.parametrize("box", [[-10, -20, 30, 25], [0, 60, 5, 89], [-180, -90, 180, 90]])
def test_the_area_of_a_box_is_that_of_its_zone(box: list[int]) -> None:
    west, south, east, north = box
    # Snyder (1987), 3-12: the zone between two parallels, and the pole's for the whole earth
    e2 = GEOD.es
    e = np.sqrt(e2)
    q = [
        (1 - e2) * (s / (1 - e2 * s * s) - np.log((1 - e * s) / (1 + e * s)) / (2 * e))
        for s in np.sin(np.radians([south, north]))
    ]
    expected = np.radians(east - west) * GEOD.a**2 * (q[1] - q[0]) / 2
    assert ee.Geometry.Rectangle(box, None, False).area().getInfo() == pytest.approx(expected, rel=1e-5)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(*[st.floats(-170, 170), st.floats(-85, 85)] * 2)
def test_distances_between_points_are_geodesics(lon0: Any, lat0: Any, lon1: Any, lat1: Any) -> None:
    found = ee.Geometry.Point([lon0, lat0]).distance(ee.Geometry.Point([lon1, lat1]))
    expected = GEOD.inv(lon0, lat0, lon1, lat1)[2]
    if expected < 1.99e7:  # nearly antipodal points are Vincenty's limit
        assert found.getInfo() == pytest.approx(expected, abs=0.002)


def test_distance_of_shapes_and_length_of_lines() -> None:
    line = ee.Geometry.LineString([[14, 50], [14.5, 50]], None, False)
    point = ee.Geometry.Point([14.2, 50.1])
    # the foot lies south of the point, on the parallel
    assert line.distance(point).getInfo() == pytest.approx(GEOD.inv(14.2, 50.1, 14.2, 50)[2], rel=1e-4)
    assert point.withinDistance(line, 11200, 1).getInfo()
    assert not point.withinDistance(line, 11000, 1).getInfo()
    assert line.length().getInfo() == pytest.approx(GEOD.inv(14, 50, 14.5, 50)[2], abs=0.01)
    assert ee.Geometry.Polygon([STAR]).distance(ee.Geometry.Point([14.2, 50.1])).getInfo() == 0


def test_buffers_have_their_distance() -> None:
    point = ee.Geometry.Point([14, 50]).buffer(5000)
    rim = np.array(point.coordinates().getInfo()[0])
    spread = GEOD.inv(np.full(len(rim), 14.0), np.full(len(rim), 50.0), rim[:, 0], rim[:, 1])[2]
    np.testing.assert_allclose(spread, 5000, rtol=4e-3)
    star = ee.Geometry.Polygon([STAR])
    wider, narrower = star.buffer(1000), star.buffer(-1000)
    assert wider.contains(star, 1).getInfo()
    assert star.contains(narrower, 1).getInfo()
    exact = shapely.transform(
        shapely.Polygon(dense(STAR)),
        lambda p: np.column_stack(pyproj.Transformer.from_crs("EPSG:4326", UTM, always_xy=True).transform(*p.T)),
    )
    assert wider.area(1, UTM).getInfo() == pytest.approx(exact.buffer(1000).area, rel=2e-3)
    assert narrower.area(1, UTM).getInfo() == pytest.approx(exact.buffer(-1000).area, rel=2e-3)
    planar = ee.Geometry.Point([500000, 5e6], UTM).buffer(100, 1, UTM)
    assert planar.area(1, UTM).getInfo() == pytest.approx(np.pi * 1e4, rel=2e-3)
    assert planar.getInfo()["crs"]["properties"]["name"] == UTM


A = [[0, 0], [4, 0], [4, 4], [0, 4]]
B = [[2, 1], [6, 1], [6, 3], [2, 3]]


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("intersection", shapely.intersection),
        ("union", shapely.union),
        ("difference", shapely.difference),
        ("symmetricDifference", shapely.symmetric_difference),
    ],
)
def test_overlays(name: str, truth: Callable[..., Any]) -> None:
    a, b = ee.Geometry.Polygon([A], None, False), ee.Geometry.Polygon([B], None, False)
    found = getattr(a, name)(b, 1)
    expected = truth(shapely.Polygon(A), shapely.Polygon(B))
    assert shapely.equals(shape(found.getInfo()), expected)
    feature = getattr(ee.Feature(a, {"k": 1}), name)(ee.Feature(b, {"l": 2}), 1).getInfo()
    assert feature["properties"] == {"k": 1}
    assert shapely.equals(shape(feature["geometry"]), expected)


def test_relations_hulls_centroids_and_simpler_shapes() -> None:
    a, b = ee.Geometry.Polygon([A], None, False), ee.Geometry.Polygon([B], None, False)
    inner = ee.Geometry.Rectangle([1, 1, 2, 2], None, False)
    relations = [a.contains(inner), inner.containedIn(a), a.contains(b), a.intersects(b), a.disjoint(b)]
    assert ee.List(relations).getInfo() == [True, True, False, True, False]
    assert a.contains(ee.Geometry.Point([4, 2])).getInfo()
    hull = shape(ee.Geometry.Polygon([STAR], None, False).convexHull().getInfo())
    assert shapely.equals(hull, shapely.Polygon(STAR).convex_hull)
    lon, lat = ee.Geometry.Rectangle([10, 50, 10.2, 50.1], None, False).centroid().coordinates().getInfo()
    assert (lon, lat) == pytest.approx((10.1, 50.05), abs=1e-4)
    assert ee.Geometry.MultiPoint([[0, 0], [2, 0], [1, 3]]).centroid(1).coordinates().getInfo() == pytest.approx(
        [1, 1], abs=2e-3
    )
    wiggly = [[x / 1000, 50 + 1e-6 * (x % 2)] for x in range(50)] + [[0.05, 50.02], [0, 50.02]]
    assert len(ee.Geometry.Polygon([wiggly]).simplify(5).coordinates().getInfo()[0]) < 10
    assert len(ee.Geometry.Polygon([wiggly]).simplify(0.01).coordinates().getInfo()[0]) > 40
    assert ee.Geometry.Polygon([A], None, False).bounds().coordinates().getInfo()[0][:3] == [[0, 0], [4, 0], [4, 4]]


def test_geometries_keep_the_projection_they_were_drawn_in() -> None:
    box = ee.Geometry.Rectangle([500000, 4999000, 501000, 5000000], UTM, False)
    assert box.projection().crs().getInfo() == UTM
    assert box.area(1, UTM).getInfo() == pytest.approx(1e6, rel=1e-9)
    assert np.array(box.coordinates().getInfo()).max() == 5000000
    lonlat = np.array(box.transform("EPSG:4326", 1).coordinates().getInfo()[0])
    assert lonlat[:, 0].min() == pytest.approx(15, abs=1e-9)
    again = box.transform("EPSG:4326", 1).transform(UTM, 1)
    assert again.area(1, UTM).getInfo() == pytest.approx(1e6, rel=1e-6)
    assert ee.Geometry.MultiPoint([[0, 0], [1, 1]]).geometries().length().getInfo() == 2
    assert ee.Geometry.Point([15, 45]).transform(UTM).coordinates().getInfo() == pytest.approx(
        list(pyproj.Transformer.from_crs("EPSG:4326", UTM, always_xy=True).transform(15, 45)), abs=1e-3
    )


def plots() -> ee.FeatureCollection:
    return ee.FeatureCollection(
        [
            ee.Feature(ee.Geometry.Rectangle([i, 0, i + 0.5, 0.5], None, False), {"n": i, "name": f"p{i}"})
            for i in range(6)
        ]
    )


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (lambda: ee.Filter.isContained(".geo", ee.Geometry.Rectangle([0.9, -1, 3.2, 1], None, False)), [1, 2]),
        (lambda: ee.Filter.contains(".geo", ee.Geometry.Point([4.2, 0.2])), [4]),
        (lambda: ee.Filter.withinDistance(60000, ".geo", ee.Geometry.Point([3, 0.25])), [2, 3]),
        (lambda: ee.Filter.disjoint(".geo", ee.Geometry.Rectangle([0, 0, 3.9, 1], None, False)), [4, 5]),
        (lambda: ee.Filter.bounds(ee.Geometry.Point([0.1, 0.1])), [0]),
        (lambda: ee.Filter.inList("n", [2, 5, 9]), [2, 5]),
        (lambda: ee.Filter.inList("name", ["p1"]).Not(), [0, 2, 3, 4, 5]),
        (lambda: ee.Filter.stringContains("name", "3"), [3]),
        (lambda: ee.Filter.rangeContains("n", 2, 3), [2, 3]),
        (lambda: ee.Filter.expression("n >= 2 and not (n == 3 or name == 'p5')"), [2, 4]),
        (lambda: "n < 2 || name = \"p4\"", [0, 1, 4]),
    ],
)  # fmt: skip
def test_filters(condition: Callable[..., Any], expected: list[int]) -> None:
    assert plots().filter(condition()).aggregate_array("n").getInfo() == expected


@pytest.mark.parametrize("text", ["n <", "n 3", "and n < 3", "n < 3 and", "(n < 3", "n # 3", "n < 3 n < 4"])
def test_filters_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ee.EEException, match="cannot read the filter"):
        plots().filter(text).size().getInfo()


def test_a_join_by_distance_measures_it() -> None:
    near = ee.Filter.withinDistance(130000, ".geo", None, ".geo")
    joined = ee.Join.saveBest("best", "metres").apply(plots(), plots().filter("n > 3"), near)
    best = joined.map(lambda f: ee.Feature(f).set("d", ee.Feature(ee.Feature(f).get("best")).get("metres")))
    assert ee.FeatureCollection(best).aggregate_array("n").getInfo() == [3, 4, 5]
    assert ee.FeatureCollection(best).aggregate_array("d").getInfo() == pytest.approx(
        [GEOD.inv(3.5, 0.25, 4, 0.25)[2], 0, 0], rel=1e-3
    )


def test_a_join_by_distance_finds_every_near_pair(service: None) -> None:
    """Against the distance of each pair, also across the antimeridian and near a pole."""
    places: list[list[float]] = [
        [179.9, 0],
        [-179.95, 0.1],
        [10, 89.5],
        [-170, 89.6],
        [12, 50],
        [12.9, 50.2],
        [12, 51.05],
        [-179.9, 89.9],
    ]
    points = ee.FeatureCollection([ee.Feature(ee.Geometry.Point(place), {"i": i}) for i, place in enumerate(places)])
    near = ee.Filter.withinDistance(120_000, ".geo", None, ".geo")
    joined = ee.Join.saveAll("near").apply(points, points, near)
    numbers = joined.map(lambda f: f.set("j", ee.List(f.get("near")).map(lambda g: ee.Feature(g).get("i"))))
    expected = [
        [j for j, other in enumerate(places) if GEOD.inv(place[0], place[1], other[0], other[1])[2] <= 120_000]
        for place in places
    ]
    assert numbers.aggregate_array("j").getInfo() == expected
    assert sum(map(len, expected)) > len(places) + 6
