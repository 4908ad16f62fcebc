"""Regions: boxes, GeoJSON, points, samples, tables; what is carried along and what is refused, with its row."""

from __future__ import annotations

import http.server
import json
import math
import threading
from collections import Counter
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from job_files import catalog, job, scene

import ee_emulator as emulator
from ee_spark.client import Client, Service
from ee_spark.errors import JobError
from ee_spark.planner.point_file import read_points
from ee_spark.planner.points import point_ids
from ee_spark.planner.polygon import Polygons, at_both_sides, boxes, contains, polygons_of
from ee_spark.planner.region import load
from ee_spark.planner.sample import draw
from ee_spark.planner.stratify import draw_by_class
from ee_spark.where import Sample

NOBODY = Client(Service("http://127.0.0.1:1", "demo", "anonymous"))
TRIANGLE = [[0.0, 0.0], [2.0, 0.0], [1.0, 2.0], [0.0, 0.0]]
HOLE = [[0.9, 0.5], [1.1, 0.5], [1.0, 0.7], [0.9, 0.5]]


def region(tmp_path, **keys):
    return load(job({"region": keys}, tmp_path).region, NOBODY)


def refusal(call, *args, **keys) -> str:
    with pytest.raises(JobError) as caught:
        call(*args, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def shape_of(area: Polygons):
    return shapely.union_all([shapely.Polygon(polygon[0], polygon[1:]) for polygon in area.polygons])


def test_a_bbox_is_one_polygon_or_two_across_the_antimeridian(tmp_path):
    assert shape_of(region(tmp_path, bbox=[1, 2, 3, 4])).equals(shapely.box(1, 2, 3, 4))
    across = region(tmp_path, bbox=[170, -20, -160, -10])
    assert shape_of(across).equals(shapely.union(shapely.box(170, -20, 180, -10), shapely.box(-180, -20, -160, -10)))
    assert across.boxes == ((170, -20, 180, -10), (-180, -20, -160, -10))
    assert across.geojson()["type"] == "MultiPolygon"
    assert len(region(tmp_path, bbox=[180, -20, -160, -10]).polygons) == 1


@pytest.mark.parametrize(
    "thing",
    [
        {"type": "Polygon", "coordinates": [TRIANGLE, HOLE]},
        {"type": "Polygon", "coordinates": [TRIANGLE[:-1], HOLE[:-1]]},  # rings need not be closed
        {"type": "Polygon", "coordinates": [[[*p, 7.0] for p in TRIANGLE], HOLE]},  # nor flat
        {"type": "MultiPolygon", "coordinates": [[TRIANGLE, HOLE]]},
        {"type": "Feature", "properties": None, "geometry": {"type": "Polygon", "coordinates": [TRIANGLE, HOLE]}},
        {
            "type": "FeatureCollection",
            "features": [
                {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [TRIANGLE, HOLE]}},
                {"type": "Feature", "geometry": None},
            ],
        },
        {"type": "GeometryCollection", "geometries": [{"type": "Polygon", "coordinates": [TRIANGLE, HOLE]}]},
    ],
)
def test_geojson_of_every_kind(tmp_path, thing):
    (tmp_path / "area.geojson").write_text(json.dumps(thing))
    area = region(tmp_path, geojson="area.geojson")
    assert shape_of(area).equals(shapely.Polygon(TRIANGLE, [HOLE]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "area.geojson: not GeoJSON (Expecting property name"),
        ("[]", "not GeoJSON"),
        ('{"a": 1}', "not GeoJSON (no 'type')"),
        (
            '{"type": "Point", "coordinates": [0, 0]}',
            "a Point has no area; write polygons, or region.points for points",
        ),
        ('{"type": "FeatureCollection", "features": []}', "contains no polygon; write Polygon, MultiPolygon"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}', "not GeoJSON (a ring of 2 positions)"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, null], [2, 2]]]}', "not GeoJSON"),
        (
            '{"type": "Polygon", "coordinates": [[[399960, 4200000], [0, 0], [1, 1]]]}',
            "[399960.0, 4200000.0] is not [longitude, latitude] in degrees",
        ),
    ],
)
def test_what_is_no_area_is_refused(tmp_path, text, said):
    (tmp_path / "area.geojson").write_text(text)
    message = refusal(region, tmp_path, geojson="area.geojson")
    assert message.startswith("region.geojson: ")
    assert said in message


def test_a_file_that_is_not_there(tmp_path):
    assert "region.geojson: cannot read" in refusal(region, tmp_path, geojson="none.geojson")


