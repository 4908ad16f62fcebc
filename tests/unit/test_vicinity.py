"""Boxes for listings: no image that touches the region is left out, however the service reads edges."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely
from shapely.geometry.base import BaseGeometry

from ee_spark.planner.polygon import Polygons, boxes, polygons_of_geojson
from ee_spark.planner.vicinity import PAD, filter_text, meets, reach

GEOD = pyproj.Geod(ellps="WGS84")
PARTS = 40
"""Points that follow an edge as a geodesic."""


def geometry_of(text: str) -> dict[str, Any]:
    """The geometry of a filter's text, read as both official clients write it: single quotes only."""
    found = re.fullmatch(r'intersects\("([^"\\]+)"\)', text)
    assert found, text[:80]
    made: dict[str, Any] = json.loads(found[1].replace("'", '"'))
    assert set(made) == {"type", "coordinates"}, "no geodesic key"
    return made


def ring_shape(ring: list[list[float]], *, geodesic: bool) -> BaseGeometry:
    """A ring as a shape, its edges straight in lon/lat or geodesics; it may go on beyond ±180°."""
    points = [tuple(ring[0])]
    for (x0, y0), (x1, y1) in itertools.pairwise(ring):
        if geodesic:
            last = x0
            for x, y in GEOD.npts(x0, y0, x1, y1, PARTS):
                last += (x - last + 180) % 360 - 180
                points.append((last, y))
        points.append((x1, y1))
    return shapely.make_valid(shapely.Polygon(points))


def shape_of(geometry: dict[str, Any], *, geodesic: bool) -> BaseGeometry:
    """A geometry as the service may read it, once more on each side of the world."""
    polygons = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
    parts = [ring_shape(polygon[0], geodesic=geodesic) for polygon in polygons]
    turned = [
        shapely.transform(part, lambda xy, by=by: xy + np.array([by, 0])) for part in parts for by in (-360, 0, 360)
    ]
    return shapely.union_all(turned)


def box_ring(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def image(random: np.random.Generator, lon: float, lat: float) -> dict[str, Any]:
    """A footprint of four corners, somewhat turned, from a scene's size to a continent's."""
    half = 10 ** random.uniform(-1.3, 1.2)
    turn = np.radians(random.uniform(-20, 20))
    corners = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]) * [1, random.uniform(0.3, 1)]
    ring = corners @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    ring = ring / [np.cos(np.radians(min(80.0, abs(lat)))), 1] + [lon, lat]
    ring[:, 1] = ring[:, 1].clip(-89, 89)
    return {"type": "LinearRing", "coordinates": ring.round(6).tolist()}


@pytest.mark.parametrize("seed", range(60))
def test_no_image_is_left_out_whichever_way_edges_are_read(seed: int) -> None:
    random = np.random.default_rng(seed)
    west, south = random.uniform(-180, 179), random.uniform(-85, 80)
    width, height = 10 ** random.uniform(-2, 1.9), 10 ** random.uniform(-2, 1.2)
    east, north = west + width, min(88.0, south + height)
    bbox = (west, south, east if east <= 180 else east - 360, north)
    region = Polygons(boxes(bbox))
    here = shape_of({"type": "Polygon", "coordinates": [box_ring(west, south, east, north)]}, geodesic=False)
    touched = 0
    for _ in range(25):
        lon = west + random.uniform(-0.6, 1.6) * width + random.normal()
        lat = np.clip(south + random.uniform(-0.6, 1.6) * height + random.normal(), -86, 86)
        footprint = image(random, float(lon), float(lat))
        ring = footprint["coordinates"]
        if np.ptp(np.array(ring)[:, 0]) > 170:
            continue
        pad = max(PAD, reach([footprint]))
        text = filter_text(region.boxes, pad)
        if not text:
            continue
        read = {
            geodesic: (
                shape_of({"type": "Polygon", "coordinates": [ring]}, geodesic=geodesic),
                shape_of(geometry_of(text), geodesic=geodesic),
            )
            for geodesic in (False, True)
        }
        if any(mine.intersects(here) for mine, _ in read.values()):
            touched += 1
            for mine, asked in read.values():
                assert mine.intersects(asked), (bbox, ring)
            assert meets(footprint, region.boxes)
    assert touched


def test_the_southern_edge_of_seven_degrees_is_followed() -> None:
    """Read as a geodesic, the edge of such a box at 37° N lies 6 km further north in its middle."""
    text = filter_text([(-124.0, 37.0, -117.0, 42.0)], PAD)
    asked = shape_of(geometry_of(text), geodesic=True)
    assert asked.covers(shapely.box(-124, 37, -117, 42))
    plain = ring_shape(box_ring(-124, 37, -117, 42), geodesic=True)
    assert not plain.covers(shapely.Point(-120.5, 37.02)), "and a plain box would not do"


@pytest.mark.parametrize(
    ("area", "most"),
    [
        ((-122.0, 37.0, -121.0, 38.0), 400),
        ((-179.0, -30.0, 0.0, 30.0), 2_000),
        ((-180.0, -28.0, 180.0, 28.0), 2_500),
        ((-180.0, 60.0, 180.0, 90.0), 2_500),
        ((170.0, -50.0, -170.0, -30.0), 700),
    ],
)
def test_the_text_is_short_and_within_the_world(area: tuple[float, ...], most: int) -> None:
    text = filter_text(Polygons(boxes(area)).boxes, PAD)  # type: ignore[arg-type]
    assert len(text) < most
    made = geometry_of(text)
    rings = [made["coordinates"]] if made["type"] == "Polygon" else made["coordinates"]
    for (ring,) in rings:
        x, y = np.array(ring).T
        assert np.abs(x).max() <= 180
        assert np.abs(y).max() < 90, "at a pole an edge would have no length"
        assert np.ptp(x) <= 120
        assert shapely.LinearRing(ring).is_ccw


def test_an_area_over_a_hemisphere_is_not_asked_for() -> None:
    assert filter_text([(-180.0, -90.0, 180.0, 90.0)], PAD) == ""
    assert filter_text([(-180.0, -30.0, 180.0, 30.0)], PAD) == ""
    assert filter_text([(-180.0, 0.0, 180.0, 90.0)], PAD) == "", "with its padding a hemisphere is more than one"
    assert filter_text([(-180.0, 1.0, 180.0, 90.0)], PAD)


def test_what_cannot_be_read_adds_nothing_and_lies_anywhere() -> None:
    place = [(10.0, 10.0, 11.0, 11.0)]
    odd: list[Any] = [
        None,
        {},
        [],
        3,
        {"type": "Polygon", "coordinates": [[["-Infinity", -90], ["Infinity", -90], ["Infinity", 90]]]},
        {"type": "Polygon", "coordinates": [[[float("inf"), 0], [0, 0]]]},
        {"type": "LinearRing", "coordinates": [[1], [2, 3]]},
        {"type": "GeometryCollection", "geometries": None},
    ]
    assert reach(odd) == 0
    assert all(meets(geometry, place) for geometry in odd)
    away = {"type": "LinearRing", "coordinates": box_ring(20, 20, 21, 21)}
    assert not meets(away, place)
    assert meets(
        {
            "type": "GeometryCollection",
            "geometries": [away, {"type": "Polygon", "coordinates": [box_ring(9, 9, 12, 12)]}],
        },
        place,
    )
    beyond = {"type": "Polygon", "coordinates": [box_ring(179, 10, 181, 11)]}
    assert meets(beyond, [(-179.5, 10.2, -179.0, 10.4)])
    assert polygons_of_geojson(beyond)
