"""Regions that are Python objects: what each means, by shapely, GeoPandas and pyproj, and a run of some."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import ee
import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from emulator_client import connect, small_catalog
from lanes_here import Here
from pyproj import Geod

import ee_emulator
from ee_spark import JobError, plan
from ee_spark.config import parse
from ee_spark.extract import Options, run_on
from ee_spark.planner.points import Points
from ee_spark.planner.polygon import Polygons, polygons_of

BOX = shapely.box(15.001, 45.148, 15.003, 45.150)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("catalog")
    with ee_emulator.start(catalog=str(small_catalog(folder))) as service:
        connect(service.url)
        yield service.url


def job(url: str, region: Any, out: Path) -> dict[str, Any]:
    return {
        "name": "in-python",
        "earth_engine": {"endpoint": url},
        "source": {"asset": "OWN/A"},
        "region": region,
        "grid": {"crs": "EPSG:32633", "scale": 10, "tile": 16},
        "output": {"path": str(out)},
    }


def area_of(found: Polygons | Points) -> shapely.Geometry:
    assert isinstance(found, Polygons)
    return shapely.union_all([shapely.Polygon(polygon[0], polygon[1:]) for polygon in found.polygons])


def frame() -> geopandas.GeoDataFrame:
    columns = {"plot": ["a", "b"], "share": [0.5, None], "sown": [date(2020, 1, 2), date(2021, 3, 4)], "n": [1, 2]}
    places = geopandas.points_from_xy([500_105, 500_215], [4_999_895, 4_999_785])
    return geopandas.GeoDataFrame(columns, geometry=places, crs="EPSG:32633", index=[7, 9])


def test_areas_of_every_kind_are_one_and_the_same(url: str, tmp_path: Path) -> None:
    bounds = BOX.bounds
    moved = geopandas.GeoSeries([BOX], crs="OGC:CRS84")
    for region in (
        BOX,
        shapely.geometry.mapping(BOX),
        {
            "type": "FeatureCollection",
            "features": [{"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(BOX)}],
        },
        moved,
        geopandas.GeoDataFrame({"name": ["x"]}, geometry=moved),
        ee.Geometry.BBox(*bounds),
        ee.Geometry.Rectangle(list(bounds), None, False),
        {"geojson": BOX},
        {"geojson": shapely.geometry.mapping(BOX), "clip": True},
        {"bbox": list(bounds)},
    ):
        found = plan(job(url, region, tmp_path))
        assert area_of(found.region).equals(BOX), region
        assert found.tiles == plan(job(url, {"bbox": list(bounds)}, tmp_path)).tiles


def test_a_frame_in_another_crs_lies_where_geopandas_puts_it(url: str, tmp_path: Path) -> None:
    wide = geopandas.GeoSeries([shapely.box(100_000, 4_000_000, 900_000, 5_000_000)], crs="EPSG:32633")
    found = area_of(plan(job(url, wide, tmp_path) | {"grid": {"crs": "EPSG:32633", "scale": 1000}}).region)
    back = geopandas.GeoSeries([found], crs="OGC:CRS84").to_crs("EPSG:32633").iloc[0]
    assert shapely.hausdorff_distance(back, wide.iloc[0]) < 5000  # positions stand so close
    assert found.symmetric_difference(wide.segmentize(100).to_crs("OGC:CRS84").iloc[0]).area < 1e-5 * found.area


def test_edges_of_earth_engine_are_geodesics(url: str, tmp_path: Path) -> None:
    ring = [[-20.0, 40.0], [20.0, 40.0], [20.0, 60.0], [-20.0, 60.0], [-20.0, 40.0]]
    wide = job(url, ee.Geometry.Polygon([ring]), tmp_path) | {"grid": {"crs": "EPSG:4326", "resolution": 0.1}}
    found = area_of(plan(wide).region)
    sphere = Geod(ellps="sphere")
    right = [
        place
        for (x1, y1), (x2, y2) in itertools.pairwise(ring)
        for place in [(x1, y1), *sphere.npts(x1, y1, x2, y2, 5000)]
    ]
    assert found.symmetric_difference(shapely.Polygon(right)).area < 1e-6 * found.area
    assert found.bounds[3] > 61  # the northern edge bends up by more than a degree
    straight = ee.Geometry.Polygon([ring], None, False)
    assert area_of(plan({**wide, "region": straight}).region).equals(shapely.Polygon(ring))


def test_what_earth_engine_computes_is_asked_for(url: str, tmp_path: Path) -> None:
    found = area_of(plan(job(url, ee.Geometry.Point([15.002, 45.149]).buffer(100), tmp_path)).region)
    area, _ = Geod(ellps="WGS84").geometry_area_perimeter(found)
    assert area == pytest.approx(np.pi * 100**2, rel=0.03)


def test_a_geodesic_edge_goes_the_short_way_across_180_degrees() -> None:
    ring = [[177, -19], [-178, -19], [-178, -15], [177, -15], [177, -19]]
    text = json.dumps({"type": "Polygon", "coordinates": [ring], "geodesic": True}).encode()
    found = area_of(polygons_of(text, "region"))
    assert found.area == pytest.approx(5 * 4, rel=0.01)
    assert found.intersects(shapely.Point(-179, -17))
    assert not found.intersects(shapely.Point(0, -17))


def test_points_of_a_frame_run_and_carry_their_columns(url: str, tmp_path: Path) -> None:
    report = run_on(parse(job(url, frame(), tmp_path / "out")), lambda _: Here(1), Options(progress="none"))
    assert (report["status"], report["ok"]) == ("complete", 2)
    rows = sorted(pq.read_table(tmp_path / "out" / "pixels").to_pylist(), key=lambda row: row["n"])
    right = frame().to_crs("OGC:CRS84")
    assert [(row["plot"], row["share"], row["sown"], row["n"]) for row in rows] == [
        ("a", 0.5, "2020-01-02", 1),
        ("b", None, "2021-03-04", 2),
    ]
    assert [row["point_lon"] for row in rows] == pytest.approx(right.geometry.x.tolist(), abs=1e-12)
    assert {row["point_id"] for row in rows}.isdisjoint({"0", "1", "7", "9"})  # an id is no row number
    for row, (column, line) in zip(rows, ((10, 10), (21, 21)), strict=True):
        block = np.array(row["v"]).reshape(16, 16)
        assert 64 * line + column + 1 in block[7:9, 7:9]
    record = json.loads(next((tmp_path / "out" / "_ee_spark" / "runs").iterdir()).read_text())
    assert record["job"]["region"]["points"] == "given in the job"
    again = run_on(parse(job(url, frame(), tmp_path / "out")), lambda _: Here(1), Options(progress="none"))
    assert (again["skipped"], again["requests"]) == (2, 0)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: ee.FeatureCollection("users/me/plots").geometry(),
            "Earth Engine does not say where",
        ),
        (
            lambda: ee.FeatureCollection("users/me/plots"),
            "an ee.FeatureCollection is not a region; pass",
        ),
        (lambda: geopandas.GeoSeries([BOX]), "the GeoSeries has no CRS; write .set_crs('EPSG:4326')"),
        (lambda: shapely.LineString([(0, 0), (1, 1)]), "a LineString has no area; write polygons, or region.points"),
        (lambda: shapely.Polygon(), "region"),
        (lambda: geopandas.GeoDataFrame({"a": []}, geometry=[], crs=4326), "contains no polygon"),
        (lambda: {"geojson": {"coordinates": []}}, "a mapping that is not GeoJSON: it has no type"),
        (lambda: shapely.Point(15, 45), "a Point has no area"),
        (lambda: 7, "region"),
        (lambda: [15.0, 45.0, 15.1, 45.1], "region"),
    ],
)
def test_what_is_no_region_is_one_line(url: str, tmp_path: Path, make: Any, said: str) -> None:
    with pytest.raises(JobError) as caught:
        plan(job(url, make(), tmp_path))
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert len(message) < 300


@pytest.mark.parametrize(
    ("ring", "west", "east"),
    [
        ([(-180, -90), (180, -90), (180, 90), (-180, 90)], -180, 180),  # the globe
        ([(-120, -10), (0, -10), (120, -10), (120, 10), (0, 10), (-120, 10)], -120, 120),
        ([(-10, 35), (170, 60), (190, 65), (170, 75), (-10, 70)], -180, 180),  # Eurasia
        ([(177, -19), (182, -19), (182, -15), (177, -15)], -180, 180),  # Fiji
    ],
)
def test_wide_areas_whose_edges_are_clear_are_taken(ring: list[tuple[float, float]], west: float, east: float) -> None:
    text = json.dumps({"type": "Polygon", "coordinates": [ring]}).encode()
    found = polygons_of(text, "region.geojson")
    assert (found.bounds[0], found.bounds[2]) == (west, east)
    assert area_of(found).area == pytest.approx(shapely.Polygon(ring).area)


@pytest.mark.parametrize(
    ("ring", "said"),
    [
        ([(177, -19), (-178, -19), (-178, -15), (177, -15)], "from 177, -19 to -178, -19 spans 355 degrees"),
        ([(-120, -10), (120, -10), (120, 10), (-120, 10)], "if it crosses ±180°, write -120 as 240"),
        ([(-179, 50), (179, 50), (179, 60), (-179, 60)], "if not, add a position between the two"),
    ],
)
def test_an_edge_that_could_go_either_way_is_refused(ring: list[tuple[float, float]], said: str) -> None:
    text = json.dumps({"type": "Polygon", "coordinates": [ring]}).encode()
    with pytest.raises(JobError, match=r"^region\.geojson: the edge from") as caught:
        polygons_of(text, "region.geojson")
    assert said in str(caught.value)