@settings(max_examples=100, deadline=None)
@given(st.floats(100, 179.5), st.floats(0.6, 60), st.floats(-60, 60), st.booleans())
def test_what_crosses_the_antimeridian_is_cut_there(west, width, south, beyond):
    ring = np.array(shapely.box(west, south, west + width, south + 5).exterior.coords)
    if not beyond:  # as scenes are given: from 179 to -179
        ring[:, 0] = (ring[:, 0] + 180) % 360 - 180
    parts = at_both_sides((ring,), short_way=True)
    crosses = west + width > 180
    assert len(parts) == 1 + crosses
    whole = shapely.union_all([shapely.Polygon(part[0]) for part in parts])
    expected = shapely.union(
        shapely.box(west, south, min(west + width, 180), south + 5),
        shapely.box(-180, south, west + width - 360, south + 5) if crosses else shapely.Polygon(),
    )
    assert whole.symmetric_difference(expected).area < 1e-9


def test_the_whole_earth_is_not_a_line_at_180_degrees():
    world = boxes((-180.0, -90.0, 180.0, 90.0))[0]
    assert at_both_sides(world, short_way=True) == [world]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=3, max_size=8), st.integers(0, 2**31))
def test_inside_is_what_shapely_says(corners, seed):
    ring = np.array([*corners, corners[0]])
    polygon = shapely.Polygon(ring)
    if not polygon.is_valid:
        return
    x, y = np.random.default_rng(seed).uniform(-5, 5, (2, 40))
    near = shapely.distance(polygon.exterior, shapely.points(x, y)) < 1e-9
    assert (contains((ring,), x, y) == shapely.contains_xy(polygon, x, y))[~near].all()


# Points


def test_points_of_a_csv_keep_their_columns_and_types(tmp_path):
    (tmp_path / "p.csv").write_text("id,lon,lat,crop,year,yield\n007,1.5,2,maize,2020,3.5\nb , 3,-4 ,,2021,\n")
    points = read_points(str(tmp_path / "p.csv"))
    assert points.ids == ("007", "b")
    assert points.lon.tolist() == [1.5, 3.0]
    assert points.lat.tolist() == [2.0, -4.0]
    assert points.columns.schema.types == [pa.string(), pa.int64(), pa.float64()]
    assert points.columns.to_pydict() == {"crop": ["maize", None], "year": [2020, 2021], "yield": [3.5, None]}


def test_points_of_geojson_and_parquet(tmp_path):
    features = [
        {
            "type": "Feature",
            "id": 7,
            "geometry": {"type": "Point", "coordinates": [1.5, 2, 99]},
            "properties": {"a": 1},
        },
        {"type": "Feature", "id": 8, "geometry": {"type": "Point", "coordinates": [3, -4]}, "properties": {"b": "x"}},
    ]
    (tmp_path / "p.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    points = read_points(str(tmp_path / "p.geojson"))
    assert (points.ids, points.lon.tolist(), points.lat.tolist()) == (("7", "8"), [1.5, 3.0], [2.0, -4.0])
    assert points.columns.to_pydict() == {"a": [1, None], "b": [None, "x"]}
    table = pa.table({"lat": pa.array([2.0, -4.0], pa.float32()), "lon": [1.5, 3.0], "tag": ["x", "y"]})
    pq.write_table(table, tmp_path / "p.parquet")
    points = read_points(str(tmp_path / "p.parquet"))
    assert points.columns.column_names == ["tag"]
    assert points.ids == point_ids(np.array([1.5, 3.0]), np.array([2.0, -4.0]))


def test_an_id_made_for_a_point_depends_on_its_place_alone():
    one = point_ids(np.array([1.5, 3.0]), np.array([2.0, 4.0]))
    two = point_ids(np.array([3.0, 1.5]), np.array([4.0, 2.0]))
    assert one == two[::-1]
    assert len({*one, *point_ids(np.array([1.5000001]), np.array([2.0]))}) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lon,north\n1,2\n", "p.csv: has no column 'lat', only lon, north; say which one it is: region.points: {"),
        ("lat\n2\n", "has no column 'lon'"),
        ("lon,lat\n", "contains no points"),
        ("", "cannot be read as points (it is empty)"),
        ("lon,lat\n1,2,3\n", "row 2 has 3 fields, the header 2"),
        ("lon,lat\n1,2\n181,2\n", "point 2 has lon 181; write degrees from -180 to 180"),
        ("lon,lat\n1,2\n1,north\n", "point 2 has lat 'north'; write degrees from -90 to 90"),
        ("lon,lat\n1,2\n,2\n", "point 2 has lon "),
        ("lon,lat\n1,nan\n", "point 1 has lat nan"),
        ("lon,lat,id\n1,2,a\n3,4,b\n5,6,a\n", "points 1 and 3 have the same id: a"),
        ("lon,lat,id\n1,2,a\n3,4,\n", "point 2 has no id; write one for each point, or leave the column out"),
        ("lon,lat\n1,2\n3,4\n1,2\n", "points 1 and 3 have the same place (give the points an id column)"),
        ("lon,lat,point_id\n1,2,a\n", "column 'point_id' would hide one of ours; rename it"),
        ("lon,lat,lat\n1,2,3\n", "column 'lat' stands twice"),
    ],
)
def test_points_that_are_refused(tmp_path, text, said):
    (tmp_path / "p.csv").write_text(text)
    message = refusal(read_points, str(tmp_path / "p.csv"))
    assert message.startswith("region.points: ")
    assert said in message


def test_features_that_are_no_points_are_refused(tmp_path):
    (tmp_path / "p.geojson").write_text('{"features": [{"geometry": {"type": "LineString", "coordinates": []}}]}')
    assert "a LineString is not a Point" in refusal(read_points, str(tmp_path / "p.geojson"))
    (tmp_path / "p.parquet").write_bytes(b"PAR1")
    assert "cannot be read as points" in refusal(read_points, str(tmp_path / "p.parquet"))


def test_a_hundred_thousand_points_are_read_in_seconds(tmp_path):
    rng = np.random.default_rng(1)
    lon, lat = rng.uniform(-180, 180, 100_000), rng.uniform(-60, 60, 100_000)
    rows = "\n".join(f"{x},{y},{i},wheat" for i, (x, y) in enumerate(zip(lon.tolist(), lat.tolist(), strict=True)))
    (tmp_path / "p.csv").write_text(f"lon,lat,field,crop\n{rows}\n")
    points = read_points(str(tmp_path / "p.csv"))
    assert (points.lon == lon).all()
    assert (points.lat == lat).all()


# Samples


def test_a_sample_is_uniform_by_area_and_the_same_for_a_seed():
    sample = Sample(count=40_000, seed=7, within={"bbox": (-30.0, 0.0, 30.0, 80.0)})
    points = draw(sample)
    assert (points.lon == draw(sample).lon).all()
    assert (points.lon != draw(sample.model_copy(update={"seed": 8})).lon).any()
    edges = np.degrees(np.arcsin(np.linspace(0, math.sin(math.radians(80)), 11)))  # bands of equal area
    counts = np.histogram2d(points.lon, points.lat, [np.linspace(-30, 30, 11), edges])[0]
    chi2 = ((counts - 400) ** 2 / 400).sum()
    assert chi2 < 160  # 99 degrees of freedom: 1 in 10,000


def test_a_sample_is_shared_among_polygons_by_area(tmp_path):
    small = [[p[0] + 10, p[1]] for p in (np.array(TRIANGLE) / 2).tolist()]
    thing = {"type": "MultiPolygon", "coordinates": [[TRIANGLE, HOLE], [small]]}
    (tmp_path / "area.geojson").write_text(json.dumps(thing))
    points = region(tmp_path, sample={"count": 20_000, "seed": 1, "within": {"geojson": "area.geojson"}})
    whole = shapely.MultiPolygon([shapely.Polygon(TRIANGLE, [HOLE]), shapely.Polygon(small)])
    assert shapely.contains_xy(whole, points.lon, points.lat).all()
    big, little = (shapely.Polygon(TRIANGLE, [HOLE]).area, shapely.Polygon(small).area)
    assert np.mean(points.lon < 5) == pytest.approx(big / (big + little), abs=0.01)
    assert len(set(points.ids)) == 20_000


CLASSES = """
import ee

def classes(region):
    return ee.Image("CLASSES").select(["class"])

def fractions(region):
    return ee.Image("CLASSES").select(["class"]).multiply(0.3)
"""


def test_a_stratified_sample_has_its_count_of_each_class(tmp_path, caplog):
    rng = np.random.default_rng(2)
    values = rng.choice([1, 2, 3], size=(200, 300), p=[0.7, 0.29, 0.01]).astype(np.uint8)
    values[:20] = 0  # masked
    values[150, 7:10] = 9  # a class with three pixels
    from emulator_client import asset, write_raster

    write_raster(tmp_path / "classes.tif", values, [0.001, 0, 10, 0, -0.001, 50], "EPSG:4326", 0)
    folder = catalog(tmp_path, [asset("CLASSES", {"class": "classes.tif"})])
    (tmp_path / "c.py").write_text(CLASSES)
    metres = 0.001 * math.pi * 6378137 / 180
    keys = {
        "count": 50,
        "seed": 3,
        "within": {"bbox": [10.05, 49.805, 10.25, 49.995]},
        "stratify": {"image": "c.py:classes", "band": "class", "scale": metres},
    }
    with emulator.start(folder) as service:
        client = Client(Service(service.url, "demo", "anonymous"))
        points = load(job({"region": {"sample": keys}}, tmp_path).region, client)
        again = load(job({"region": {"sample": keys}}, tmp_path).region, client)
        keys["stratify"] = {**keys["stratify"], "image": "c.py:fractions"}
        assert "holds fractions, not classes" in refusal(
            load, job({"region": {"sample": keys}}, tmp_path).region, client
        )
        keys["stratify"] = {**keys["stratify"], "band": "none"}
        assert "region.sample.stratify: " in refusal(load, job({"region": {"sample": keys}}, tmp_path).region, client)
    found = np.array(points.columns["class"].to_pylist())
    column, row = np.floor((points.lon - 10) / 0.001).astype(int), np.floor((50 - points.lat) / 0.001).astype(int)
    assert (values[row, column] == found).all()
    assert shapely.contains_xy(shapely.box(10.05, 49.805, 10.25, 49.995), points.lon, points.lat).all()
    inside = values[5:195, 50:250]
    assert {value: int((found == value).sum()) for value in (1, 2, 3, 9)} == {
        value: min(50, int((inside == value).sum())) for value in (1, 2, 3, 9)
    }
    assert points.ids == again.ids
    assert len(set(points.ids)) == len(points.ids)
    short = [record.getMessage() for record in caplog.records if "fewer than" in record.getMessage()]
    assert bool(short) == (min((inside == value).sum() for value in (1, 2, 3)) < 50 or (inside == 9).any())


def test_blocks_are_read_until_the_rarest_class_is_full(tmp_path, caplog):
    """16 blocks of 1,024 pixels a side, 20 pixels of class 3 in each: 150 points of it need eight, 250 all."""
    from emulator_client import asset, get, write_raster

    values = np.ones((4096, 4096), np.uint8)
    rng = np.random.default_rng(6)
    for block in range(16):
        row, column = divmod(block, 4)
        place = rng.choice(1024 * 1024, 20, replace=False)
        values[row * 1024 + place // 1024, column * 1024 + place % 1024] = 3
    west, north = 10 * 1.024, 52 * 1.024
    write_raster(tmp_path / "classes.tif", values, [0.001, 0, west, 0, -0.001, north], "EPSG:4326")
    folder = catalog(tmp_path, [asset("CLASSES", {"class": "classes.tif"})])
    (tmp_path / "c.py").write_text(CLASSES)
    edge = 0.0005
    keys = {
        "seed": 3,
        "within": {"bbox": [west + edge, 48 * 1.024 + edge, 14 * 1.024 - edge, north - edge]},
        "stratify": {"image": "c.py:classes", "band": "class", "scale": 0.001 * math.pi * 6378137 / 180},
    }

    def drawn(count: int, service) -> tuple[Counter, int]:
        before = json.loads(get(service.url, "/_emulator/stats").data)["requests"]
        sample = job({"region": {"sample": {**keys, "count": count}}}, tmp_path).region.sample
        points = draw_by_class(sample, Client(Service(service.url, "demo", "anonymous"), 4), enough=4)
        column, row = np.floor((points.lon - west) / 0.001), np.floor((north - points.lat) / 0.001)
        assert (values[row.astype(int), column.astype(int)] == points.columns["class"].to_numpy()).all()
        assert len(set(points.ids)) == len(points.ids)
        asked = json.loads(get(service.url, "/_emulator/stats").data)["requests"] - before
        return Counter(points.columns["class"].to_pylist()), asked

    with emulator.start(folder, quota=4) as service:
        assert drawn(150, service) == (Counter({1: 150, 3: 150}), 8)
        assert "8 of 16 blocks stand for the whole area" in caplog.text
        caplog.clear()
        assert drawn(250, service) == (Counter({1: 250, 3: 250}), 16)
        assert caplog.text == ""
        assert drawn(400, service) == (Counter({1: 400, 3: 320}), 16)
        assert "fewer than 400 points of some classes (class 3: 320)" in caplog.text


# Tables


class _Tables(http.server.BaseHTTPRequestHandler):
    """An Earth Engine that knows tables: assets.get and listFeatures, two features a page."""

    features: list = []  # noqa: RUF012

    def do_GET(self):
        parts, query = urlsplit(self.path), parse_qs(urlsplit(self.path).query)
        name = parts.path.removeprefix("/v1/projects/earthengine-legacy/assets/")
        start = int(query.get("pageToken", ["0"])[0])
        if name == "users/me/plots":
            body = {"type": "TABLE", "name": "projects/earthengine-legacy/assets/users/me/plots"}
        elif name == "users/me/plots:listFeatures":
            body = {"type": "FeatureCollection", "features": self.features[start : start + 2]}
            if start + 2 < len(self.features):
                body["nextPageToken"] = str(start + 2)
        else:
            body = {"type": "IMAGE"}
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def tables():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Tables)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Client(Service(f"http://127.0.0.1:{server.server_port}", "demo", "anonymous"))
    server.shutdown()
    thread.join()
    server.server_close()


def feature(number: int, geometry: dict, **properties):
    return {"type": "Feature", "id": f"000{number}", "geometry": geometry, "properties": properties}


def test_a_table_of_points_or_of_polygons(tables, tmp_path):
    plots = job({"region": {"table": "users/me/plots"}}).region
    _Tables.features = [feature(i, {"type": "Point", "coordinates": [i, 2 * i]}, crop=f"c{i}") for i in range(5)]
    points = load(plots, tables)
    assert points.ids == tuple(f"000{i}" for i in range(5))
    assert points.lat.tolist() == [0, 2, 4, 6, 8]
    assert points.columns.to_pydict() == {"crop": [f"c{i}" for i in range(5)]}
    squares = [shapely.box(i * 2, 0, i * 2 + 1, 1) for i in range(5)]
    _Tables.features = [feature(i, shapely.geometry.mapping(square)) for i, square in enumerate(squares)]
    assert shape_of(load(plots, tables)).equals(shapely.union_all(squares))


def test_tables_that_are_refused(tables):
    plots = job({"region": {"table": "users/me/plots"}}).region
    _Tables.features = []
    assert "region.table: users/me/plots: contains no features" in refusal(load, plots, tables)
    point, square = {"type": "Point", "coordinates": [0, 0]}, shapely.geometry.mapping(shapely.box(0, 0, 1, 1))
    _Tables.features = [feature(0, point), feature(1, square)]
    assert "holds points and Polygon; write a table of one kind" in refusal(load, plots, tables)
    _Tables.features = [feature(0, {"type": "LineString", "coordinates": [[0, 0], [1, 1]]})]
    assert "a LineString has no area" in refusal(load, plots, tables)
    other = job({"region": {"table": "users/me/other"}}).region
    assert "region.table: 'users/me/other' is of type IMAGE, not TABLE" in refusal(load, other, tables)


def test_a_table_that_is_not_there_is_named(tmp_path):
    folder = catalog(tmp_path, [scene(tmp_path, "A/B", [10, 0, 500000, 0, -10, 4200000], "EPSG:32610")])
    with emulator.start(folder) as service:
        client = Client(Service(service.url, "demo", "anonymous"))
        said = refusal(load, job({"region": {"table": "users/me/none"}}).region, client)
    assert said.startswith("region.table: asset 'users/me/none' does not exist")


def test_a_table_of_the_emulators_catalog(tmp_path):
    entry = scene(tmp_path, "A/B", [10, 0, 500000, 0, -10, 4200000], "EPSG:32610")
    squares = [shapely.box(i * 2, 0, i * 2 + 1, 1) for i in range(3)]
    plots = {
        "type": "FeatureCollection",
        "features": [feature(i, shapely.geometry.mapping(s)) for i, s in enumerate(squares)],
    }
    (tmp_path / "plots.geojson").write_text(json.dumps(plots))
    tables = [{"id": "users/me/plots", "file": "plots.geojson"}]
    (tmp_path / "catalog.json").write_text(json.dumps({"assets": [entry], "tables": tables}))
    with emulator.start(tmp_path) as service:
        area = load(
            job({"region": {"table": "users/me/plots"}}).region, Client(Service(service.url, "demo", "anonymous"))
        )
    assert shape_of(area).equals(shapely.union_all(squares))


def test_geojson_of_degrees_beyond_180_lies_at_both_sides():
    area = polygons_of(
        json.dumps({"type": "Polygon", "coordinates": [[[170, 0], [190, 0], [190, 5], [170, 5]]]}).encode(), "x"
    )
    assert shape_of(area).equals(shapely.union(shapely.box(170, 0, 180, 5), shapely.box(-180, 0, -170, 5)))
